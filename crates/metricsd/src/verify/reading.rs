//! Shards and archive as they lie on disk, read as plainly as can be: each file whole, nothing kept between readings.
//!
//! Invariant: a reading is of one moment as far as the archive goes: while the shards were read nothing moved from them into it, and
//! no older file was missed by the listing, or everything is read again. No lock, no lease; must not open anything for writing.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use metricsd_shard::{
    BirthTime, Damage, HEADER_LEN_BYTES, NameError, ShardFile, ShardName, original_of_retiring,
    parse_from, read_value,
};
use thiserror::Error;

use crate::archive::{self, Exact, IdentityKey, OpenError, OpenReport, Phase, State};
use crate::books::identity_key;
use crate::clock::unix_seconds;
use crate::directory::{DirectoryError, ListedName, ShardDirectory};
use crate::sentence::one_sentence;
use crate::settings::MergeSettings;
use crate::state_directory::{StateDirectory, StateDirectoryError};

/// For how long everything is read again because a daemon moved something meanwhile.
const TIME_MAX: Duration = Duration::from_secs(10);

/// One shard's content.
#[derive(Debug)]
pub(super) struct ShardContent {
    /// Its name, before it was renamed for retirement.
    pub(super) name: ShardName,
    pub(super) identity: IdentityKey,
    pub(super) entries: Vec<ReadEntry>,
}

/// One entry as it stands in the file.
#[derive(Debug)]
pub(super) struct ReadEntry {
    pub(super) key: Vec<u8>,
    pub(super) value: f64,
    pub(super) timestamp: f64,
}

/// Everything that there is.
#[derive(Debug)]
pub(super) struct Reading {
    /// In canonical order: oldest birth first, then by name.
    pub(super) shards: Vec<ShardContent>,
    /// What the archive holds; none if there is no state directory.
    pub(super) archive: Option<(State, OpenReport)>,
    /// Files that look like shards and cannot be read, or not to their end.
    pub(super) damaged: Vec<String>,
}

/// Nothing can be recomputed.
#[derive(Debug, Error)]
pub(super) enum ReadingError {
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    #[error(transparent)]
    StateDirectory(#[from] StateDirectoryError),
    #[error("{}: {source}", .path.display())]
    State { path: PathBuf, source: OpenError },
    #[error("{}: a daemon moved something during each reading for {TIME_MAX:?}; try again", .path.display())]
    Moving { path: PathBuf },
}

impl Reading {
    /// Number of the archive's last record.
    pub(super) fn sequence(&self) -> Option<u64> {
        sequence(&self.archive)
    }

