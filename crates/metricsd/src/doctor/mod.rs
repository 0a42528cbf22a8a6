//! `metricsd doctor`: finds what is wrong around the daemon and says what to do about it. `docs/doctor.md` has every check.
//!
//! Facts are gathered first (`survey` of the directory, `processes` from procfs, the state), then each group of checks judges
//! them: `ground` and `access` the directory, `content` the shards, `company` and `wiring` other processes, `cleanup` what
//! deletes, `limits`, `clock`, `state` and what went from it (`deleted`).
//!
//! Invariant: nothing is changed. No lease is taken, no lock asked for, nothing in the shard directory opened for writing; what
//! cannot be looked at is said to be so and never passes. Work is bounded whatever the directory holds.

mod access;
mod cleanup;
pub mod cli;
mod clock;
mod company;
mod content;
mod deleted;
mod descriptors;
mod ground;
mod limits;
mod maps;
mod processes;
mod scripts;
mod state;
mod survey;
mod tmpfiles;
mod user;
mod wiring;

use std::io::{self, Write};
use std::sync::{Arc, RwLock};

use program::terminal::printable;
use serde::Serialize;
use thiserror::Error;

use crate::cli::RenderArgs;
use crate::collect::{Collector, Locking};
use crate::directory::ShardDirectory;
use crate::liveness::Answers;
use crate::report::{Check, has_passed, write_lines};
use crate::settings::{Environment, MergeSettings, SettingsError};

use cli::DoctorArgs;
use company::Daemon;
use processes::Processes;
use survey::Survey;

/// The identifier of every check, in the order in which they are reported.
pub const IDS: [&str; 28] = [
    "shard_directory",
    "processes",
    "daemon",
    "variable_spelling",
    "same_directory",
    "cleanup_rules",
    "file_system",
    "shard_room",
    "directory_access",
    "shard_access",
    "shard_owner",
    "writer_access",
    "shard_files",
    "identifiers",
    "conflicts",
    "degraded_writers",
    "second_collector",
    "open_files",
    "memory_maps",
    "clock",
    "state_directory",
    "state_lock",
    "state_durable",
    "state_access",
    "state_room",
    "state_whole",
    "deleted_shards",
    "mark_process_dead",
];

/// Shards that are kept open between readings; there is only one reading.
const DESCRIPTOR_BUDGET: usize = 0;

/// The doctor cannot work.
#[derive(Debug, Error)]
pub enum DoctorError {
    /// Flags, variables or configuration. The exit code is 2.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The findings cannot be printed. The exit code is 1.
    #[error("cannot write the findings out")]
    Write {
        /// The system's error.
        source: io::Error,
    },
}

/// Everything as JSON: one object.
#[derive(Debug, Serialize)]
struct Document<'a> {
    command: &'static str,
    version: &'static str,
    outcome: &'static str,
    directory: String,
    state_directory: String,
    warnings: &'a [String],
    checks: &'a [Check],
}

/// Makes every check and writes what came of them to `out`. Says whether none failed.
///
/// # Errors
/// Settings that `serve` would refuse as well; the output cannot be written.
pub fn run(
    args: &DoctorArgs,
    env: &Environment<'_>,
    out: &mut dyn Write,
) -> Result<bool, DoctorError> {
    let common = args.common();
    let settings = MergeSettings::resolve(&RenderArgs { common }, env)?;
    let mut checks = examine(&settings, env);
    for check in &mut checks {
        check.text = printable(&check.text);
        check.next = check.next.as_deref().map(printable);
    }
    let is_well = has_passed(&checks);
    let written = if args.json {
        let document = Document {
            command: "doctor",
            version: env!("CARGO_PKG_VERSION"),
            outcome: if is_well { "pass" } else { "fail" },
            directory: settings.directory.path.display().to_string(),
            state_directory: settings.state.path.display().to_string(),
            warnings: &settings.warnings,
            checks: &checks,
        };
        serde_json::to_string_pretty(&document)
            .map_err(io::Error::from)
            .and_then(|text| writeln!(out, "{text}"))
    } else {
        write_lines(&checks, out)
    };
    match written.and_then(|()| out.flush()) {
        Err(source) if source.kind() != io::ErrorKind::BrokenPipe => {
            Err(DoctorError::Write { source })
        }
        _ => Ok(is_well),
    }
}

