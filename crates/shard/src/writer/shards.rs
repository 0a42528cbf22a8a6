//! The files of one writer: its directory, one shard a kind, the sidecar; what is wrong with them, and which entries wait for it
//! to end.
//!
//! Invariant: an ID in a file name is never used for a second file of the same name; what was deleted or left to a parent goes on
//! under a new one. A failure of one kind's shard costs that kind only.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::fs::{Access, AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::descriptor::keep;
use super::entry::adds_up;
use super::file::{LEN_MAX_BYTES, NewEntry, WriteError, WriterFile};
use super::remains::Remains;
use super::trouble::{Message, Trouble};
use super::{ProcessInfo, WriterStatus, fork};
use crate::layout::entry_len_bytes;
use crate::map::cell::Cell;
use crate::name::{FileKind, Instance, ShardName, WriterId};
use crate::process::{ProcessFile, process_file_name};

/// Deleted shards whose mappings are kept at a time. A directory that is replaced every second must not take address space for ever.
const DELETED_MAX: usize = 64;

/// Names that are tried for a new shard. A taken one of 128 random bits is somebody's doing, not chance.
const NAMES_MAX: usize = 3;

/// What is said of a writer whose trouble is over while values still move from memory into shards.
const CATCHING_UP: &str = "values move from memory into shards";

/// Passes after which the mapping of a deleted shard is let go. A call that still held one of its cells has long returned; until
/// then its count is in the file it was made for.
const PASSES_UNTIL_RELEASE: u32 = 60;

/// Up to this length of all entries of a kind threads get entries of their own. Beyond it one more for each key, of everybody, always fits as
/// well, and most of the room is left to further series.
const ROOM_FOR_LANES_BYTES: usize = LEN_MAX_BYTES / 4;

#[derive(Debug)]
pub(super) struct Shards {
    dir_path: PathBuf,
    info: ProcessInfo,
    /// Names new shards.
    id: WriterId,
    started_at: SystemTime,
    directory: Option<Directory>,
    /// Whether the directory was there at least once. After that only its last component is made again: if more is missing, it is
    /// rather a mount that has gone than a directory that was wiped.
    was_open: bool,
    kinds: Vec<KindShard>,
    deleted: Vec<(WriterFile, u32)>,
    directory_trouble: Trouble,
    key_trouble: Trouble,
    degraded: Option<Degraded>,
    /// Of periods that are over, and not yet taken to be published.
    degraded_for: Duration,
    /// Values moved into shards since the writer became degraded.
    moved: usize,
    /// What the sidecars on disk say of `degraded`; none: not written.
    sidecar_says: Option<bool>,
    /// The IDs of the sidecars that this process wrote into the directory.
    sidecar_ids: Vec<WriterId>,
    /// A fork's child: nothing above is usable until `begin_again_in_child`.
    is_left_to_parent: bool,
}

/// Values go into memory.
#[derive(Debug)]
struct Degraded {
    since: SystemTime,
    /// The same by a clock that nobody sets.
    began: Instant,
    /// Up to when it was published.
    published_until: Instant,
}

#[derive(Debug)]
struct Directory {
    descriptor: OwnedFd,
    identity: (u64, u64),
}

/// Where the path of a directory that we have open leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lead {
    /// Here, or it is not to be told at the moment.
    Here,
    /// To no directory, while ours exists all the same: it was renamed, or this process has another root now.
    Nowhere,
    /// To another one; or ours exists no more.
    Away,
}

/// A kind whose shard is lost, and what its entries have to do.
#[derive(Debug)]
pub(super) struct Gone {
    pub(super) kind: FileKind,
    pub(super) values: GoneValues,
}

/// What becomes of the values of a shard that was deleted or cut short.
#[derive(Debug)]
pub(super) enum GoneValues {
    /// They stay in the deleted file, which a daemon may still hold, and must not be counted twice: counts begin again at zero.
    StayBehind,
    /// They go on: a gauge is not a count but what is true of this process now. Its cells are private memory by now.
    GoOn,
    /// They go on, but their cells are still the file's: a call of this very moment may be lost.
    GoOnFromFile,
    /// That is to be told one by one.
    AreLeftIn(Left),
}

/// What is left of a shard that was cut short.
#[derive(Debug)]
pub(super) struct Left {
    pub(super) remains: Remains,
    /// Whether its cells are private memory by now.
    pub(super) is_private: bool,
}

