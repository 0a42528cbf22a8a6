//! A table of the configuration file, read key by key.
//!
//! Invariant: every error names file, line and key, what was found and what is accepted; a key that nobody asked for is one. Values of
//! secrets are in no message.

use std::fmt;
use std::io;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use program::config::{FILE_LEN_MAX_BYTES, Unread, read_text};

use super::yaml::{self, Node, Value};

/// Why there is no usable configuration: exit status 2. Lines count from 1.
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
    #[error("{}: {found}; accepted: a YAML file of at most {} MiB", .path.display(), FILE_LEN_MAX_BYTES >> 20)]
    NotAFile {
        /// The file.
        path: PathBuf,
        /// What it is.
        found: &'static str,
    },
    /// No YAML, or YAML of a kind that is not accepted.
    #[error("{}: line {line}: {message}", .path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line of the fault.
        line: usize,
        /// What is wrong there.
        message: String,
    },
    /// A value that is not accepted, or a key that does not exist.
    #[error("{place}: found {found}, accepted: {accepted}")]
    Value {
        /// The flag, the variable, or file, line and key.
        place: Place,
        /// What was found.
        found: String,
        /// What it may be.
        accepted: String,
    },
    /// A file that a key names cannot be read.
    #[error("{place}: {}: cannot read the secret", .path.display())]
    Secret {
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
    Variable(String),
    /// A key of a file.
    Line {
        /// The file.
        path: PathBuf,
        /// The value's line.
        line: usize,
        /// The key, with the keys around it.
        key: String,
    },
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Flag(name) => f.write_str(name),
            Place::Variable(name) => f.write_str(name),
            Place::Line { path, line, key } => write!(f, "{}: line {line}: {key}", path.display()),
        }
    }
}

/// A value and where it was given.
#[derive(Debug, Clone)]
pub(super) struct Given<T> {
    pub(super) value: T,
    pub(super) place: Place,
}

impl<T> Given<T> {
    pub(super) fn refused(&self, found: &str, accepted: &str) -> ConfigError {
        refused(self.place.clone(), found, accepted)
    }
}

pub(super) fn refused(place: Place, found: &str, accepted: &str) -> ConfigError {
    // What somebody mistyped may hold line ends; one sentence is one line.
    let found = found.escape_debug().to_string();
    ConfigError::Value {
        place,
        found,
        accepted: accepted.to_owned(),
    }
}

/// A table: keys and values, and which of them have been asked for.
#[derive(Debug)]
pub(super) struct Table {
    path: PathBuf,
    /// The keys that lead here, with a dot behind each.
    prefix: String,
    /// Where the table stands.
    pub(super) place: Place,
    entries: Vec<(Node, Node)>,
    asked: Vec<&'static str>,
}

impl Table {
    /// The file's text as a table.
    pub(super) fn parse(path: &Path, text: &str) -> Result<Table, ConfigError> {
        let node = yaml::parse(text).map_err(|(line, message)| ConfigError::Syntax {
            path: path.to_owned(),
            line,
            message,
        })?;
        let place = Place::Line {
            path: path.to_owned(),
            line: node.line,
            key: "the file".to_owned(),
        };
        Table::of(path, String::new(), place, &node)
    }

    fn of(path: &Path, prefix: String, place: Place, node: &Node) -> Result<Table, ConfigError> {
        let entries = match &node.value {
            Value::Map(entries) => entries.clone(),
            Value::Null => Vec::new(),
            other => return Err(refused(place, other.in_words(), "keys and values")),
        };
        Ok(Table {
            path: path.to_owned(),
            prefix,
            place,
            entries,
            asked: Vec::new(),
        })
    }

    fn place(&self, line: usize, key: &str) -> Place {
        Place::Line {
            path: self.path.clone(),
            line,
            key: format!("{}{key}", self.prefix),
        }
    }

    fn take(&mut self, key: &'static str) -> Option<Given<Node>> {
        self.asked.push(key);
        let (name, node) = self
            .entries
            .iter()
            .find(|(name, _)| matches!(&name.value, Value::Scalar(text) if text == key))?;
        if matches!(node.value, Value::Null) {
            return None;
        }
        // A block begins below its key; the key is what one looks for.
        let line = match node.value {
            Value::Scalar(_) => node.line,
            _ => name.line,
        };
        Some(Given {
            value: node.clone(),
            place: self.place(line, key),
        })
    }

    /// A text, as it stands there.
    pub(super) fn text(&mut self, key: &'static str) -> Result<Option<Given<String>>, ConfigError> {
        match self.take(key) {
            None => Ok(None),
            Some(given) => text_of(given).map(Some),
        }
    }

