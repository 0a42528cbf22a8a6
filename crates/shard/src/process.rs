//! The sidecar `process_ID.json`: who writes the shards of this ID. Written by our own writer beside them, read by the daemon
//! for its table of sessions; Python's reader ignores it.
//!
//! Invariant: a reader sees a whole file or none (it gets its name when it is written; only one word of it is changed later, in
//! place), and whatever somebody else put
//! under such a name costs at most [`PROCESS_FILE_LEN_MAX_BYTES`] of memory and a typed error.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::Resource;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::name::WriterId;
use crate::writer::ProcessInfo;

/// Longest sidecar that is read. Ours are far shorter: every text in them is bounded.
pub const PROCESS_FILE_LEN_MAX_BYTES: usize = 64 << 10;

/// Most labels of a process.
const LABEL_COUNT_MAX: usize = 64;

/// Longest text of a sidecar: a program's name, a version, a label. They end up in a table and in a label value.
const TEXT_LEN_MAX_BYTES: usize = 256;

const PREFIX: &str = "process_";
const SUFFIX: &str = ".json";

/// What a process says of itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProcessFile {
    /// Program name, such as `shadow-session`.
    pub program: String,
    /// Its version.
    pub version: String,
    /// What it runs as, in the program's own words, such as `paper`.
    pub mode: String,
    /// Process ID in its own PID namespace.
    pub pid: u32,
    /// When the writer of this process opened, by the wall clock.
    pub started_at_unix_seconds: f64,
    /// Field 22 of `/proc/PID/stat`, clock ticks since boot: with `pid` and `boot_id` it tells a process from a later one of the
    /// same PID. 0 where procfs could not be read.
    pub start_ticks: u64,
    /// `/proc/sys/kernel/random/boot_id`; empty where it could not be read.
    pub boot_id: String,
    /// Inode number of `/proc/self/ns/pid`: in which PID namespace `pid` is a process ID. None where it could not be read, and of
    /// writers that do not say.
    #[serde(default)]
    pub pid_namespace: Option<u64>,
    /// For the table of sessions; names are label names.
    pub labels: BTreeMap<String, String>,
    /// Whether it records into memory because it cannot write (all of) its shards.
    pub degraded: bool,
}

/// A sidecar that cannot be used. The shards beside it are served all the same.
#[derive(Debug, Error)]
pub enum ProcessFileError {
    /// The system's answer to opening or reading it.
    #[error("{}: cannot read", .path.display())]
    Read {
        /// File name.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A directory, link, FIFO, socket or device.
    #[error("{}: not a regular file", .path.display())]
    NotRegular {
        /// File name.
        path: PathBuf,
    },
    /// Longer than any of ours.
    #[error("longer than {PROCESS_FILE_LEN_MAX_BYTES} bytes")]
    TooLong,
    /// Not JSON, or a field is missing or of another type.
    #[error("not a process file: {detail}")]
    Shape {
        /// What is wrong, with its place.
        detail: String,
    },
    /// A text is too long, has control characters, or is no label name; a time is no time.
    #[error("field {field}: {found}; expected {expected}")]
    Field {
        /// Which one.
        field: &'static str,
        /// What is wrong with it.
        found: String,
        /// What would be accepted.
        expected: &'static str,
    },
}

/// The file name of the sidecar of this ID (`PID-INSTANCE`).
pub fn process_file_name(id: &str) -> String {
    format!("{PREFIX}{id}{SUFFIX}")
}

/// The ID of a sidecar by its file name; none when it is not a sidecar's.
pub fn process_file_id(file_name: &str) -> Option<&str> {
    file_name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)
}

