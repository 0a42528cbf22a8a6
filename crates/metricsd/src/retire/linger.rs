//! The time after the deletion: the descriptor is kept, for a writer that opened the file in the last moment.
//!
//! Invariant: the archive forgets a file only after a last question that said idle, with the file as it was absorbed, without
//! a name, and its deletion durable. A count that a late writer stored until then is not lost.

use std::sync::Mutex;

use super::content::Content;
use super::group::{lock, read, trouble, why_not_idle};
use super::outcome::{Candidate, LingerOutcome, Lingering, PutOff, Trouble, Why};
use super::shelf::{Shelf, ShelfOperation};
use super::step::Step;
use crate::archive::Storage;
use crate::books::Books;

/// How long after the deletion it is asked who writes the file, in seconds. After the last answer it is forgotten.
pub const LINGER_AFTER_SECONDS: [f64; 3] = [1.0, 10.0, 60.0];

/// Asks about the deleted shards for which it is time. To be called every second or so; cheap while nothing is due.
///
/// At most `kept_count_max` descriptors are kept afterwards: of more than that the oldest are asked about now, for the last time.
pub fn linger<H: Shelf, S: Storage>(
    shelf: &mut H,
    books: &Mutex<Books<S>>,
    lingering: Vec<Lingering<H::File>>,
    kept_count_max: usize,
    now_unix_seconds: f64,
    at_step: &dyn Fn(Step),
) -> LingerOutcome<H::File> {
    let mut round = Round {
        shelf,
        books,
        now_unix_seconds,
        outcome: LingerOutcome {
            lingering: Vec::new(),
            handed_back: Vec::new(),
            forgotten: Vec::new(),
            kept: Vec::new(),
            absorbed_again_count: 0,
            troubles: Vec::new(),
        },
    };
    let due = round.take_due(lingering, kept_count_max);
    if due.is_empty() {
        return round.outcome;
    }
    let idle = round.ask(due);
    let sorted = round.read(idle);
    round.absorb_again(sorted.changed);
    if round.forget(sorted.settled) {
        at_step(Step::Forgotten);
    }
    round.outcome
}

/// Idle ones, by what is to be done with them.
struct Sorted<F> {
    settled: Vec<Lingering<F>>,
    changed: Vec<Lingering<F>>,
}

/// What a deleted file holds.
enum Held {
    /// What was absorbed.
    Absorbed,
    /// Something else, which is appended to the journal.
    More,
}

struct Round<'a, H: Shelf, S: Storage> {
    shelf: &'a mut H,
    books: &'a Mutex<Books<S>>,
    now_unix_seconds: f64,
    outcome: LingerOutcome<H::File>,
}