    /// How many entries all shards have.
    pub(super) fn entry_count(&self) -> usize {
        self.shards.iter().map(|shard| shard.entries.len()).sum()
    }
}

/// Reads everything.
pub(super) fn read(settings: &MergeSettings) -> Result<Reading, ReadingError> {
    let deadline = Instant::now() + TIME_MAX;
    let mut before = load(settings)?;
    while Instant::now() < deadline {
        let began = SystemTime::now();
        let directory = ShardDirectory::open(&settings.directory.path)?;
        let names = directory.list()?;
        let shards = read_shards(&directory, &names);
        let is_whole = !has_missed(&directory, &names, began)?;
        let after = load(settings)?;
        match shards {
            Some((shards, damaged)) if is_whole && add_the_same(&before, &after) => {
                return Ok(Reading {
                    shards,
                    archive: before,
                    damaged,
                });
            }
            _ => before = after,
        }
    }
    Err(ReadingError::Moving {
        path: settings.directory.path.clone(),
    })
}

/// Whether both add the same to the same shards. Notes of what live shards hold may have come meanwhile.
fn add_the_same(before: &Archive, after: &Archive) -> bool {
    let (Some((before, was)), Some((after, is))) = (before, after) else {
        return before.is_none() && after.is_none();
    };
    if was.last_sequence == is.last_sequence {
        return true;
    }
    let settled = |state: &State| -> Vec<(IdentityKey, Phase, Vec<_>)> {
        let settled = state.shards().filter(|(_, known)| {
            known.phase() != Phase::Seen || known.corrections().next().is_some()
        });
        settled
            .map(|(identity, it)| (identity.clone(), it.phase(), it.corrections().collect()))
            .collect()
    };
    let known_count = before.totals().len().min(after.totals().len());
    let (old, new) = after.totals().split_at(known_count);
    before.totals() == old
        && new.iter().all(Exact::is_zero)
        && before.ended_gauges() == after.ended_gauges()
        && settled(before) == settled(after)
}

/// Whether there is a shard that was there before the reading and that its listing does not show: one that was renamed meanwhile.
fn has_missed(
    directory: &ShardDirectory,
    names: &[ListedName],
    began: SystemTime,
) -> Result<bool, ReadingError> {
    let listed: HashSet<&OsStr> = names.iter().map(|listed| listed.name.as_os_str()).collect();
    let inodes: HashSet<u64> = names.iter().map(|listed| listed.inode).collect();
    let is_young = |name: &str| match ShardFile::open_at(directory.as_fd(), name) {
        Ok(file) => file.identity().birth.is_some_and(|birth| {
            birth.unix_seconds as f64 + f64::from(birth.nanoseconds) / 1e9 > unix_seconds(began)
        }),
        // Gone again, or never to be read.
        Err(_) => true,
    };
    for later in directory.list()? {
        let name = later.name.to_string_lossy();
        let is_shard = ShardName::parse(original_of_retiring(&name).unwrap_or(&name))
            != Err(NameError::NotAShard);
        let is_new = !listed.contains(later.name.as_os_str());
        if is_shard && is_new && !inodes.contains(&later.inode) && !is_young(&name) {
            return Ok(true);
        }
    }
    Ok(false)
}

type Archive = Option<(State, OpenReport)>;

fn sequence(archive: &Archive) -> Option<u64> {
    archive.as_ref().map(|(_, report)| report.last_sequence)
}

fn load(settings: &MergeSettings) -> Result<Archive, ReadingError> {
    let path = &settings.state.path;
    let shards = ShardDirectory::open(&settings.directory.path)?;
    let directory = match StateDirectory::open(path, &shards) {
        Ok(directory) => directory,
        Err(StateDirectoryError::Missing { .. }) => return Ok(None),
        Err(err) => return Err(err.into()),
    };
    let disk = directory
        .disk()
        .map_err(|source| StateDirectoryError::Read {
            path: path.clone(),
            source,
        })?;
    let loaded = archive::load(&disk).map_err(|source| ReadingError::State {
        path: path.clone(),
        source,
    })?;
    Ok(Some(loaded))
}

/// Every shard of a listing; none if one vanished since.
fn read_shards(
    directory: &ShardDirectory,
    names: &[ListedName],
) -> Option<(Vec<ShardContent>, Vec<String>)> {
    let mut shards: Vec<(Option<BirthTime>, String, ShardContent)> = Vec::new();
    let mut damaged = Vec::new();
    let mut seen = HashSet::new();
    let mut buffer = Vec::new();
    for listed in names {
        let file_name = listed.name.to_string_lossy().into_owned();
        let name = match ShardName::parse(original_of_retiring(&file_name).unwrap_or(&file_name)) {
            Ok(name) => name,
            Err(NameError::NotAShard) => continue,
            Err(err) => {
                damaged.push(format!("{file_name}: {err}"));
                continue;
            }
        };
        if listed.name.to_str().is_none() {
            damaged.push(format!("{file_name}: its name is not UTF-8"));
            continue;
        }
        let file = match ShardFile::open_at(directory.as_fd(), &file_name) {
            Ok(file) => file,
            Err(metricsd_shard::OpenError::Vanished { .. }) => return None,
            Err(err) => {
                damaged.push(one_sentence(&err));
                continue;
            }
        };
        let identity = identity_key(&file.identity());
        // A second name of a file counts once.
        if !seen.insert(identity.clone()) {
            continue;
        }
        if let Err(err) = file.read_used(&mut buffer) {
            damaged.push(one_sentence(&err));
            continue;
        }
        let parsed = parse_from(&buffer, HEADER_LEN_BYTES);
        match &parsed.damage {
            // A writer is about to begin, or died before it did: nothing is lost.
            None | Some(Damage::Empty) => {}
            Some(damage) => damaged.push(format!("{file_name}: {damage}")),
        }
        let entries = parsed.entries.iter().map(|entry| {
            let (value, timestamp) = read_value(&buffer, entry.value_offset);
            ReadEntry {
                key: entry.key.to_vec(),
                value,
                timestamp,
            }
        });
        let content = ShardContent {
            name,
            identity,
            entries: entries.collect(),
        };
        shards.push((file.identity().birth, file_name, content));
    }
    shards.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
    let shards = shards.into_iter().map(|(_, _, content)| content).collect();
    Some((shards, damaged))
}
