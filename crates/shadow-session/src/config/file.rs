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
    pub(super) environment: Environment,
    pub(super) session: Session,
    pub(super) feed: Feed,
    pub(super) strategy: Strategies,
    pub(super) execution: Execution,
    pub(super) risk: Risk,
    pub(super) telemetry: Telemetry,
    pub(super) run_log: RunLog,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Environment {
    pub(super) mode: Key<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Session {
    pub(super) symbol: Key<String>,
    pub(super) timeframe: Key<String>,
    pub(super) start_balance: Key<String>,
    pub(super) position_fraction: Key<f64>,
    pub(super) poll_interval: Key<String>,
    pub(super) warmup_candles: Key<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Feed {
    pub(super) source: Key<String>,
    pub(super) file: Key<String>,
    pub(super) seed: Key<i64>,
    pub(super) base_url: Key<String>,
    pub(super) max_retries: Key<i64>,
    pub(super) rate_limit: Key<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Strategies {
    pub(super) ma_crossover: MaCrossover,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct MaCrossover {
    pub(super) fast_window: Key<i64>,
    pub(super) slow_window: Key<i64>,
    pub(super) allow_short: Key<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Execution {
    pub(super) fee_rate: Key<f64>,
    pub(super) slippage_bps: Key<f64>,
    pub(super) fill_at: Key<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Risk {
    pub(super) max_order_notional: Key<String>,
    pub(super) max_total_exposure: Key<String>,
    pub(super) max_symbol_exposure: Key<String>,
    pub(super) max_open_positions: Key<i64>,
    pub(super) max_daily_loss_abs: Key<String>,
    pub(super) max_daily_loss_pct: Key<f64>,
    pub(super) warning_factor: Key<f64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Telemetry {
    pub(super) mode: Key<String>,
    pub(super) multiproc_dir: Key<String>,
    pub(super) listen: Key<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RunLog {
    pub(super) enabled: Key<bool>,
    pub(super) dir: Key<String>,
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
    #[error("{}: line {line}: {}{}", .path.display(), one_line(.key), one_line(.message))]
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
    #[error("{place}: found `{}`, accepted: {accepted}", one_line(.found))]
    Value {
        /// The flag, or file, line and key.
        place: Place,
        /// The value.
        found: String,
        /// What it may be.
        accepted: String,
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
}

/// Where a value was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A flag.
    Flag(&'static str),
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
}

/// A checked value and where it was given, for what can only be found wrong later.
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
            Place::Flag(flag) => f.write_str(flag),
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

    /// The file lacks a key that it must have.
    pub(super) fn missing(&self, key: &'static str, accepted: String) -> ConfigError {
        let path = self.path.clone().unwrap_or_default();
        ConfigError::Missing {
            path,
            line: self.text.lines().count().max(1),
            key,
            accepted,
        }
    }
}

/// Keys and values are whatever the file says between quotes; a message is one line, and does nothing to a terminal.
fn one_line(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            escaped.extend(character.escape_default());
        } else {
            escaped.push(character);
        }
    }
    escaped
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
        "a string" if AMOUNTS.contains(&name) => "an amount as text, such as \"10000\"",
        "a string" => "text in quotes",
        "i64" => "a whole number, such as 20",
        "f64" => "a number, such as 0.1",
        "a boolean" => "true, false",
        _ if expected.starts_with("struct ") => "a table with keys",
        other => other,
    };
    format!("found {found}, accepted: {accepted}")
}

/// Keys that hold money.
const AMOUNTS: [&str; 5] = [
    "start_balance",
    "max_order_notional",
    "max_total_exposure",
    "max_symbol_exposure",
    "max_daily_loss_abs",
];

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
