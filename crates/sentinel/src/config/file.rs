//! The configuration file as it is written: TOML, every key with its place in the text.
//!
//! Invariant: unknown keys are errors, and every error names file, line and key. What values mean is decided in the parent module.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use serde::Deserialize;
use toml::Spanned;

/// Longest configuration file that is read; a whole one has some thousand bytes.
const FILE_LEN_MAX_BYTES: u64 = 1 << 20;

type Key<T> = Option<Spanned<T>>;

/// All keys; each absent or present with its place.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Keys {
    pub(super) market: Market,
    pub(super) hub: Hub,
    pub(super) decide: Decide,
    pub(super) gateway: Gateway,
    pub(super) arm: Arm,
    pub(super) schedule: Schedule,
    pub(super) telemetry: Telemetry,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Market {
    pub(super) base_url: Key<String>,
    pub(super) token_file: Key<String>,
    pub(super) symbol: Key<String>,
    pub(super) interval: Key<String>,
    pub(super) calendar: Key<String>,
    pub(super) lookback_bars: Key<i64>,
    pub(super) stale_after: Key<String>,
    pub(super) timeout: Key<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Hub {
    pub(super) host: Key<String>,
    pub(super) port: Key<i64>,
    pub(super) timeout: Key<String>,
    pub(super) model: Key<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Decide {
    pub(super) threshold: Key<f64>,
    pub(super) cooldown: Key<String>,
    pub(super) max_orders_per_day: Key<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Gateway {
    pub(super) host: Key<String>,
    pub(super) port: Key<i64>,
    pub(super) timeout: Key<String>,
    pub(super) secret_file: Key<String>,
    pub(super) volume: Key<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Arm {
    pub(super) account: Key<String>,
    pub(super) confirm: Key<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Schedule {
    pub(super) every: Key<String>,
    pub(super) at_second: Key<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Telemetry {
    pub(super) mode: Key<String>,
    pub(super) multiproc_dir: Key<String>,
    pub(super) listen: Key<String>,
}

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
    /// The file with the token cannot be read.
    #[error("{place}: {}: cannot read the token", .path.display())]
    Token {
        /// Where the file was named.
        place: Place,
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
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

/// A file's text and keys, or nothing at all when there is no file.
#[derive(Debug, Default)]
pub(super) struct ConfigFile {
    pub(super) path: Option<PathBuf>,
    text: String,
    pub(super) keys: Keys,
}

impl ConfigFile {
    pub(super) fn read(path: &Path) -> Result<ConfigFile, ConfigError> {
        let read_error = |source| ConfigError::Read {
            path: path.to_owned(),
            source,
        };
        let refused = |found| ConfigError::NotAFile {
            path: path.to_owned(),
            found,
        };
        // To open a pipe must not wait for whoever writes it.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::empty())
            .map_err(|errno| read_error(errno.into()))?;
        let file = File::from(fd);
        let metadata = file.metadata().map_err(read_error)?;
        if metadata.is_dir() {
            return Err(refused("is a directory"));
        }
        if !metadata.is_file() {
            return Err(refused("is not a regular file"));
        }
        let mut bytes = Vec::new();
        // The length that the system tells is not asked for: the file may grow.
        file.take(FILE_LEN_MAX_BYTES + 1)
            .read_to_end(&mut bytes)
            .map_err(read_error)?;
        if bytes.len() as u64 > FILE_LEN_MAX_BYTES {
            return Err(refused("is too large"));
        }
        let text = String::from_utf8(bytes)
            .map_err(|error| read_error(io::Error::new(io::ErrorKind::InvalidData, error)))?;
        ConfigFile::parse(path, text)
    }

    pub(super) fn parse(path: &Path, text: String) -> Result<ConfigFile, ConfigError> {
        match toml::from_str(&text) {
            Ok(keys) => Ok(ConfigFile {
                path: Some(path.to_owned()),
                text,
                keys,
            }),
            Err(error) => {
                let start = error.span().map_or(0, |span| span.start);
                let key = key_at(&text, start);
                let message = error.message().trim().replace('\n', ", ");
                Err(ConfigError::Syntax {
                    path: path.to_owned(),
                    line: line_of(&text, start),
                    message: in_words(&message, key.as_deref().unwrap_or_default()),
                    key: key.map(|key| format!("{key}: ")).unwrap_or_default(),
                })
            }
        }
    }

    /// The place of a value of this file.
    pub(super) fn place(&self, span: Range<usize>, key: &'static str) -> Place {
        let path = self.path.clone().unwrap_or_default();
        Place::Line {
            path,
            line: line_of(&self.text, span.start),
            key,
        }
    }
}

/// A fault of type without the names of a programming language.
fn in_words(message: &str, key: &str) -> String {
    let Some((found, expected)) = message
        .strip_prefix("invalid type: ")
        .and_then(|rest| rest.rsplit_once(", expected "))
    else {
        return message.to_owned();
    };
    let name = key.rsplit('.').next().unwrap_or_default();
    let accepted = match expected {
        "a string" if DURATIONS.contains(&name) => "a duration in quotes, such as \"10s\"",
        "a string" => "text in quotes",
        "i64" => "a whole number, such as 20",
        "f64" => "a number, such as 0.1",
        _ if expected.starts_with("struct ") => "a table with keys",
        other => other,
    };
    format!("found {found}, accepted: {accepted}")
}

/// Keys that hold durations.
const DURATIONS: [&str; 4] = ["stale_after", "timeout", "cooldown", "every"];

fn line_of(text: &str, offset: usize) -> usize {
    let end = offset.min(text.len());
    text.as_bytes()[..end]
        .iter()
        .filter(|byte| **byte == b'\n')
        .count()
        + 1
}

/// `table.key` of the line at `offset`: an approximation for messages that does not look inside multi-line values.
fn key_at(text: &str, offset: usize) -> Option<String> {
    let line = line_of(text, offset);
    let before: Vec<&str> = text.lines().take(line).map(str::trim).collect();
    let header = |line: &&&str| line.starts_with('[') && line.contains(']');
    let name = |line: &str| {
        line.trim_start_matches('[')
            .split(']')
            .next()
            .unwrap_or_default()
            .trim()
            .to_owned()
    };
    let last = before.last()?;
    if header(&last) {
        return Some(name(last));
    }
    let (key, value) = last.split_once('=')?;
    let key = inline_key(text, offset, key.trim(), value);
    let key = key.as_str();
    let table = before.iter().rev().find(header).map(|line| name(line));
    Some(table.map_or_else(
        || key.trim().to_owned(),
        |table| format!("{table}.{}", key.trim()),
    ))
}

/// `key`, or `key.inner` where the value is an inline table and the offset lies behind or at a key in it.
fn inline_key(text: &str, offset: usize, key: &str, value: &str) -> String {
    let begin = text
        .get(..offset)
        .and_then(|before| before.rfind('\n'))
        .map_or(0, |end| end + 1);
    let inner = text
        .get(begin..offset)
        .filter(|_| value.trim_start().starts_with('{'))
        .and_then(|before| before.rsplit(['{', ',']).next().map(str::trim))
        .and_then(|before| match before.split_once('=') {
            Some((inner, _)) => Some(inner),
            // The fault is the key itself.
            None => text.get(offset..)?.split(['=', '\n', '}']).next(),
        })
        .map(str::trim)
        .filter(|inner| !inner.is_empty() && !inner.contains(['{', '[']));
    inner.map_or_else(|| key.to_owned(), |inner| format!("{key}.{inner}"))
}
