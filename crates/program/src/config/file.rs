//! The configuration file as it is written: TOML, every key with its place in the text.
//!
//! Invariant: unknown keys are errors, and every error names file, line and key. What values mean is decided in the programs.

use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use super::{ConfigError, Place, Unread, read_text};

/// All keys of a program's file, each absent or present with its place: serde's structures of `Option<toml::Spanned<T>>` that deny unknown
/// fields.
pub trait Keys: DeserializeOwned + Default {
    /// Read if it exists and no other file was named; relative to the working directory, as all paths are.
    const DEFAULT_PATH: &'static str;

    /// Names of keys, without their tables, and what a message tells of all of them where something else than text in quotes was found.
    const TEXTS: (&'static [&'static str], &'static str);
}

/// A file's text and keys, or nothing at all when there is no file.
#[derive(Debug, Default)]
pub struct ConfigFile<K> {
    /// The file; `None` when there is none.
    pub path: Option<PathBuf>,
    text: String,
    /// What it says.
    pub keys: K,
}

impl<K: Keys> ConfigFile<K> {
    /// The file that was named, the one at the default place, or none.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn find(named: Option<&Path>) -> Result<ConfigFile<K>, ConfigError> {
        match named {
            Some(path) => ConfigFile::read(path),
            None => match Path::new(K::DEFAULT_PATH).try_exists() {
                Ok(false) => Ok(ConfigFile::default()),
                // One that cannot be looked at is an error, not a reason to run on other settings than the operator's.
                Ok(true) | Err(_) => ConfigFile::read(Path::new(K::DEFAULT_PATH)),
            },
        }
    }

    /// Reads that file.
    ///
    /// # Errors
    /// It cannot be read, is no configuration file, or [`parse`](Self::parse) refuses it.
    pub fn read(path: &Path) -> Result<ConfigFile<K>, ConfigError> {
        let path = path.to_owned();
        match read_text(&path) {
            Ok(text) => ConfigFile::parse(&path, text),
            Err(Unread::System(source)) => Err(ConfigError::Read { path, source }),
            Err(Unread::NotAFile(found)) => Err(ConfigError::NotAFile { path, found }),
            Err(Unread::TooLarge) => {
                let found = "is too large";
                Err(ConfigError::NotAFile { path, found })
            }
        }
    }

    /// Takes a file's text; `path` is for the messages.
    ///
    /// # Errors
    /// It is no TOML, has an unknown key, or a value of the wrong type.
    pub fn parse(path: &Path, text: String) -> Result<ConfigFile<K>, ConfigError> {
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
                    message: in_words(&message, key.as_deref().unwrap_or_default(), K::TEXTS),
                    key: key.map(|key| format!("{key}: ")).unwrap_or_default(),
                })
            }
        }
    }

    /// The place of a value of this file.
    pub fn place(&self, span: Range<usize>, key: &'static str) -> Place {
        let path = self.path.clone().unwrap_or_default();
        Place::Line {
            path,
            line: line_of(&self.text, span.start),
            key,
        }
    }

    /// The file lacks a key that it must have.
    pub fn missing(&self, key: &'static str, accepted: String) -> ConfigError {
        let path = self.path.clone().unwrap_or_default();
        ConfigError::Missing {
            path,
            line: self.text.lines().count().max(1),
            key,
            accepted,
        }
    }
}

/// A fault of type without the names of a programming language.
fn in_words(message: &str, key: &str, (names, words): (&[&str], &str)) -> String {
    let Some((found, expected)) = message
        .strip_prefix("invalid type: ")
        .and_then(|rest| rest.rsplit_once(", expected "))
    else {
        return message.to_owned();
    };
    let name = key.rsplit('.').next().unwrap_or_default();
    let accepted = match expected {
        "a string" if names.contains(&name) => words,
        "a string" => "text in quotes",
        "i64" => "a whole number, such as 20",
        "f64" => "a number, such as 0.1",
        "a boolean" => "true, false",
        _ if expected.starts_with("struct ") => "a table with keys",
        other => other,
    };
    format!("found {found}, accepted: {accepted}")
}

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
