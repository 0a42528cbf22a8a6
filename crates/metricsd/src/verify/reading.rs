//! Shards and archive as they lie on disk, read as plainly as can be: each file whole, nothing kept between readings.
//!
//! A daemon may retire shards all the time, so nothing is waited for: shards are opened, the archive is read, and only then are the
//! values read, from the open files. What was absorbed by then is subtracted as the archive says, what is absorbed later counts
//! as the file holds it, and what came meanwhile is younger than the reading.
//!
//! Invariant: no count is in a reading twice or not at all; where that cannot be said, everything is read again. No lock, no
//! lease; must not open anything for writing.

use std::collections::{BTreeMap, HashSet};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use metricsd_shard::{
    BirthTime, Damage, HEADER_LEN_BYTES, NameError, ShardFile, ShardName, original_of_retiring,
    parse_from, read_value,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use thiserror::Error;

use crate::archive::{self, IdentityKey, OpenError, OpenReport, Phase, State};
use crate::books::identity_key;
use crate::directory::{DirectoryError, ShardDirectory};
use crate::settings::MergeSettings;
use crate::state_directory::{StateDirectory, StateDirectoryError};
use program::sentence;

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
    #[error("{}", .path.display())]
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
    allow_many_descriptors();
    let deadline = Instant::now() + TIME_MAX;
    loop {
        let directory = ShardDirectory::open(&settings.directory.path)?;
        let mut held = Held::default();
        held.open_all(&directory)?;
        let archive = load(settings)?;
        // Those that were renamed while the first listing was made, and younger ones.
        held.open_all(&directory)?;
        let is_counted_once = held.each_counts_once(&archive);
        let identities: HashSet<IdentityKey> = held.identities();
        let (shards, damaged) = held.read();
        if is_counted_once && has_missed_none(&identities, &archive, &load(settings)?) {
            return Ok(Reading {
                shards,
                archive,
                damaged,
            });
        }
        if Instant::now() > deadline {
            return Err(ReadingError::Moving {
                path: settings.directory.path.clone(),
            });
        }
    }
}

/// Every shard is open at once.
fn allow_many_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    // Without it, shards beyond the limit are named as unreadable.
    let _ = setrlimit(Resource::Nofile, raised);
}

/// Whether no shard that was absorbed while the others were read is missing here.
fn has_missed_none(held: &HashSet<IdentityKey>, archive: &Archive, later: &Archive) -> bool {
    let Some((later, _)) = later else {
        return true;
    };
    let is_settled = |state: &State, identity: &IdentityKey| {
        let known = state.shard(identity);
        known.is_some_and(|known| known.phase() != Phase::Seen)
    };
    later.shards().all(|(identity, _)| {
        let was_settled = archive
            .as_ref()
            .is_some_and(|(state, _)| is_settled(state, identity));
        held.contains(identity) || was_settled || !is_settled(later, identity)
    })
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

/// Shards that are open, with what could not be opened.
#[derive(Default)]
struct Held {
    files: Vec<(Option<BirthTime>, String, ShardName, ShardFile)>,
    identities: HashSet<IdentityKey>,
    unreadable: BTreeMap<String, String>,
}

impl Held {
    /// Opens what the directory shows and is not open yet.
    fn open_all(&mut self, directory: &ShardDirectory) -> Result<(), DirectoryError> {
        for listed in directory.list()? {
            let file_name = listed.name.to_string_lossy().into_owned();
            let original = original_of_retiring(&file_name).unwrap_or(&file_name);
            let opened = match ShardName::parse(original) {
                Err(NameError::NotAShard) => continue,
                Err(err) => Err(format!("{file_name}: {err}")),
                Ok(_) if listed.name.to_str().is_none() => {
                    Err(format!("{file_name}: its name is not UTF-8"))
                }
                Ok(name) => match ShardFile::open_at(directory.as_fd(), &file_name) {
                    Ok(file) => Ok((name, file)),
                    // Unlinked since it was listed: what it held is in the archive.
                    Err(metricsd_shard::OpenError::Vanished { .. }) => continue,
                    Err(err) => Err(sentence(&err)),
                },
            };
            match opened {
                Err(sentence) => drop(self.unreadable.insert(file_name, sentence)),
                // A second name of a file counts once.
                Ok((name, file)) if self.identities.insert(identity_key(&file.identity())) => {
                    let birth = file.identity().birth;
                    self.files.push((birth, file_name, name, file));
                }
                Ok(_) => {}
            }
        }
        Ok(())
    }

    fn identities(&self) -> HashSet<IdentityKey> {
        self.identities.clone()
    }

    /// Whether no file is deleted and forgotten, so that the archive holds its counts and does not say so.
    fn each_counts_once(&self, archive: &Archive) -> bool {
        self.files.iter().all(|(_, _, _, file)| {
            let is_known = archive
                .as_ref()
                .is_some_and(|(state, _)| state.shard(&identity_key(&file.identity())).is_some());
            is_known || file.stat().is_ok_and(|stat| stat.link_count > 0)
        })
    }

    /// Reads all values, in canonical order.
    fn read(mut self) -> (Vec<ShardContent>, Vec<String>) {
        self.files.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
        let mut damaged: Vec<String> = self.unreadable.into_values().collect();
        let (mut shards, mut buffer) = (Vec::new(), Vec::new());
        for (_, file_name, name, file) in self.files {
            if let Err(err) = file.read_used(&mut buffer) {
                damaged.push(sentence(&err));
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
            shards.push(ShardContent {
                name,
                identity: identity_key(&file.identity()),
                entries: entries.collect(),
            });
        }
        (shards, damaged)
    }
}
