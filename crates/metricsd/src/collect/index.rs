//! The index: every shard that is known, by file identity, in canonical order. A listing only proposes; what was opened decides.
//!
//! Invariant: shards are in canonical order (oldest birth first, then file name), and no identity is in the index twice,
//! whatever names a file has. With an archive, a shard is in the index until the archive holds all of it, wherever its file is.
//! Must not create, delete or rename.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::OsStr;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use metricsd_shard::{
    FileKind, Identity, NameError, OpenError, ShardFile, ShardName, original_of_retiring,
};
use rustix::fs::AtFlags;
use rustix::io::Errno;

use super::shard::{Place, Shard};
use crate::archive::{Phase, State};
use crate::directory::ListedName;
use program::sentence;

/// No file has this inode number, so a name that carries it is opened again at the next listing.
const INODE_UNCERTAIN: u64 = 0;

/// What the index knows of the files in the directory.
#[derive(Debug)]
pub(super) struct Index {
    shards: Vec<Shard>,
    positions: HashMap<Identity, usize>,
    /// For each name that is a shard the inode number that the listing showed, and the identity of what was opened.
    names: HashMap<String, (u64, Identity)>,
    refused: BTreeMap<String, RefusedName>,
    /// Shards whose file has lost its name; they are served all the same, because it may have got another one, or because the
    /// archive does not hold them yet.
    nameless: HashSet<Identity>,
    /// Shards of `live*` gauges that somebody deleted: Python's way to say that their process is dead.
    marked_dead: Vec<Shard>,
    /// How many files may be kept open.
    descriptor_budget: usize,
    kept_count: usize,
}

/// A name that looks like a shard's and cannot be served.
#[derive(Debug)]
pub(super) struct RefusedName {
    /// Set where opening it again may help.
    parsed: Option<ShardName>,
    /// The word for the metric of unreadable shards.
    pub(super) reason: &'static str,
    /// What is wrong with it, for the log.
    pub(super) sentence: String,
}

/// What came of a listing.
#[derive(Debug, Clone, Copy)]
pub(super) struct Taken {
    /// Shards came, went or changed names.
    pub(super) changed: bool,
    /// A file that may still be in the directory was not in the listing, so another one is wanted.
    pub(super) is_looking: bool,
}

/// A file that was opened for a reading.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) file: Arc<ShardFile>,
    /// The shard that it is: another one than asked for if the name leads to another file by now.
    pub(super) position: usize,
    /// Whether that shard is new.
    pub(super) is_other: bool,
}

/// What becomes of a shard whose file has lost its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Dropped,
    /// Dropped, and what its process had set is no longer shown.
    MarkedDead,
    /// Served from its open file, or with the values that were read last.
    Kept(Place),
    /// As it was; another listing may show where it is.
    LookedFor,
}

impl Index {
    pub(super) fn new(descriptor_budget: usize) -> Index {
        Index {
            shards: Vec::new(),
            positions: HashMap::new(),
            names: HashMap::new(),
            refused: BTreeMap::new(),
            nameless: HashSet::new(),
            marked_dead: Vec::new(),
            descriptor_budget,
            kept_count: 0,
        }
    }

    /// Every shard, in canonical order.
    pub(super) fn shards(&self) -> &[Shard] {
        &self.shards
    }

    /// Names that look like shards and cannot be served.
    pub(super) fn refused(&self) -> &BTreeMap<String, RefusedName> {
        &self.refused
    }

    pub(super) fn shards_mut(&mut self) -> &mut [Shard] {
        &mut self.shards
    }

    /// Forgets everything: the directory is another one, or gone.
    pub(super) fn clear(&mut self) {
        *self = Index::new(self.descriptor_budget);
    }

    /// The path leads to another directory: no name is known any more, and every shard is served from where it is.
    pub(super) fn forget_names(&mut self) {
        self.names.clear();
        self.refused.clear();
        self.nameless
            .extend(self.shards.iter().map(|shard| shard.identity));
    }

    /// Whether some shard's file has no name here, so that its fate depends on more than the directory's times.
    pub(super) fn has_nameless(&self) -> bool {
        !self.nameless.is_empty()
    }

