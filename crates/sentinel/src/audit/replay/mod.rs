//! Replaying an audit: every decision is made again from what was recorded, and compared bit for bit.
//!
//! Invariant: what was not found to be the same is not called reproduced, whatever the reason; files are only read, and may be written to
//! meanwhile. Must not touch: what is on disk, clocks, network.

mod compare;
mod report;

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use market::Bar;
use thiserror::Error;

pub use report::{Finding, Kind, Report};

use self::compare::Session;
use super::decision::DecisionRecord;
use super::frame::Framed;
use super::reader::{Chain, Lines, Misplaced, Read, read};
use super::record::{FORMAT, Record, StartRecord, Verdict};
use super::{files, window};
use crate::gateway::guards::Guards;
use crate::model::EmbeddedModel;

/// Nothing could be replayed.
#[derive(Debug, Error)]
pub enum ReplayError {
    /// It cannot be read.
    #[error("{path}: cannot read the audit")]
    Read {
        /// File or directory.
        path: String,
        /// The system's error.
        source: io::Error,
    },
    /// It is something else.
    #[error(
        "{path}: neither a file nor a directory, a file of an audit or its directory is accepted"
    )]
    Kind {
        /// What was given.
        path: String,
    },
    /// There is no line.
    #[error(
        "{path}: no line of an audit in it, a file as audit-0000000001-2026-01-31.jsonl or a directory of such is accepted"
    )]
    Nothing {
        /// What was given.
        path: String,
    },
}

/// Replays a file, or all files of a directory.
///
/// # Errors
/// Nothing could be read, or there is no line of an audit and nothing that might have been one.
pub fn replay(path: &Path) -> Result<Report, ReplayError> {
    let name = path.display().to_string();
    let cannot_read = |source| ReplayError::Read {
        path: name.clone(),
        source,
    };
    let kind = fs::metadata(path).map_err(cannot_read)?;
    let mut replay = Replay::new(EmbeddedModel::shipped());
    if kind.is_file() {
        let file = File::open(path).map_err(cannot_read)?;
        replay
            .take_file(&name, BufReader::new(file))
            .map_err(cannot_read)?;
    } else if kind.is_dir() {
        let mut names = Vec::new();
        for entry in fs::read_dir(path).map_err(cannot_read)? {
            // A name that is no text is none of ours.
            names.extend(entry.map_err(cannot_read)?.file_name().into_string().ok());
        }
        for name in files::in_order(names) {
            let read = File::open(path.join(&name))
                .and_then(|file| replay.take_file(&name, BufReader::new(file)));
            if let Err(error) = read {
                replay.damage(&name, 0, &format!("cannot be read: {error}"));
            }
        }
    } else {
        return Err(ReplayError::Kind { path: name });
    }
    let report = replay.finish();
    if report.lines == 0 && report.findings.is_empty() {
        return Err(ReplayError::Nothing { path: name });
    }
    Ok(report)
}

/// A replay as far as it came.
#[derive(Debug)]
pub(super) struct Replay {
    embedded: EmbeddedModel,
    chain: Chain,
    /// Of the file that is read; none without a `start` line that can be gone by.
    session: Option<Session>,
    /// The window of the last decision in the file that is read.
    window: Vec<Bar>,
    report: Report,
}

impl Replay {
    pub(super) fn new(embedded: EmbeddedModel) -> Replay {
        Replay {
            embedded,
            chain: Chain::default(),
            session: None,
            window: Vec::new(),
            report: Report::default(),
        }
    }

    /// What was found, in all files.
    pub(super) fn finish(self) -> Report {
        let last = self.chain.last();
        Report {
            last_seq: last.map(|link| link.seq),
            last_sha256: last.map(|link| link.sha256),
            ..self.report
        }
    }

    /// Replays the next file.
    pub(super) fn take_file(&mut self, name: &str, from: impl BufRead) -> io::Result<()> {
        // Each file is replayable on its own, and on nothing else.
        (self.session, self.window) = (None, Vec::new());
        let mut lines = Lines::new(from);
        let mut number = 0;
        while let Some(line) = lines.next()? {
            number += 1;
            self.report.files += u64::from(number == 1);
            match read(&line) {
                Read::Torn => {}
                Read::Framed(framed) => self.take_line(name, number, *framed),
                Read::Damaged(fault) => {
                    self.chain.damaged();
                    self.damage(name, number, fault);
                }
            }
        }
        Ok(())
    }

    fn take_line(&mut self, name: &str, number: u64, framed: Framed) {
        self.report.lines += 1;
        match self.chain.follow(&framed) {
            Ok(()) => {}
            Err(Misplaced::Behind(fault)) => self.damage(name, number, &fault),
            Err(Misplaced::Repeated) => {
                // It was counted where it belongs, or what belongs before it is missing there.
                return self.damage(name, number, "it belongs before the line before it");
            }
        }
        match framed.record {
            Ok(Record::Start(start)) => self.take_start(name, number, *start),
            Ok(Record::Decision(record)) => self.take_decision(name, number, &record),
            Ok(Record::Outcome(_)) => self.report.outcomes += 1,
            Err(error) => {
                let fault =
                    format!("it is whole, and this program does not understand it: {error}");
                self.damage(name, number, &fault);
            }
        }
    }

    fn take_start(&mut self, name: &str, number: u64, start: StartRecord) {
        let own = env!("CARGO_PKG_VERSION");
        if start.version != own {
            let version = &start.version;
            self.report.add(Finding {
                kind: Kind::Note,
                ..finding(
                    name,
                    number,
                    &format!("recorded by version {version}, this is {own}"),
                )
            });
        }
        (self.session, self.window) = (None, Vec::new());
        let configuration_sha256 = start.configuration.sha256();
        let fault = if start.format != FORMAT {
            Some(format!("format {}, {FORMAT} is accepted", start.format))
        } else if configuration_sha256 != start.configuration_sha256 {
            Some("the hash of the configuration is not that of the configuration".to_owned())
        } else {
            match Guards::new(start.configuration.guards.clone()) {
                Err(error) => Some(format!("the guards do not take its settings: {error}")),
                Ok(guards) => {
                    self.session = Some(Session {
                        configuration: start.configuration,
                        configuration_sha256,
                        guards,
                    });
                    None
                }
            }
        };
        if let Some(fault) = fault {
            self.damage(name, number, &fault);
        }
    }

    fn take_decision(&mut self, name: &str, number: u64, record: &DecisionRecord) {
        self.report.decisions += 1;
        self.report.permitted += u64::from(matches!(record.verdict, Verdict::Permitted { .. }));
        self.window = window::shift(&self.window, record.bars());
        let Some(session) = &self.session else {
            return self.damage(
                name,
                number,
                "not reproduced: the file has no start line that can be gone by before it",
            );
        };
        let differences = compare::differences(record, &self.window, session, &self.embedded);
        self.report.reproduced += u64::from(differences.is_empty());
        for difference in differences {
            self.report.add(Finding {
                kind: Kind::Difference,
                bar_open_time: Some(record.bar_open_time),
                recorded: Some(difference.recorded),
                came_out: Some(difference.came_out),
                ..finding(name, number, difference.what)
            });
        }
    }

    fn damage(&mut self, name: &str, number: u64, fault: &str) {
        self.report.add(finding(name, number, fault));
    }
}

/// Damage, unless it is made something else.
fn finding(file: &str, line: u64, what: &str) -> Finding {
    Finding {
        kind: Kind::Damage,
        file: file.to_owned(),
        line,
        bar_open_time: None,
        what: what.to_owned(),
        recorded: None,
        came_out: None,
    }
}
