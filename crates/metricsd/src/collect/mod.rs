//! Collecting: from the files in the shard directory to merged families.
//!
//! Invariant: a collection shows every value that was stored before it began, whatever is wrong with any one file. May list
//! and read the directory; must not create, delete or rename anything in it, and takes no lease.

mod archived;
mod conflicts;
mod image;
mod index;
mod layout;
mod maps;
mod notes;
mod parsing;
mod processes;
mod reading;
mod rest;
mod shard;
mod sightings;
mod sources;
#[cfg(test)]
mod tests;

use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Instant, SystemTime};

use metricsd_exporter::{Family, NameFilter, Written};
use metricsd_shard::file_system_supports_leases;

use self::archived::Archived;
use self::index::Index;
use self::layout::Layouts;
use self::maps::MapBudget;
use self::notes::Notes;
use self::processes::Processes;
use self::reading::THREADS_MAX;
use crate::archive::State;
use crate::directory::{DirectoryError, DirectoryTimes, ShardDirectory, Whereabouts};
use crate::liveness::Answers;
use crate::merge::{Catalog, ConflictKind, LiveFirst, Plan};
use crate::policy::{Policy, RefusalReason};
use crate::retention::DeadGauges;

pub use self::archived::Terms;
pub use self::conflicts::NamedConflict;
pub use self::processes::Process;
pub use self::rest::FileTimes;
use self::shard::Buffers;
pub use self::shard::{Place, Shard};
pub use self::sightings::Told;
pub use self::sources::Superseded;

/// The catalog is made anew when more than this many keys and more than half of all are no longer used.
const UNUSED_KEYS_MAX: usize = 10_000;

/// A file that has lost its name but is not deleted is looked for in so many listings, one right after the other. A listing misses a
/// file that is being renamed now and then; so many in a row miss only one that has left the directory.
const LISTINGS_MAX: usize = 8;

/// Whether a second process may serve the same directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Locking {
    /// The daemon: one a directory.
    Exclusive,
    /// A one-time look, beside whoever serves it.
    None,
}

/// Collects from one directory, again and again.
#[derive(Debug)]
pub struct Collector {
    path: PathBuf,
    locking: Locking,
    /// Kept, with its lock, while its path leads nowhere: it may come back.
    directory: ShardDirectory,
    /// The path leads nowhere, or to what cannot be served, so nothing is shown.
    is_away: bool,
    /// The directory's times at the last listing, if they tell whether it has changed since.
    listed_at: Option<DirectoryTimes>,
    /// The same whether they tell or not.
    last_listed_at: Option<DirectoryTimes>,
    index: Index,
    processes: Processes,
    policy: Policy,
    catalog: Catalog,
    layouts: Layouts,
    plan: Plan,
    /// Something that the plan rests on has changed.
    is_plan_stale: bool,
    planned_at: Instant,
    /// A shard was taken in again that nobody follows yet.
    has_adopted: bool,
    /// What the archive knows; none: there is no archive, and what is gone is forgotten.
    state: Option<Arc<RwLock<State>>>,
    archived: Archived,
    /// The archive's shape that the plan rests on.
    planned_shape: Option<u64>,
    /// How many series it had numbered then, if the plan rests on their order.
    planned_series: Option<usize>,
    /// What is being read, for each thread that reads.
    buffers: Vec<Buffers>,
    maps: Arc<MapBudget>,
    notes: Notes,
}

/// What one collection found besides the families.
#[derive(Debug, Clone, Default)]
pub struct Collected {
    /// Newly seen conflicts, by [`ConflictKind::index`].
    pub conflicts: [u64; ConflictKind::ALL.len()],
    /// Newly seen entries that are refused, by [`RefusalReason::index`].
    pub refused: [u64; RefusalReason::ALL.len()],
    /// Whether shards or sidecars came, went or changed names since the collection before.
    pub sources_changed: bool,
    /// Shards that were not read, because nobody can have stored anything into them since they were.
    pub at_rest_count: usize,
}

/// What came of following the path.
#[derive(Debug)]
struct Followed {
    /// The directory is another one than before, or is back.
    is_other: bool,
    /// Why it is not known whether the path still leads to the directory.
    doubt: Option<DirectoryError>,
}