    /// Every shard, those that were marked dead as well, whose keys a new catalog has to know.
    pub(super) fn shards_for_compaction(&self) -> impl Iterator<Item = &Shard> {
        self.shards.iter().chain(&self.marked_dead)
    }

    /// The same, for the new numbers of their keys.
    pub(super) fn shards_to_renumber(&mut self) -> impl Iterator<Item = &mut Shard> {
        self.shards.iter_mut().chain(&mut self.marked_dead)
    }

    /// How many keys they are.
    pub(super) fn key_count(&self) -> usize {
        self.shards_for_compaction().map(Shard::entry_count).sum()
    }

    /// Shards of `live*` gauges that were deleted since the last call.
    pub(super) fn take_marked_dead(&mut self) -> Vec<Shard> {
        std::mem::take(&mut self.marked_dead)
    }

    /// Takes a listing over: what is new is opened, what is gone is dropped. A listing may miss names while others rename, so a file
    /// that is not known to be deleted is dropped only by the `last` of several listings; and with an archive (`state`) only
    /// once that holds what the file held.
    pub(super) fn update(
        &mut self,
        directory: BorrowedFd<'_>,
        listing: &[ListedName],
        last: bool,
        state: Option<&State>,
    ) -> Taken {
        let listed: HashMap<&OsStr, u64> = listing
            .iter()
            .map(|entry| (entry.name.as_os_str(), entry.inode))
            .collect();
        self.refused
            .retain(|name, _| listed.contains_key(OsStr::new(name)));
        let mut gone = std::mem::take(&mut self.nameless);
        let mut missed: Vec<(String, u64)> = Vec::new();
        self.names.retain(|name, (inode, identity)| {
            let stays = match listed.get(OsStr::new(name)) {
                Some(listed_inode) => listed_inode == inode,
                None => match inode_of(directory, name) {
                    Some(found) if found == identity.inode => true,
                    Some(found) => {
                        // Another file was renamed over this one, and the listing shows neither.
                        missed.push((name.clone(), found));
                        false
                    }
                    None => false,
                },
            };
            if !stays {
                gone.insert(*identity);
            }
            stays
        });
        let mut changed = false;
        for entry in listing {
            match entry.name.to_str() {
                Some(name) if self.names.contains_key(name) || self.refused.contains_key(name) => {}
                Some(name) => changed |= self.consider(directory, name, entry.inode, &mut gone),
                None => self.refuse_unspeakable(&entry.name),
            }
        }
        for (name, inode) in missed {
            changed |= self.consider(directory, &name, inode, &mut gone);
        }
        let mut dropped: HashMap<Identity, Fate> = HashMap::new();
        let mut is_looking = false;
        for identity in gone {
            let Some(&position) = self.positions.get(&identity) else {
                continue;
            };
            match fate(&self.shards[position], last, state) {
                Fate::Kept(place) => {
                    self.shards[position].place = place;
                    self.nameless.insert(identity);
                }
                Fate::LookedFor => {
                    is_looking = true;
                    self.nameless.insert(identity);
                }
                fate => drop(dropped.insert(identity, fate)),
            }
        }
        if !dropped.is_empty() {
            for shard in std::mem::take(&mut self.shards) {
                match dropped.get(&shard.identity) {
                    None => self.shards.push(shard),
                    Some(Fate::MarkedDead) => self.marked_dead.push(shard),
                    Some(_) => {}
                }
            }
            changed = true;
        }
        if changed {
            self.restore_order();
        }
        Taken {
            changed,
            is_looking,
        }
    }

    /// Tries again to open what could not be opened: permissions change without a trace in the directory. True if shards came.
    pub(super) fn retry_refused(&mut self, directory: BorrowedFd<'_>) -> bool {
        let again: Vec<(String, ShardName)> = self
            .refused
            .iter()
            .filter_map(|(name, refused)| Some((name.clone(), refused.parsed.clone()?)))
            .collect();
        let mut changed = false;
        for (name, parsed) in again {
            changed |= self.open(
                directory,
                &name,
                parsed,
                INODE_UNCERTAIN,
                &mut HashSet::new(),
            );
        }
        if changed {
            self.restore_order();
        }
        changed
    }

