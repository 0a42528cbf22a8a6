//! One shard that this process writes: created under a hidden name, grown by reserved blocks, appended to, never shortened.
//!
//! Invariant: every byte that is mapped has a block on the disk, so no store into it can be SIGBUS for want of space; a reader
//! that opens the file by its name sees a whole header and whole entries at every instant. Errors leave the file as it was. A file
//! that somebody else cut short is never written again: whatever grows it would put zeros where values were.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, FallocateFlags, Mode, OFlags, RenameFlags, Stat};
use rustix::io::Errno;
use rustix::process::Resource;
use thiserror::Error;

use super::descriptor::keep;
use super::remains::{Remains, has_blank_at, pad_offset_before};
use crate::file::READ_LEN_MAX_BYTES;
use crate::key::{Key, KeyError};
use crate::layout::{HEADER_LEN_BYTES, encode_entry, encode_header, value_offset_bytes};
use crate::map::cell::Cell;
use crate::map::segment::Segment;
use crate::name::ShardName;

/// A new shard's length: most processes have few series of a kind, and a directory of many processes is mostly first pages.
const FIRST_LEN_BYTES: usize = 4096;

/// A shard doubles until it grows by this much at a time, so that a large one does not reserve as much again for one entry.
const GROWTH_MAX_BYTES: usize = 1 << 20;

/// Longest shard that we write: what a reader reads. Bounds the damage when a program leaks label values.
pub(super) const LEN_MAX_BYTES: usize = READ_LEN_MAX_BYTES;

const _: () = assert!(
    LEN_MAX_BYTES <= i32::MAX as usize,
    "the used length is an i32"
);

/// Why a value cannot be put into a shard. It goes into memory instead.
#[derive(Debug, Error)]
pub(super) enum WriteError {
    #[error("{}: cannot create or open the directory", .path.display())]
    Directory { path: PathBuf, source: io::Error },
    #[error("{}: cannot create the shard", .path.display())]
    Create { path: PathBuf, source: io::Error },
    #[error("{}: cannot reserve {len_bytes} bytes", .path.display())]
    Reserve {
        path: PathBuf,
        len_bytes: usize,
        source: io::Error,
    },
    #[error("{}: cannot map the shard", .path.display())]
    Map { path: PathBuf, source: io::Error },
    #[error("{}: cannot write entries", .path.display())]
    Append { path: PathBuf, source: io::Error },
    #[error("{}: the process may write files of {limit_bytes} bytes only; raise RLIMIT_FSIZE (ulimit -f)", .path.display())]
    SizeLimit { path: PathBuf, limit_bytes: u64 },
    #[error(
        "{}: {LEN_MAX_BYTES} bytes are full; further series stay in memory, look for a label with unbounded values", .path.display()
    )]
    Full { path: PathBuf },
    #[error("{}: somebody else cut the shard short or overwrote it; a new one takes its place", .path.display())]
    CutShort { path: PathBuf },
    #[error("{}: a series that no reader would accept stays in memory", .path.display())]
    Key { path: PathBuf, source: KeyError },
    #[error(
        "cannot register the fork handler, without which a forked child would write into this process's shards"
    )]
    ForkHandler { source: io::Error },
}

impl WriteError {
    /// Whether there is a file of that name, which is not ours.
    pub(super) fn is_name_taken(&self) -> bool {
        matches!(self, WriteError::Create { source, .. } if source.kind() == io::ErrorKind::AlreadyExists)
    }

    /// Whether trying again later can help without anybody's doing.
    pub(super) fn is_final(&self) -> bool {
        matches!(self, WriteError::Full { .. } | WriteError::Key { .. })
    }
}

/// A new entry.
#[derive(Debug)]
pub(super) struct NewEntry {
    pub(super) key: String,
    pub(super) value: f64,
    pub(super) timestamp: f64,
}

/// A shard that is open for writing.
#[derive(Debug)]
pub(super) struct WriterFile {
    path: PathBuf,
    /// Open for as long as the file is ours: others tell by it that the writer lives. None in a fork's child.
    descriptor: Option<OwnedFd>,
    used_len_bytes: usize,
    len_bytes: usize,
    /// In the order of the file. The first begins with the header; each further one begins a page before the end of the one
    /// before it, so that no cell straddles two.
    segments: Vec<Segment>,
}