impl<H: Shelf, S: Storage> Round<'_, H, S> {
    /// Takes those out for which it is time; their count of questions is the new one.
    fn take_due(
        &mut self,
        mut lingering: Vec<Lingering<H::File>>,
        kept_count_max: usize,
    ) -> Vec<Lingering<H::File>> {
        lingering.sort_by(|a, b| a.since_unix_seconds.total_cmp(&b.since_unix_seconds));
        let excess_count = lingering.len().saturating_sub(kept_count_max);
        let mut due = Vec::new();
        for (index, mut it) in lingering.into_iter().enumerate() {
            let elapsed = self.now_unix_seconds - it.since_unix_seconds;
            let over_count = LINGER_AFTER_SECONDS
                .iter()
                .filter(|after| elapsed >= **after)
                .count();
            if index < excess_count {
                it.asked_count = LINGER_AFTER_SECONDS.len();
            } else if elapsed < 0.0 {
                // The clock was set back; what went by of the wait is not known.
                it.since_unix_seconds = self.now_unix_seconds;
                self.outcome.lingering.push(it);
                continue;
            } else if over_count > it.asked_count {
                it.asked_count = over_count;
            } else {
                self.outcome.lingering.push(it);
                continue;
            }
            due.push(it);
        }
        due
    }

    fn ask(&mut self, due: Vec<Lingering<H::File>>) -> Vec<Lingering<H::File>> {
        let files: Vec<&H::File> = due.iter().map(|it| &it.candidate.file).collect();
        let answers = self.shelf.ask(&files);
        let mut idle = Vec::with_capacity(due.len());
        for (index, it) in due.into_iter().enumerate() {
            match why_not_idle(answers.get(index)) {
                None => idle.push(it),
                Some(why) => self.hand_back(it.candidate, why),
            }
        }
        idle
    }

    /// Sorts out those that hold what was absorbed and whose time is over, and those that hold something else. The latter are
    /// in the journal again, in memory.
    fn read(&mut self, idle: Vec<Lingering<H::File>>) -> Sorted<H::File> {
        let mut sorted = Sorted {
            settled: Vec::new(),
            changed: Vec::new(),
        };
        let mut buffer = Vec::new();
        for it in idle {
            match self.read_one(&it.candidate, &mut buffer) {
                Ok(Held::More) => sorted.changed.push(it),
                Ok(Held::Absorbed) if it.asked_count >= LINGER_AFTER_SECONDS.len() => {
                    sorted.settled.push(it);
                }
                Ok(Held::Absorbed) => self.outcome.lingering.push(it),
                Err(why) => self.hand_back(it.candidate, why),
            }
        }
        sorted
    }

    fn read_one(
        &mut self,
        candidate: &Candidate<H::File>,
        buffer: &mut Vec<u8>,
    ) -> Result<Held, Why> {
        if let Err(source) = self.shelf.read(&candidate.file, buffer) {
            return Err(self.fail(ShelfOperation::Read, candidate, source));
        }
        let content = Content::parse(buffer).map_err(Why::Damaged)?;
        let kind = candidate.origin.kind;
        let mut books = lock(self.books);
        if content.is_absorbed(&read(&books.shared_state()), &candidate.identity, kind) {
            return Ok(Held::Absorbed);
        }
        match books.absorb(&content.sighting(candidate), self.now_unix_seconds) {
            Ok(_) => Ok(Held::More),
            Err(source) => {
                let file_name = candidate.file_name.clone();
                let trouble = Trouble::Append { file_name, source };
                self.outcome.troubles.push(trouble);
                Err(Why::Failed)
            }
        }
    }

    /// Their wait begins anew: where one came another may.
    fn absorb_again(&mut self, changed: Vec<Lingering<H::File>>) {
        if changed.is_empty() {
            return;
        }
        let synced = lock(self.books).sync();
        if let Err(error) = synced {
            // Served with what they hold beyond the archive until the journal can be written.
            self.outcome.troubles.push(Trouble::State(error));
            for it in changed {
                self.hand_back(it.candidate, Why::Failed);
            }
            return;
        }
        self.outcome.absorbed_again_count += changed.len();
        for mut it in changed {
            it.since_unix_seconds = self.now_unix_seconds;
            it.asked_count = 0;
            self.outcome.lingering.push(it);
        }
    }

    /// Lets the archive forget those whose deletion is durable. Says whether that is durable for any.
    fn forget(&mut self, settled: Vec<Lingering<H::File>>) -> bool {
        let mut appended_count = 0;
        for it in settled {
            match self.shelf.link_count(&it.candidate.file) {
                Ok(0) => {}
                // Under its other name it would count again as soon as the archive had forgotten it.
                Ok(_) => {
                    self.hand_back(it.candidate, Why::Linked);
                    continue;
                }
                Err(source) => {
                    let why = self.fail(ShelfOperation::Look, &it.candidate, source);
                    self.hand_back(it.candidate, why);
                    continue;
                }
            }
            let identity = it.candidate.identity;
            if !it.is_unlink_durable {
                self.outcome.kept.push(identity);
                continue;
            }
            let appended = lock(self.books).unlinked(&identity);
            match appended {
                Ok(()) => {
                    appended_count += 1;
                    self.outcome.forgotten.push(identity);
                }
                Err(source) => {
                    let file_name = it.candidate.file_name;
                    self.outcome
                        .troubles
                        .push(Trouble::Append { file_name, source });
                    self.outcome.kept.push(identity);
                }
            }
        }
        if appended_count == 0 {
            return false;
        }
        let synced = lock(self.books).sync();
        // The records wait in memory; if they are lost with the process, the next start finds the shards gone and forgets them.
        synced
            .map_err(|error| self.outcome.troubles.push(Trouble::State(error)))
            .is_ok()
    }

    fn hand_back(&mut self, candidate: Candidate<H::File>, why: Why) {
        self.outcome.handed_back.push(PutOff { candidate, why });
    }

    fn fail(
        &mut self,
        operation: ShelfOperation,
        candidate: &Candidate<H::File>,
        source: std::io::Error,
    ) -> Why {
        let trouble = trouble(operation, &candidate.file_name, source);
        self.outcome.troubles.push(trouble);
        Why::Failed
    }
}