impl ProcessFile {
    /// Opens and reads the sidecar `file_name` in `dir`: a regular file, no link, of bounded length.
    ///
    /// # Errors
    /// [`ProcessFileError`]; with [`io::ErrorKind::NotFound`] inside when it is gone.
    pub fn read_at(dir: BorrowedFd<'_>, file_name: &str) -> Result<ProcessFile, ProcessFileError> {
        let read = |source: io::Error| ProcessFileError::Read {
            path: PathBuf::from(file_name),
            source,
        };
        // O_NONBLOCK: opening somebody's FIFO must not wait for its other end.
        let flags =
            OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
        let fd = match rustix::fs::openat(dir, file_name, flags, Mode::empty()) {
            Ok(fd) => fd,
            // O_NOFOLLOW on a link, and a socket or a device without a driver.
            Err(Errno::LOOP | Errno::NXIO) => {
                return Err(ProcessFileError::NotRegular {
                    path: PathBuf::from(file_name),
                });
            }
            Err(errno) => return Err(read(errno.into())),
        };
        let stat = rustix::fs::fstat(&fd).map_err(|errno| read(errno.into()))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(ProcessFileError::NotRegular {
                path: PathBuf::from(file_name),
            });
        }
        let bytes = read_bounded(&fd).map_err(read)?;
        ProcessFile::parse(&bytes)
    }

    /// Reads the bytes of a sidecar. A field that this version does not know is passed over, so that sessions of a newer
    /// version stay in the table of an older daemon.
    ///
    /// # Errors
    /// Anything but a whole process file within the limits.
    pub fn parse(bytes: &[u8]) -> Result<ProcessFile, ProcessFileError> {
        if bytes.len() > PROCESS_FILE_LEN_MAX_BYTES {
            return Err(ProcessFileError::TooLong);
        }
        let file: ProcessFile =
            serde_json::from_slice(bytes).map_err(|error| ProcessFileError::Shape {
                detail: error.to_string(),
            })?;
        file.check()?;
        Ok(file)
    }

    fn check(&self) -> Result<(), ProcessFileError> {
        check_text("program", &self.program)?;
        check_text("version", &self.version)?;
        check_text("mode", &self.mode)?;
        check_text("boot_id", &self.boot_id)?;
        if !self.started_at_unix_seconds.is_finite() || self.started_at_unix_seconds < 0.0 {
            return Err(ProcessFileError::Field {
                field: "started_at_unix_seconds",
                found: self.started_at_unix_seconds.to_string(),
                expected: "seconds since 1970",
            });
        }
        if self.labels.len() > LABEL_COUNT_MAX {
            return Err(ProcessFileError::Field {
                field: "labels",
                found: format!("{} of them", self.labels.len()),
                expected: "at most 64",
            });
        }
        for (name, value) in &self.labels {
            if !is_label_name(name) {
                return Err(ProcessFileError::Field {
                    field: "labels",
                    found: format!("the name {:?}", bounded_text(name)),
                    expected: "letters, digits and underscores, not a digit first",
                });
            }
            check_text("labels", value)?;
        }
        Ok(())
    }

    /// What this process says of itself, every text cut to what `parse` accepts: our own file is never refused for a long version.
    pub(crate) fn of_this_process(
        info: &ProcessInfo,
        started_at: SystemTime,
        degraded: bool,
    ) -> ProcessFile {
        let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
        ProcessFile {
            program: bounded_text(&info.program),
            version: bounded_text(&info.version),
            mode: bounded_text(&info.mode),
            pid: std::process::id(),
            started_at_unix_seconds: started_at
                .duration_since(UNIX_EPOCH)
                .map_or(0.0, |since| since.as_secs_f64()),
            start_ticks: start_ticks().unwrap_or(0),
            boot_id: bounded_text(boot_id.unwrap_or_default().trim()),
            pid_namespace: std::fs::metadata("/proc/self/ns/pid")
                .ok()
                .map(|namespace| namespace.ino()),
            labels: info
                .labels
                .iter()
                .filter(|(name, _)| is_label_name(name))
                .map(|(name, value)| (name.clone(), bounded_text(value)))
                .take(LABEL_COUNT_MAX)
                .collect(),
            degraded,
        }
    }

    /// Writes the sidecar of `id` into `dir`, replacing an earlier one of the same ID. A reader sees the old file or the new.
    pub(crate) fn write_at(&self, dir: BorrowedFd<'_>, id: WriterId) -> io::Result<()> {
        let bytes = self.of_fixed_width()?;
        let name = process_file_name(&id.to_string());
        // On a disk that is full, which is when it matters, there is room for no second file but for another word in this one.
        if correct_in_place(dir, &name, &bytes).is_ok() {
            return Ok(());
        }
        match create_unnamed(dir, &name, &bytes) {
            Ok(()) => Ok(()),
            Err(_) => replace_by_hidden(dir, &name, &bytes),
        }
    }

    /// As JSON whose length and all whose bytes but the last few are the same whether `degraded` or not.
    fn of_fixed_width(&self) -> io::Result<Vec<u8>> {
        let mut bytes = serde_json::to_vec(self)?;
        if bytes.ends_with(b"true}") {
            bytes.pop();
            bytes.extend(b" }");
        }
        Ok(bytes)
    }
}

/// The bytes at the end of a sidecar that tell `degraded`: `true }` or `false}`.
const DEGRADED_LEN_BYTES: usize = b"false}".len();

