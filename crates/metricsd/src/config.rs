//! The configuration file: TOML, every key optional, every unknown key an error.
//!
//! Invariant: what comes out is checked; an error names file, line, key, what was found and what is accepted. Must not touch:
//! anything but the one file.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use metricsd_exporter::is_legal_label_name;
use program::config::{Unread, read_text};
use program::terminal::printable;
use thiserror::Error;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::policy::{Policy, SeriesLimits};
use crate::retention::{
    DEAD_GAUGES_ACCEPTED, DURATION_ACCEPTED, DeadGauges, RETIRE_AFTER_ACCEPTED, RetireAfter,
    parse_duration,
};

/// A program's name is a label value; longer ones are mistakes.
const PROGRAM_LEN_MAX_BYTES: usize = 64;

/// What a configuration file says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileConfig {
    /// `shards.dir`: the directory of the shards, as written.
    pub directory: Option<PathBuf>,
    /// `state.dir`: the state directory, as written; an empty one is none.
    pub state_directory: Option<PathBuf>,
    /// `retire.after`.
    pub retire_after: Option<RetireAfter>,
    /// `retire.retain_ended`.
    pub retain_ended: Option<Duration>,
    /// `retire.dead_gauges`.
    pub dead_gauges: Option<DeadGauges>,
    /// `[limits]` and `[policy]`.
    pub policy: Policy,
    /// `expect.programs`: programs of which one is expected to live. Each once.
    pub expected_programs: Vec<String>,
}

/// A configuration file that cannot be used.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// It cannot be read.
    #[error("{}: cannot read the configuration file", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// It is a directory, FIFO, socket or device.
    #[error("{}: not a regular file; accepted: a TOML file of at most 1 MiB", .path.display())]
    NotRegular {
        /// The file.
        path: PathBuf,
    },
    /// It is longer than any configuration.
    #[error("{}: longer than 1 MiB; accepted: a TOML file of at most 1 MiB", .path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// It is not TOML.
    #[error("{}:{line}: not TOML: {detail}", .path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What the parser says.
        detail: String,
    },
    /// A key or value that is not accepted.
    #[error("{}:{line}: {key}: found {found}; accepted: {accepted}", .path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The whole key, `section.key`.
        key: String,
        /// What stands there.
        found: String,
        /// What may stand there.
        accepted: String,
    },
}

impl FileConfig {
    /// Reads a file.
    ///
    /// # Errors
    /// A file that cannot be read, is not TOML, or has a key or value that is not accepted.
    pub fn read(path: &Path) -> Result<FileConfig, ConfigError> {
        let text = read_text(path).map_err(|unread| {
            let path = path.to_owned();
            match unread {
                Unread::System(source) => ConfigError::Read { path, source },
                Unread::NotAFile(_) => ConfigError::NotRegular { path },
                Unread::TooLarge => ConfigError::TooLarge { path },
            }
        })?;
        FileConfig::parse(path, &text)
    }

    /// Parses what a file holds; `path` is for the messages.
    ///
    /// # Errors
    /// As [`FileConfig::read`].
    pub fn parse(path: &Path, text: &str) -> Result<FileConfig, ConfigError> {
        let document = DeTable::parse(text).map_err(|err| ConfigError::Syntax {
            path: path.to_owned(),
            line: line_of(text, err.span().map_or(text.len(), |span| span.start)),
            detail: printable(&err.message().replace('\n', ", ")),
        })?;
        let root = Section {
            path,
            text,
            name: "",
            table: document.get_ref(),
        };
        root.accept_only(&["shards", "state", "retire", "limits", "policy", "expect"])?;
        let mut config = FileConfig::default();
        if let Some(shards) = root.section("shards")? {
            shards.accept_only(&["dir"])?;
            config.directory = shards
                .string("dir", "a path", |dir| !dir.is_empty())?
                .map(PathBuf::from);
        }
        if let Some(state) = root.section("state")? {
            state.accept_only(&["dir"])?;
            let dir = state.string("dir", "a path, or \"\" for the default", |_| true)?;
            config.state_directory = dir.filter(|dir| !dir.is_empty()).map(PathBuf::from);
        }
        if let Some(retire) = root.section("retire")? {
            retire.accept_only(&["after", "retain_ended", "dead_gauges"])?;
            config.retire_after =
                retire.parsed("after", RETIRE_AFTER_ACCEPTED, |text| text.parse().ok())?;
            config.retain_ended =
                retire.parsed("retain_ended", DURATION_ACCEPTED, parse_duration)?;
            config.dead_gauges = retire.parsed("dead_gauges", DEAD_GAUGES_ACCEPTED, |text| {
                text.parse().ok()
            })?;
        }
        let limits = match root.section("limits")? {
            Some(limits) => parse_limits(&limits)?,
            None => SeriesLimits::default(),
        };
        config.policy = match root.section("policy")? {
            Some(policy) => parse_policy(&policy)?,
            None => Policy::default(),
        };
        config.policy.limits = limits;
        if let Some(expect) = root.section("expect")? {
            expect.accept_only(&["programs"])?;
            let accepted = "a list of program names, each 1 to 64 bytes";
            let fits = |name: &str| (1..=PROGRAM_LEN_MAX_BYTES).contains(&name.len());
            config.expected_programs = expect
                .strings("programs", accepted, fits)?
                .unwrap_or_default();
            config.expected_programs.sort();
            config.expected_programs.dedup();
        }
        Ok(config)
    }
}

