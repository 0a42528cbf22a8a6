//! The state directory: what was decided and sent, each run mode with its own.
//!
//! Invariant: a directory that is made here is nobody else's to read, and its name is durable. Must not touch: what is in the directories,
//! and directories that are there already, whatever their permissions.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
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

/// The state is not that of the armed account.
#[derive(Debug, Error)]
pub enum ClaimError {
    /// Another account's orders and losses are in it.
    #[error("{}: this state directory is that of account `{found}`, and arm.account is `{armed}`; accepted: a state directory of its own for each account, see --state-dir", .path.display())]
    OtherAccount {
        /// The file that says so.
        path: PathBuf,
        /// Whose it is.
        found: String,
        /// Who asks for it.
        armed: String,
    },
    /// The name cannot be read or written.
    #[error("{}: cannot read or write whose state directory it is", .path.display())]
    Storage {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// The directories of one run mode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateDirectory {
    root: PathBuf,
    mode: RunMode,
}

/// Orders and equity are nobody else's business.
const DIRECTORY_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

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

    /// Makes these directories that account's, for good, or finds that they are. To be called by whoever holds the lock of the intent log:
    /// what it says of open orders, of the position and of the day's opening equity is about one account.
    ///
    /// # Errors
    /// They are another account's, or nobody can say.
    pub fn claim(&self, account: &str) -> Result<(), ClaimError> {
        let folder = self.root.join(self.mode.as_str());
        let path = folder.join("account");
        let found = match fs::read_to_string(&path) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return write_name(&folder, &path, account)
                    .map_err(|source| ClaimError::Storage { path, source });
            }
            Err(source) => return Err(ClaimError::Storage { path, source }),
        };
        match found.trim_end_matches('\n') {
            found if found == account => Ok(()),
            found => Err(ClaimError::OtherAccount {
                path,
                found: found.to_owned(),
                armed: account.to_owned(),
            }),
        }
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

/// All of the name or none, durable.
fn write_name(folder: &Path, path: &Path, account: &str) -> io::Result<()> {
    let draft = path.with_extension("new");
    let mut file = File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(FILE_MODE)
        .open(&draft)?;
    writeln!(file, "{account}")?;
    file.sync_all()?;
    fs::rename(&draft, path)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_state_directory_is_one_accounts_for_good_and_another_one_is_told_whose_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let live = StateDirectory::create(folder.path(), RunMode::Live).unwrap();
        for _ in 0..2 {
            live.claim("7001").unwrap();
        }
        let error = live.claim("7002").unwrap_err().to_string();
        assert!(
            error.contains("live/account") && error.contains("`7001`") && error.contains("`7002`"),
            "{error}"
        );
        live.claim("7001").unwrap();
        let path = folder.path().join("live/account");
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600);
        // What cannot be read is nobody's to take.
        fs::write(&path, [0xff]).unwrap();
        assert!(matches!(
            live.claim("7001"),
            Err(ClaimError::Storage { .. })
        ));
    }

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
