//! Whether the programs of this machine mean the same shard directory, and name it by variables that last.
//!
//! Invariant: a directory that a daemon of its own serves is nobody's mistake. Must not touch: files.

use std::path::Path;

use metricsd_shard::LEGACY_DIRECTORY_VARIABLE;

use super::processes::{Named, Process, Processes, is_spelled_old};
use super::{findings_or, some_of};
use crate::lock_holder::holder_pid;
use crate::report::Check;
use crate::settings::Environment;

/// Programs that only pass variables on.
const PASSERS: [&str; 16] = [
    "sh",
    "bash",
    "dash",
    "zsh",
    "fish",
    "tmux",
    "tmux: server",
    "screen",
    "sudo",
    "su",
    "sshd",
    "login",
    "systemd",
    "cargo",
    "unshare",
    "timeout",
];

/// Programs of ours that write shards.
const WRITERS: [&str; 2] = ["shadow-session", "sentinel"];

/// The old, lower-case variable: here, and in running programs.
pub(super) fn check_spelling(env: &Environment<'_>, processes: &Processes) -> Vec<Check> {
    let id = "variable_spelling";
    let mut holders = Vec::new();
    if env(LEGACY_DIRECTORY_VARIABLE).is_some_and(|value| !value.is_empty()) {
        holders.push("the environment of this command".to_owned());
    }
    let spelled = processes.wired().filter(|process| is_spelled_old(process));
    holders.extend(spelled.map(Process::shown));
    if holders.is_empty() {
        return vec![Check::pass(
            id,
            format!("nobody uses {LEGACY_DIRECTORY_VARIABLE}"),
        )];
    }
    vec![Check::warn(
        id,
        format!(
            "{LEGACY_DIRECTORY_VARIABLE}, the old spelling, is set in {}; other programs and later versions do not read it",
            some_of(&holders)
        ),
        format!(
            "where it is set, write PROMETHEUS_MULTIPROC_DIR instead of {LEGACY_DIRECTORY_VARIABLE}, and restart the programs"
        ),
    )]
}

/// Running programs whose variables lead elsewhere.
pub(super) fn check_same(path: &Path, processes: &Processes) -> Vec<Check> {
    let id = "same_directory";
    let mut checks = Vec::new();
    for process in &processes.all {
        if process.is_metricsd() || PASSERS.contains(&process.name.as_str()) {
            continue;
        }
        for named in process.named.iter().filter(|named| !named.is_ours) {
            if !is_served(named) {
                checks.push(judge(id, path, process, named));
            }
        }
    }
    // Ten say it; a machine of strangers must not bury the rest of the report.
    checks.sort_by_key(|check| check.outcome != crate::report::Outcome::Fail);
    checks.truncate(10);
    let wired = processes.wired().count();
    findings_or(
        checks,
        id,
        format!("{wired} running programs name this directory, and none one that nobody serves"),
    )
}

fn is_served(named: &Named) -> bool {
    named
        .place
        .is_some_and(|(device, inode)| holder_pid(device, inode).is_some())
}

fn judge(id: &str, path: &Path, process: &Process, named: &Named) -> Check {
    let what = match named.variable {
        Some(variable) => format!("{variable}={}", named.value.display()),
        None => format!("no variable, so the default {}", named.value.display()),
    };
    let text = format!(
        "{} has {what}, which is {} there; no daemon serves that, and this one is {}",
        process.shown(),
        named.path.display(),
        path.display()
    );
    let variable = named.variable.unwrap_or("PEAKTRADE_METRICS_MULTIPROC_DIR");
    let next = format!(
        "start it with {variable}={}, an absolute path, or serve its directory: metricsd serve --multiproc-dir {}",
        path.display(),
        named.path.display()
    );
    // Relative, of the same name, inconsistent, or a program of ours: it was meant to be this one.
    let is_meant = named.value.is_relative()
        || named.path.file_name() == path.file_name()
        || process.is_wired()
        || WRITERS.contains(&process.name.as_str());
    match is_meant {
        true => Check::fail(id, text, next),
        false => Check::warn(id, text, next),
    }
}
