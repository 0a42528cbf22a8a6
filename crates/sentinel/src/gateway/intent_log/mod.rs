//! The intent log: what is decided is on disk before it is sent, and what was sent is found again after any end of the process.
//!
//! Invariant: a call that returned `Ok` survives a power cut. An order whose sending could have happened is open after a restart until its
//! outcome is on disk. After any failure of storage nothing is written to that file again, and [`IntentLog::state`] is `None`, without
//! which no order is permitted, until [`IntentLog::reopen`] has read everything anew and begun a file of its own. Damage halts trading.
//! Must not touch: sockets, clocks (times are arguments), metrics.
//!
//! Files: `intents-<generation>.jsonl`, each beginning with a snapshot of all before it. A start, a reopening and a file of
//! [`ROTATE_LEN_BYTES`] begin a new one; the newest readable one before it stays, should the snapshot rot, and the others go.

pub mod error;
pub mod format;
mod frame;
mod generation;
mod position;
pub mod record;
mod replay;
pub mod state;
pub mod storage;
#[cfg(test)]
pub(crate) mod tests;

use std::path::Path;

use rust_decimal::Decimal;

use self::error::{LogError, Operation, failed};
use self::generation::{begin, start_file, write_durably};
use self::record::{Found, HaltReason, Intent, IntentId, Outcome, Record};
use self::state::State;
use self::storage::{Disk, Storage};
use crate::decide::TradingState;

/// Length from which a file is followed by a new one.
pub const ROTATE_LEN_BYTES: u64 = 1 << 20;

/// A line that could not be believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// Name of the file.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// What is wrong.
    pub fault: &'static str,
}

/// What an opening found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// There was no log: a first start, or the log was removed.
    pub is_new: bool,
    /// A last line without its end was passed over: an append that was never acknowledged.
    pub torn: bool,
    /// Lines that cannot be believed, the first few; trading is halted if there is any.
    pub damage: Vec<Damage>,
}

/// The log of one process.
#[derive(Debug)]
pub struct IntentLog<S: Storage> {
    storage: S,
    file: S::File,
    generation: u64,
    len_bytes: u64,
    rotate_len_bytes: u64,
    state: State,
    is_broken: bool,
    /// A restriction that could not be written; the next file begins with it.
    unrecorded: Option<Record>,
}

impl IntentLog<Disk> {
    /// Opens the log in an existing directory. `now_ms` is the Unix time in milliseconds.
    ///
    /// # Errors
    /// Another process has it, or storage failed.
    pub fn open(directory: &Path, now_ms: i64) -> Result<(IntentLog<Disk>, Opened), LogError> {
        let name = directory.display().to_string();
        match Disk::open(directory).map_err(failed(Operation::Lock, &name))? {
            Some(disk) => IntentLog::open_in(disk, now_ms, ROTATE_LEN_BYTES),
            None => Err(LogError::Locked { directory: name }),
        }
    }
}

impl<S: Storage> IntentLog<S> {
    /// Opens the log in a directory that is locked, with files of that length.
    pub(crate) fn open_in(
        storage: S,
        now_ms: i64,
        rotate: u64,
    ) -> Result<(IntentLog<S>, Opened), LogError> {
        let begun = begin(&storage, now_ms, None)?;
        let log = IntentLog {
            storage,
            file: begun.file,
            generation: begun.generation,
            len_bytes: begun.len_bytes,
            rotate_len_bytes: rotate,
            state: begun.state,
            is_broken: false,
            unrecorded: None,
        };
        Ok((log, begun.opened))
    }

    /// Reads everything anew and goes on in a file of its own: the way on after a failure.
    ///
    /// # Errors
    /// Storage failed; the log stays as unusable as it was.
    pub fn reopen(&mut self, now_ms: i64) -> Result<Opened, LogError> {
        self.is_broken = true;
        let begun = begin(&self.storage, now_ms, self.unrecorded.as_ref())?;
        self.file = begun.file;
        self.generation = begun.generation;
        self.len_bytes = begun.len_bytes;
        self.state = begun.state;
        self.is_broken = false;
        self.unrecorded = None;
        Ok(begun.opened)
    }

    /// What is known; `None` after a failure of storage, until the log is reopened.
    pub fn state(&self) -> Option<&State> {
        (!self.is_broken).then_some(&self.state)
    }

    /// An order will be sent. Only a permit records one: see `guards::permit`.
    pub(in crate::gateway) fn decided(&mut self, intent: Intent) -> Result<(), LogError> {
        self.append(&Record::Decided { intent })
    }

    /// An order was handed to the link.
    ///
    /// # Errors
    /// No open order has this id, or storage failed; the order is open either way.
    pub fn sent(&mut self, id: &IntentId, at_ms: i64) -> Result<(), LogError> {
        let id = id.clone();
        self.append(&Record::Sent { id, at_ms })
    }

    /// What became of an order. With [`Outcome::Unknown`] it stays open, with [`Outcome::Placed`] it is followed up as one of
    /// [`State::placed`].
    ///
    /// # Errors
    /// No open or placed order has this id, a placed one is placed once more, or storage failed: after a reopening the order may be open again and is asked for.
    pub fn outcome(&mut self, id: &IntentId, outcome: Outcome, at_ms: i64) -> Result<(), LogError> {
        let id = id.clone();
        self.append(&Record::Outcome { id, outcome, at_ms })
    }