/// The shard of one kind.
#[derive(Debug)]
struct KindShard {
    kind: FileKind,
    /// Of the file, if there is one.
    id: WriterId,
    file: Option<WriterFile>,
    trouble: Trouble,
    /// Of all entries of this kind, in the file or waiting: they have to have room in one file some day, even if there is none yet.
    entries_len_bytes: usize,
    /// Entries whose values are in memory because of a trouble that may end.
    waiting: VecDeque<usize>,
    /// Failed in this pass; to be tried again in the next.
    is_paused: bool,
}

impl Shards {
    pub(super) fn open(
        dir_path: PathBuf,
        info: ProcessInfo,
        messages: &mut Vec<Message>,
    ) -> Shards {
        Shards::open_as(new_id(), false, dir_path, info, messages)
    }

    fn open_as(
        id: WriterId,
        was_open: bool,
        dir_path: PathBuf,
        info: ProcessInfo,
        messages: &mut Vec<Message>,
    ) -> Shards {
        let mut shards = Shards {
            dir_path,
            info,
            id,
            started_at: SystemTime::now(),
            directory: None,
            was_open,
            kinds: Vec::new(),
            deleted: Vec::new(),
            directory_trouble: Trouble::default(),
            key_trouble: Trouble::default(),
            degraded: None,
            degraded_for: Duration::ZERO,
            moved: 0,
            sidecar_says: None,
            sidecar_ids: Vec::new(),
            is_left_to_parent: false,
        };
        shards.open_directory(messages);
        shards.settle(messages);
        shards.keep_sidecars();
        shards
    }

