//! Why there is no usable configuration, and where a value was given.
//!
//! Invariant: a message names the place, what was found and what would be accepted, and is one line that does nothing to a terminal.
//! Keys, their meanings and their words belong to the programs.

mod file;
mod layers;
mod text;

use std::fmt::{self, Display};
use std::io;
use std::path::{Path, PathBuf};

use crate::terminal::printable;

pub use file::{ConfigFile, Keys};
pub use layers::{Environment, Layers, PORT, Setting, port, whole};
pub use text::{FILE_LEN_MAX_BYTES, Unread, open_file, read_text};

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
    #[error("{}: line {line}: {}{}", .path.display(), printable(.key), printable(.message))]
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
    #[error("{place}: found `{}`, accepted: {accepted}", printable(.found))]
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
    /// A required key is not there.
    #[error("{}: line {line} (end of file): {key}: missing, accepted: {accepted}", .path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// Its last line.
        line: usize,
        /// The key.
        key: &'static str,
        /// What it may be.
        accepted: String,
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
    /// Whether somebody wrote it.
    pub fn is_explicit(&self) -> bool {
        !matches!(self, Place::Default(_))
    }

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

impl<T> Placed<T> {
    /// What the value means, and where it was given.
    pub fn placed<M>(&self, value: M) -> Placed<M> {
        Placed {
            value,
            place: self.place.clone(),
        }
    }
}

impl<T: Display> Placed<T> {
    /// The value is not accepted.
    pub fn refused(&self, accepted: &str) -> ConfigError {
        refused(self.place.clone(), cut(&self.value.to_string()), accepted)
    }
}

impl Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Flag(name) | Place::Variable(name) => f.write_str(name),
            Place::Line { path, line, key } => write!(f, "{}: line {line}: {key}", path.display()),
            Place::Default(key) => write!(f, "{key} (default)"),
        }
    }
}

/// A value that is right by itself and wrong together with others.
pub fn refused(place: Place, found: String, accepted: &str) -> ConfigError {
    ConfigError::Value {
        place,
        found,
        accepted: accepted.to_owned(),
    }
}

/// What a message shows of a value: whoever wrote it knows the rest. Nothing of one with a user or a query, where a password or a token
/// would be.
fn cut(text: &str) -> String {
    const FOUND_LEN_MAX_CHARS: usize = 60;
    let may_hold_a_secret =
        text.contains('@') || (text.contains("://") && text.contains(['?', '#']));
    if may_hold_a_secret {
        return "***".to_owned();
    }
    match text.char_indices().nth(FOUND_LEN_MAX_CHARS) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}