fn parse_limits(section: &Section<'_>) -> Result<SeriesLimits, ConfigError> {
    section.accept_only(&["series", "series_per_family", "label_value_bytes"])?;
    let defaults = SeriesLimits::default();
    Ok(SeriesLimits {
        series: section
            .number("series", 100_000_000)?
            .unwrap_or(defaults.series),
        series_per_family: section
            .number("series_per_family", 100_000_000)?
            .unwrap_or(defaults.series_per_family),
        label_value_bytes: section
            .number("label_value_bytes", 1 << 20)?
            .unwrap_or(defaults.label_value_bytes),
    })
}

fn parse_policy(section: &Section<'_>) -> Result<Policy, ConfigError> {
    section.accept_only(&["preset", "forbidden_labels"])?;
    let preset = section.string("preset", "\"open\" or \"trading\"", |preset| {
        matches!(preset, "open" | "trading")
    })?;
    let labels = section.strings(
        "forbidden_labels",
        "a list of label names",
        is_legal_label_name,
    )?;
    if preset == Some("trading") {
        let mut policy = Policy::trading();
        if let Some(labels) = labels {
            policy.forbidden_labels = labels.into_iter().collect();
        }
        return Ok(policy);
    }
    match labels {
        None => Ok(Policy::default()),
        // An operator who lists labels expects them to be refused.
        Some(_) => Err(section.error(
            "forbidden_labels",
            "a list beside the preset \"open\", which refuses nothing",
            "it only with preset = \"trading\"",
        )),
    }
}

/// One table of the document.
struct Section<'a> {
    path: &'a Path,
    text: &'a str,
    name: &'a str,
    table: &'a DeTable<'a>,
}

impl<'a> Section<'a> {
    fn accept_only(&self, accepted: &[&str]) -> Result<(), ConfigError> {
        match self
            .table
            .keys()
            .find(|key| !accepted.contains(&key.get_ref().as_ref()))
        {
            None => Ok(()),
            Some(key) => {
                let what = if self.name.is_empty() {
                    "an unknown section"
                } else {
                    "an unknown key"
                };
                Err(self.error(key.get_ref(), what, &accepted.join(", ")))
            }
        }
    }

    fn section(&self, name: &'a str) -> Result<Option<Section<'a>>, ConfigError> {
        match self.table.get(name).map(Spanned::get_ref) {
            None => Ok(None),
            Some(DeValue::Table(table)) => Ok(Some(Section {
                name,
                table,
                ..*self
            })),
            Some(value) => Err(self.error(name, &describe(value), &format!("a section [{name}]"))),
        }
    }

    fn string(
        &self,
        key: &str,
        accepted: &str,
        fits: impl Fn(&str) -> bool,
    ) -> Result<Option<&'a str>, ConfigError> {
        match self.table.get(key).map(Spanned::get_ref) {
            None => Ok(None),
            Some(DeValue::String(text)) if fits(text) => Ok(Some(text)),
            Some(value) => Err(self.error(key, &describe(value), accepted)),
        }
    }

