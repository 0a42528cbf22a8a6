//! What the shard directory stands on: whether it is there, its file system, and the room that is left.
//!
//! Invariant: the file system is judged by `statfs` alone; the test that makes files is the daemon's. Must not touch: shards.

use std::os::fd::AsFd;

use metricsd_shard::{DirectoryChoice, DirectorySource, FileSystem, file_system_supports_leases};

use super::findings_or;
use super::survey::Survey;
use crate::directory::{DirectoryError, ShardDirectory};
use crate::report::Check;
use program::sentence;

/// What one more Python process asks for: counters, gauges of one mode, histograms and summaries, 64 KiB each.
const PROCESS_LEN_BYTES: u64 = 4 * (64 << 10);
/// The names that it makes, and a sidecar.
const PROCESS_INODES: u64 = 5;

/// Opens the directory that was chosen.
pub(super) fn open(choice: &DirectoryChoice) -> (Option<ShardDirectory>, Vec<Check>) {
    let id = "shard_directory";
    let path = choice.path.display();
    let err = match ShardDirectory::open(&choice.path) {
        Ok(directory) => {
            let text = format!("{path}, named by: {}", choice.source);
            return (Some(directory), vec![Check::pass(id, text)]);
        }
        Err(err) => err,
    };
    let is_default = match choice.source {
        DirectorySource::Default => ", which is the default below the working directory",
        _ => "",
    };
    let next = match &err {
        DirectoryError::Missing { .. } if is_default.is_empty() => format!("mkdir -p {path}, or name the one that the programs use with --multiproc-dir"),
        DirectoryError::Missing { .. } => "name the directory that the programs use with --multiproc-dir, or set PROMETHEUS_MULTIPROC_DIR to it".to_owned(),
        // Whatever it is, it is somebody's: nothing is to be moved on our word.
        DirectoryError::NotADirectory { .. } => "name the directory that the programs use with --multiproc-dir".to_owned(),
        _ => format!("run the doctor as the daemon's user or as root, and let that user in: chmod u+rwx {path} (namei -l {path} shows who may pass)"),
    };
    let text = format!(
        "{}{is_default}; what is in it was not looked at",
        sentence(&err)
    );
    (None, vec![Check::fail(id, text, next)])
}

/// A file system where it is known who still writes.
pub(super) fn check_file_system(directory: &ShardDirectory) -> Vec<Check> {
    let path = directory.path().display().to_string();
    vec![match file_system_supports_leases(directory.as_fd()) {
        Ok(kind) => Check::pass("file_system", format!("{kind}")),
        Err(kind) => judge_file_system(kind, &path),
    }]
}

fn judge_file_system(kind: FileSystem, path: &str) -> Check {
    let id = "file_system";
    let why = "who still writes a shard cannot be known there, so none is ever retired";
    let mount = format!("mount -t tmpfs -o size=256m,mode=1777 tmpfs {path}");
    if let Some(name) = network_name(kind) {
        let text = format!(
            "{path} is on a network file system ({name}): {why}, and writers on other machines are not seen at all"
        );
        return Check::fail(
            id,
            text,
            format!("move the shards to local memory, with all programs stopped: {mount}"),
        );
    }
    if kind == FileSystem::Overlay {
        let text = format!(
            "{path} is on overlayfs, the writable layer of a container: {why}, and it goes with the container"
        );
        return Check::fail(
            id,
            text,
            format!(
                "give the container a volume or tmpfs there: docker run --tmpfs {path}:rw,size=256m,mode=1777, or {mount}"
            ),
        );
    }
    let text = format!("{path} is on {kind}: {why}; ext4, xfs, btrfs and tmpfs are known");
    Check::fail(
        id,
        text,
        format!("move the shards, with all programs stopped: {mount}"),
    )
}

/// By the magic numbers of `statfs(2)`.
fn network_name(kind: FileSystem) -> Option<&'static str> {
    Some(match kind {
        FileSystem::Nfs => "NFS",
        FileSystem::Other(0x517b) => "SMB",
        FileSystem::Other(0xfe53_4d42) => "SMB 2",
        FileSystem::Other(0xff53_4d42) => "CIFS",
        FileSystem::Other(0x0102_1997) => "9P",
        FileSystem::Other(0x00c3_6400) => "Ceph",
        FileSystem::Other(0x5346_414f) => "AFS",
        FileSystem::Other(0x7375_7245) => "Coda",
        _ => return None,
    })
}

