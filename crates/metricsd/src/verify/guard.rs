//! Children that the kernel ends when the verification that started them is killed.
//!
//! To ask the kernel for that is up to the child, and what is started here does not know of us: our own program is started in its
//! place, asks, and becomes it. Invariant: nothing else has been done to the process by then, signals included. Must not start
//! anything for a parent that is gone.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::{Signal, getppid, set_parent_process_death_signal};
use thiserror::Error;

/// The word before `PARENT PROGRAM ARGUMENTS...` on a command line of ours that is not for people.
pub const GUARDED: &str = "guarded-by";

/// The program was not started in our place.
#[derive(Debug, Error)]
pub enum GuardError {
    /// The words are not those of [`guarded`].
    #[error("{GUARDED}: found fewer words than PARENT PROGRAM ARGUMENTS...")]
    Words,
    /// The kernel does not end it with its parent.
    #[error("{}: cannot be ended with its parent", .program.display())]
    Unguarded {
        /// The program.
        program: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Whoever wanted it is gone.
    #[error("{}: not started, since the process that wanted it is gone", .program.display())]
    Orphan {
        /// The program.
        program: PathBuf,
    },
    /// The kernel refuses the program.
    #[error("{}: cannot start", .program.display())]
    Start {
        /// The program.
        program: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

/// The words that start `program` so that it ends with this process at the latest; they go to our own program.
pub fn guarded(program: &Path) -> [OsString; 3] {
    let parent = std::process::id().to_string();
    [GUARDED.into(), parent.into(), program.into()]
}

/// Becomes the program that the words behind [`GUARDED`] name. What kept it from that.
pub fn become_guarded(words: impl IntoIterator<Item = OsString>) -> GuardError {
    let mut words = words.into_iter();
    let (Some(parent), Some(program)) = (words.next(), words.next()) else {
        return GuardError::Words;
    };
    let program = PathBuf::from(program);
    if let Err(errno) = set_parent_process_death_signal(Some(Signal::KILL)) {
        let source = errno.into();
        return GuardError::Unguarded { program, source };
    }
    // Whoever started us may have gone before we asked; then somebody else is the parent.
    let now = getppid().map_or(0, |parent| parent.as_raw_nonzero().get());
    if parent.to_str() != Some(now.to_string().as_str()) {
        return GuardError::Orphan { program };
    }
    let source = Command::new(&program).args(words).exec();
    GuardError::Start { program, source }
}
