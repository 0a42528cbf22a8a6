//! What Prometheus says of its targets.
//!
//! Invariant: a job of which Prometheus knows no target is as bad as a target that is down.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::prometheus::JOBS;

/// How many targets there are, when each job of ours has one and all are up.
pub(super) fn all_up(answer: &Value) -> Result<usize> {
    let targets = answer["data"]["activeTargets"]
        .as_array()
        .context("an answer without targets")?;
    for (job, _) in JOBS {
        let mut mine = targets
            .iter()
            .filter(|target| target["labels"]["job"] == job)
            .peekable();
        ensure!(mine.peek().is_some(), "{job} has no target");
        for target in mine {
            ensure!(
                target["health"] == "up",
                "{job} at {} is {}: {}",
                target["scrapeUrl"],
                target["health"],
                target["lastError"]
            );
        }
    }
    Ok(targets.len())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn target(job: &str, health: &str) -> Value {
        json!({"labels": {"job": job}, "health": health, "scrapeUrl": "http://x/metrics", "lastError": "refused"})
    }

    #[test]
    fn a_job_without_a_target_and_a_target_that_is_not_up_are_named() {
        let mut targets: Vec<Value> = JOBS.iter().map(|(job, _)| target(job, "up")).collect();
        let answer = |targets: &[Value]| json!({"data": {"activeTargets": targets}});
        assert_eq!(all_up(&answer(&targets)).unwrap(), JOBS.len());
        let missing = all_up(&answer(&targets[1..])).unwrap_err().to_string();
        assert_eq!(missing, "peak_trade_metricsd has no target");
        targets.push(target("node", "down"));
        let down = all_up(&answer(&targets)).unwrap_err().to_string();
        assert!(
            down.starts_with("node at ") && down.contains("refused"),
            "{down}"
        );
    }
}