    /// The open file of a shard: kept, or opened for this one reading. A shard whose name leads to another file by now is
    /// replaced by a new one; with an archive (`keeps`) both are in the index from then on.
    ///
    /// # Errors
    /// It cannot be opened.
    pub(super) fn file_of(
        &mut self,
        directory: BorrowedFd<'_>,
        position: usize,
        keeps: bool,
    ) -> Result<Opened, OpenError> {
        if let Some(file) = &self.shards[position].kept {
            return Ok(Opened {
                file: Arc::clone(file),
                position,
                is_other: false,
            });
        }
        let file_name = self.shards[position].file_name.clone();
        let file = Arc::new(self.open_sparing(directory, &file_name)?);
        let identity = file.identity();
        let is_other = identity != self.shards[position].identity;
        let mut position = position;
        if is_other {
            if self.positions.contains_key(&identity) {
                // Another shard was renamed over this one just now; it must not be counted under both names.
                return Err(OpenError::Vanished {
                    path: file_name.into(),
                });
            }
            let shard = Shard::new(
                self.shards[position].name.clone(),
                file_name.clone(),
                Arc::clone(&file),
            );
            self.names.insert(file_name, (INODE_UNCERTAIN, identity));
            if keeps {
                self.shards[position].place = Place::Lost;
                self.nameless.insert(self.shards[position].identity);
                position = self.shards.len();
                self.shards.push(shard);
            } else {
                self.shards[position] = shard;
            }
            self.positions.insert(identity, position);
        }
        let keep = self.kept_count < self.descriptor_budget;
        self.kept_count += usize::from(keep);
        self.shards[position].kept = keep.then(|| Arc::clone(&file));
        Ok(Opened {
            file,
            position,
            is_other,
        })
    }

    /// Takes a file in that has no name any more but a writer: what it holds beyond what the archive has of it counts.
    pub(super) fn adopt(&mut self, name: ShardName, file_name: String, file: Arc<ShardFile>) {
        let identity = file.identity();
        if self.positions.contains_key(&identity) {
            return;
        }
        let mut shard = Shard::new(name, file_name, file);
        shard.place = Place::Deleted;
        shard.is_adopted = true;
        self.nameless.insert(identity);
        self.shards.push(shard);
        self.restore_order();
    }

    pub(super) fn restore_order(&mut self) {
        self.shards.sort_by(|a, b| {
            (a.identity.birth, &a.file_name).cmp(&(b.identity.birth, &b.file_name))
        });
        self.positions = self
            .shards
            .iter()
            .enumerate()
            .map(|(position, shard)| (shard.identity, position))
            .collect();
        self.kept_count = self
            .shards
            .iter()
            .filter(|shard| shard.kept.is_some())
            .count();
    }

    fn consider(
        &mut self,
        directory: BorrowedFd<'_>,
        name: &str,
        inode: u64,
        gone: &mut HashSet<Identity>,
    ) -> bool {
        match ShardName::parse(original_of_retiring(name).unwrap_or(name)) {
            Ok(parsed) => self.open(directory, name, parsed, inode, gone),
            Err(NameError::NotAShard) => false,
            Err(err) => {
                let refused = RefusedName {
                    parsed: None,
                    reason: err.reason().unwrap_or("bad_type"),
                    sentence: err.to_string(),
                };
                self.refused.insert(name.to_owned(), refused);
                false
            }
        }
    }

