//! Whether the clock has jumped: times of shards, writers and the state that lie ahead, or before the process they belong to.
//!
//! Invariant: the kernel's count of ticks since boot is what the wall clock is compared with, as it does not jump. Must not touch:
//! files.

use super::survey::{Sidecar, Survey};
use super::{findings_or, some_of};
use crate::archive::State;
use crate::clock::unix_now;
use crate::report::Check;
use crate::state_directory::{boot_id, is_same_boot};

/// What may lie ahead without being called so.
const AHEAD_SECONDS: f64 = 60.0;

/// How much earlier than its process a writer may seem to have started: boot time is known to the second.
const EARLY_SECONDS: f64 = 5.0;

/// Times of everything that has one.
pub(super) fn check(survey: &Survey, state: Option<&State>) -> Vec<Check> {
    let id = "clock";
    let now = unix_now();
    let is_ahead = |at: f64| at > now + AHEAD_SECONDS;
    let ahead = |at: f64| format!("{:.0} seconds ahead", at - now);
    let mut wrong: Vec<String> = Vec::new();
    for file in survey
        .files
        .iter()
        .filter(|file| is_ahead(file.latest_unix_seconds))
    {
        wrong.push(format!(
            "{} is {}",
            file.name,
            ahead(file.latest_unix_seconds)
        ));
    }
    for Sidecar { name, process } in &survey.sidecars {
        if is_ahead(process.started_at_unix_seconds) {
            wrong.push(format!(
                "the start in {name} is {}",
                ahead(process.started_at_unix_seconds)
            ));
        }
    }
    if let Some(run) = state.and_then(State::last_run) {
        let stopped = run.stopped_at_unix_seconds.unwrap_or(0.0);
        let latest = run.started_at_unix_seconds.max(stopped);
        if is_ahead(latest) {
            wrong.push(format!(
                "the daemon's last run in the journal is {}",
                ahead(latest)
            ));
        }
    }
    let mut checks = Vec::new();
    if !wrong.is_empty() {
        checks.push(Check::fail(
            id,
            format!("{}: the clock was ahead then, or is behind now; start times, and gauges of the mode mostrecent, follow the wrong one", some_of(&wrong)),
            "set the clock and keep it: timedatectl set-ntp true; chronyc makestep. Then restart the programs whose times are ahead",
        ));
    }
    let stepped: Vec<String> = survey.sidecars.iter().filter_map(stepped).collect();
    if !stepped.is_empty() {
        checks.push(Check::warn(
            id,
            format!(
                "{}: the clock was set forward while they ran",
                some_of(&stepped)
            ),
            "keep the clock by steps that are small: timedatectl set-ntp true; chronyc tracking",
        ));
    }
    findings_or(
        checks,
        id,
        "no time lies ahead, and writers started when their processes did",
    )
}

/// A writer that by its own word started before its process did.
fn stepped(Sidecar { process, .. }: &Sidecar) -> Option<String> {
    if process.start_ticks == 0 || !is_same_boot(&process.boot_id, &boot_id()) {
        return None;
    }
    let boot = procfs::boot_time_secs().ok()? as f64;
    let started = boot + process.start_ticks as f64 / procfs::ticks_per_second() as f64;
    // That it still is this process does not matter: ticks and boot are those of the one that wrote it.
    let early = started - process.started_at_unix_seconds;
    (early > EARLY_SECONDS).then(|| {
        format!(
            "{} (process {}) started {early:.0} seconds before its process",
            process.program, process.pid
        )
    })
}
