//! What fails while the books are kept: counted, said once, tried again later.
//!
//! Invariant: a state directory that failed is left alone for a while, and the log is told of a cause once until it is over.

use std::time::Instant;

use super::{REST_MAX, REST_MIN, Rounds, TOLD_MAX, WORKS_AGAIN_AFTER};
use crate::archive::{AppendError, Operation, StorageError};
use crate::daemon::lock;
use crate::retire::{ShelfOperation, Trouble};
use crate::telemetry::StateOp;
use program::sentence;

/// The cause under which it is remembered that the state directory was moved.
const OUT_OF_PLACE: &str = "out of place";

impl Rounds {
    /// Whether the state is still where the next start will look for it.
    pub(super) fn check_place(&mut self) {
        let checked = self.state.check_in_place();
        self.counts.is_durable = self.is_durable_in_place && checked.is_ok();
        match checked {
            Ok(()) => drop(self.told.remove(OUT_OF_PLACE)),
            Err(err) => {
                if self.told.insert(OUT_OF_PLACE.to_owned()) {
                    tracing::error!(error = %sentence(&err), "the state is written where the next start will not find it; put the directory back");
                }
            }
        }
    }

    /// Makes what was noted durable. False: it could not, and is tried again.
    pub(super) fn sync(&mut self) -> bool {
        let synced = lock(&self.books).sync();
        match synced {
            Ok(()) => {
                self.rest = None;
                true
            }
            Err(err) => {
                self.storage_failed(&err);
                false
            }
        }
    }

    /// One success says little: on a full disk notes still go to the reserve, and a checkpoint is tried only now and then.
    pub(super) fn say_if_it_works_again(&mut self) {
        let is_quiet = self
            .failed_at
            .is_some_and(|at| at.elapsed() >= WORKS_AGAIN_AFTER);
        if is_quiet && self.rest.is_none() {
            self.failed_at = None;
            self.told.clear();
            tracing::info!("the state directory can be written again");
        }
    }

    pub(super) fn report(&mut self, troubles: &[Trouble]) {
        for trouble in troubles {
            match trouble {
                Trouble::State(err) => self.storage_failed(err),
                Trouble::Append { source, .. } => self.append_failed(source),
                Trouble::Shelf(err) => {
                    self.counts.errors.add(match err.operation {
                        ShelfOperation::Rename => StateOp::RetireRename,
                        ShelfOperation::Look | ShelfOperation::Read => StateOp::RetireRead,
                        ShelfOperation::Unlink => StateOp::RetireUnlink,
                        ShelfOperation::SyncDirectory => StateOp::RetireSync,
                    });
                    let cause = format!("{:?} {}", err.operation, err.source);
                    self.tell_once(cause, &sentence(err));
                }
            }
        }
    }

    pub(super) fn storage_failed(&mut self, err: &StorageError) {
        let pause = match self.rest {
            Some((_, pause)) if !err.is_full() => (pause * 2).min(REST_MAX),
            _ => REST_MIN,
        };
        self.failed_at = Some(Instant::now());
        self.rest = Some((Instant::now() + pause, pause));
        self.counts.errors.add(StateOp::Storage(err.operation));
        // Not by the file, which is another one at each attempt.
        let cause = format!("{:?} {}", err.operation, err.source);
        self.tell_once(cause, &sentence(err));
    }

    pub(super) fn append_failed(&mut self, err: &AppendError) {
        self.counts.errors.add(StateOp::Storage(Operation::Append));
        let sentence = sentence(err);
        self.tell_once(sentence.clone(), &sentence);
    }

    pub(super) fn tell_once(&mut self, cause: String, sentence: &str) {
        if self.told.len() < TOLD_MAX && self.told.insert(cause) {
            tracing::error!(
                sentence,
                "the state cannot be kept; totals stay exact, retirement waits, and it is tried again"
            );
        }
    }
}
