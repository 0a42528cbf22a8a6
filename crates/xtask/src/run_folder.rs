//! What one run of a command has for itself: a folder in cargo's target directory, and ports.
//!
//! Invariant: two runs at the same time never share a folder, also not with what an earlier run left behind that still runs.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::child::free_port;
use crate::terminal::say;
use crate::workspace;

/// A folder, held until this and every process that was started since has ended.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    _lock: File,
}

impl RunFolder {
    /// `target/NAME`, or `target/NAME-PID` while another run has that, without the sub-folders `stale` of an earlier run.
    ///
    /// # Errors
    /// When it cannot be made, locked or cleared.
    pub fn claim(name: &str, stale: &[&str]) -> Result<RunFolder> {
        let usual = workspace::target_dir().join(name);
        let (path, lock) = match claim(&usual)? {
            Some(lock) => (usual, lock),
            None => {
                let own = workspace::target_dir().join(format!("{name}-{}", std::process::id()));
                say(format_args!(
                    "   {} is in use by another {name}, using {}",
                    usual.display(),
                    own.display()
                ))?;
                let lock = claim(&own)?.with_context(|| format!("{} is in use", own.display()))?;
                (own, lock)
            }
        };
        for folder in stale.iter().map(|folder| path.join(folder)) {
            if folder.exists() {
                fs::remove_dir_all(&folder).with_context(|| {
                    format!("removing what an earlier run left in {}", folder.display())
                })?;
            }
        }
        Ok(RunFolder { path, _lock: lock })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// The port that configurations expect, or a free one, which is said, while somebody has that.
///
/// # Errors
/// When no port can be bound.
pub fn usual_or_free_port(usual: u16) -> Result<u16> {
    if std::net::TcpListener::bind(("127.0.0.1", usual)).is_ok() {
        return Ok(usual);
    }
    let other = free_port()?;
    say(format_args!("   port {usual} is taken, using {other}"))?;
    Ok(other)
}

/// Locks a folder of a run for this process and those that it starts: they inherit the descriptor, and the lock is held until the
/// last of them has ended. None when somebody holds it.
fn claim(folder: &Path) -> Result<Option<File>> {
    fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    let path = folder.join("lock");
    let file = File::options()
        .create(true)
        .write(true)
        .truncate(false)
        .open(&path)
        .with_context(|| format!("opening {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => {
            rustix::io::fcntl_setfd(&file, rustix::io::FdFlags::empty())
                .with_context(|| format!("handing {} down", path.display()))?;
            Ok(Some(file))
        }
        Err(fs::TryLockError::WouldBlock) => Ok(None),
        Err(fs::TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("locking {}", path.display()))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_folder_is_in_use_until_the_last_process_started_from_it_has_ended() {
        let folder = tempfile::tempdir().unwrap();
        let lock = claim(folder.path()).unwrap().unwrap();
        // As metricsd does: it ends when its input is closed, whatever becomes of this test.
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        drop(lock);
        let while_it_runs = claim(folder.path()).unwrap();
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(while_it_runs.is_none(), "the child is still there");
        assert!(claim(folder.path()).unwrap().is_some());
    }
}
