//! The three verifications of the HUB, as an operator would type them: started one after the other, shown while they run, their evidence filed.
//!
//! Invariant: one that does not pass does not keep the next from being made; one that does not end is ended and did not pass.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::stage::Stage;
use crate::child::Running;
use crate::demo::{headline, text};
use crate::terminal::say;
use crate::workspace;

/// How many there are.
pub(super) const COUNT: usize = 3;
/// Several scrapes, an alert there and back, and a busy machine.
const TIME_MAX: Duration = Duration::from_secs(600);

/// One of them.
struct Verification {
    name: &'static str,
    arguments: Vec<String>,
}

/// Makes all of them. Gives the names of those that did not pass.
pub(super) fn run_all(stage: &mut Stage<'_>, evidence: &Path) -> Result<Vec<&'static str>> {
    let mut failed = Vec::new();
    for verification in all(stage, evidence)? {
        if !verification.run(stage)? {
            failed.push(verification.name);
        }
    }
    Ok(failed)
}

fn all(stage: &Stage<'_>, evidence: &Path) -> Result<[Verification; COUNT]> {
    let shards = stage.folder().join("prom_multiproc");
    let state = stage.folder().join("state");
    let page = format!("{}/metrics", stage.url("peak_trade_metricsd"));
    let (prometheus, evidence) = (stage.url("prometheus"), text(evidence)?);
    let mode_b = [
        "--run-session",
        "--multiproc-dir",
        text(&shards)?,
        "--state-dir",
        text(&state)?,
        "--url",
        &page,
        "--prometheus",
        &prometheus,
        // That of hub.yml.
        "--scrape-interval",
        "15s",
    ];
    let sentinel = stage.url("sentinel-metrics");
    let inf = ["--target", &sentinel];
    let (alertmanager, bridge) = (stage.url("alertmanager"), stage.url("alertbridge"));
    let hub = [
        "--prometheus",
        &prometheus,
        "--alertmanager",
        &alertmanager,
        "--alertbridge",
        &bridge,
    ];
    let made = |name: &'static str, flags: &[&str]| {
        let words = [&["verify", name], flags, &["--evidence", evidence]].concat();
        Verification {
            name,
            arguments: words.into_iter().map(str::to_owned).collect(),
        }
    };
    Ok([
        made("mode-b", &mode_b),
        made("inf", &inf),
        made("hub", &hub),
    ])
}

impl Verification {
    /// Whether it ended with 0.
    fn run(&self, stage: &mut Stage<'_>) -> Result<bool> {
        headline(&format!("metricsd {}", self.arguments.join(" ")))?;
        let shards = stage.folder().join("prom_multiproc");
        let variables = [
            ("PEAKTRADE_METRICS_MODE", "B"),
            ("PEAKTRADE_METRICS_MULTIPROC_DIR", text(&shards)?),
        ];
        let arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        let mut child = Running::start(
            &workspace::program("metricsd")?,
            &arguments,
            &variables,
            &stage.folder().join(format!("verify-{}.log", self.name)),
        )?;
        let deadline = Instant::now() + TIME_MAX;
        let mut shown = 0;
        loop {
            let status = child.ended()?;
            let output = child.output();
            let whole = if status.is_some() {
                output.len()
            } else {
                output.rfind('\n').map_or(0, |end| end + 1)
            };
            for line in output
                .get(shown..whole)
                .context("output that shrank")?
                .lines()
            {
                say(format_args!("   {line}"))?;
            }
            shown = whole;
            if let Some(status) = status {
                return Ok(status.success());
            }
            if Instant::now() > deadline {
                say(format_args!(
                    "   it still runs after {TIME_MAX:?}, and is ended"
                ))?;
                child.terminate()?;
                return Ok(false);
            }
            stage.go_on()?;
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}
