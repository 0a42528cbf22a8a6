//! `metricsd inspect`: what is in a shard, in a file of the state, or in a directory of either, as a person reads it.
//!
//! Invariant: no lease, no lock, nothing opened for writing; any bytes give a page or one sentence, and no string of a file
//! reaches a terminal with control characters.

mod archive_file;
mod process;
mod shard;
mod shard_directory;
mod state_directory;
mod table;

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use clap::Args;
use metricsd_shard::{NameError, ShardFile, ShardName, original_of_retiring, process_file_id};
use rustix::fs::{Mode, OFlags};
use serde::Serialize;
use thiserror::Error;

use crate::archive::{Disk, OpenError, Storage, begins_as_archive, is_archive_file};
use crate::cli::parse_path;
use crate::directory::{DirectoryError, ShardDirectory};
use program::terminal::{printable, printable_json};

/// Longest file of the state that is read here.
const STATE_FILE_LEN_MAX_BYTES: u64 = 4 << 30;

/// The flags of `inspect`.
#[derive(Debug, Clone, Args)]
pub struct InspectArgs {
    /// A shard, a sidecar `process_ID.json`, a segment or checkpoint of the state, a shard directory, or a state directory.
    #[arg(value_name = "PATH", value_parser = parse_path)]
    pub path: PathBuf,
    /// How many entries, records or files of each list are shown; 0 = all.
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    pub limit: usize,
    /// Write one JSON object instead of a page.
    #[arg(long)]
    pub json: bool,
}

/// There is nothing to show. The exit code is 1.
#[derive(Debug, Error)]
pub enum InspectError {
    /// The path, or the directory that it is in, cannot be looked at.
    #[error("{}", printable(&.path.display().to_string()))]
    Read {
        /// The path.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The directory cannot be read.
    #[error("{}", printable(&.0.to_string()))]
    Directory(DirectoryError),
    /// The state cannot be understood.
    #[error("{}", printable(&.path.display().to_string()))]
    State {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: OpenError,
    },
    /// It is something else.
    #[error("{}: {}", printable(&.path.display().to_string()), printable(.found))]
    NotOurs {
        /// The path.
        path: PathBuf,
        /// What it is instead.
        found: String,
    },
    /// The page cannot be written.
    #[error("cannot write the page out: {0}")]
    Write(io::Error),
}

/// What was found, with a page of it.
trait Page: Serialize {
    /// The lines of the page; whoever writes them escapes them.
    fn lines(&self) -> Vec<String>;
}

/// What `--json` writes.
#[derive(Serialize)]
struct Object<'a, P> {
    command: &'static str,
    version: &'static str,
    path: String,
    #[serde(flatten)]
    page: &'a P,
}

/// How much of each list is shown.
#[derive(Debug, Clone, Copy)]
struct Limit(usize);

impl Limit {
    /// How many of `count`.
    fn of(self, count: usize) -> usize {
        if self.0 == 0 {
            count
        } else {
            count.min(self.0)
        }
    }
}

/// Shows what is at the path.
///
/// # Errors
/// Nothing can be shown, or not be written.
pub fn run(args: &InspectArgs, out: &mut dyn Write) -> Result<(), InspectError> {
    let limit = Limit(args.limit);
    let failed = |source| InspectError::Read {
        path: args.path.clone(),
        source,
    };
    let metadata = std::fs::metadata(&args.path).map_err(failed)?;
    if metadata.is_dir() {
        let disk = Disk::open(&args.path).map_err(failed)?;
        let names = disk.list().map_err(failed)?;
        if names.iter().any(|name| is_archive_file(name)) {
            return write(args, &state_directory::look(&args.path, &disk, limit)?, out);
        }
        let directory = ShardDirectory::open(&args.path).map_err(InspectError::Directory)?;
        let page = shard_directory::look(&directory, limit).map_err(InspectError::Directory)?;
        return write(args, &page, out);
    }
    let (folder, name) = split(&args.path).ok_or_else(|| InspectError::NotOurs {
        path: args.path.clone(),
        found: "not the name of a file".to_owned(),
    })?;
    if process_file_id(&name).is_some() {
        return write(args, &process::look(&args.path, &folder, &name)?, out);
    }
    let shard_name = ShardName::parse(original_of_retiring(&name).unwrap_or(&name));
    if !is_archive_file(&name) && shard_name != Err(NameError::NotAShard) {
        return write(args, &shard::look(&args.path, &folder, &name, limit)?, out);
    }
    let disk = Disk::open(&folder).map_err(failed)?;
    let bytes = disk.read(&name, STATE_FILE_LEN_MAX_BYTES).map_err(failed)?;
    if is_archive_file(&name) || begins_as_archive(&bytes) {
        let page = archive_file::look(&args.path, &bytes, limit)?;
        return write(args, &page, out);
    }
    // A shard by another name, such as a copy.
    write(args, &shard::look(&args.path, &folder, &name, limit)?, out)
}

fn write<P: Page>(args: &InspectArgs, page: &P, out: &mut dyn Write) -> Result<(), InspectError> {
    let written = if args.json {
        let object = Object {
            command: "inspect",
            version: env!("CARGO_PKG_VERSION"),
            path: args.path.display().to_string(),
            page,
        };
        serde_json::to_string_pretty(&object)
            .map_err(io::Error::from)
            .and_then(|text| writeln!(out, "{}", printable_json(&text)))
    } else {
        let path = args.path.display().to_string();
        let lines = std::iter::once(path).chain(page.lines());
        lines
            .into_iter()
            .try_for_each(|line| writeln!(out, "{}", printable(&line)))
    };
    match written.and_then(|()| out.flush()) {
        Err(err) if err.kind() != io::ErrorKind::BrokenPipe => Err(InspectError::Write(err)),
        _ => Ok(()),
    }
}

/// Directory and file name; none if the path ends in no name, or in one that is not UTF-8.
fn split(path: &Path) -> Option<(PathBuf, String)> {
    let name = path.file_name()?.to_str()?.to_owned();
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    Some((folder, name))
}

/// Opens a shard as the daemon does: no link, nothing that blocks.
fn open_shard(path: &Path, folder: &Path, name: &str) -> Result<ShardFile, InspectError> {
    let failed = |source: io::Error| InspectError::Read {
        path: path.to_owned(),
        source,
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder =
        rustix::fs::open(folder, flags, Mode::empty()).map_err(|err| failed(err.into()))?;
    ShardFile::open_at(folder.as_fd(), name).map_err(|err| InspectError::NotOurs {
        path: path.to_owned(),
        found: after_name(&program::sentence(&err), name),
    })
}

/// A sentence without the file's name in front, which the path says already.
fn after_name(sentence: &str, name: &str) -> String {
    let rest = sentence.strip_prefix(name);
    let rest = rest.and_then(|rest| rest.strip_prefix(": "));
    rest.unwrap_or(sentence).to_owned()
}