/// Makes the sidecar that stands there tell what `bytes` do, if it is one of ours that differs in `degraded` at most.
fn correct_in_place(dir: BorrowedFd<'_>, name: &str, bytes: &[u8]) -> io::Result<()> {
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let fd = rustix::fs::openat(dir, name, flags, Mode::empty())?;
    let at = bytes.len().saturating_sub(DEGRADED_LEN_BYTES);
    let there = read_bounded(&fd)?;
    if there.len() != bytes.len() || there.get(..at) != bytes.get(..at) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    check_size_limit(bytes)?;
    let word = bytes.get(at..).unwrap_or_default();
    match rustix::io::retry_on_intr(|| rustix::io::pwrite(&fd, word, at as u64))? {
        count if count == word.len() => Ok(()),
        _ => Err(io::ErrorKind::WriteZero.into()),
    }
}

/// Writes a file that gets its name when it is whole, so that a process that is killed in between leaves nothing.
fn create_unnamed(dir: BorrowedFd<'_>, name: &str, bytes: &[u8]) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::TMPFILE | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(dir, ".", flags, Mode::from_raw_mode(0o666))?;
    write_all(&fd, bytes)?;
    Ok(link_unnamed(fd.as_fd(), dir, name)?)
}

/// Gives a file without a name this one, unless it is taken.
pub(crate) fn link_unnamed(
    file: BorrowedFd<'_>,
    dir: BorrowedFd<'_>,
    name: &str,
) -> Result<(), Errno> {
    // The way for a process without privileges, by procfs.
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    rustix::fs::linkat(rustix::fs::CWD, path, dir, name, AtFlags::SYMLINK_FOLLOW)
}

fn replace_by_hidden(dir: BorrowedFd<'_>, name: &str, bytes: &[u8]) -> io::Result<()> {
    let hidden = format!(".{name}.new");
    let written = create_and_write(dir, &hidden, bytes)
        .and_then(|()| Ok(rustix::fs::renameat(dir, &hidden, dir, name)?));
    if written.is_err() {
        // Best effort: a hidden file that stays is never read by anybody.
        let _ = rustix::fs::unlinkat(dir, &hidden, AtFlags::empty());
    }
    written
}

/// When this process started, in clock ticks since boot.
fn start_ticks() -> Option<u64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // Field 2 is the program's name in parentheses, which may hold blanks and parentheses; field 3 follows its last one.
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_whitespace().nth(19)?.parse().ok()
}

fn create_and_write(dir: BorrowedFd<'_>, hidden: &str, bytes: &[u8]) -> io::Result<()> {
    // Nobody else makes a name with our random instance in it: what stands there is our own of an attempt that failed.
    match rustix::fs::unlinkat(dir, hidden, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(errno) => return Err(errno.into()),
    }
    let fd = rustix::fs::openat(
        dir,
        hidden,
        OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::from_raw_mode(0o666),
    )?;
    write_all(&fd, bytes)
}

/// A write beyond the limit is answered with SIGXFSZ, which ends the process.
fn check_size_limit(bytes: &[u8]) -> io::Result<()> {
    match rustix::process::getrlimit(Resource::Fsize).current {
        Some(limit) if bytes.len() as u64 > limit => Err(io::ErrorKind::FileTooLarge.into()),
        _ => Ok(()),
    }
}

fn write_all(fd: &OwnedFd, bytes: &[u8]) -> io::Result<()> {
    check_size_limit(bytes)?;
    let mut rest = bytes;
    while !rest.is_empty() {
        let written = rustix::io::retry_on_intr(|| rustix::io::write(fd, rest))?;
        rest = rest.get(written..).unwrap_or_default();
    }
    Ok(())
}

fn read_bounded(fd: &OwnedFd) -> io::Result<Vec<u8>> {
    use std::io::Read;
    let mut bytes = Vec::new();
    let file = std::fs::File::from(fd.as_fd().try_clone_to_owned()?);
    // One byte more than the limit, so that `parse` can tell a file that is too long.
    file.take(PROCESS_FILE_LEN_MAX_BYTES as u64 + 1)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn check_text(field: &'static str, text: &str) -> Result<(), ProcessFileError> {
    let found = if text.len() > TEXT_LEN_MAX_BYTES {
        format!("{} bytes", text.len())
    } else if text.chars().any(char::is_control) {
        "control characters".to_owned()
    } else {
        return Ok(());
    };
    Err(ProcessFileError::Field {
        field,
        found,
        expected: "at most 256 bytes of printable text",
    })
}

fn bounded_text(text: &str) -> String {
    let mut bounded = String::new();
    for character in text.chars().filter(|character| !character.is_control()) {
        if bounded.len() + character.len_utf8() > TEXT_LEN_MAX_BYTES {
            break;
        }
        bounded.push(character);
    }
    bounded
}

fn is_label_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    name.len() <= TEXT_LEN_MAX_BYTES
        && bytes
            .next()
            .is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}