impl Collector {
    /// Collects from a directory that is open, and locked if that is wanted. Keeps up to `descriptor_budget` shards open.
    pub fn new(
        directory: ShardDirectory,
        locking: Locking,
        policy: Policy,
        descriptor_budget: usize,
    ) -> Collector {
        let catalog = Catalog::default();
        let (plan, _) = Plan::new(&catalog, &policy.limits, &[], LiveFirst::Apply);
        let threads = std::thread::available_parallelism()
            .map_or(1, usize::from)
            .min(THREADS_MAX);
        Collector {
            path: directory.path().to_owned(),
            locking,
            directory,
            is_away: false,
            listed_at: None,
            last_listed_at: None,
            index: Index::new(descriptor_budget),
            processes: Processes::default(),
            policy,
            catalog,
            layouts: Layouts::default(),
            plan,
            is_plan_stale: true,
            planned_at: Instant::now(),
            has_adopted: false,
            state: None,
            archived: Archived::default(),
            planned_shape: None,
            planned_series: None,
            buffers: (0..threads).map(|_| Buffers::default()).collect(),
            maps: MapBudget::of_this_process(),
            notes: Notes::default(),
        }
    }

    /// With an archive: totals are those of the archive and the shards, and no shard is forgotten before the archive holds it.
    pub fn with_state(mut self, state: Arc<RwLock<State>>) -> Collector {
        self.state = Some(state);
        self
    }

    /// Appends what `names` accepts of [`Collector::families`] to `out`, as text.
    pub fn write_text(&mut self, names: &NameFilter, out: &mut Vec<u8>) -> Written {
        self.plan.write_text(names, out)
    }

    /// The merged families of the last collection, as values.
    pub fn families(&self) -> &[Family] {
        self.plan.families()
    }

    /// Every shard of the last collection, in canonical order.
    pub fn shards(&self) -> &[Shard] {
        self.index.shards()
    }

    /// Who had to be told which shards have moved was told.
    pub fn forget_moves(&mut self) {
        for shard in self.index.shards_mut() {
            shard.moved = false;
        }
    }

