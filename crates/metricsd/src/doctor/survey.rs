//! What stands in the shard directory: names, owners, permissions, sizes, times.
//!
//! Invariant: nothing but sidecars is opened, and those never wait; names beyond the bound are counted and not looked at. Must not
//! touch: anything outside the directory.

use std::os::fd::AsFd;

use metricsd_shard::{NameError, ProcessFile, ShardName, original_of_retiring, process_file_id};
use rustix::fs::{AtFlags, FileType, Statx, StatxFlags, statx};

use super::user::Owned;
use crate::directory::ShardDirectory;

/// Most names that are looked at.
const NAMES_MAX: usize = 200_000;

/// Most sidecars that are read.
const SIDECARS_MAX: usize = 20_000;

/// A regular file with the name of a shard, a retiring one, or a sidecar.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) name: String,
    /// None for a sidecar.
    pub(super) shard: Option<ShardName>,
    pub(super) owned: Owned,
    pub(super) len_bytes: u64,
    /// Blocks that it has.
    pub(super) stored_bytes: u64,
    /// The latest of its times, unix seconds: birth, modification, change.
    pub(super) latest_unix_seconds: f64,
}

/// A sidecar's content.
#[derive(Debug)]
pub(super) struct Sidecar {
    pub(super) name: String,
    pub(super) process: ProcessFile,
}

/// What is in the directory.
#[derive(Debug, Default)]
pub(super) struct Survey {
    pub(super) files: Vec<Found>,
    pub(super) sidecars: Vec<Sidecar>,
    /// Names that look like a shard's and cannot be one, with what is wrong.
    pub(super) refused: Vec<(String, String)>,
    /// Names that were not looked at.
    pub(super) unseen_count: usize,
}

impl Survey {
    /// Looks at every name once. A directory that cannot be listed any more has nothing.
    pub(super) fn of(directory: &ShardDirectory) -> Survey {
        let mut survey = Survey::default();
        let names = directory.list().unwrap_or_default();
        survey.unseen_count = names.len().saturating_sub(NAMES_MAX);
        for entry in names.into_iter().take(NAMES_MAX) {
            if let Ok(name) = entry.name.into_string() {
                survey.look(directory, name);
            }
        }
        survey
    }

    /// The shards, retiring ones included.
    pub(super) fn shards(&self) -> impl Iterator<Item = (&Found, &ShardName)> {
        let of = |found| Some((found, Found::shard_name(found)?));
        self.files.iter().filter_map(of)
    }

    fn look(&mut self, directory: &ShardDirectory, name: String) {
        let original = original_of_retiring(&name).unwrap_or(&name);
        let is_sidecar = process_file_id(&name).is_some();
        let shard = match ShardName::parse(original) {
            _ if is_sidecar => None,
            Ok(shard) => Some(shard),
            Err(NameError::NotAShard) => return,
            Err(err) => return self.refused.push((name, err.to_string())),
        };
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        let fields = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
        // One that is gone by now was retired.
        let Ok(stat) = statx(directory.as_fd(), &name, flags, fields) else {
            return;
        };
        if FileType::from_raw_mode(u32::from(stat.stx_mode)) != FileType::RegularFile {
            return self.refused.push((name, "no regular file".to_owned()));
        }
        if is_sidecar
            && self.sidecars.len() < SIDECARS_MAX
            && let Ok(process) = ProcessFile::read_at(directory.as_fd(), &name)
        {
            let name = name.clone();
            self.sidecars.push(Sidecar { name, process });
        }
        self.files.push(Found {
            name,
            shard,
            owned: Owned {
                uid: stat.stx_uid,
                gid: stat.stx_gid,
                mode: u32::from(stat.stx_mode) & 0o7777,
            },
            len_bytes: stat.stx_size,
            stored_bytes: stat.stx_blocks.saturating_mul(512),
            latest_unix_seconds: latest(&stat),
        });
    }
}

impl Found {
    fn shard_name(&self) -> Option<&ShardName> {
        self.shard.as_ref()
    }
}

fn latest(stat: &Statx) -> f64 {
    let has_birth = stat.stx_mask & StatxFlags::BTIME.bits() != 0;
    let birth = has_birth.then_some(stat.stx_btime.tv_sec);
    [
        Some(stat.stx_mtime.tv_sec),
        Some(stat.stx_ctime.tv_sec),
        birth,
    ]
    .into_iter()
    .flatten()
    .max()
    .unwrap_or(0) as f64
}