/// Room for what shards claim, and for the processes to come.
pub(super) fn check_room(directory: &ShardDirectory, survey: &Survey) -> Vec<Check> {
    let id = "shard_room";
    let path = directory.path().display();
    let stat = match rustix::fs::fstatvfs(directory.as_fd()) {
        Ok(stat) => stat,
        Err(err) => {
            let text = format!("{path}: how much room there is cannot be asked: {err}");
            return vec![Check::warn(id, text, format!("df -h {path}; df -i {path}"))];
        }
    };
    let free_bytes = stat.f_bavail.saturating_mul(stat.f_frsize);
    let size_bytes = stat.f_blocks.saturating_mul(stat.f_frsize);
    let stored_bytes: u64 = survey.files.iter().map(|file| file.stored_bytes).sum();
    let missing = |file: &super::survey::Found| file.len_bytes.saturating_sub(file.stored_bytes);
    // Shards are made with holes by Python, and a store into a hole on a full file system kills its writer. Sparse files of
    // strangers claim what they like.
    let claimed_bytes: u64 = survey
        .files
        .iter()
        .map(missing)
        .filter(|it| *it <= 64 << 20)
        .sum();
    let wanted_bytes = claimed_bytes.saturating_add(PROCESS_LEN_BYTES);
    let is_out_of_names = stat.f_files > 0 && stat.f_favail < PROCESS_INODES;
    let enough_bytes = 2 * (stored_bytes + claimed_bytes) + 16 * PROCESS_LEN_BYTES;
    let next = format!(
        "mount -o remount,size={}m,nr_inodes=0 {path} (a tmpfs; also in /etc/fstab), or give the file system room",
        (enough_bytes >> 20) + 1
    );
    let mut checks = Vec::new();
    if free_bytes < wanted_bytes {
        checks.push(Check::fail(
            id,
            format!("{path}: {free_bytes} of {size_bytes} bytes are free; {claimed_bytes} are claimed by holes in shards, and one more Python process takes {PROCESS_LEN_BYTES}"),
            next.clone(),
        ));
    } else if free_bytes < stored_bytes + claimed_bytes {
        checks.push(Check::warn(
            id,
            format!("{path}: {free_bytes} of {size_bytes} bytes are free and shards take {stored_bytes}; a restart of all programs, whose new shards stand beside the old ones, does not fit"),
            next.clone(),
        ));
    }
    if is_out_of_names {
        checks.push(Check::fail(
            id,
            format!(
                "{path}: {} inodes are free; one more process makes {PROCESS_INODES} files",
                stat.f_favail
            ),
            next,
        ));
    }
    findings_or(
        checks,
        id,
        format!("{free_bytes} of {size_bytes} bytes are free; shards take {stored_bytes}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_file_systems_are_called_so_and_others_are_not() {
        for (kind, word) in [
            (FileSystem::Nfs, "network file system (NFS)"),
            (FileSystem::Other(0xff53_4d42), "network file system (CIFS)"),
            (
                FileSystem::Other(0xfe53_4d42),
                "network file system (SMB 2)",
            ),
            (FileSystem::Other(0x517b), "network file system (SMB)"),
            (FileSystem::Other(0x0102_1997), "network file system (9P)"),
            (FileSystem::Other(0x00c3_6400), "network file system (Ceph)"),
            (FileSystem::Overlay, "overlayfs"),
            (FileSystem::Fuse, "on fuse:"),
            (FileSystem::Other(0x4d44), "magic 0x4d44"),
            (FileSystem::Unreadable, "unreadable"),
        ] {
            let check = judge_file_system(kind, "/s");
            assert!(check.text.contains(word), "{check:?}");
            assert!(check.next.unwrap().contains("tmpfs"), "{kind}");
            assert_eq!(check.text.contains("network"), network_name(kind).is_some());
        }
    }
}
