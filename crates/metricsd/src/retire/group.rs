//! One group of shards on its way from idle to deleted.
//!
//! Invariant: the directory is synced before anything is absorbed, the journal before anything is deleted, and the kernel is
//! asked right before each of both; a shard that fails at any step leaves the group and is served on. Two syncs of the
//! directory and one of the journal for the whole group.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use metricsd_shard::{Instance, Liveness, original_of_retiring, retiring_file_name};

use super::content::Content;
use super::outcome::{Candidate, GroupOutcome, Lingering, PutOff, Trouble, Why};
use super::shelf::{Named, Shelf, ShelfError, ShelfOperation};
use super::step::Step;
use crate::archive::{Phase, State, Storage};
use crate::books::Books;

/// Retires shards that were found idle: all those of which nothing speaks against it on the way. A candidate that an earlier
/// round, or an earlier daemon, left half retired goes on from there.
///
/// `at_step` is called after each step; tests stop the process there.
pub fn retire_group<H: Shelf, S: Storage>(
    shelf: &mut H,
    books: &Mutex<Books<S>>,
    candidates: Vec<Candidate<H::File>>,
    now_unix_seconds: f64,
    at_step: &dyn Fn(Step),
) -> GroupOutcome<H::File> {
    let mut group = Group {
        shelf,
        books,
        state: lock(books).shared_state(),
        now_unix_seconds,
        outcome: GroupOutcome {
            lingering: Vec::new(),
            put_off: Vec::new(),
            troubles: Vec::new(),
        },
    };
    let renamed = group.rename(candidates);
    at_step(Step::Renamed);
    let renamed = group.sync_names(renamed);
    at_step(Step::DirectorySynced);
    let idle = group.ask(renamed, |candidate| candidate);
    at_step(Step::AskedAgain);
    let read = group.read(idle, at_step);
    at_step(Step::Appended);
    let absorbed = group.sync_journal(read);
    at_step(Step::Absorbed);
    let idle = group.ask(absorbed, |read| read.candidate);
    at_step(Step::AskedLast);
    group.unlink(idle);
    at_step(Step::Unlinked);
    group.sync_unlinks();
    at_step(Step::UnlinkSynced);
    group.outcome
}

/// A candidate whose content is in the journal, or was already.
struct Read<F> {
    candidate: Candidate<F>,
    /// Of the bytes that were read.
    checksum: u32,
}

impl<F> AsRef<Candidate<F>> for Read<F> {
    fn as_ref(&self) -> &Candidate<F> {
        &self.candidate
    }
}

impl<F> AsRef<Candidate<F>> for Candidate<F> {
    fn as_ref(&self) -> &Candidate<F> {
        self
    }
}

struct Group<'a, H: Shelf, S: Storage> {
    shelf: &'a mut H,
    books: &'a Mutex<Books<S>>,
    state: Arc<RwLock<State>>,
    now_unix_seconds: f64,
    outcome: GroupOutcome<H::File>,
}

