//! Limits of the system that are near: descriptors and mappings.
//!
//! Invariant: a limit is compared with what is in use now, never with a guess. Must not touch: anything but procfs.

use std::fs;

use super::company::Daemon;
use super::processes::{Process, Processes, read_bounded};
use super::survey::Survey;
use super::{findings_or, some_of};
use crate::report::Check;
use crate::serve::shard_descriptors;

/// A writer that uses so much of a limit is near it, in percent.
const NEAR_PERCENT: u64 = 90;

/// Descriptors of the daemon and of the writers.
pub(super) fn check_open_files(
    survey: &Survey,
    daemon: &Daemon,
    processes: &Processes,
) -> Vec<Check> {
    let id = "open_files";
    let mut checks = Vec::new();
    let shard_count = survey.shards().count() as u64;
    // The daemon raises its soft limit to the hard one.
    let of_daemon = daemon.pid.map_or("self".to_owned(), |pid| pid.to_string());
    let available = open_files_limit(&of_daemon).map(|limit| limit.hard);
    let budget = available.map(shard_descriptors);
    if let (Some(budget), Some(available)) = (budget, available)
        && shard_count > budget
    {
        checks.push(Check::warn(
            id,
            format!("{} may have {available} files open and keeps {budget} of {shard_count} shards open: the others are served more slowly, and when somebody deletes one, what came after the last note is lost", daemon.shown()),
            format!("start the daemon with a higher limit: systemd: LimitNOFILE={}; a shell: ulimit -Hn", (shard_count + 1024).next_power_of_two()),
        ));
    }
    let near: Vec<String> = processes.wired().filter_map(near_open_files).collect();
    if !near.is_empty() {
        checks.push(Check::fail(
            id,
            format!("{}: a shard that cannot be opened is kept in memory and ends with its process", some_of(&near)),
            "start the program with a higher soft limit: systemd: LimitNOFILE=65536; a shell: ulimit -n 65536",
        ));
    }
    let shown = budget.map_or("an unknown number".to_owned(), |budget| budget.to_string());
    findings_or(
        checks,
        id,
        format!(
            "{shard_count} shards; {} may keep {shown} open",
            daemon.shown()
        ),
    )
}

fn near_open_files(process: &Process) -> Option<String> {
    let limit = open_files_limit(&process.pid.to_string())?.soft;
    let used = process.descriptor_count as u64;
    is_near(used, limit).then(|| format!("{} has {used} of {limit} files open", process.shown()))
}

/// Mappings of the writers.
pub(super) fn check_maps(processes: &Processes) -> Vec<Check> {
    let id = "memory_maps";
    let path = "/proc/sys/vm/max_map_count";
    let limit = fs::read_to_string(path)
        .ok()
        .and_then(|text| text.trim().parse::<u64>().ok());
    let Some(limit) = limit else {
        return vec![Check::warn(
            id,
            format!("{path} cannot be read"),
            format!("cat {path}"),
        )];
    };
    let near = processes
        .wired()
        .filter(|process| is_near(process.maps.count as u64, limit));
    let near: Vec<String> = near
        .map(|process| {
            format!(
                "{} has {} of {limit} mappings",
                process.shown(),
                process.maps.count
            )
        })
        .collect();
    if near.is_empty() {
        return vec![Check::pass(
            id,
            format!("no program that names the directory is near vm.max_map_count={limit}"),
        )];
    }
    vec![Check::fail(
        id,
        format!(
            "{}: a shard that cannot be mapped is kept in memory and ends with its process",
            some_of(&near)
        ),
        format!(
            "sysctl -w vm.max_map_count={} (and in /etc/sysctl.d)",
            limit.saturating_mul(4)
        ),
    )]
}

fn is_near(used: u64, limit: u64) -> bool {
    used.saturating_mul(100) >= limit.saturating_mul(NEAR_PERCENT)
}

struct Limit {
    soft: u64,
    hard: u64,
}

/// `Max open files            1024                 524288               files`.
fn open_files_limit(pid: &str) -> Option<Limit> {
    let raw = read_bounded(&format!("/proc/{pid}/limits"), 64 << 10).ok()?;
    let text = String::from_utf8_lossy(&raw);
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    let mut fields = line.split_whitespace().map(|field| match field {
        "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    });
    Some(Limit {
        soft: fields.next()??,
        hard: fields.next()??,
    })
}
