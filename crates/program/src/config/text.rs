//! The text of a configuration file, whatever its language is, and the opening of a file that one names.
//!
//! Invariant: whoever reads it waits for nobody and holds no more than a configuration may have, whatever stands at the path.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use rustix::fs::{Mode, OFlags};

/// Longest configuration file that is read; a whole one has some thousand bytes.
pub const FILE_LEN_MAX_BYTES: u64 = 1 << 20;

/// Why there is no text. Each program has its own words for it.
#[derive(Debug)]
pub enum Unread {
    /// The file cannot be opened or read, or holds no UTF-8.
    System(io::Error),
    /// It is a directory, a pipe or a device; with what it is, as in "is a directory".
    NotAFile(&'static str),
    /// It is longer than [`FILE_LEN_MAX_BYTES`].
    TooLarge,
}

impl From<Unread> for io::Error {
    fn from(unread: Unread) -> io::Error {
        match unread {
            Unread::System(error) => error,
            Unread::NotAFile(found) => io::Error::other(found),
            Unread::TooLarge => io::Error::other("is too large"),
        }
    }
}

/// A regular file, to be read. Whoever reads it says how much.
///
/// # Errors
/// See [`Unread`].
pub fn open_file(path: &Path) -> Result<File, Unread> {
    // To open a pipe must not wait for whoever writes it.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let fd = rustix::fs::open(path, flags, Mode::empty())
        .map_err(|errno| Unread::System(errno.into()))?;
    let file = File::from(fd);
    let metadata = file.metadata().map_err(Unread::System)?;
    if metadata.is_dir() {
        return Err(Unread::NotAFile("is a directory"));
    }
    if !metadata.is_file() {
        return Err(Unread::NotAFile("is not a regular file"));
    }
    Ok(file)
}

/// The text of a regular file of reasonable length.
///
/// # Errors
/// See [`Unread`].
pub fn read_text(path: &Path) -> Result<String, Unread> {
    let mut bytes = Vec::new();
    // The length that the system tells is not asked for: the file may grow.
    open_file(path)?
        .take(FILE_LEN_MAX_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(Unread::System)?;
    if bytes.len() as u64 > FILE_LEN_MAX_BYTES {
        return Err(Unread::TooLarge);
    }
    String::from_utf8(bytes)
        .map_err(|error| Unread::System(io::Error::new(io::ErrorKind::InvalidData, error)))
}
