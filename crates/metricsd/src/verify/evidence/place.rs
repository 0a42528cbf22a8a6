//! Where a report goes: a folder of its own below the directory that was named, so that an older one is never touched.
//!
//! Invariant: every file is made new; one that exists is an error, not overwritten. Must not delete anything.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use thiserror::Error;

use super::{Evidence, markdown};

/// Folders of one second that are tried before it is given up.
const SAME_SECOND_MAX: u32 = 100;

/// A report cannot be filed. The exit code is 1.
#[derive(Debug, Error)]
pub enum EvidenceError {
    /// No folder can be made.
    #[error("{}: cannot make a folder for the report; name a directory that can be written with --evidence", .path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A file cannot be written.
    #[error("{}: cannot write the report", .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

/// A new, empty folder for one report.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// Makes `DIR/NAME-20260129T101500Z`, with a number behind it if that one exists.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn create(directory: &Path, name: &str, now: Timestamp) -> Result<Folder, EvidenceError> {
        let failed = |path: &Path, source| EvidenceError::Folder {
            path: path.to_owned(),
            source,
        };
        fs::create_dir_all(directory).map_err(|source| failed(directory, source))?;
        let directory = directory
            .canonicalize()
            .map_err(|source| failed(directory, source))?;
        let stamp = now.strftime("%Y%m%dT%H%M%SZ").to_string();
        let mut number = 1;
        loop {
            let path = directory.join(match number {
                1 => format!("{name}-{stamp}"),
                _ => format!("{name}-{stamp}-{number}"),
            });
            match fs::create_dir(&path) {
                Ok(()) => return Ok(Folder { path }),
                Err(err)
                    if err.kind() == io::ErrorKind::AlreadyExists && number < SAME_SECOND_MAX =>
                {
                    number += 1;
                }
                Err(source) => return Err(failed(&path, source)),
            }
        }
    }

    /// Its absolute path.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Writes `report.md`, `report.json` and the raw answers.
///
/// # Errors
/// A file that cannot be written; those before it are there.
pub fn write(folder: &Folder, evidence: &Evidence) -> Result<(), EvidenceError> {
    for raw in &evidence.raw {
        new_file(&folder.path.join(&raw.name), &raw.content)?;
    }
    let mut json = serde_json::to_vec_pretty(evidence).map_err(|err| EvidenceError::Write {
        path: folder.path.join("report.json"),
        source: err.into(),
    })?;
    json.push(b'\n');
    new_file(&folder.path.join("report.json"), &json)?;
    new_file(
        &folder.path.join("report.md"),
        markdown(evidence).as_bytes(),
    )
}

fn new_file(path: &Path, content: &[u8]) -> Result<(), EvidenceError> {
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(path)
        .and_then(|mut file| {
            file.write_all(content)?;
            file.sync_all()
        });
    written.map_err(|source| EvidenceError::Write {
        path: path.to_owned(),
        source,
    })
}