    /// A string that says something.
    fn parsed<T>(
        &self,
        key: &str,
        accepted: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, ConfigError> {
        let text = self.string(key, accepted, |text| parse(text).is_some())?;
        Ok(text.and_then(parse))
    }

    fn strings(
        &self,
        key: &str,
        accepted: &str,
        fits: impl Fn(&str) -> bool,
    ) -> Result<Option<Vec<String>>, ConfigError> {
        let Some(value) = self.table.get(key).map(Spanned::get_ref) else {
            return Ok(None);
        };
        let DeValue::Array(items) = value else {
            return Err(self.error(key, &describe(value), accepted));
        };
        let one = |item: &Spanned<DeValue<'_>>| match item.get_ref() {
            DeValue::String(text) if fits(text) => Ok(text.to_string()),
            other => Err(self.error(key, &format!("{} in the list", describe(other)), accepted)),
        };
        items.iter().map(one).collect::<Result<_, _>>().map(Some)
    }

    fn number(&self, key: &str, most: usize) -> Result<Option<usize>, ConfigError> {
        let Some(value) = self.table.get(key).map(Spanned::get_ref) else {
            return Ok(None);
        };
        let number = match value {
            DeValue::Integer(integer) => {
                usize::from_str_radix(integer.as_str(), integer.radix()).ok()
            }
            _ => None,
        };
        match number.filter(|number| (1..=most).contains(number)) {
            Some(number) => Ok(Some(number)),
            None => Err(self.error(
                key,
                &describe(value),
                &format!("a whole number from 1 to {most}"),
            )),
        }
    }

    fn error(&self, key: &str, found: &str, accepted: &str) -> ConfigError {
        let offset = self
            .table
            .get_key_value(key)
            .map_or(0, |(key, _)| key.span().start);
        let key = if self.name.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.name)
        };
        ConfigError::Key {
            path: self.path.to_owned(),
            line: line_of(self.text, offset),
            key: printable(&key),
            found: found.to_owned(),
            accepted: accepted.to_owned(),
        }
    }
}