fn examine(settings: &MergeSettings, env: &Environment<'_>) -> Vec<Check> {
    let path = &settings.directory.path;
    let (directory, mut checks) = ground::open(&settings.directory);
    let processes = Processes::scan(path, directory.as_ref());
    let daemon = Daemon::find(directory.as_ref());
    checks.extend(processes.check());
    checks.extend(daemon.check(path, &processes));
    checks.extend(wiring::check_spelling(env, &processes));
    checks.extend(wiring::check_same(path, &processes));
    let hooks = scripts::Hooks::find(path, &processes);
    checks.extend(cleanup::check(path, &hooks));
    let Some(directory) = directory else {
        return checks;
    };

    let survey = Survey::of(&directory);
    checks.extend(ground::check_file_system(&directory));
    checks.extend(ground::check_room(&directory, &survey));
    checks.extend(access::check_directory(&directory, &daemon));
    checks.extend(access::check_shards(&survey, &daemon));
    checks.extend(access::check_owners(&directory, &survey, &daemon));
    checks.extend(access::check_writers(&directory, &processes));

    let kept = state::Kept::open(&settings.state.path, &directory, &daemon);
    let collector = read_shards(settings, &directory, &kept);
    checks.extend(content::check_files(&survey, collector.as_ref()));
    checks.extend(content::check_identifiers(&survey));
    checks.extend(content::check_conflicts(collector.as_ref()));
    checks.extend(content::check_degraded(&survey));
    checks.extend(company::check_collectors(&daemon, &processes));
    checks.extend(limits::check_open_files(&survey, &daemon, &processes));
    checks.extend(limits::check_maps(&processes));
    checks.extend(clock::check(&survey, kept.state.as_ref()));
    checks.extend(kept.check(&daemon, &hooks));
    checks
}

/// One reading of every shard, judged as the daemon judges it. None: the directory went away meanwhile.
fn read_shards(
    settings: &MergeSettings,
    directory: &ShardDirectory,
    kept: &state::Kept,
) -> Option<Collector> {
    let directory = ShardDirectory::open(directory.path()).ok()?;
    let mut collector = Collector::new(
        directory,
        Locking::None,
        settings.policy.clone(),
        DESCRIPTOR_BUDGET,
    );
    if let Some(state) = &kept.state {
        collector = collector.with_state(Arc::new(RwLock::new(state.clone())));
    }
    let (_, outcome) = collector.collect(&Answers::new());
    outcome.ok().map(|()| collector)
}

/// What was found, or that nothing was.
fn findings_or(findings: Vec<Check>, id: &str, passed: impl Into<String>) -> Vec<Check> {
    match findings.is_empty() {
        true => vec![Check::pass(id, passed)],
        false => findings,
    }
}

/// The first three of many, and how many more there are.
fn some_of(names: &[String]) -> String {
    const NAMED_MAX: usize = 3;
    let named = names[..names.len().min(NAMED_MAX)].join(", ");
    match names.len().saturating_sub(NAMED_MAX) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_has_every_check_and_no_other() {
        let page = include_str!("../../../../docs/doctor.md");
        let rows: Vec<&str> = page
            .lines()
            .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
            .map(|(id, _)| id)
            .collect();
        assert_eq!(rows, IDS);
    }

    #[test]
    fn many_names_are_cut_and_counted() {
        let names: Vec<String> = (0..5).map(|n| n.to_string()).collect();
        assert_eq!(some_of(&names), "0, 1, 2 and 2 more");
        assert_eq!(some_of(&names[..2]), "0, 1");
    }
}