    /// Appends entries that are new, of one kind, all or none. None: not now, and they wait unless that is of no use.
    pub(super) fn append_or_wait(
        &mut self,
        kind: FileKind,
        indexes: &[usize],
        entries: &[NewEntry],
        messages: &mut Vec<Message>,
    ) -> Option<Vec<&'static Cell>> {
        let shard = shard_of(&mut self.kinds, kind);
        let lens = entries.iter().map(|entry| entry_len_bytes(entry.key.len()));
        shard.entries_len_bytes += lens.sum::<usize>();
        if self.directory.is_none() || shard.trouble.is_some() {
            // No system call for each new series while something is wrong: the background thread tries again.
            for &index in indexes {
                self.wait(kind, index);
            }
            return None;
        }
        let cells = self.append_again(kind, indexes, entries, messages);
        self.settle(messages);
        cells
    }

    /// Appends entries whatever was wrong before, all or none. None: those of `not_waiting` wait again, in front, unless that is of no use. The
    /// others are in the queue still, and must not be in it once more with every attempt.
    pub(super) fn append_again(
        &mut self,
        kind: FileKind,
        not_waiting: &[usize],
        entries: &[NewEntry],
        messages: &mut Vec<Message>,
    ) -> Option<Vec<&'static Cell>> {
        match self.append(kind, entries) {
            Ok(cells) => {
                if self.degraded.is_some() {
                    self.moved += cells.len();
                }
                Some(cells)
            }
            // These can never be written; the shard is fine.
            Err(error @ WriteError::Key { .. }) => {
                self.key_trouble.note(&error, messages);
                None
            }
            Err(error) => {
                let shard = shard_of(&mut self.kinds, kind);
                match error {
                    // The next pass gives it up, and tells the log.
                    WriteError::CutShort { .. } => shard.trouble.note_quietly(&error),
                    _ => shard.trouble.note(&error, messages),
                }
                shard.is_paused = true;
                for &index in not_waiting.iter().rev() {
                    shard.waiting.push_front(index);
                }
                None
            }
        }
    }

    fn append(
        &mut self,
        kind: FileKind,
        entries: &[NewEntry],
    ) -> Result<Vec<&'static Cell>, WriteError> {
        let shard = shard_of(&mut self.kinds, kind);
        if let Some(file) = &mut shard.file {
            return file.append(entries);
        }
        let Some(directory) = &self.directory else {
            return Err(WriteError::Directory {
                path: self.dir_path.clone(),
                source: io::ErrorKind::NotFound.into(),
            });
        };
        let mut id = self.id;
        let mut names = 1;
        let file = loop {
            let name = ShardName {
                kind,
                id: id.to_string(),
            };
            match WriterFile::create(directory.descriptor.as_fd(), &self.dir_path, &name) {
                Err(error) if error.is_name_taken() && names < NAMES_MAX => {
                    id = new_id();
                    names += 1;
                }
                created => break created?,
            }
        };
        shard.id = id;
        shard.file.insert(file).append(entries)
    }

    /// Whether threads may have entries of this kind of their own.
    pub(super) fn has_room_for_lanes(&self, kind: FileKind) -> bool {
        let mut shards = self.kinds.iter().filter(|shard| shard.kind == kind);
        shards.all(|shard| shard.entries_len_bytes < ROOM_FOR_LANES_BYTES)
    }

    /// The entry's value is in memory until a shard takes it.
    pub(super) fn wait(&mut self, kind: FileKind, index: usize) {
        shard_of(&mut self.kinds, kind).waiting.push_back(index);
    }

    #[cfg(test)]
    pub(super) fn waiting_count(&self) -> usize {
        self.kinds.iter().map(|shard| shard.waiting.len()).sum()
    }

    /// Takes the next entry that may be moved into a shard out of its queue.
    pub(super) fn next_waiting(&mut self) -> Option<usize> {
        self.directory.as_ref()?;
        self.kinds
            .iter_mut()
            .filter(|shard| !shard.is_paused && !shard.trouble.is_final())
            .find_map(|shard| shard.waiting.pop_front())
    }

    /// One look at directory and files. Gives the kinds whose shards were deleted or cut short, or are in a directory that is not the one at
    /// our path any more: their entries have to go on elsewhere.
    pub(super) fn inspect(&mut self, messages: &mut Vec<Message>) -> Vec<Gone> {
        if self.is_left_to_parent {
            return Vec::new();
        }
        self.release_deleted();
        let lead = self
            .directory
            .as_ref()
            .map_or(Lead::Here, |directory| directory.lead(&self.dir_path));
        let mut files = self.kinds.iter().filter_map(|shard| shard.file.as_ref());
        let is_replaced = match lead {
            Lead::Here => false,
            // As long as our files are there, so is their reader, it seems.
            Lead::Nowhere => files.any(WriterFile::is_deleted),
            Lead::Away => true,
        };
        if is_replaced {
            self.directory = None;
            // They are in the other directory, beside the shards that they tell of.
            self.sidecar_ids.clear();
        }
        let mut gone = Vec::new();
        let mut cut = Vec::new();
        let mut is_deleted = is_replaced;
        for shard in &mut self.kinds {
            shard.is_paused = false;
            let is_lost = |file: &mut WriterFile| is_replaced || file.is_deleted() || file.is_cut();
            if let Some(mut file) = shard.file.take_if(is_lost) {
                let is_cut = file.is_cut();
                shard.trouble.clear();
                if is_cut {
                    // Until its values are in a new shard.
                    shard.trouble.note_quietly(&file.cut_error());
                    cut.push((file.path().to_owned(), file.cut_since()));
                } else {
                    is_deleted = true;
                }
                let values = values_of(&file, shard.kind, is_cut);
                file.close();
                self.deleted.push((file, 0));
                gone.push(Gone {
                    kind: shard.kind,
                    values,
                });
            }
        }
        if is_deleted || !gone.is_empty() {
            self.id = new_id();
            self.sidecar_says = None;
        }
        if is_deleted {
            messages.push(Message::Deleted {
                dir: self.dir_path.clone(),
                id: self.id,
            });
        }
        for (path, since) in cut {
            self.become_degraded(since);
            let id = self.id;
            messages.push(Message::CutShort { path, id });
        }
        if self.directory.is_none() {
            self.open_directory(messages);
        }
        gone
    }

    /// Draws the sum after a piece of work: are we degraded, and do log and sidecars know?
    pub(super) fn settle(&mut self, messages: &mut Vec<Message>) {
        for shard in &mut self.kinds {
            if shard.waiting.is_empty() {
                shard.trouble.clear();
            }
        }
        if self.reason().is_some() {
            self.become_degraded(None);
        } else if let Some(degraded) = self.degraded.take() {
            self.degraded_for += degraded.published_until.elapsed();
            messages.push(Message::Recovered {
                dir: self.dir_path.clone(),
                id: self.id,
                moved: self.moved,
                since: degraded.since,
                lasted: degraded.began.elapsed(),
            });
        }
    }

    /// Since now, or since a time that was found out later.
    fn become_degraded(&mut self, since: Option<SystemTime>) {
        if self.degraded.is_some() {
            return;
        }
        let ago = since.and_then(|since| since.elapsed().ok());
        let now = Instant::now();
        let began = ago.and_then(|ago| now.checked_sub(ago)).unwrap_or(now);
        self.degraded = Some(Degraded {
            since: since.unwrap_or_else(SystemTime::now),
            began,
            published_until: began,
        });
        self.moved = 0;
    }

    /// The time in which this writer was degraded, as far as it was not taken before.
    pub(super) fn take_degraded_time(&mut self) -> Duration {
        let now = Instant::now();
        let mut time = std::mem::take(&mut self.degraded_for);
        if let Some(degraded) = &mut self.degraded {
            time += now.saturating_duration_since(degraded.published_until);
            degraded.published_until = now;
        }
        time
    }

    /// Writes the sidecars again when what they say is not so any more, or when somebody deleted them. Best effort: the shards
    /// are served without them, and the next pass tries again.
    pub(super) fn keep_sidecars(&mut self) {
        let Some(directory) = &self.directory else {
            return;
        };
        let dir = directory.descriptor.as_fd();
        let mut ids: Vec<WriterId> = self
            .kinds
            .iter()
            .filter(|shard| shard.file.is_some())
            .map(|shard| shard.id)
            .chain([self.id])
            .collect();
        ids.sort_unstable();
        ids.dedup();
        // A sidecar without shards is a session without numbers. Only our own: the names are in our list because we wrote them.
        self.sidecar_ids.retain(|id| {
            let is_used = ids.contains(id);
            let removed =
                || rustix::fs::unlinkat(dir, process_file_name(&id.to_string()), AtFlags::empty());
            is_used || !matches!(removed(), Ok(()) | Err(Errno::NOENT))
        });
        let is_degraded = self.degraded.is_some();
        let is_there = |id: &WriterId| {
            let name = process_file_name(&id.to_string());
            rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).is_ok()
        };
        if self.sidecar_says == Some(is_degraded) && ids.iter().all(is_there) {
            return;
        }
        let content = ProcessFile::of_this_process(&self.info, self.started_at, is_degraded);
        let mut are_written = true;
        for id in ids {
            let is_written = content.write_at(dir, id).is_ok();
            are_written &= is_written;
            if is_written && !self.sidecar_ids.contains(&id) {
                self.sidecar_ids.push(id);
            }
        }
        self.sidecar_says = are_written.then_some(is_degraded);
    }

    pub(super) fn status(&self) -> WriterStatus {
        if let Some(degraded) = &self.degraded {
            // Between the end of the cause and the last value's move, too.
            return WriterStatus::Degraded {
                since: degraded.since,
                reason: self.reason().unwrap_or(CATCHING_UP).to_owned(),
            };
        }
        let mut files = self.kinds.iter().filter_map(|shard| shard.file.as_ref());
        match files.find(|file| !self.is_left_to_parent && file.has_met_a_cut()) {
            // Until the next pass sees to it.
            Some(file) => WriterStatus::Degraded {
                since: file.cut_since().unwrap_or_else(SystemTime::now),
                reason: file.cut_error().to_string(),
            },
            None => WriterStatus::Healthy {
                dir: self.dir_path.clone(),
                id: self.id,
            },
        }
    }

    /// In a fork's child: lets go of everything that is the parent's. Allocates nothing.
    pub(super) fn leave_to_parent(&mut self) {
        let open = self
            .kinds
            .iter_mut()
            .filter_map(|shard| shard.file.as_mut());
        for file in open.chain(self.deleted.iter_mut().map(|(file, _)| file)) {
            file.let_go();
        }
        drop(self.directory.take());
        self.id = new_id();
        self.is_left_to_parent = true;
    }

    /// Whether this is a fork's child that has not touched anything yet.
    pub(super) fn is_left_to_parent(&self) -> bool {
        self.is_left_to_parent
    }

    /// Whether one of the next looks at directory and files may let go of mappings of deleted shards.
    pub(super) fn releases_all_soon(&self) -> bool {
        let is_old = |(_, passes): &(WriterFile, u32)| *passes + 2 >= PASSES_UNTIL_RELEASE;
        self.deleted.len() >= DELETED_MAX || self.deleted.iter().any(is_old)
    }

    /// The child's first touch: a writer of its own, without files yet.
    pub(super) fn begin_again_in_child(&mut self, messages: &mut Vec<Message>) {
        if !self.is_left_to_parent {
            return;
        }
        let dir_path = std::mem::take(&mut self.dir_path);
        let info = std::mem::take(&mut self.info);
        *self = Shards::open_as(self.id, self.was_open, dir_path, info, messages);
    }

    fn open_directory(&mut self, messages: &mut Vec<Message>) {
        let opened = fork::install_once()
            .map_err(|source| WriteError::ForkHandler { source })
            .and_then(|()| Directory::open(&self.dir_path, self.was_open));
        match opened {
            Ok(directory) => {
                self.directory = Some(directory);
                self.was_open = true;
                self.directory_trouble.clear();
            }
            Err(error) => self.directory_trouble.note(&error, messages),
        }
    }

    fn release_deleted(&mut self) {
        let surplus = self.deleted.len().saturating_sub(DELETED_MAX);
        let mut position = 0;
        self.deleted.retain_mut(|(file, passes)| {
            *passes += 1;
            position += 1;
            let is_kept = *passes < PASSES_UNTIL_RELEASE && position > surplus;
            if !is_kept {
                file.let_go();
            }
            is_kept
        });
    }

    fn reason(&self) -> Option<&str> {
        self.directory_trouble
            .reason()
            .or_else(|| self.kinds.iter().find_map(|shard| shard.trouble.reason()))
            .or_else(|| self.key_trouble.reason())
    }
}

