//! What is wrong with the shards themselves: names, damage, contradictions, writers that cannot write.
//!
//! Invariant: damage and conflicts are the collector's judgement, so that they are those of the daemon's metrics. Must not touch:
//! files.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use super::survey::Survey;
use super::user::{READ, own_user};
use super::{findings_or, some_of};
use crate::clock::unix_seconds;
use crate::collect::{Collector, NamedConflict};
use crate::merge::ConflictKind;
use crate::report::Check;

/// A file that was made so recently may only be on the way to its first bytes.
const YOUNG: Duration = Duration::from_secs(2);

/// Files that are not served, or not to their end.
pub(super) fn check_files(survey: &Survey, collector: Option<&Collector>) -> Vec<Check> {
    let id = "shard_files";
    let mut checks = Vec::new();
    if !survey.refused.is_empty() {
        let refused = survey
            .refused
            .iter()
            .map(|(name, why)| format!("{name}: {why}"));
        checks.push(Check::fail(
            id,
            format!("not served: {}", some_of(&refused.collect::<Vec<_>>())),
            "find out who made them and move them out of the directory: nothing but shards belongs there",
        ));
    }
    let Some(collector) = collector else {
        return vec![Check::warn(
            id,
            "the shards could not be read",
            "see shard_directory and directory_access",
        )];
    };
    let own = own_user();
    let hidden = survey
        .files
        .iter()
        .filter(|file| !own.may(file.owned, READ));
    let hidden: Vec<String> = hidden.map(|file| file.name.clone()).collect();
    if !hidden.is_empty() {
        checks.push(Check::warn(
            id,
            format!(
                "this user ({own}) may not read {}; what is in them, conflicts and degraded writers included, was not looked at",
                some_of(&hidden)
            ),
            "run the doctor as the daemon's user or as root",
        ));
    }
    let young = unix_seconds(SystemTime::now() - YOUNG);
    let files = survey.files.iter();
    let times: HashMap<&str, f64> = files
        .map(|file| (file.name.as_str(), file.latest_unix_seconds))
        .collect();
    let is_young = |name: &str| times.get(name).is_none_or(|at| *at >= young);
    let damaged: Vec<String> = collector
        .shards()
        .iter()
        .filter_map(|shard| {
            let reason = shard.defect_reason()?;
            let is_coming = matches!(reason, "empty" | "short") && is_young(shard.file_name());
            (!is_coming).then(|| {
                format!(
                    "{} ({reason}: {})",
                    shard.file_name(),
                    shard.defect_sentence()
                )
            })
        })
        .collect();
    if !damaged.is_empty() {
        checks.push(Check::fail(
            id,
            format!("damaged: {}; their valid entries are served, the others are missing", some_of(&damaged)),
            "restart the program that writes them, so that it makes new ones; metricsd inspect FILE shows where the damage is",
        ));
    }
    if survey.unseen_count > 0 {
        checks.push(Check::fail(
            id,
            format!("{} names more than are looked at", survey.unseen_count),
            "find out who makes so many files: shards follow the number of live processes",
        ));
    }
    let count = collector.shards().len();
    findings_or(checks, id, format!("{count} shards, all whole"))
}

/// Shards whose identifier Python takes apart.
pub(super) fn check_identifiers(survey: &Survey) -> Vec<Check> {
    let id = "identifiers";
    let cut = survey.shards().filter(|(_, shard)| shard.id.contains('_'));
    let cut: Vec<String> = cut.map(|(file, _)| file.name.clone()).collect();
    if cut.is_empty() {
        return vec![Check::pass(id, "no identifier has an underscore")];
    }
    vec![Check::warn(
        id,
        format!(
            "the identifier has an underscore in {}: served as it is here, but Python's reader takes a part of it for the pid",
            some_of(&cut)
        ),
        "have the program's process identifier return one without, such as multiprocess.MultiProcessValue(lambda: f'web-{os.getpid()}')",
    )]
}

/// Shards that contradict one another about a family.
pub(super) fn check_conflicts(collector: Option<&Collector>) -> Vec<Check> {
    let id = "conflicts";
    let Some(collector) = collector else {
        return vec![Check::warn(
            id,
            "the shards could not be read",
            "see shard_directory and directory_access",
        )];
    };
    let conflicts = collector.conflicts();
    let of = |is_wanted: fn(ConflictKind) -> bool| {
        let wanted = conflicts.iter().filter(|conflict| is_wanted(conflict.kind));
        wanted.map(shown).collect::<Vec<String>>()
    };
    let grave = of(|kind| kind != ConflictKind::Help);
    let light = of(|kind| kind == ConflictKind::Help);
    let mut checks = Vec::new();
    if !grave.is_empty() {
        checks.push(Check::fail(
            id,
            format!("shards contradict one another: {}; of another type or gauge mode the younger one is left out, bucket bounds are put together", some_of(&grave)),
            "give each meaning a name of its own, or run one version of the program: restart the older processes; what the archive holds of ended ones keeps its type",
        ));
    }
    if !light.is_empty() {
        checks.push(Check::warn(
            id,
            format!(
                "shards describe a family differently: {}; values are merged all the same",
                some_of(&light)
            ),
            "use one help text, or restart the processes of the older version",
        ));
    }
    findings_or(
        checks,
        id,
        "every family has one type, help text and set of bucket bounds",
    )
}

fn shown(conflict: &NamedConflict) -> String {
    let older = conflict.older.as_deref().unwrap_or("what is archived");
    format!(
        "{} of {} in {} and in {older}",
        conflict.kind.as_str(),
        conflict.family,
        conflict.shard
    )
}

/// Writers that record into memory.
pub(super) fn check_degraded(survey: &Survey) -> Vec<Check> {
    let id = "degraded_writers";
    let degraded = survey
        .sidecars
        .iter()
        .filter(|sidecar| sidecar.process.degraded);
    let degraded: Vec<String> = degraded
        .map(|sidecar| {
            format!(
                "{} (process {})",
                sidecar.process.program, sidecar.process.pid
            )
        })
        .collect();
    if degraded.is_empty() {
        let count = survey.sidecars.len();
        return vec![Check::pass(
            id,
            format!("{count} writers say who they are, and that they can write"),
        )];
    }
    vec![Check::fail(
        id,
        format!(
            "{} cannot write all of what they record; it is in their memory and ends with them",
            some_of(&degraded)
        ),
        "make room or permissions (see shard_room and writer_access); they carry the values over by themselves then",
    )]
}