impl WriterFile {
    /// Creates the shard `name` in `dir`, which is the directory at `dir_path`, without entries.
    pub(super) fn create(
        dir: BorrowedFd<'_>,
        dir_path: &Path,
        name: &ShardName,
    ) -> Result<WriterFile, WriteError> {
        let file_name = name.file_name();
        let path = dir_path.join(&file_name);
        // Not O_TMPFILE, although a process that is killed in between would then leave nothing behind: the close of a file that was
        // opened without a name is told to no watch on its directory, and that event is how a reader learns that the writer is gone.
        WriterFile::create_hidden(dir, path, &file_name)
    }

    /// Creates the shard under a hidden name and renames it, so that no reader ever sees it half made.
    fn create_hidden(
        dir: BorrowedFd<'_>,
        path: PathBuf,
        file_name: &str,
    ) -> Result<WriterFile, WriteError> {
        let hidden = format!(".{file_name}.new");
        let flags = OFlags::RDWR
            | OFlags::CREATE
            | OFlags::EXCL
            | OFlags::NOFOLLOW
            | OFlags::NONBLOCK
            | OFlags::CLOEXEC;
        let open = || rustix::fs::openat(dir, &hidden, flags, Mode::from_raw_mode(0o666));
        let opened = match open() {
            // Nobody else makes a name with our random instance in it: it is left from an attempt that failed.
            Err(Errno::EXIST) => {
                rustix::fs::unlinkat(dir, &hidden, AtFlags::empty()).and_then(|()| open())
            }
            result => result,
        };
        let descriptor = opened.map_err(|errno| WriteError::Create {
            path: path.clone(),
            source: errno.into(),
        })?;
        let shown = WriterFile::begin(path, descriptor).and_then(|mut file| {
            file.show(dir, &hidden, file_name)
                .inspect_err(|_| file.let_go())?;
            Ok(file)
        });
        if shown.is_err() {
            // Best effort: a hidden file that stays is never read by anybody.
            let _ = rustix::fs::unlinkat(dir, &hidden, AtFlags::empty());
        }
        shown
    }

    /// Writes the header into an empty file that has no name yet that readers look for.
    fn begin(path: PathBuf, descriptor: OwnedFd) -> Result<WriterFile, WriteError> {
        let descriptor = keep(descriptor).map_err(|source| WriteError::Create {
            path: path.clone(),
            source,
        })?;
        let mut file = WriterFile {
            path,
            descriptor: Some(descriptor),
            used_len_bytes: HEADER_LEN_BYTES,
            len_bytes: 0,
            segments: Vec::new(),
        };
        file.extend_to(FIRST_LEN_BYTES.max(rustix::param::page_size()))
            .inspect_err(|_| file.let_go())?;
        Ok(file)
    }