    /// What became of an open or placed order, found out later.
    ///
    /// # Errors
    /// As for [`IntentLog::outcome`].
    pub fn reconciled(&mut self, id: &IntentId, found: Found, at_ms: i64) -> Result<(), LogError> {
        let id = id.clone();
        self.append(&Record::Reconciled { id, found, at_ms })
    }

    /// A bar was decided on and no order follows: it is not decided on again, after a restart neither.
    ///
    /// # Errors
    /// The bar or a later one was decided on, or storage failed.
    pub fn considered(&mut self, bar_open_time: i64) -> Result<(), LogError> {
        self.append(&Record::Considered { bar_open_time })
    }

    /// Of a dry run: the order of this bar would have been sent. The bar is decided on, and the order counts for cooldown, minute and day.
    ///
    /// # Errors
    /// The bar or a later one was decided on, an order is open, trading is halted, or storage failed.
    pub fn withheld(&mut self, bar_open_time: i64, at_ms: i64) -> Result<(), LogError> {
        self.append(&Record::Withheld {
            bar_open_time,
            at_ms,
        })
    }

    /// Takes the gateway's position in a symbol, in lots and below 0 when short, for what our orders have led to; from here on each of our
    /// executions moves it. To be called when [`State::own_position`] knows none.
    ///
    /// # Errors
    /// An order has no known outcome, or one in this symbol is placed: either may be in the position or not. Or storage failed.
    pub fn position_based(
        &mut self,
        symbol: &str,
        volume: Decimal,
        at_ms: i64,
    ) -> Result<(), LogError> {
        self.append(&Record::PositionBased {
            symbol: symbol.to_owned(),
            volume,
            at_ms,
        })
    }

    /// The equity that the UTC day of `now_ms` begins with, for the limits of the day's loss.
    ///
    /// # Errors
    /// The day or a later one has its opening, or storage failed.
    pub fn day_opened(&mut self, now_ms: i64, equity: Decimal) -> Result<(), LogError> {
        let day = state::day_of(now_ms);
        self.append(&Record::DayOpened { day, equity })
    }

    /// Restricts trading (more): to `Reducing` or to `Halted`.
    ///
    /// # Errors
    /// It is as restricted already, or storage failed: then there is no state and no order is permitted either, and the restriction holds
    /// from the reopening on.
    pub fn tighten(
        &mut self,
        state: TradingState,
        reason: HaltReason,
        at_ms: i64,
    ) -> Result<(), LogError> {
        let record = Record::Tightened {
            state,
            reason,
            at_ms,
        };
        let result = self.append(&record);
        // A halt that was told first is not undone by a lesser one that follows.
        if self.is_broken && !self.unrecorded.as_ref().is_some_and(is_halt) {
            self.unrecorded = Some(record);
        }
        result
    }

    /// From reducing back to active. Halted is left only by a reset.
    ///
    /// # Errors
    /// Trading is not reducing, or storage failed.
    pub fn relax(&mut self, at_ms: i64) -> Result<(), LogError> {
        self.append(&Record::Relaxed { at_ms })
    }

    /// Somebody tried to leave halted. Whether the secret was right is for the one caller in the guards to find out.
    pub(in crate::gateway) fn reset_attempt(
        &mut self,
        accepted: bool,
        at_ms: i64,
    ) -> Result<(), LogError> {
        self.append(&Record::ResetAttempt { accepted, at_ms })
    }

    fn append(&mut self, record: &Record) -> Result<(), LogError> {
        if self.is_broken {
            return Err(LogError::Broken);
        }
        self.state.check(record)?;
        if self.len_bytes >= self.rotate_len_bytes {
            // Before the record, so that a failure leaves it unrecorded and not half of both.
            self.rotate()?;
        }
        let seq = self.state.last_seq().saturating_add(1);
        let line = frame::encode(seq, record).ok_or(LogError::TooLong)?;
        self.is_broken = true;
        let name = replay::file_name(self.generation);
        write_durably(&self.storage, &mut self.file, &name, &line)?;
        self.len_bytes += line.len() as u64;
        self.state.absorb(seq, record);
        self.is_broken = false;
        Ok(())
    }

    fn rotate(&mut self) -> Result<(), LogError> {
        // What is half made of the new file would overrule what the old one still got: on failure neither is gone on with.
        self.is_broken = true;
        let previous = self.generation;
        let (file, len_bytes, state) = start_file(&self.storage, previous + 1, &self.state)?;
        (self.file, self.len_bytes, self.state) = (file, len_bytes, state);
        self.generation = previous + 1;
        self.is_broken = false;
        if previous > 1 {
            // What stays is removed at the next start.
            let _ = self.storage.remove(&replay::file_name(previous - 1));
        }
        Ok(())
    }
}

fn is_halt(record: &Record) -> bool {
    matches!(
        record,
        Record::Tightened {
            state: TradingState::Halted,
            ..
        }
    )
}