impl<H: Shelf, S: Storage> Group<'_, H, S> {
    /// Each gets its retiring name, unless it carries one or somebody has deleted it.
    fn rename(&mut self, candidates: Vec<Candidate<H::File>>) -> Vec<Candidate<H::File>> {
        let mut renamed = Vec::with_capacity(candidates.len());
        for mut candidate in candidates {
            match self.rename_one(&mut candidate) {
                Ok(()) => renamed.push(candidate),
                Err(why) => self.put_off(candidate, why),
            }
        }
        renamed
    }

    fn rename_one(&mut self, candidate: &mut Candidate<H::File>) -> Result<(), Why> {
        let link_count = self.link_count(candidate)?;
        if link_count > 1 {
            return Err(Why::Linked);
        }
        if link_count == 1 && original_of_retiring(&candidate.file_name).is_none() {
            let to = retiring_file_name(&candidate.file_name, random_instance());
            let named = self
                .shelf
                .rename(&candidate.file, &candidate.file_name, &to);
            match self.checked(named, ShelfOperation::Rename, &candidate.file_name)? {
                Named::Done => {
                    candidate.file_name = to;
                    return Ok(());
                }
                Named::Nothing | Named::Other if self.link_count(candidate)? > 0 => {
                    return Err(Why::Renamed);
                }
                Named::Nothing | Named::Other => {}
            }
        } else if link_count == 1 {
            return Ok(());
        }
        // Deleted, by somebody else unless it was absorbed before. Its content is still there.
        let was_absorbed = read(&self.state)
            .shard(&candidate.identity)
            .is_some_and(|known| known.phase() == Phase::Absorbed);
        let is_known = was_absorbed || candidate.is_adopted;
        match candidate.origin.kind.is_live_gauge() && !is_known {
            true => Err(Why::Discarded),
            false => Ok(()),
        }
    }

    fn sync_names(&mut self, renamed: Vec<Candidate<H::File>>) -> Vec<Candidate<H::File>> {
        if renamed.is_empty() || self.sync_directory() {
            return renamed;
        }
        self.put_all_off(renamed, |candidate| candidate);
        Vec::new()
    }

    /// Those that are idle. One question for the whole group.
    fn ask<T: AsRef<Candidate<H::File>>>(
        &mut self,
        asked: Vec<T>,
        into_candidate: impl Fn(T) -> Candidate<H::File>,
    ) -> Vec<T> {
        if asked.is_empty() {
            return asked;
        }
        let files: Vec<&H::File> = asked.iter().map(|it| &it.as_ref().file).collect();
        let answers = self.shelf.ask(&files);
        let mut idle = Vec::with_capacity(asked.len());
        for (index, it) in asked.into_iter().enumerate() {
            match why_not_idle(answers.get(index)) {
                None => idle.push(it),
                Some(why) => self.put_off(into_candidate(it), why),
            }
        }
        idle
    }

    /// Reads each and appends what it holds to the journal, in memory. One at a time, so that not all contents are in memory.
    fn read(
        &mut self,
        idle: Vec<Candidate<H::File>>,
        at_step: &dyn Fn(Step),
    ) -> Vec<Read<H::File>> {
        let mut buffer = Vec::new();
        let mut all = Vec::with_capacity(idle.len());
        for candidate in idle {
            match self.read_one(&candidate, &mut buffer, at_step) {
                Ok(checksum) => all.push(Read {
                    candidate,
                    checksum,
                }),
                Err(why) => self.put_off(candidate, why),
            }
        }
        all
    }

    fn read_one(
        &mut self,
        candidate: &Candidate<H::File>,
        buffer: &mut Vec<u8>,
        at_step: &dyn Fn(Step),
    ) -> Result<u32, Why> {
        let content = self.content(candidate, buffer)?;
        at_step(Step::Read);
        let kind = candidate.origin.kind;
        // A daemon that was killed after it had absorbed this shard, or a round that came so far.
        let is_absorbed = content.is_absorbed(&read(&self.state), &candidate.identity, kind);
        if !is_absorbed {
            let appended = lock(self.books).absorb(
                &content.sighting(candidate),
                candidate.ended_at_unix_seconds,
            );
            if let Err(source) = appended {
                self.outcome.troubles.push(Trouble::Append {
                    file_name: candidate.file_name.clone(),
                    source,
                });
                return Err(Why::Failed);
            }
        }
        Ok(content.checksum)
    }

    fn content<'b>(
        &mut self,
        candidate: &Candidate<H::File>,
        buffer: &'b mut Vec<u8>,
    ) -> Result<Content<'b>, Why> {
        let done = self.shelf.read(&candidate.file, buffer);
        self.checked(done, ShelfOperation::Read, &candidate.file_name)?;
        Content::parse(buffer).map_err(Why::Damaged)
    }

    /// What was appended counts from here on. Where it fails the records wait in memory and count after a later success; a
    /// shard that is absorbed once more then adds only what it holds beyond.
    fn sync_journal(&mut self, all: Vec<Read<H::File>>) -> Vec<Read<H::File>> {
        if all.is_empty() {
            return all;
        }
        let synced = lock(self.books).sync();
        match synced {
            Ok(()) => all,
            Err(error) => {
                self.outcome.troubles.push(Trouble::State(error));
                self.put_all_off(all, |read| read.candidate);
                Vec::new()
            }
        }
    }

    fn unlink(&mut self, idle: Vec<Read<H::File>>) {
        let mut buffer = Vec::new();
        for Read {
            candidate,
            checksum,
        } in idle
        {
            match self.unlink_one(&candidate, checksum, &mut buffer) {
                Ok(()) => self.outcome.lingering.push(Lingering {
                    candidate,
                    since_unix_seconds: self.now_unix_seconds,
                    asked_count: 0,
                    is_unlink_durable: false,
                }),
                Err(why) => self.put_off(candidate, why),
            }
        }
    }

    /// Reads once more, because a writer may have come and gone since, and deletes what is exactly in the archive.
    fn unlink_one(
        &mut self,
        candidate: &Candidate<H::File>,
        checksum: u32,
        buffer: &mut Vec<u8>,
    ) -> Result<(), Why> {
        let content = self.content(candidate, buffer)?;
        let kind = candidate.origin.kind;
        let is_absorbed = content.is_absorbed(&read(&self.state), &candidate.identity, kind);
        if content.checksum != checksum || !is_absorbed {
            return Err(Why::Changed);
        }
        let named = self.shelf.unlink(&candidate.file, &candidate.file_name);
        match self.checked(named, ShelfOperation::Unlink, &candidate.file_name)? {
            Named::Done => Ok(()),
            // Deleted by somebody else: as good. Otherwise it has another name, under which it is found again.
            Named::Nothing | Named::Other => match self.link_count(candidate)? {
                0 => Ok(()),
                _ => Err(Why::Renamed),
            },
        }
    }

    fn sync_unlinks(&mut self) {
        if self.outcome.lingering.is_empty() {
            return;
        }
        let is_durable = self.sync_directory() && self.shelf.is_sound();
        for lingering in &mut self.outcome.lingering {
            lingering.is_unlink_durable = is_durable;
        }
    }

    fn sync_directory(&mut self) -> bool {
        let synced = self.shelf.sync();
        self.checked(synced, ShelfOperation::SyncDirectory, ".")
            .is_ok()
    }

    fn link_count(&mut self, candidate: &Candidate<H::File>) -> Result<u64, Why> {
        let counted = self.shelf.link_count(&candidate.file);
        self.checked(counted, ShelfOperation::Look, &candidate.file_name)
    }

    fn checked<T>(
        &mut self,
        result: std::io::Result<T>,
        operation: ShelfOperation,
        file_name: &str,
    ) -> Result<T, Why> {
        result.map_err(|source| {
            self.outcome
                .troubles
                .push(trouble(operation, file_name, source));
            Why::Failed
        })
    }

    fn put_off(&mut self, candidate: Candidate<H::File>, why: Why) {
        self.outcome.put_off.push(PutOff { candidate, why });
    }

    fn put_all_off<T>(&mut self, all: Vec<T>, into_candidate: impl Fn(T) -> Candidate<H::File>) {
        for it in all {
            self.put_off(into_candidate(it), Why::Failed);
        }
    }
}

/// Only a granted lease means idle.
pub(super) fn why_not_idle(answer: Option<&Liveness>) -> Option<Why> {
    match answer {
        Some(Liveness::Idle) => None,
        Some(Liveness::Busy) => Some(Why::Busy),
        Some(Liveness::Unknown(_)) | None => Some(Why::Unknown),
    }
}

pub(super) fn trouble(
    operation: ShelfOperation,
    file_name: &str,
    source: std::io::Error,
) -> Trouble {
    Trouble::Shelf(ShelfError {
        file_name: file_name.to_owned(),
        operation,
        source,
    })
}

/// Whoever panicked while he held them left them valid: records are appended whole.
pub(super) fn lock<S: Storage>(books: &Mutex<Books<S>>) -> MutexGuard<'_, Books<S>> {
    books.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn read(state: &RwLock<State>) -> std::sync::RwLockReadGuard<'_, State> {
    state.read().unwrap_or_else(PoisonError::into_inner)
}

/// 128 bits that nobody can know before: the standard library's hash keys come from the system's random numbers.
fn random_instance() -> Instance {
    let random = RandomState::new();
    let half = |index: u8| u128::from(random.hash_one(index));
    Instance::from_bits(half(0) << 64 | half(1))
}
