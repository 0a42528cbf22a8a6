//! What has to be true when the soak is over, each a check with a name and counts.
//!
//! Invariant: a check that looked at nothing does not hold. Each compares witnesses that cannot copy from each other: the gateway's book, the
//! wire, the sentinel's intent log and audit, the metrics, and what the soak planned. Must not touch: processes, files but the audit's.

mod input;
mod ledger;
mod metrics;
mod orders;
mod safety;
#[cfg(test)]
mod tests;

use std::fmt;

use anyhow::Result;

use crate::evidence::Evidence;
use crate::evidence::audit::Audit;

/// Findings that are shown of one check.
const SHOWN: usize = 5;

/// One check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What has to be true.
    pub name: &'static str,
    /// What was looked at, in numbers.
    pub counts: String,
    /// What is not as it has to be.
    pub findings: Vec<String>,
}

impl Check {
    pub(crate) fn new(name: &'static str) -> Check {
        Check {
            name,
            counts: String::new(),
            findings: Vec::new(),
        }
    }

    /// Notes what is wrong, unless it holds.
    pub(crate) fn need(&mut self, holds: bool, otherwise: impl FnOnce() -> String) {
        if !holds {
            self.findings.push(otherwise());
        }
    }

    pub(crate) fn counted(mut self, counts: String) -> Check {
        self.counts = counts;
        self
    }

    /// Whether it holds.
    pub fn holds(&self) -> bool {
        self.findings.is_empty()
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.holds() { "PASS" } else { "FAIL" };
        write!(f, "{verdict}  {}: {}", self.name, self.counts)?;
        for finding in self.findings.iter().take(SHOWN) {
            write!(f, "\n      {finding}")?;
        }
        let more = self.findings.len().saturating_sub(SHOWN);
        if more > 0 {
            write!(f, "\n      and {more} more")?;
        }
        Ok(())
    }
}

/// All checks but that against the golden set.
///
/// # Errors
/// The audit cannot be read.
pub fn all(evidence: &Evidence) -> Result<Vec<Check>> {
    let audit = Audit::read(&evidence.audit)?;
    let mut checks = judge(evidence, &audit);
    checks.push(ledger::decisions_are_reproduced(evidence, &audit));
    Ok(checks)
}

/// Those that need no files.
fn judge(evidence: &Evidence, audit: &Audit) -> Vec<Check> {
    vec![
        orders::once_for_a_bar(evidence),
        orders::sent_once(evidence),
        orders::none_while_one_is_unknown(evidence),
        input::none_from_bad_input(evidence),
        orders::none_late(evidence),
        ledger::nothing_is_left_unknown(evidence),
        ledger::log_and_book_agree(evidence),
        ledger::log_is_whole(evidence),
        ledger::audit_and_book_agree(evidence, audit),
        ledger::positions_agree(evidence),
        safety::kill_switch_holds(evidence),
        safety::was_killed_between_all_steps(evidence),
        safety::every_remote_failed_in_every_way(evidence),
        metrics::executions_are_counted(evidence),
        metrics::results_are_counted(evidence),
        metrics::decisions_are_counted(evidence, audit),
        metrics::cycles_are_counted(evidence),
    ]
}
