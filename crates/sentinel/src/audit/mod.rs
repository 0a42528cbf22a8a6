//! The audit: one line for each decision, with all that it was made of, so that it can be made again and has to come out the same.
//!
//! Invariant: a call that returned `Ok` survives a power cut. Lines are a chain of hashes: one that is missing, changed or moved is found.
//! A file that an append failed in is never written to again; the next call begins a file of its own. Must not touch: sockets, clocks
//! (times are arguments), metrics.
//!
//! Files: `audit-<number>-<UTC day>.jsonl`, each with a `start` line first, which holds what replaying the file takes. A start, another
//! UTC day, a file of [`ROTATE_LEN_BYTES`] and a failure begin a new one. None is ever removed here. `docs/audit.md` is the format.

mod configuration;
mod decision;
mod digest;
mod error;
mod files;
mod frame;
mod reader;
mod record;
pub mod replay;
#[cfg(test)]
pub(crate) mod tests;
mod window;

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use market::Bar;

pub use configuration::{Configuration, Mode, Origin};
pub use decision::Decision;
pub use digest::Digest;
pub use error::AuditError;
pub use frame::LINE_LEN_MAX_BYTES;
pub use record::{End, FORMAT, Model, OutcomeLine, Verdict};

use self::decision::{DecisionRecord, finite};
use self::error::failed;
use self::frame::Link;
use self::record::{Cause, Record, StartRecord};
use crate::gateway::guards::Guards;
use crate::gateway::intent_log::error::Operation;
use crate::gateway::intent_log::storage::{Disk, Storage};

/// Length from which a file is followed by a new one.
pub const ROTATE_LEN_BYTES: u64 = 16 << 20;

const DAY_MS: i64 = 86_400_000;
/// Orders and equity are nobody else's business.
const DIRECTORY_MODE: u32 = 0o700;

/// What holds for all decisions of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Start {
    /// Unix milliseconds.
    pub at_ms: i64,
    /// The version of this program.
    pub version: String,
    /// Whether orders may leave.
    pub mode: Mode,
    /// Everything that is set and that a decision depends on.
    pub configuration: Configuration,
}

/// The audit of one process.
#[derive(Debug)]
pub struct Audit<S: Storage = Disk> {
    storage: S,
    start: Start,
    configuration_sha256: Digest,
    rotate_len_bytes: u64,
    /// The last line that was acknowledged.
    chain: Link,
    next_number: u64,
    /// None after a failure: what is in the file then is not known.
    open: Option<Open<S::File>>,
}

/// The file that is written to.
#[derive(Debug)]
struct Open<F> {
    file: F,
    name: String,
    day: i64,
    len_bytes: u64,
    /// The window of the last decision in it.
    window: Vec<Bar>,
}

impl Audit {
    /// Opens the audit in a directory, which is made if it is not there, and begins a file.
    ///
    /// # Errors
    /// Another process has it, storage failed, or the guards would not take the settings.
    pub fn open(directory: &Path, start: &Start) -> Result<Audit, AuditError> {
        let name = directory.display().to_string();
        make(directory).map_err(failed(Operation::Create, &name))?;
        match Disk::open(directory).map_err(failed(Operation::Lock, &name))? {
            Some(disk) => Audit::open_in(disk, start, ROTATE_LEN_BYTES),
            None => Err(AuditError::Locked { directory: name }),
        }
    }
}

impl<S: Storage> Audit<S> {
    /// Opens the audit in a directory that is locked, with files of that length.
    pub(crate) fn open_in(storage: S, start: &Start, rotate: u64) -> Result<Audit<S>, AuditError> {
        // What the guards would not take could not be replayed.
        Guards::new(start.configuration.guards.clone())?;
        let (chain, next_number) = files::end(&storage)?;
        let mut audit = Audit {
            storage,
            configuration_sha256: start.configuration.sha256(),
            start: start.clone(),
            rotate_len_bytes: rotate,
            chain,
            next_number,
            open: None,
        };
        audit.begin(Cause::Start, start.at_ms)?;
        Ok(audit)
    }

