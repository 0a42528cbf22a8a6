//! Shards, and gauges of ended processes, that went without the daemon: what the archive remembers, and the hooks that do it.
//!
//! Invariant: what the daemon removed itself is never among them. Must not touch: files.

use std::collections::HashSet;

use super::scripts::Hooks;
use super::{findings_or, some_of};
use crate::archive::{Absorption, Cause, Known, Ledger, Origin, Phase, State};
use crate::books::TOMBSTONE_SECONDS;
use crate::report::Check;

/// What the archive knows of shards that went without the daemon.
pub(super) fn check(state: Option<&State>, hooks: &Hooks) -> Vec<Check> {
    let mut deleted = Vec::new();
    let mut writers = HashSet::new();
    let mut marked = Vec::new();
    for (state, known) in state.into_iter().flat_map(known_shards) {
        let (Phase::Missing, Some(origin)) = (known.phase(), known.origin()) else {
            continue;
        };
        if is_settled(state.ledger(), known, origin) {
            continue;
        }
        if origin.kind.is_live_gauge() {
            marked.push((origin.file_name.to_string(), &origin.writer));
        } else {
            deleted.push(origin.file_name.to_string());
            writers.insert(&origin.writer);
        }
    }
    // Where all of a process went, its gauges did not go for a hook.
    let marked: Vec<String> = marked
        .into_iter()
        .filter(|(_, writer)| !writers.contains(writer))
        .map(|(name, _)| name)
        .collect();
    let days = TOMBSTONE_SECONDS / 86400.0;
    let mut first = match (state, deleted.is_empty()) {
        (None, _) => Vec::new(),
        (Some(_), true) => vec![Check::pass(
            "deleted_shards",
            format!(
                "the archive knows of no shard that somebody else deleted within {days:.0} days"
            ),
        )],
        (Some(_), false) => vec![Check::fail(
            "deleted_shards",
            format!(
                "{} shards were deleted or moved by somebody else within {days:.0} days: {}; what came after the last note is lost",
                deleted.len(),
                some_of(&deleted)
            ),
            "find what deletes them and remove it: an rm -rf of the directory in a start script, a clean-up of old files (see cleanup_rules); metricsd removes shards itself, after it has kept their totals",
        )],
    };
    let id = "mark_process_dead";
    let mut checks = Vec::new();
    let next = "remove mark_process_dead (the child_exit hook of gunicorn): metricsd knows by itself when a process has ended, and keeps the last values of its gauges until a live one sets them";
    if !marked.is_empty() {
        checks.push(Check::warn(
            id,
            format!(
                "gauges of ended processes were deleted by somebody else: {}",
                some_of(&marked)
            ),
            next,
        ));
    }
    if !hooks.marking.is_empty() {
        checks.push(Check::warn(
            id,
            format!("{} calls mark_process_dead", some_of(&hooks.marking)),
            next,
        ));
    }
    first.extend(findings_or(
        checks,
        id,
        "nobody is seen to delete the gauges of ended processes",
    ));
    first
}

fn known_shards(state: &State) -> impl Iterator<Item = (&State, &Known)> {
    state.shards().map(move |(_, known)| (state, known))
}

/// Whether the daemon took everything of it before it went, and so most likely deleted it itself. One that ends while it still watches
/// the file finds it missing at its next start. Of what went before a reset nothing is left to be lost.
fn is_settled(ledger: &Ledger, known: &Known, origin: &Origin) -> bool {
    let Some(ended_at) = known.ended_at_unix_seconds() else {
        return false;
    };
    let reset = ledger.resets().last();
    if reset.is_some_and(|reset| ended_at <= reset.at_unix_seconds) {
        return true;
    }
    let is_of_it = |absorption: &&Absorption| {
        absorption.origin.as_ref() == Some(origin) && absorption.at_unix_seconds <= ended_at
    };
    let last = ledger.absorptions().rev().find(is_of_it);
    last.is_some_and(|absorption| absorption.cause == Cause::Absorbed)
}