    /// A text that `parse` makes something of.
    pub(super) fn value<T>(
        &mut self,
        key: &'static str,
        accepted: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<Given<T>>, ConfigError> {
        let Some(text) = self.text(key)? else {
            return Ok(None);
        };
        match parse(&text.value) {
            Some(value) => Ok(Some(Given {
                value,
                place: text.place,
            })),
            None => Err(text.refused(&format!("`{}`", text.value), accepted)),
        }
    }

    /// A whole number within bounds.
    pub(super) fn whole(
        &mut self,
        key: &'static str,
        range: RangeInclusive<u64>,
        default: u64,
    ) -> Result<u64, ConfigError> {
        let accepted = format!("a whole number from {} to {}", range.start(), range.end());
        let parse = |text: &str| text.parse().ok().filter(|number| range.contains(number));
        let given = self.value(key, &accepted, parse)?;
        Ok(given.map_or(default, |given| given.value))
    }

    /// A duration within bounds.
    pub(super) fn duration(
        &mut self,
        key: &'static str,
        range: (&str, &str),
        default: &str,
    ) -> Result<Duration, ConfigError> {
        let of = |text: &str| duration(text).expect("a duration of this program's own");
        let (least, most) = (of(range.0), of(range.1));
        let accepted = format!(
            "a duration from {} to {}, as 500ms, 10s or 5m",
            range.0, range.1
        );
        let parse = |text: &str| duration(text).filter(|time| (least..=most).contains(time));
        let given = self.value(key, &accepted, parse)?;
        Ok(given.map_or(of(default), |given| given.value))
    }

    /// `true` or `false`.
    pub(super) fn flag(&mut self, key: &'static str) -> Result<Option<Given<bool>>, ConfigError> {
        self.value(key, "true false", |text| text.parse().ok())
    }

    /// A list of texts.
    pub(super) fn texts(&mut self, key: &'static str) -> Result<Vec<Given<String>>, ConfigError> {
        let nodes = self.list(key)?;
        nodes.into_iter().map(text_of).collect()
    }

    /// A list of tables, each with its place.
    pub(super) fn tables(&mut self, key: &'static str) -> Result<Vec<Table>, ConfigError> {
        let path = self.path.clone();
        let nodes = self.list(key)?;
        let nodes = nodes.into_iter().enumerate();
        nodes
            .map(|(index, given)| {
                let prefix = format!("{}{key}[{index}].", self.prefix);
                Table::of(&path, prefix, given.place, &given.value)
            })
            .collect()
    }

    fn list(&mut self, key: &'static str) -> Result<Vec<Given<Node>>, ConfigError> {
        let Some(given) = self.take(key) else {
            return Ok(Vec::new());
        };
        match given.value.value {
            Value::List(nodes) => {
                let nodes = nodes.into_iter().enumerate();
                Ok(nodes
                    .map(|(index, node)| Given {
                        place: self.place(node.line, &format!("{key}[{index}]")),
                        value: node,
                    })
                    .collect())
            }
            ref other => Err(given.refused(other.in_words(), "a list")),
        }
    }

    /// The table of that key.
    pub(super) fn table(&mut self, key: &'static str) -> Result<Option<Table>, ConfigError> {
        let prefix = format!("{}{key}.", self.prefix);
        match self.take(key) {
            None => Ok(None),
            Some(given) => Table::of(&self.path, prefix, given.place, &given.value).map(Some),
        }
    }

    /// Every key as a text with its value as a text, whatever the keys are.
    pub(super) fn pairs(self) -> Result<Vec<(String, Given<String>)>, ConfigError> {
        let pairs = self.entries.iter().map(|(name, node)| {
            let Value::Scalar(key) = &name.value else {
                unreachable!("the parser refuses keys that are no texts")
            };
            let place = self.place(node.line, key);
            let value = node.clone();
            Ok((key.clone(), text_of(Given { value, place })?))
        });
        pairs.collect()
    }

    /// Every key as a text with its value as a table, whatever the keys are.
    pub(super) fn named_tables(self) -> Result<Vec<(String, Table)>, ConfigError> {
        let tables = self.entries.iter().map(|(name, node)| {
            let Value::Scalar(key) = &name.value else {
                unreachable!("the parser refuses keys that are no texts")
            };
            let prefix = format!("{}{key}.", self.prefix);
            let place = self.place(name.line, key);
            Ok((key.clone(), Table::of(&self.path, prefix, place, node)?))
        });
        tables.collect()
    }

    /// To be called last: whatever has not been asked for is an error.
    pub(super) fn finish(self) -> Result<(), ConfigError> {
        for (name, _) in &self.entries {
            if let Value::Scalar(key) = &name.value
                && !self.asked.contains(&key.as_str())
            {
                let place = self.place(name.line, key);
                return Err(refused(place, "an unknown key", &self.asked.join(" ")));
            }
        }
        Ok(())
    }
}

fn text_of(given: Given<Node>) -> Result<Given<String>, ConfigError> {
    match given.value.value {
        Value::Scalar(value) => Ok(Given {
            value,
            place: given.place,
        }),
        ref other => Err(given.refused(other.in_words(), "one value")),
    }
}

/// `500ms`, `10s`, `5m`, `1h`, and several of them in a row as `1h30m`.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, behind) = rest.split_at(digits);
        let number: u64 = number.parse().ok()?;
        let letters = behind.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, behind) = behind.split_at(letters);
        let millis = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        total = total.checked_add(Duration::from_millis(number.checked_mul(millis)?))?;
        rest = behind;
    }
    (!text.is_empty()).then_some(total)
}

/// The text of a regular file of reasonable length.
pub(super) fn read(path: &Path) -> Result<String, ConfigError> {
    let path = path.to_owned();
    read_text(&path).map_err(|unread| match unread {
        Unread::System(source) => ConfigError::Read { path, source },
        Unread::NotAFile(found) => ConfigError::NotAFile { path, found },
        Unread::TooLarge => {
            let found = "is too large";
            ConfigError::NotAFile { path, found }
        }
    })
}
