//! The state directory: what was decided and sent, each run mode with its own.
//!
//! Invariant: a directory that is made here is nobody else's to read, and its name is durable. Must not touch: what is in the directories,
//! and directories that are there already, whatever their permissions.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Whether orders are sent. A dry run's bars are not the decided bars of a live run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunMode {
    /// Orders are sent.
    Live,
    /// They are not.
    DryRun,
}

impl RunMode {
    /// The spelling in directories, metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            RunMode::Live => "live",
            RunMode::DryRun => "dry-run",
        }
    }
}

/// A state directory cannot be made or used.
#[derive(Debug, Error)]
#[error("{}: cannot make the state directory", .path.display())]
pub struct StateDirectoryError {
    /// The directory.
    path: PathBuf,
    /// What the system says.
    source: io::Error,
}

/// The directories of one run mode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateDirectory {
    root: PathBuf,
    mode: RunMode,
}

/// Orders and equity are nobody else's business.
const DIRECTORY_MODE: u32 = 0o700;

impl StateDirectory {
    /// Where they are, whether they are there or not.
    pub fn at(root: &Path, mode: RunMode) -> StateDirectory {
        StateDirectory {
            root: root.to_owned(),
            mode,
        }
    }

    /// Where they are, after making those that are not there.
    ///
    /// # Errors
    /// One of them cannot be made, is not a directory, or its name cannot be made durable.
    pub fn create(root: &Path, mode: RunMode) -> Result<StateDirectory, StateDirectoryError> {
        let directory = StateDirectory::at(root, mode);
        for path in [directory.intents(), directory.audit()] {
            make(&path).map_err(|source| StateDirectoryError { path, source })?;
        }
        Ok(directory)
    }

    /// The directory of the intent log.
    pub fn intents(&self) -> PathBuf {
        self.root.join(self.mode.as_str()).join("intents")
    }

    /// The directory of the audit.
    pub fn audit(&self) -> PathBuf {
        self.root.join(self.mode.as_str()).join("audit")
    }
}

/// Makes a directory and those above it, each durable before anything is in it.
fn make(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => return Err(io::ErrorKind::NotFound.into()),
    };
    make(parent)?;
    match DirBuilder::new().mode(DIRECTORY_MODE).create(path) {
        // Another process may have been faster; a file that has the name is an error.
        Err(error)
            if error.kind() == io::ErrorKind::AlreadyExists && fs::metadata(path)?.is_dir() => {}
        made => made?,
    }
    File::open(parent)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn what_is_made_is_its_owners_alone_and_what_is_there_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let shared = folder.path().join("shared");
        fs::create_dir(&shared).unwrap();
        fs::set_permissions(&shared, fs::Permissions::from_mode(0o755)).unwrap();
        let root = shared.join("a/b");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        for _ in 0..2 {
            let live = StateDirectory::create(&root, RunMode::Live).unwrap();
            assert_eq!(live.intents(), root.join("live/intents"));
            for path in [
                live.intents(),
                live.audit(),
                root.join("live"),
                root.clone(),
            ] {
                assert_eq!(mode(&path), 0o700, "{}", path.display());
            }
        }
        assert_eq!(mode(&shared), 0o755);
        assert!(!root.join("dry-run").exists());
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let error = StateDirectory::create(&file, RunMode::DryRun).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("file/dry-run/intents: cannot make")
        );
    }
}