    /// The hash of the configuration, as each decision names it.
    pub fn configuration_sha256(&self) -> Digest {
        self.configuration_sha256
    }

    /// Writes a decision. When this returns `Ok`, the line is durable.
    ///
    /// # Errors
    /// It is not on disk, or not known to be: no order may be sent on account of it.
    pub fn decision(&mut self, decision: &Decision<'_>) -> Result<(), AuditError> {
        let interval = self.start.configuration.interval;
        let mut record = DecisionRecord::of(decision, interval, self.configuration_sha256)?;
        self.ready(decision.at_ms)?;
        let known = self.open.as_ref().map_or(&[][..], |open| &open.window);
        let new = window::new_bars(known, decision.bars);
        record.set_bars(&decision.bars[decision.bars.len() - new..]);
        self.append(&Record::Decision(Box::new(record)))?;
        if let Some(open) = &mut self.open {
            decision.bars.clone_into(&mut open.window);
        }
        Ok(())
    }

    /// Writes what became of an order. When this returns `Ok`, the line is durable.
    ///
    /// # Errors
    /// It is not on disk, or not known to be.
    pub fn outcome(&mut self, outcome: &OutcomeLine) -> Result<(), AuditError> {
        finite(outcome.slippage_bps.map(|bps| ("the slippage", bps)))?;
        self.ready(outcome.at_ms)?;
        self.append(&Record::Outcome(outcome.clone()))
    }

    /// Begins a new file where it is time.
    fn ready(&mut self, at_ms: i64) -> Result<(), AuditError> {
        let cause = match &self.open {
            None => Cause::Failure,
            Some(open) if open.day != files::day(at_ms) => Cause::Rotation,
            Some(open) if open.len_bytes >= self.rotate_len_bytes => Cause::Rotation,
            Some(_) => return Ok(()),
        };
        self.begin(cause, at_ms)
    }

    /// Begins a file.
    fn begin(&mut self, cause: Cause, at_ms: i64) -> Result<(), AuditError> {
        let name = files::name(self.next_number, at_ms);
        let file = self
            .storage
            .create(&name)
            .map_err(failed(Operation::Create, &name))?;
        // A number is used once: what a file that failed holds stays apart from all others.
        self.next_number += 1;
        self.open = Some(Open {
            file,
            name: name.clone(),
            day: files::day(at_ms),
            len_bytes: 0,
            window: Vec::new(),
        });
        let before = self.chain;
        let begun = self.start_line(cause, at_ms);
        if begun.is_err() {
            (self.open, self.chain) = (None, before);
            // A full disk would else be filled with names, one for each try. One that stays is passed over by the reader.
            let _ = self.storage.remove(&name);
        }
        begun
    }

    fn start_line(&mut self, cause: Cause, at_ms: i64) -> Result<(), AuditError> {
        self.append(&Record::Start(Box::new(StartRecord {
            format: FORMAT,
            cause,
            at_ms,
            version: self.start.version.clone(),
            mode: self.start.mode,
            configuration_sha256: self.configuration_sha256,
            configuration: self.start.configuration.clone(),
        })))?;
        self.storage
            .sync_dir()
            .map_err(failed(Operation::SyncDir, "."))
    }

    /// Writes a line and makes it durable. After a failure there is no file to write to: what is in it is not known.
    fn append(&mut self, record: &Record) -> Result<(), AuditError> {
        let (line, link) = frame::encode(self.chain, record).ok_or(AuditError::TooLong)?;
        let mut open = self.open.take().expect("a file was begun before");
        self.storage
            .append(&mut open.file, &line)
            .map_err(failed(Operation::Append, &open.name))?;
        self.storage
            .sync_file(&mut open.file)
            .map_err(failed(Operation::SyncFile, &open.name))?;
        open.len_bytes += line.len() as u64;
        self.chain = link;
        self.open = Some(open);
        Ok(())
    }
}

/// Makes a directory that is not there, and its name durable.
fn make(directory: &Path) -> io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    DirBuilder::new()
        .recursive(true)
        .mode(DIRECTORY_MODE)
        .create(directory)?;
    match fs::canonicalize(directory)?.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}