fn describe(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("the string {text:?}"),
        DeValue::Integer(integer) => format!("the number {integer}"),
        DeValue::Float(float) => format!("the number {float}"),
        DeValue::Boolean(boolean) => format!("the word {boolean}"),
        DeValue::Datetime(time) => format!("the time {time}"),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a section".to_owned(),
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    1 + text
        .bytes()
        .take(offset)
        .filter(|&byte| byte == b'\n')
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::retention::RetirementSettings;
    use program::config::FILE_LEN_MAX_BYTES;
    use rustix::fs::Mode;

    fn parse(text: &str) -> Result<FileConfig, String> {
        FileConfig::parse(Path::new("m.toml"), text).map_err(|err| err.to_string())
    }

    #[test]
    fn the_shipped_example_has_every_key_at_its_documented_value() {
        let example = include_str!("../../../config/metricsd.toml");
        let config = parse(example).unwrap();
        assert_eq!(
            config.directory.as_deref(),
            Some(Path::new(metricsd_shard::DEFAULT_DIRECTORY))
        );
        assert_eq!(config.state_directory, None);
        let defaults = RetirementSettings::default();
        assert_eq!(config.retire_after, Some(RetireAfter(defaults.after)));
        assert_eq!(config.retain_ended, Some(defaults.retain_ended));
        assert_eq!(config.dead_gauges, Some(defaults.dead_gauges));
        assert_eq!(config.policy, Policy::trading());
        assert_eq!(config.expected_programs, ["shadow-session"]);
        for key in [
            "dir",
            "after",
            "retain_ended",
            "dead_gauges",
            "series",
            "series_per_family",
            "label_value_bytes",
            "preset",
            "forbidden_labels",
            "programs",
        ] {
            assert!(example.contains(&format!("\n{key} = ")), "{key}");
        }
    }

    #[test]
    fn an_empty_file_is_the_defaults() {
        assert_eq!(parse("").unwrap(), FileConfig::default());
    }

    #[test]
    fn every_error_names_file_line_key_finding_and_what_is_accepted() {
        for (text, sentence) in [
            (
                "\n[limits]\nserie = 1",
                "m.toml:3: limits.serie: found an unknown key; accepted: series, series_per_family, label_value_bytes",
            ),
            (
                "[stat]\ndir = ''",
                "m.toml:1: stat: found an unknown section; accepted: shards, state, retire, limits, policy, expect",
            ),
            (
                "limits = 3",
                "m.toml:1: limits: found the number 3; accepted: a section [limits]",
            ),
            (
                "[limits]\n\nseries = 0",
                "m.toml:3: limits.series: found the number 0; accepted: a whole number from 1 to 100000000",
            ),
            (
                "[limits]\nseries = -1",
                "m.toml:2: limits.series: found the number -1; accepted: a whole number from 1 to 100000000",
            ),
            (
                "[limits]\nseries = 'x'",
                "m.toml:2: limits.series: found the string \"x\"; accepted: a whole number from 1 to 100000000",
            ),
            (
                "[shards]\ndir = ''",
                "m.toml:2: shards.dir: found the string \"\"; accepted: a path",
            ),
            (
                "[state]\ndir = 1",
                "m.toml:2: state.dir: found the number 1; accepted: a path, or \"\" for the default",
            ),
            (
                "[state]\ndirectory = '/x'",
                "m.toml:2: state.directory: found an unknown key; accepted: dir",
            ),
            (
                "[retire]\nbefore = '1s'",
                "m.toml:2: retire.before: found an unknown key; accepted: after, retain_ended, dead_gauges",
            ),
            (
                "[retire]\nafter = 10",
                "m.toml:2: retire.after: found the number 10; accepted: off, or a duration such as 250ms, 10s, 5m, 24h, 7d or 1h30m, at most 100y",
            ),
            (
                "[retire]\nretain_ended = 'off'",
                "m.toml:2: retire.retain_ended: found the string \"off\"; accepted: a duration such as 250ms, 10s, 5m, 24h, 7d or 1h30m, at most 100y",
            ),
            (
                "[retire]\ndead_gauges = ''",
                "m.toml:2: retire.dead_gauges: found the string \"\"; accepted: keep, drop, or a duration such as 250ms, 10s, 5m, 24h, 7d or 1h30m, at most 100y",
            ),
            (
                "[policy]\npreset = 'paper'",
                "m.toml:2: policy.preset: found the string \"paper\"; accepted: \"open\" or \"trading\"",
            ),
            (
                "[policy]\npreset = 'trading'\nforbidden_labels = ['a b']",
                "m.toml:3: policy.forbidden_labels: found the string \"a b\" in the list; accepted: a list of label names",
            ),
            (
                "[policy]\nforbidden_labels = []",
                "m.toml:2: policy.forbidden_labels: found a list beside the preset \"open\", which refuses nothing; accepted: it only with preset = \"trading\"",
            ),
            (
                "[expect]\nprograms = 'x'",
                "m.toml:2: expect.programs: found the string \"x\"; accepted: a list of program names, each 1 to 64 bytes",
            ),
        ] {
            assert_eq!(parse(text).unwrap_err(), sentence);
        }
        let escape = parse("[limits]\n\"a\\u001b[2J\\nb\" = 1").unwrap_err();
        assert!(
            escape.starts_with("m.toml:2: limits.a\\u{1b}[2J\\nb: found an unknown key"),
            "{escape:?}"
        );
        let syntax = parse("[limits]\nseries = = 1").unwrap_err();
        assert!(syntax.starts_with("m.toml:2: not TOML: "), "{syntax}");
    }

    #[test]
    fn the_state_and_retirement_are_read_as_written() {
        let text = "[state]\ndir = 'var/state'\n[retire]\nafter = 'off'\nretain_ended = '1h30m'\ndead_gauges = '250ms'";
        let config = parse(text).unwrap();
        assert_eq!(
            config.state_directory.as_deref(),
            Some(Path::new("var/state"))
        );
        assert_eq!(config.retire_after, Some(RetireAfter(None)));
        assert_eq!(config.retain_ended, Some(Duration::from_secs(5400)));
        let quarter = Duration::from_millis(250);
        assert_eq!(config.dead_gauges, Some(DeadGauges::For(quarter)));
    }

    #[test]
    fn only_a_regular_file_of_at_most_1_mib_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.toml");
        let read = |path: &Path| FileConfig::read(path).map_err(|err| err.to_string());
        let largest = vec![b'\n'; FILE_LEN_MAX_BYTES as usize];
        std::fs::write(&path, &largest).unwrap();
        assert_eq!(read(&path).unwrap(), FileConfig::default());
        std::fs::write(&path, [largest.as_slice(), b"\n"].concat()).unwrap();
        let large = read(&path).unwrap_err();
        assert!(large.contains("longer than 1 MiB"), "{large}");
        for special in [folder.path(), Path::new("/dev/zero")] {
            let refused = read(special).unwrap_err();
            assert!(refused.contains("not a regular file"), "{refused}");
        }
        let fifo = folder.path().join("fifo");
        rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, Mode::RUSR | Mode::WUSR).unwrap();
        let refused = read(&fifo).unwrap_err();
        assert!(refused.contains("not a regular file"), "{refused}");
    }
}