    fn open(
        &mut self,
        directory: BorrowedFd<'_>,
        name: &str,
        parsed: ShardName,
        inode: u64,
        gone: &mut HashSet<Identity>,
    ) -> bool {
        let file = match self.open_sparing(directory, name) {
            Ok(file) => Arc::new(file),
            Err(err) => {
                match err.reason() {
                    Some(reason) => {
                        let refused = RefusedName {
                            parsed: Some(parsed),
                            reason,
                            sentence: sentence(&err),
                        };
                        self.refused.insert(name.to_owned(), refused);
                    }
                    // Gone since it was listed.
                    None => drop(self.refused.remove(name)),
                }
                return false;
            }
        };
        self.refused.remove(name);
        let identity = file.identity();
        // On some stacked file systems the listing shows other numbers; such names are opened again at each listing.
        let inode = if inode == identity.inode {
            inode
        } else {
            INODE_UNCERTAIN
        };
        let Some(&position) = self.positions.get(&identity) else {
            self.names.insert(name.to_owned(), (inode, identity));
            let mut shard = Shard::new(parsed, name.to_owned(), file);
            if self.kept_count < self.descriptor_budget {
                self.kept_count += 1;
            } else {
                shard.kept = None;
            }
            self.positions.insert(identity, self.shards.len());
            self.shards.push(shard);
            return true;
        };
        if !gone.remove(&identity) {
            // A second name of a file that is served already: its counts are counted once.
            return false;
        }
        self.names.insert(name.to_owned(), (inode, identity));
        let shard = &mut self.shards[position];
        let renamed = shard.file_name != name;
        shard.place = Place::Named;
        shard.is_adopted = false;
        shard.is_spent = false;
        shard.file_name = name.to_owned();
        shard.name = parsed;
        renamed
    }

    /// Opens a file; with no descriptors left, kept ones are given up first: too few of them must never cost a shard.
    fn open_sparing(
        &mut self,
        directory: BorrowedFd<'_>,
        name: &str,
    ) -> Result<ShardFile, OpenError> {
        let first = ShardFile::open_at(directory, name);
        let Err(OpenError::Io { source, .. }) = &first else {
            return first;
        };
        let exhausted = [Errno::MFILE, Errno::NFILE].map(|errno| Some(errno.raw_os_error()));
        if !exhausted.contains(&source.raw_os_error()) || self.kept_count == 0 {
            return first;
        }
        self.descriptor_budget = self.kept_count / 2;
        tracing::warn!(
            budget = self.descriptor_budget,
            "out of file descriptors; fewer shards are kept open, scrapes become slower"
        );
        for shard in self
            .shards
            .iter_mut()
            // What has no name cannot be opened again.
            .filter(|shard| shard.kept.is_some() && shard.place == Place::Named)
            .skip(self.descriptor_budget)
        {
            shard.close();
        }
        self.kept_count = self.descriptor_budget;
        ShardFile::open_at(directory, name)
    }

    /// A name that is not UTF-8 can be no label, and Python cannot show it either.
    fn refuse_unspeakable(&mut self, name: &OsStr) {
        let name = name.to_string_lossy().into_owned();
        if ShardName::parse(&name) != Err(NameError::NotAShard) {
            let sentence = "its name is not UTF-8".to_owned();
            self.refused.insert(
                name,
                RefusedName {
                    parsed: None,
                    reason: "bad_type",
                    sentence,
                },
            );
        }
    }
}

/// What becomes of a shard that no name in the directory leads to.
fn fate(shard: &Shard, last: bool, state: Option<&State>) -> Fate {
    let link_count = shard
        .kept
        .as_ref()
        .map(|file| file.stat().map_or(1, |stat| stat.link_count));
    let is_deleted = link_count == Some(0);
    let Some(state) = state else {
        return if is_deleted || last {
            Fate::Dropped
        } else {
            Fate::LookedFor
        };
    };
    let is_settled = state
        .shard(&shard.identity_key)
        .is_some_and(|known| known.phase() != Phase::Seen);
    let is_live_gauge = matches!(shard.name.kind, FileKind::Gauge(mode) if mode.is_live());
    match link_count {
        _ if is_settled && shard.is_spent && (is_deleted || last) => Fate::Dropped,
        // Deleted by us it would be in the archive.
        Some(0) if is_live_gauge && !shard.is_adopted && !is_settled => Fate::MarkedDead,
        Some(0) => Fate::Kept(Place::Deleted),
        _ if !last => Fate::LookedFor,
        Some(_) => Fate::Kept(Place::Elsewhere),
        None => Fate::Kept(Place::Lost),
    }
}

fn inode_of(directory: BorrowedFd<'_>, name: &str) -> Option<u64> {
    rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)
        .ok()
        .map(|stat| stat.st_ino)
}