    /// Appends entries with their first values and publishes them: all of them, in one step, or none.
    pub(super) fn append(
        &mut self,
        entries: &[NewEntry],
    ) -> Result<Vec<&'static Cell>, WriteError> {
        let offset = self.used_len_bytes;
        let mut bytes = Vec::new();
        let mut value_offsets = Vec::with_capacity(entries.len());
        for entry in entries {
            Key::check(entry.key.as_bytes()).map_err(|source| WriteError::Key {
                path: self.path.clone(),
                source,
            })?;
            value_offsets.push(offset + bytes.len() + value_offset_bytes(entry.key.len()));
            bytes.extend(encode_entry(
                entry.key.as_bytes(),
                entry.value,
                entry.timestamp,
            ));
        }
        let end = offset + bytes.len();
        if end > LEN_MAX_BYTES {
            return Err(WriteError::Full {
                path: self.path.clone(),
            });
        }
        self.check_length()?;
        if end > self.len_bytes {
            self.grow_to_hold(end)?;
        }
        self.check_size_limit(end)?;
        // By a system call and not through the mapping: its failure is an error, that of a store is SIGBUS. Both are one page cache.
        self.write_entries(&bytes, offset)?;
        let cell = |value_offset: &usize| {
            let mut segments = self.segments.iter().rev();
            segments.find_map(|segment| segment.cell(*value_offset))
        };
        let Some(cells) = value_offsets.iter().map(cell).collect() else {
            return Err(self.map_error(io::Error::other("an entry is in no segment")));
        };
        // What was written behind a cut made the file long again, with zeros before it.
        self.check_last_entry()?;
        self.publish_used(end)?;
        Ok(cells)
    }

    /// Whether somebody deleted the file, so that no reader can find it any more.
    pub(super) fn is_deleted(&self) -> bool {
        self.stat().is_some_and(|stat| stat.st_nlink == 0)
    }

    /// Whether somebody cut the file short, or wrote over it: by a fault that found nothing, by its length, or by what stands at the
    /// end of its last entry. The last entry's own value is the only one that can go unnoticed, if the file is cut in its sixteen
    /// bytes and made long again before anybody looks.
    pub(super) fn is_cut(&self) -> bool {
        self.check_length().is_err()
            || self.check_last_entry().is_err()
            || self.has_foreign_header()
    }

    /// Whether a call has met a page that the file has no more. No system call.
    pub(super) fn has_met_a_cut(&self) -> bool {
        self.segments.iter().any(Segment::is_cut)
    }

    /// When the first such call was.
    pub(super) fn cut_since(&self) -> Option<SystemTime> {
        let met = self.segments.iter();
        let first = met.filter_map(Segment::cut_at_unix_nanoseconds).min()?;
        UNIX_EPOCH.checked_add(Duration::from_nanos(first))
    }

    /// What readers still find in the file.
    pub(super) fn remains(&self) -> Option<Remains> {
        let descriptor = self.descriptor().ok()?;
        let segments = self.segments.clone();
        Some(Remains::read(descriptor, self.used_len_bytes, segments))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the mappings of a deleted file private copies, so that values can be taken out of its cells for good, as out of those in
    /// memory, and nothing of that shows in the file, which a reader may still have open. False: it is still the file.
    pub(super) fn make_private(&self) -> bool {
        let Ok(descriptor) = self.descriptor() else {
            return false;
        };
        self.segments
            .iter()
            .all(|segment| segment.make_private(descriptor).is_ok())
    }

    /// Closes the descriptor of a deleted file. The mappings stay for calls that are in them.
    pub(super) fn close(&mut self) {
        drop(self.descriptor.take());
    }

    /// Lets go of the file, descriptor and mappings: cells that somebody may still hold lead to private memory from now on. For
    /// a fork's child and for a shard that was deleted long ago. Allocates nothing.
    pub(super) fn let_go(&mut self) {
        for segment in &self.segments {
            segment.let_go();
        }
        drop(self.descriptor.take());
    }

    /// Makes the file long enough for `end`: twice as long, or just enough if the disk has no room for more.
    fn grow_to_hold(&mut self, end: usize) -> Result<(), WriteError> {
        let just_enough = end.next_multiple_of(rustix::param::page_size());
        let roomy = (self.len_bytes + self.len_bytes.min(GROWTH_MAX_BYTES)).max(just_enough);
        match self.extend_to(roomy) {
            Err(_) if just_enough < roomy => self.extend_to(just_enough),
            result => result,
        }
    }

    /// Reserves blocks up to `len_bytes` and maps them.
    fn extend_to(&mut self, len_bytes: usize) -> Result<(), WriteError> {
        self.check_size_limit(len_bytes)?;
        let page = rustix::param::page_size();
        // The last page that is mapped already is mapped again, for the cell that straddles its end.
        let from = self.len_bytes.saturating_sub(page) / page * page;
        reserve_blocks(self.descriptor()?, self.len_bytes, len_bytes).map_err(|source| {
            WriteError::Reserve {
                path: self.path.clone(),
                len_bytes: len_bytes - self.len_bytes,
                source,
            }
        })?;
        let segment = Segment::map(self.descriptor()?, from, len_bytes - from)
            .map_err(|source| self.map_error(source))?;
        self.segments.push(segment);
        // What was reserved behind a cut made the file long again.
        self.check_last_entry()?;
        if self.len_bytes == 0 {
            self.publish_used(HEADER_LEN_BYTES)?;
        }
        self.len_bytes = len_bytes;
        Ok(())
    }

    /// Gives the file the name that readers look for in the place of its hidden one, unless that name is taken.
    fn show(&self, dir: BorrowedFd<'_>, hidden: &str, file_name: &str) -> Result<(), WriteError> {
        let renamed =
            match rustix::fs::renameat_with(dir, hidden, dir, file_name, RenameFlags::NOREPLACE) {
                // Some file systems cannot rename without replacing; none replaces with a link.
                // Nor do some sandboxes let the call through.
                Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::PERM) => {
                    rustix::fs::linkat(dir, hidden, dir, file_name, AtFlags::empty())
                        .and_then(|()| rustix::fs::unlinkat(dir, hidden, AtFlags::empty()))
                }
                result => result,
            };
        renamed.map_err(|errno| self.create_error(errno))
    }

    fn create_error(&self, errno: Errno) -> WriteError {
        WriteError::Create {
            path: self.path.clone(),
            source: errno.into(),
        }
    }

    fn publish_used(&mut self, used_len_bytes: usize) -> Result<(), WriteError> {
        let (Some(header), Ok(used)) = (self.segments.first(), u32::try_from(used_len_bytes))
        else {
            return Err(self.map_error(io::Error::other("the header is in no segment")));
        };
        header.publish_used(used);
        self.used_len_bytes = used_len_bytes;
        Ok(())
    }

    /// The kernel answers a write beyond RLIMIT_FSIZE with SIGXFSZ, which ends the process; what a process does with that signal
    /// is not ours to choose.
    fn check_size_limit(&self, end: usize) -> Result<(), WriteError> {
        match rustix::process::getrlimit(Resource::Fsize).current {
            Some(limit_bytes) if end as u64 > limit_bytes => Err(WriteError::SizeLimit {
                path: self.path.clone(),
                limit_bytes,
            }),
            _ => Ok(()),
        }
    }

    fn check_length(&self) -> Result<(), WriteError> {
        let len_bytes = self.len_bytes as u64;
        let is_shorter = |stat: Stat| u64::try_from(stat.st_size).is_ok_and(|len| len < len_bytes);
        if self.has_met_a_cut() || self.stat().is_some_and(is_shorter) {
            return Err(self.cut_error());
        }
        Ok(())
    }

    fn check_last_entry(&self) -> Result<(), WriteError> {
        let has_entries = self.used_len_bytes > HEADER_LEN_BYTES;
        if has_entries && !has_blank_at(self.descriptor()?, pad_offset_before(self.used_len_bytes))
        {
            return Err(self.cut_error());
        }
        Ok(())
    }

    /// Whether the first word of the file is another than the one that was published last.
    fn has_foreign_header(&self) -> bool {
        let Ok(descriptor) = self.descriptor() else {
            return false;
        };
        let mut header = [0; HEADER_LEN_BYTES];
        let read = rustix::io::retry_on_intr(|| rustix::io::pread(descriptor, &mut header, 0));
        // A failure is no evidence.
        read.is_ok_and(|_| header != encode_header(self.used_len_bytes))
    }

    fn stat(&self) -> Option<Stat> {
        rustix::fs::fstat(self.descriptor.as_ref()?).ok()
    }

    pub(super) fn cut_error(&self) -> WriteError {
        WriteError::CutShort {
            path: self.path.clone(),
        }
    }

    fn descriptor(&self) -> Result<BorrowedFd<'_>, WriteError> {
        self.descriptor
            .as_ref()
            .map(AsFd::as_fd)
            .ok_or_else(|| self.map_error(io::Error::other("the shard is the parent process's")))
    }

    fn write_entries(&self, entries: &[u8], offset: usize) -> Result<(), WriteError> {
        write_at(self.descriptor()?, entries, offset).map_err(|source| WriteError::Append {
            path: self.path.clone(),
            source,
        })
    }

    fn map_error(&self, source: io::Error) -> WriteError {
        WriteError::Map {
            path: self.path.clone(),
            source,
        }
    }
}

/// Gives the bytes from `from` to `to` of the file blocks on the disk.
fn reserve_blocks(file: BorrowedFd<'_>, from: usize, to: usize) -> io::Result<()> {
    let reserved = rustix::io::retry_on_intr(|| {
        rustix::fs::fallocate(
            file,
            FallocateFlags::empty(),
            from as u64,
            (to - from) as u64,
        )
    });
    match reserved {
        // A file system that cannot reserve gets the zeros themselves.
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
            const ZEROS: [u8; FIRST_LEN_BYTES] = [0; FIRST_LEN_BYTES];
            for offset in (from..to).step_by(ZEROS.len()) {
                write_at(file, &ZEROS[..ZEROS.len().min(to - offset)], offset)?;
            }
            Ok(())
        }
        result => Ok(result?),
    }
}

fn write_at(file: BorrowedFd<'_>, bytes: &[u8], offset: usize) -> io::Result<()> {
    let mut written = 0;
    while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
        let offset = (offset + written) as u64;
        match rustix::io::retry_on_intr(|| rustix::io::pwrite(file, rest, offset))? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            count => written += count,
        }
    }
    Ok(())
}