    /// For each name that looks like a shard's and cannot be served at all, the word for the metric of unreadable shards.
    pub fn refused_names(&self) -> impl Iterator<Item = &'static str> {
        self.index.refused().values().map(|refused| refused.reason)
    }

    /// What our own writers say of themselves, by the ID of their shards.
    pub fn processes(&self) -> impl Iterator<Item = (&str, &Process)> {
        self.processes.iter()
    }

    /// The directory as it is open now, wherever it is.
    pub fn directory(&self) -> &ShardDirectory {
        &self.directory
    }

    /// Whether names came or went since the last listing, as far as the directory's times tell: two changes within one tick of the
    /// clock they are taken from may look like one.
    pub(crate) fn may_have_new_names(&self) -> bool {
        // While the path leads nowhere nothing is listed, so nothing would be known better the next time.
        let times = self.directory.times();
        !self.is_away && times.is_ok_and(|times| self.last_listed_at != Some(times))
    }

    pub(super) fn directory_fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    /// Where the shards are looked for.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Brings everything up to date, without anything that has to be decided about gauges of the ended: for a one-time look.
    ///
    /// # Errors
    /// As [`Collector::refresh`].
    pub fn collect(&mut self, answers: &Answers) -> (Collected, Result<(), DirectoryError>) {
        let (mut collected, outcome) = self.refresh(answers);
        let terms = Terms {
            dead_gauges: DeadGauges::Keep,
            now_unix_seconds: 0.0,
        };
        self.merge_alone(&mut collected, terms);
        (collected, outcome)
    }

    /// Reads what there is. `answers` has what the kernel knows of writers; without them every shard is read. Nothing of it shows
    /// before [`Collector::merge`].
    ///
    /// # Errors
    /// The directory is missing, cannot be read, or another daemon has locked it since. What is known then is what can still be
    /// read. Without an archive that is nothing if the directory is gone.
    pub fn refresh(&mut self, answers: &Answers) -> (Collected, Result<(), DirectoryError>) {
        let now = SystemTime::now();
        let (sources_changed, outcome) = match self.follow_directory() {
            Ok(followed) => {
                let (changed, listed) = self.relist(now);
                let outcome = match followed.doubt {
                    Some(doubt) => Err(doubt),
                    None => listed,
                };
                (changed || followed.is_other, outcome)
            }
            Err(err) => {
                let had_sources =
                    !self.index.shards().is_empty() || self.processes.iter().next().is_some();
                if self.state.is_none() {
                    self.forget_content();
                }
                self.is_away = true;
                (had_sources, Err(err))
            }
        };
        let read = self.read_shards(answers, now);
        self.find_spent(answers);
        let collected = Collected {
            sources_changed: sources_changed
                || read.files_replaced
                || std::mem::take(&mut self.has_adopted),
            at_rest_count: read.at_rest_count,
            ..Collected::default()
        };
        self.is_plan_stale |= read.entries_changed || collected.sources_changed;
        self.notes.report_defects(&self.index, now);
        (collected, outcome)
    }

    /// Follows the path to the directory that it leads to now.
    ///
    /// # Errors
    /// It leads nowhere, or to what cannot be served. The directory stays open and locked, so that it is served again when it is
    /// back; another daemon could take a lock that was given up meanwhile.
    fn follow_directory(&mut self) -> Result<Followed, DirectoryError> {
        match self.directory.whereabouts() {
            Whereabouts::Current => {
                let was_away = std::mem::take(&mut self.is_away);
                if was_away {
                    tracing::info!(directory = %self.path.display(), "the shard directory is back");
                }
                Ok(Followed {
                    is_other: was_away,
                    doubt: None,
                })
            }
            // What is open can be read wherever it is: what was shown must not vanish for a doubt.
            Whereabouts::Unknown(doubt) if !self.is_away => Ok(Followed {
                is_other: false,
                doubt: Some(doubt),
            }),
            Whereabouts::Unknown(err) | Whereabouts::Gone(err) => Err(err),
            Whereabouts::Replaced => {
                let directory = ShardDirectory::open(&self.path)?;
                if self.locking == Locking::Exclusive {
                    directory.lock()?;
                }
                tracing::warn!(directory = %self.path.display(), "the shard directory was replaced; serving the new one");
                if self.state.is_some() {
                    self.listed_at = None;
                    self.index.forget_names();
                    self.processes.clear();
                } else {
                    self.forget_content();
                }
                self.directory = directory;
                self.is_away = false;
                Ok(Followed {
                    is_other: true,
                    doubt: None,
                })
            }
        }
    }

    /// Forgets what the directory held, not the directory.
    fn forget_content(&mut self) {
        self.listed_at = None;
        self.index.clear();
        self.processes.clear();
    }

    /// Lists the directory unless its times prove that no name has changed since the last listing. True if shards or sidecars
    /// came or went.
    fn relist(&mut self, now: SystemTime) -> (bool, Result<(), DirectoryError>) {
        let directory = &self.directory;
        let state = self.state.clone();
        let state = state.as_ref().map(|state| read(state));
        let state = state.as_deref();
        let mut changed = self.index.retry_refused(directory.as_fd());
        // The times are asked for before the names: a change in between is seen by the next collection.
        let times = match directory.times() {
            Ok(times) if self.listed_at == Some(times) && !self.index.has_nameless() => {
                return (changed, Ok(()));
            }
            Ok(times) => times,
            Err(err) => return (changed, Err(err)),
        };
        self.listed_at = None;
        // Also if that fails: it is tried again with the next reading, not at once.
        self.last_listed_at = Some(times);
        for listings_left in (0..LISTINGS_MAX).rev() {
            let names = match directory.list() {
                Ok(names) => names,
                Err(err) => return (changed, Err(err)),
            };
            let taken = self
                .index
                .update(directory.as_fd(), &names, listings_left == 0, state);
            changed |= taken.changed;
            changed |= self.processes.update(directory.as_fd(), &names);
            if !taken.is_looking {
                break;
            }
        }
        let proves = times.are_older_than(shard::TIME_GRANULARITY, now)
            // Elsewhere (network file systems) times may come from a cache.
            && file_system_supports_leases(directory.as_fd()).is_ok();
        self.listed_at = proves.then_some(times);
        (changed, Ok(()))
    }
}

/// A panic while the state was being changed is a bug; what is in the journal comes again with the next start.
fn read(state: &RwLock<State>) -> RwLockReadGuard<'_, State> {
    state.read().unwrap_or_else(PoisonError::into_inner)
}
