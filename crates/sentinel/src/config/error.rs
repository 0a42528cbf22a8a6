//! Why there is no usable configuration, and where a value was given.
//!
//! Invariant: a message names the place, what was found and what would be accepted, and holds no secret. Must not touch: files.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::file::FILE_LEN_MAX_BYTES;
use crate::gateway::protocol::KeyError;

/// Why there is no usable configuration. Lines count from 1.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be opened or read.
    #[error("{}: cannot read the configuration", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A directory, a pipe, a device, or longer than any configuration.
    #[error("{}: {found}; accepted: a TOML file of at most {} MiB", .path.display(), FILE_LEN_MAX_BYTES >> 20)]
    NotAFile {
        /// The file.
        path: PathBuf,
        /// What it is.
        found: &'static str,
    },
    /// No TOML, an unknown key, or a value of the wrong type.
    #[error("{}: line {line}: {key}{message}", .path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line of the fault.
        line: usize,
        /// The key, followed by `: `, or empty if there is none.
        key: String,
        /// What was found, and what is accepted.
        message: String,
    },
    /// A value that is not accepted.
    #[error("{place}: found `{found}`, accepted: {accepted}")]
    Value {
        /// The flag, or file, line and key.
        place: Place,
        /// The value.
        found: String,
        /// What it may be.
        accepted: String,
    },
    /// A file that a key names cannot be read.
    #[error("{place}: {}: cannot read the {what}", .path.display())]
    Named {
        /// What is in it.
        what: &'static str,
        /// Where the file was named.
        place: Place,
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file with the gateway's secret holds no secret.
    #[error("{place}: {}: {source}", .path.display())]
    GatewaySecret {
        /// Where the file was named.
        place: Place,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: KeyError,
    },
    /// The file does not say what has to be said.
    #[error("{}: {key}: not set, {needed_by} needs it; accepted: {accepted}", file_name(.path.as_deref()))]
    Unset {
        /// The file; none if there is none.
        path: Option<PathBuf>,
        /// The key.
        key: String,
        /// What does not go without.
        needed_by: &'static str,
        /// What it may be.
        accepted: &'static str,
    },
}

fn file_name(path: Option<&Path>) -> String {
    path.map_or("built-in defaults".to_owned(), |path| {
        path.display().to_string()
    })
}

/// Where a value was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A flag.
    Flag(&'static str),
    /// A variable of the environment.
    Variable(&'static str),
    /// A key of a file.
    Line {
        /// The file.
        path: PathBuf,
        /// The value's line.
        line: usize,
        /// The key.
        key: &'static str,
    },
    /// Nowhere: the default. Its values are accepted alone, and can only be wrong together with given ones.
    Default(&'static str),
}

impl Place {
    /// In one word or two, for the log of the resolved configuration.
    pub fn in_short(&self) -> String {
        match self {
            Place::Flag(name) | Place::Variable(name) => (*name).to_owned(),
            Place::Line { line, .. } => format!("line {line}"),
            Place::Default(_) => "default".to_owned(),
        }
    }
}

/// A checked value and where it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed<T> {
    /// The value.
    pub value: T,
    /// Where it was given.
    pub place: Place,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Flag(name) | Place::Variable(name) => f.write_str(name),
            Place::Line { path, line, key } => write!(f, "{}: line {line}: {key}", path.display()),
            Place::Default(key) => write!(f, "{key} (default)"),
        }
    }
}
