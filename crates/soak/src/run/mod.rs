//! The soak itself: bar after bar, with the troubles of the schedule, until nothing is left to be found out.
//!
//! Invariant: simulated time only runs while the sentinel is asked for something. Must not touch: judgement; what was seen goes into the
//! evidence, and [`crate::checks`] says what it means.

mod launch;
mod person;
mod troubles;
mod world;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::evidence::Evidence;
use crate::schedule;
use crate::verdict::Verdict;
pub use world::World;

/// A Monday in March of 2026, 21:30 UTC: a day ends in the middle of a short run.
pub const BEGIN: i64 = 1_772_487_000;

/// Bars of a short run: enough for each trouble once.
pub const SHORT_BARS: usize = 170;

/// What to run.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Simulated minutes, a bar each.
    pub bars: usize,
    /// Decides what goes wrong when, and what the model says.
    pub seed: u64,
    /// Where all files go; emptied first.
    pub folder: PathBuf,
    /// The program `soak`, for the sentinel's process.
    pub program: PathBuf,
    /// A Python with pyzmq.
    pub python: PathBuf,
}

/// Asks at the end for what is open; then it is given up.
const ASKS_AT_END: u32 = 20;

/// Runs it all.
///
/// # Errors
/// Something of the soak itself does not work, or a process hangs or ends by itself. What the sentinel did wrong is no error here.
pub fn run(settings: &Settings, tell: &mut dyn FnMut(&str) -> Result<()>) -> Result<Evidence> {
    empty(&settings.folder)?;
    let mut world = World::begin(settings)?;
    for bar in 0..settings.bars {
        world.bar(bar).with_context(|| {
            let time = BEGIN + (bar as i64) * crate::remotes::INTERVAL;
            format!(
                "bar {bar}, which opens at {time}; see {}",
                settings.folder.display()
            )
        })?;
        if (bar + 1) % 60 == 0 {
            tell(&format!(
                "{} of {} simulated hours, {}",
                (bar + 1) / 60,
                settings.bars.div_ceil(60),
                world.in_short()
            ))?;
        }
    }
    world.end(ASKS_AT_END)
}

/// What the seed plans.
pub fn plan(settings: &Settings) -> Vec<schedule::Planned> {
    let has_order = |bar: usize| {
        let open = BEGIN + (bar as i64) * crate::remotes::INTERVAL;
        Verdict::of(settings.seed, open).side().is_some()
    };
    schedule::plan(
        settings.seed,
        settings.bars,
        &crate::child::STEPS,
        has_order,
    )
}

fn empty(folder: &Path) -> Result<()> {
    if folder.exists() {
        let is_ours = folder.join("clock").exists() || folder.read_dir()?.next().is_none();
        ensure!(
            is_ours,
            "{}: found something that no soak left there",
            folder.display()
        );
        std::fs::remove_dir_all(folder)
            .with_context(|| format!("emptying {}", folder.display()))?;
    }
    std::fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))
}
