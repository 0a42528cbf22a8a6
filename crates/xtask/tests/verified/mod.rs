//! What a verification found, read from its `--json`.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use xtask::child::Running;

const LONG: Duration = Duration::from_secs(90);

/// Waits for the end. The object that was printed, and the exit code.
pub(crate) fn report(mut verification: Running) -> Result<(Value, Option<i32>)> {
    let status = verification.wait(LONG)?;
    let text = verification.output();
    let object = serde_json::from_str(&text).with_context(|| format!("{status}: {text}"))?;
    Ok((object, status.code()))
}

/// Outcome and text of a check.
pub(crate) fn step<'a>(report: &'a Value, id: &str) -> Result<(&'a str, &'a str)> {
    let steps = report["steps"].as_array().context("no steps")?;
    let step = steps
        .iter()
        .find(|step| step["id"] == id)
        .with_context(|| format!("no {id} in {report:#}"))?;
    let field = |name: &str| step[name].as_str().context("a field is missing");
    Ok((field("outcome")?, field("text")?))
}

/// A check ended so, and said this.
pub(crate) fn expect(report: &Value, id: &str, outcome: &str, word: &str) -> Result<()> {
    let (found, text) = step(report, id)?;
    ensure!(
        found == outcome && text.contains(word),
        "{id} is {found}: {text}; expected {outcome} with {word:?}\n{report:#}"
    );
    Ok(())
}
