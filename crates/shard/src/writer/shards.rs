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
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{Access, AtFlags, Mode, OFlags};
use rustix::io::Errno;

use super::file::{WriteError, WriterFile};
use super::trouble::{Message, Trouble};
use super::{ProcessInfo, WriterStatus, fork};
use crate::map::cell::Cell;
use crate::name::{FileKind, Instance, ShardName, WriterId};
use crate::process::{ProcessFile, process_file_name};

/// Passes after which the mapping of a deleted shard is let go. A call that still held one of its cells has long returned; until
/// then its count is in the file it was made for.
const PASSES_UNTIL_RELEASE: u32 = 60;

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
    degraded_since: Option<SystemTime>,
    /// Values moved into shards since the writer became degraded.
    moved: usize,
    /// What the sidecars on disk say of `degraded`; none: not written.
    sidecar_says: Option<bool>,
    /// A fork's child: nothing above is usable until `begin_again_in_child`.
    is_left_to_parent: bool,
}

#[derive(Debug)]
struct Directory {
    descriptor: OwnedFd,
    identity: (u64, u64),
}

/// The shard of one kind.
#[derive(Debug)]
struct KindShard {
    kind: FileKind,
    /// Of the file, if there is one.
    id: WriterId,
    file: Option<WriterFile>,
    trouble: Trouble,
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
        let mut shards = Shards {
            dir_path,
            info,
            id: new_id(),
            started_at: SystemTime::now(),
            directory: None,
            was_open: false,
            kinds: Vec::new(),
            deleted: Vec::new(),
            directory_trouble: Trouble::default(),
            key_trouble: Trouble::default(),
            degraded_since: None,
            moved: 0,
            sidecar_says: None,
            is_left_to_parent: false,
        };
        shards.open_directory(messages);
        shards.settle(messages);
        shards.keep_sidecars();
        shards
    }

    /// Appends an entry that is new. None: not now, and it waits unless that is of no use.
    pub(super) fn append_or_wait(
        &mut self,
        kind: FileKind,
        index: usize,
        key: &str,
        first: (f64, f64),
        messages: &mut Vec<Message>,
    ) -> Option<&'static Cell> {
        if self.directory.is_none() || shard_of(&mut self.kinds, kind).trouble.is_some() {
            // No system call for each new series while something is wrong: the background thread tries again.
            self.wait(kind, index);
            return None;
        }
        let cell = self.append_again(kind, index, key, first, messages);
        self.settle(messages);
        cell
    }

    /// Appends an entry whatever was wrong before. None: it waits unless that is of no use.
    pub(super) fn append_again(
        &mut self,
        kind: FileKind,
        index: usize,
        key: &str,
        first: (f64, f64),
        messages: &mut Vec<Message>,
    ) -> Option<&'static Cell> {
        match self.append(kind, key, first) {
            Ok(cell) => {
                self.moved += usize::from(self.degraded_since.is_some());
                Some(cell)
            }
            // This one entry can never be written; the shard is fine.
            Err(error @ WriteError::Key { .. }) => {
                self.key_trouble.note(&error, messages);
                None
            }
            Err(error) => {
                let shard = shard_of(&mut self.kinds, kind);
                shard.trouble.note(&error, messages);
                shard.is_paused = true;
                shard.waiting.push_front(index);
                None
            }
        }
    }

    fn append(
        &mut self,
        kind: FileKind,
        key: &str,
        (value, timestamp): (f64, f64),
    ) -> Result<&'static Cell, WriteError> {
        let shard = shard_of(&mut self.kinds, kind);
        if let Some(file) = &mut shard.file {
            return file.append(key, value, timestamp);
        }
        let Some(directory) = &self.directory else {
            return Err(WriteError::Directory {
                path: self.dir_path.clone(),
                source: io::ErrorKind::NotFound.into(),
            });
        };
        let name = ShardName {
            kind,
            id: self.id.to_string(),
        };
        let file = WriterFile::create(directory.descriptor.as_fd(), &self.dir_path, &name)?;
        shard.id = self.id;
        shard.file.insert(file).append(key, value, timestamp)
    }

    /// The entry's value is in memory until a shard takes it.
    pub(super) fn wait(&mut self, kind: FileKind, index: usize) {
        shard_of(&mut self.kinds, kind).waiting.push_back(index);
    }

    /// Takes the next entry that may be moved into a shard out of its queue.
    pub(super) fn next_waiting(&mut self) -> Option<usize> {
        self.directory.as_ref()?;
        self.kinds
            .iter_mut()
            .filter(|shard| !shard.is_paused && !shard.trouble.is_final())
            .find_map(|shard| shard.waiting.pop_front())
    }

    /// One look at directory and files. Gives the kinds whose shards were deleted, or are in a directory that is not the one at
    /// our path any more: their entries have to go on elsewhere.
    pub(super) fn inspect(&mut self, messages: &mut Vec<Message>) -> Vec<FileKind> {
        if self.is_left_to_parent {
            return Vec::new();
        }
        self.release_deleted();
        let is_replaced = self
            .directory
            .as_ref()
            .is_some_and(|directory| !directory.is_at(&self.dir_path));
        if is_replaced {
            self.directory = None;
        }
        let mut gone = Vec::new();
        for shard in &mut self.kinds {
            shard.is_paused = false;
            if let Some(file) = shard.file.take_if(|file| is_replaced || file.is_deleted()) {
                self.deleted.push((file, 0));
                shard.trouble.clear();
                gone.push(shard.kind);
            }
        }
        if is_replaced || !gone.is_empty() {
            self.id = new_id();
            self.sidecar_says = None;
            messages.push(Message::Deleted {
                dir: self.dir_path.clone(),
                id: self.id,
            });
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
        match (self.reason().is_some(), self.degraded_since) {
            (true, None) => {
                self.degraded_since = Some(SystemTime::now());
                self.moved = 0;
            }
            (false, Some(_)) => {
                self.degraded_since = None;
                messages.push(Message::Recovered {
                    dir: self.dir_path.clone(),
                    id: self.id,
                    moved: self.moved,
                });
            }
            _ => {}
        }
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
        let is_degraded = self.degraded_since.is_some();
        let is_there = |id: &WriterId| {
            let name = process_file_name(&id.to_string());
            rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).is_ok()
        };
        if self.sidecar_says == Some(is_degraded) && ids.iter().all(is_there) {
            return;
        }
        let content = ProcessFile::of_this_process(&self.info, self.started_at, is_degraded);
        let are_written = ids.iter().all(|&id| content.write_at(dir, id).is_ok());
        self.sidecar_says = are_written.then_some(is_degraded);
    }

    pub(super) fn status(&self) -> WriterStatus {
        match (self.reason(), self.degraded_since) {
            (Some(reason), Some(since)) => WriterStatus::Degraded {
                since,
                reason: reason.to_owned(),
            },
            _ => WriterStatus::Healthy {
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
        self.is_left_to_parent = true;
    }

    /// The child's first touch: a writer of its own, without files yet.
    pub(super) fn begin_again_in_child(&mut self, messages: &mut Vec<Message>) {
        if !self.is_left_to_parent {
            return;
        }
        let dir_path = std::mem::take(&mut self.dir_path);
        let info = std::mem::take(&mut self.info);
        *self = Shards::open(dir_path, info, messages);
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
        for (file, passes) in &mut self.deleted {
            *passes += 1;
            if *passes == PASSES_UNTIL_RELEASE {
                file.let_go();
            }
        }
        self.deleted
            .retain(|(_, passes)| *passes < PASSES_UNTIL_RELEASE);
    }

    fn reason(&self) -> Option<&str> {
        self.directory_trouble
            .reason()
            .or_else(|| self.kinds.iter().find_map(|shard| shard.trouble.reason()))
            .or_else(|| self.key_trouble.reason())
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
        let access = Access::WRITE_OK | Access::EXEC_OK;
        rustix::fs::accessat(&descriptor, ".", access, AtFlags::EACCESS)
            .map_err(|errno| error(errno.into()))?;
        let stat = rustix::fs::fstat(&descriptor).map_err(|errno| error(errno.into()))?;
        Ok(Directory {
            descriptor,
            identity: (stat.st_dev, stat.st_ino),
        })
    }

    /// Whether the path still leads here. An inode number is not used again while the descriptor is open.
    fn is_at(&self, path: &Path) -> bool {
        match rustix::fs::stat(path) {
            Ok(stat) => self.identity == (stat.st_dev, stat.st_ino),
            Err(Errno::NOENT | Errno::NOTDIR) => false,
            // Not to be told at the moment; the files are where they were.
            Err(_) => true,
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
