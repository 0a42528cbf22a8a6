//! Who may do what: the daemon in the directory and with each shard, and the writers in the directory.
//!
//! Invariant: judged by owner, permission bits and capabilities as the kernel has them, without trying. Must not touch: files.

use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::StatVfsMountFlags;

use super::company::Daemon;
use super::processes::Processes;
use super::survey::Survey;
use super::user::{Owned, READ, SEARCH, User, WRITE};
use super::{findings_or, some_of};
use crate::directory::ShardDirectory;
use crate::report::Check;

/// Whether the daemon may list, enter and change the directory.
pub(super) fn check_directory(directory: &ShardDirectory, daemon: &Daemon) -> Vec<Check> {
    let id = "directory_access";
    let path = directory.path();
    let mut checks = Vec::new();
    if let Some(closed) = closed_ancestor(path, &daemon.user) {
        let next = format!(
            "chmod o+x {}, or run the daemon as its owner",
            closed.display()
        );
        checks.push(Check::fail(
            id,
            format!("{} may not pass {}", daemon.shown(), closed.display()),
            next,
        ));
    }
    if let Some(owned) = owned(directory)
        && !daemon.user.may(owned, READ | WRITE | SEARCH)
    {
        let text = format!(
            "{} may not read, write and enter {} ({})",
            daemon.shown(),
            path.display(),
            shown(owned)
        );
        checks.push(Check::fail(
            id,
            text,
            format!(
                "chown {} {p} && chmod u+rwx {p}, or run the daemon as uid {}",
                daemon.user.uid,
                owned.uid,
                p = path.display()
            ),
        ));
    }
    let flags = rustix::fs::fstatvfs(directory.as_fd()).map(|stat| stat.f_flag);
    if flags.is_ok_and(|flags| flags.contains(StatVfsMountFlags::RDONLY)) {
        let text = format!(
            "{} is mounted read-only: nobody can write a shard",
            path.display()
        );
        checks.push(Check::fail(
            id,
            text,
            format!("mount -o remount,rw {}", path.display()),
        ));
    }
    findings_or(
        checks,
        id,
        format!(
            "{} may list, enter and change {}",
            daemon.shown(),
            path.display()
        ),
    )
}

/// Whether the daemon may read each shard and sidecar.
pub(super) fn check_shards(survey: &Survey, daemon: &Daemon) -> Vec<Check> {
    let id = "shard_access";
    let closed = survey
        .files
        .iter()
        .filter(|file| !daemon.user.may(file.owned, READ));
    let closed: Vec<String> = closed
        .map(|file| format!("{} ({})", file.name, shown(file.owned)))
        .collect();
    if closed.is_empty() {
        return vec![Check::pass(
            id,
            format!(
                "{} may read all {} files",
                daemon.shown(),
                survey.files.len()
            ),
        )];
    }
    vec![Check::fail(
        id,
        format!(
            "{} may not read {}: the umask of their writers is too tight for another user",
            daemon.shown(),
            some_of(&closed)
        ),
        "give writers and daemon one group and start the writers with umask 0027 (systemd: Group=metrics, UMask=0027), or run them as one user; for the files that are there: chmod g+r,o+r FILE",
    )]
}

/// Whether the daemon may ask who writes each shard, and remove it.
pub(super) fn check_owners(
    directory: &ShardDirectory,
    survey: &Survey,
    daemon: &Daemon,
) -> Vec<Check> {
    let id = "shard_owner";
    let mut checks = Vec::new();
    let of_others = || {
        survey
            .shards()
            .filter(|(file, _)| file.owned.uid != daemon.user.uid)
    };
    let list = |files: &mut dyn Iterator<Item = &super::survey::Found>| {
        let names: Vec<String> = files
            .map(|file| format!("{} (uid {})", file.name, file.owned.uid))
            .collect();
        names
    };
    let unasked = match daemon.user.may_lease_others() {
        true => Vec::new(),
        false => list(&mut of_others().map(|(file, _)| file)),
    };
    if !unasked.is_empty() {
        checks.push(Check::fail(
            id,
            format!("{} has no CAP_LEASE and does not own {}: they are served, and never retired", daemon.shown(), some_of(&unasked)),
            "run daemon and writers as one user (systemd: User=), or give the daemon the privilege (systemd: AmbientCapabilities=CAP_LEASE)",
        ));
    }
    let Some(place) = owned(directory) else {
        checks.push(unseen(id, directory));
        return checks;
    };
    let stuck = list(
        &mut of_others()
            .map(|(file, _)| file)
            .filter(|file| !daemon.user.may_remove(place, file.owned.uid)),
    );
    if !stuck.is_empty() {
        checks.push(Check::fail(
            id,
            format!(
                "{} is sticky, so {} may not remove {}",
                directory.path().display(),
                daemon.shown(),
                some_of(&stuck)
            ),
            format!(
                "chmod -t {}, or make the daemon's user its owner",
                directory.path().display()
            ),
        ));
    }
    findings_or(
        checks,
        id,
        format!("{} may ask about every shard and remove it", daemon.shown()),
    )
}

/// Whether running programs that name the directory may make shards there.
pub(super) fn check_writers(directory: &ShardDirectory, processes: &Processes) -> Vec<Check> {
    let id = "writer_access";
    let Some(place) = owned(directory) else {
        return vec![unseen(id, directory)];
    };
    let path = directory.path();
    let shut_out: Vec<String> = processes
        .wired()
        .filter(|process| !process.is_metricsd())
        .filter(|process| {
            // In a container the way there is another one.
            let is_same_way = process
                .named
                .iter()
                .any(|named| named.is_ours && named.path == path);
            !process.user.may(place, WRITE | SEARCH)
                || is_same_way && closed_ancestor(path, &process.user).is_some()
        })
        .map(|process| format!("{}, {}", process.shown(), process.user))
        .collect();
    if shut_out.is_empty() {
        return vec![Check::pass(
            id,
            "every running program that names the directory may make shards there",
        )];
    }
    vec![Check::fail(
        id,
        format!(
            "{} may not make files in {} ({})",
            some_of(&shut_out),
            path.display(),
            shown(place)
        ),
        format!(
            "chgrp metrics {p} && chmod 2770 {p} with a group of all writers, or run them as uid {}",
            place.uid,
            p = path.display()
        ),
    )]
}

fn unseen(id: &str, directory: &ShardDirectory) -> Check {
    let path = directory.path().display();
    Check::warn(
        id,
        format!("{path} cannot be looked at"),
        format!("ls -ld {path}"),
    )
}

fn owned(directory: &ShardDirectory) -> Option<Owned> {
    rustix::fs::fstat(directory.as_fd())
        .ok()
        .as_ref()
        .map(Owned::from)
}

/// The first directory on the way that this user may not pass.
pub(super) fn closed_ancestor<'a>(path: &'a Path, user: &User) -> Option<&'a Path> {
    let mut ancestors: Vec<&Path> = path.ancestors().skip(1).collect();
    ancestors.reverse();
    ancestors.into_iter().find(|ancestor| {
        let stat = rustix::fs::stat(*ancestor);
        stat.is_ok_and(|stat| !user.may(Owned::from(&stat), SEARCH))
    })
}

/// For messages.
pub(super) fn shown(owned: Owned) -> String {
    format!(
        "uid {}, gid {}, mode {:04o}",
        owned.uid, owned.gid, owned.mode
    )
}