/// What becomes of the values of this file, which is lost.
fn values_of(file: &WriterFile, kind: FileKind, is_cut: bool) -> GoneValues {
    let carries_on = !adds_up(kind);
    // Before the copy is made, so that a page that is beyond the end is told from one that is there.
    let remains = file.remains().filter(|_| is_cut);
    // Counts stay in the mapping of the file: what is added to them this moment is there with the rest.
    let is_private = carries_on && file.make_private();
    match remains {
        Some(remains) => GoneValues::AreLeftIn(Left {
            remains,
            is_private,
        }),
        None if !carries_on => GoneValues::StayBehind,
        None if is_private => GoneValues::GoOn,
        None => GoneValues::GoOnFromFile,
    }
}

fn shard_of(kinds: &mut Vec<KindShard>, kind: FileKind) -> &mut KindShard {
    // At most seventeen kinds exist, and a program uses three or four.
    let position = kinds.iter().position(|shard| shard.kind == kind);
    let position = position.unwrap_or_else(|| {
        kinds.push(KindShard {
            kind,
            id: WriterId {
                pid: 0,
                instance: Instance::from_bits(0),
            },
            file: None,
            trouble: Trouble::default(),
            entries_len_bytes: 0,
            waiting: VecDeque::new(),
            is_paused: false,
        });
        kinds.len() - 1
    });
    &mut kinds[position]
}

