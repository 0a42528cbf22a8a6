//! The configuration file as it is written: TOML, every key with its place in the text.
//!
//! Invariant: unknown keys are errors, and every error names file, line and key. What values mean is decided in the parent module.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::DEFAULT_PATH;
use super::error::{ConfigError, Place};
use super::keys::Keys;
use rustix::fs::{Mode, OFlags};

/// Longest configuration file that is read; a whole one has some thousand bytes.
pub(super) const FILE_LEN_MAX_BYTES: u64 = 1 << 20;

/// A file's text and keys, or nothing at all when there is no file.
#[derive(Debug, Default)]
pub(super) struct ConfigFile {
    pub(super) path: Option<PathBuf>,
    text: String,
    pub(super) keys: Keys,
}

impl ConfigFile {
    /// The file that was named, the one at the default place, or none.
    pub(super) fn find(named: Option<&Path>) -> Result<ConfigFile, ConfigError> {
        match named {
            Some(path) => ConfigFile::read(path),
            None => match Path::new(DEFAULT_PATH).try_exists() {
                Ok(false) => Ok(ConfigFile::default()),
                // One that cannot be looked at is an error, not a reason to run on other settings than the operator's.
                Ok(true) | Err(_) => ConfigFile::read(Path::new(DEFAULT_PATH)),
            },
        }
    }

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
const DURATIONS: [&str; 6] = [
    "stale_after",
    "timeout",
    "cooldown",
    "every",
    "valid_for",
    "heartbeat_every",
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
