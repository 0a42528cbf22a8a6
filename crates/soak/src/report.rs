//! A whole soak from settings to verdict. Invariant: it says what it simulates and by how much budgets are shorter before it begins, and every
//! check by its name when it is over.

use std::time::Instant;

use anyhow::Result;

use crate::run::{self, Settings};
use crate::simulated::SPEED;
use crate::{checks, golden};

/// What becomes of the golden set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GoldenSet {
    /// The run is compared with it.
    Compare,
    /// The run becomes it, if all other checks hold.
    Write,
}

/// Runs, judges and tells. Whether every check holds.
///
/// # Errors
/// The soak itself does not work, or what it tells cannot be told.
pub fn run(
    settings: &Settings,
    set: GoldenSet,
    tell: &mut dyn FnMut(&str) -> Result<()>,
) -> Result<bool> {
    tell(&format!(
        "soak: {} simulated minutes, a bar each, seed {}\n\
         simulated time runs {SPEED} times as fast while something is waited for: budgets of sockets are {SPEED}x shorter\n\
         files in {}",
        settings.bars,
        settings.seed,
        settings.folder.display()
    ))?;
    let begun = Instant::now();
    let evidence = run::run(settings, tell)?;
    let diary = &evidence.diary;
    tell(&format!(
        "over after {} s: {} bars, {} missed for want of speed; {} troubles of {} kinds, {} times one met nothing and was tried again",
        begun.elapsed().as_secs(),
        diary.bars,
        diary.bars_missed,
        diary.met.values().sum::<u64>(),
        diary.met.len(),
        diary.unmet.values().sum::<u64>()
    ))?;
    if !diary.unmet.is_empty() {
        tell(&format!("met nothing: {:?}", diary.unmet))?;
    }
    let mut checks = checks::all(&evidence)?;
    let failed = |checks: &[checks::Check]| checks.iter().filter(|check| !check.holds()).count();
    match set {
        GoldenSet::Compare => match golden::check(settings, &evidence)? {
            Some(check) => checks.push(check),
            None => tell("there is no golden set of this seed and length")?,
        },
        GoldenSet::Write if failed(&checks) == 0 => {
            let path = golden::write(settings, &evidence)?;
            tell(&format!("written: {}", path.display()))?;
        }
        GoldenSet::Write => tell("not written, because not every check holds")?,
    }
    for check in &checks {
        tell(&check.to_string())?;
    }
    let failed = failed(&checks);
    tell(&format!(
        "{} checks hold, {failed} do not",
        checks.len() - failed
    ))?;
    Ok(failed == 0)
}