impl Directory {
    /// Opens the directory at `path` and makes it if it is missing: the last component only if it `was_open`.
    fn open(path: &Path, was_open: bool) -> Result<Directory, WriteError> {
        let error = |source: io::Error| WriteError::Directory {
            path: path.to_path_buf(),
            source,
        };
        let mut builder = std::fs::DirBuilder::new();
        match builder.recursive(!was_open).create(path) {
            Ok(()) => {}
            // There already; or on a file system that is read-only or not ours, where opening says what matters.
            Err(_) if path.is_dir() => {}
            Err(source) => return Err(error(source)),
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let descriptor =
            rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| error(errno.into()))?;
        let descriptor = keep(descriptor).map_err(error)?;
        let access = Access::WRITE_OK | Access::EXEC_OK;
        // Any other failure says something of the question (a sandbox does not let it through), not of the directory: the first
        // shard will tell.
        if let Err(errno @ (Errno::ACCESS | Errno::ROFS)) =
            rustix::fs::accessat(&descriptor, ".", access, AtFlags::EACCESS)
        {
            return Err(error(errno.into()));
        }
        let stat = rustix::fs::fstat(&descriptor).map_err(|errno| error(errno.into()))?;
        Ok(Directory {
            descriptor,
            identity: (stat.st_dev, stat.st_ino),
        })
    }

    /// Where the path leads by now. An inode number is not used again while the descriptor is open.
    fn lead(&self, path: &Path) -> Lead {
        let is_removed = || rustix::fs::fstat(&self.descriptor).is_ok_and(|own| own.st_nlink == 0);
        match rustix::fs::stat(path) {
            Ok(stat) if self.identity == (stat.st_dev, stat.st_ino) => Lead::Here,
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => Lead::Away,
            Ok(_) | Err(Errno::NOENT | Errno::NOTDIR) if is_removed() => Lead::Away,
            Ok(_) | Err(Errno::NOENT | Errno::NOTDIR) => Lead::Nowhere,
            // Not to be told at the moment; the files are where they were.
            Err(_) => Lead::Here,
        }
    }
}

fn new_id() -> WriterId {
    WriterId {
        pid: std::process::id(),
        instance: Instance::from_bits(random_bits()),
    }
}

fn random_bits() -> u128 {
    let mut bytes = [0; 16];
    if getrandom::fill(&mut bytes).is_ok() {
        return u128::from_le_bytes(bytes);
    }
    // No entropy (a seccomp filter): then by time, process and a count, which no two writers of one directory share.
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let nanoseconds = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos());
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    (nanoseconds << 64) | (u128::from(std::process::id()) << 32) | u128::from(count & 0xffff_ffff)
}
