//! `metricsd serve`: from settings to a running daemon and back.
//!
//! Invariant: the locks are taken before the port, so that a second daemon changes nothing and says who is first; readiness is
//! announced when everything is read and brought together, so that the next scrape is right. Must not delete, create or rename
//! anything in the shard directory.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use metricsd_exporter::http::{BindError, Endpoint, Limits, Server, Site, bind, spawn};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sd_notify::NotifyState;
use thiserror::Error;

use crate::archive::{self, OpenReport};
use crate::books::{Books, Reconciled};
use crate::clock::unix_now;
use crate::collect::{Collector, Locking};
use crate::daemon::{Daemon, SharedBooks, Unreconciled, lock};
use crate::directory::{DirectoryError, ShardDirectory};
use crate::keeper::{AtStep, Keeper};
use crate::liveness::LivenessWatch;
use crate::settings::{MergeSettings, ServeSettings};
use crate::state_directory::{Durability, StateDirectory, StateDirectoryError, boot_id};
use crate::telemetry::{ObservedState, StateOp, Telemetry};
use program::sentence;

/// Descriptors that are not for shards: connections, the log, the directory, the watch, and files that are open for a moment.
const DESCRIPTORS_RESERVED: u64 = 1024;

/// Most shards that are kept open, however many descriptors there are; each costs kernel memory.
const DESCRIPTORS_MAX: u64 = 200_000;

/// The daemon cannot start. The exit code is 1.
#[derive(Debug, Error)]
pub enum StartError {
    /// The shard directory cannot be used, or another daemon serves it.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The state directory cannot be used, or another daemon uses it.
    #[error(transparent)]
    StateDirectory(#[from] StateDirectoryError),
    /// What is in the state directory cannot be used.
    #[error("{}", .path.display())]
    State {
        /// The state directory.
        path: PathBuf,
        /// Why.
        source: archive::OpenError,
    },
    /// An address cannot be listened on.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The system gives no thread or descriptor.
    #[error("cannot start {what}")]
    System {
        /// What could not be started.
        what: &'static str,
        /// The system's error.
        source: io::Error,
    },
}

/// How long a stop waits for a collection that runs. The first one of a million series takes some seconds on a busy machine.
const COLLECTION_PATIENCE: Duration = Duration::from_secs(8);

/// A running daemon.
#[derive(Debug)]
pub struct Running {
    server: Server,
    keeper: Keeper,
    daemon: Arc<Daemon>,
    /// Locked for as long as the daemon runs.
    _state: Arc<StateDirectory>,
}

impl Running {
    /// Starts the daemon. The process must have ignored SIGIO; the log must be up.
    ///
    /// # Errors
    /// A directory, a lock, an address, or the system.
    pub fn start(settings: ServeSettings) -> Result<Running, StartError> {
        Running::start_watched(settings, Arc::new(|_| ()))
    }

    /// As [`Running::start`]; `at_step` is called after each step of a retirement, so that a test can stop the process there.
    ///
    /// # Errors
    /// As [`Running::start`].
    pub fn start_watched(settings: ServeSettings, at_step: AtStep) -> Result<Running, StartError> {
        announce(&settings.merge);
        let directory = ShardDirectory::create(&settings.merge.directory.path)?;
        directory.lock()?;
        let state = StateDirectory::create(&settings.merge.state.path, &directory)?;
        state.lock()?;
        let state = Arc::new(state);
        let durability = state.durability(&directory);
        let listeners = bind(&settings.listen)?;
        let descriptor_budget = raise_descriptor_limit();
        let liveness = LivenessWatch::start().map_err(|source| StartError::System {
            what: "the liveness thread",
            source,
        })?;
        let disk = state.disk().map_err(|source| StartError::System {
            what: "reading the state directory",
            source,
        })?;
        let (books, report) = Books::open(disk, archive_settings(&state), &boot_id(), unix_now())
            .map_err(|source| StartError::State {
            path: settings.merge.state.path.clone(),
            source,
        })?;
        let mut kept = announce_state(&settings.merge, durability, &report);
        let policy_name = if settings.merge.policy.forbidden_labels.is_empty() {
            "open"
        } else {
            "trading"
        };
        let telemetry = Telemetry::new(settings.expected_programs, directory.path(), policy_name);
        let collector = Collector::new(
            directory,
            Locking::Exclusive,
            settings.merge.policy,
            descriptor_budget,
        )
        .with_state(books.shared_state());
        let books: SharedBooks = Arc::new(Mutex::new(books));
        let daemon = Arc::new(Daemon::new(
            collector,
            Arc::new(liveness),
            &books,
            settings.merge.dead_gauges,
            telemetry,
        ));
        reconcile(&daemon, &books, &report, &mut kept);
        let keeper = Keeper::start(
            Arc::clone(&daemon),
            books,
            Arc::clone(&state),
            settings.retirement,
            at_step,
        )
        .map_err(|source| StartError::System {
            what: "the thread that keeps the books",
            source,
        })?;
        daemon
            .start_collecting()
            .map_err(|source| StartError::System {
                what: "the thread of the first collection",
                source,
            })?;

        let (for_metrics, for_ready) = (Arc::clone(&daemon), Arc::clone(&daemon));
        let endpoint = Endpoint {
            site: site(),
            metrics: Arc::new(move |request| for_metrics.scrape(request)),
            ready: Arc::new(move || for_ready.ready()),
            health: None,
            pages: None,
        };
        let limits = Limits {
            max_requests: settings.max_requests,
            ..Limits::default()
        };
        let server = spawn(listeners, endpoint, limits).map_err(|source| StartError::System {
            what: "the server",
            source,
        })?;
        for address in server.addresses() {
            tracing::info!(address = %address, "serving /metrics");
        }
        notify(&[NotifyState::Ready]);
        Ok(Running {
            server,
            keeper,
            daemon,
            _state: state,
        })
    }

    /// The addresses that are listened on, with the ports the system chose.
    pub fn addresses(&self) -> &[SocketAddr] {
        self.server.addresses()
    }

    /// Whether the last collection worked.
    ///
    /// # Errors
    /// Why it did not.
    pub fn ready(&self) -> Result<(), String> {
        self.daemon.ready()
    }

    /// Stops; running scrapes are finished, and what shards hold is noted a last time. That takes a second and a half at most, unless a
    /// collection of very many series runs: it is waited for.
    pub fn stop(self) {
        notify(&[NotifyState::Stopping]);
        self.server.stop();
        // It has what the last notes are made of, and computes for seconds at most; without them a stop is taken for a crash.
        self.daemon.wait_for_collection(COLLECTION_PATIENCE);
        self.keeper.stop();
        tracing::info!("stopped");
    }
}

/// Logs what the settings come to.
pub(crate) fn announce(settings: &MergeSettings) {
    for warning in &settings.warnings {
        tracing::warn!("{warning}");
    }
    if let Some(file) = &settings.config_file {
        tracing::info!(file = %file.display(), "configuration file");
    }
    tracing::info!(directory = %settings.directory.path.display(), source = %settings.directory.source, "shard directory");
}

/// The usual room for journal and reserve, or less where the file system is small: a reserve that does not fit would keep
/// retirement waiting for ever.
pub(crate) fn archive_settings(state: &StateDirectory) -> archive::Settings {
    let usual = archive::Settings::default();
    let Ok(size_bytes) = state.file_system_size_bytes() else {
        return usual;
    };
    archive::Settings {
        reserve_len_bytes: usual.reserve_len_bytes.min(size_bytes / 8),
        segment_len_bytes: usual.segment_len_bytes.min(size_bytes / 32),
        checkpoint_after_len_bytes: usual.checkpoint_after_len_bytes.min(size_bytes / 8),
        ..usual
    }
}

/// Says where the state is and what was found there.
fn announce_state(
    settings: &MergeSettings,
    durability: Durability,
    report: &OpenReport,
) -> ObservedState<'static> {
    let path = settings.state.path.display();
    tracing::info!(directory = %path, source = %settings.state.source, "state directory");
    let mut kept = ObservedState::default();
    match durability {
        Durability::Durable => kept.is_durable = true,
        Durability::NotDurable { reason } => tracing::warn!(
            directory = %path,
            reason = %reason,
            "the state directory does not survive a power cut; totals would begin anew"
        ),
    }
    for loss in &report.losses {
        kept.errors.add(StateOp::Damage);
        tracing::error!(%loss, "the state was damaged; what the other records say stands");
    }
    for file in &report.damaged {
        tracing::warn!(
            file = file.name,
            defect = file.defect,
            "a file of the state is damaged"
        );
    }
    for oddity in &report.oddities {
        kept.errors.add(StateOp::Damage);
        tracing::warn!(%oddity, "the state says something that does not fit; the least harm was done");
    }
    if report.earlier_totals_lost {
        kept.errors.add(StateOp::Damage);
        tracing::error!("earlier totals are lost; they begin anew");
    }
    if let Some(err) = &report.write_failure {
        kept.errors.add(StateOp::Storage(err.operation));
        tracing::error!(error = %sentence(err), "the state directory cannot be written; nothing merged is shown until it can");
    }
    tracing::info!(
        records = report.replayed_count,
        first_start = report.previous.is_none(),
        unclean = report.is_unclean(),
        same_boot = report.is_same_boot,
        "state read"
    );
    kept
}

/// Brings together what is known and what is there. If that cannot be made durable now, the keeper tries again.
fn reconcile(
    daemon: &Daemon,
    books: &SharedBooks,
    report: &OpenReport,
    kept: &mut ObservedState<'static>,
) {
    let mut work = daemon.work();
    let follows_a_run = report.previous.is_some();
    let lost_power = report.may_have_lost_power();
    let known = Unreconciled {
        lost_power,
        follows_a_run,
    };
    match work.reconcile(known, unix_now()) {
        Ok(found) => {
            kept.declared_resets += found.declared as u64 + report.reset_series_count;
            kept.writer_resets += found.resets as u64;
            if found != Reconciled::default() {
                tracing::info!(
                    ?found,
                    "what was known and what is there were brought together"
                );
            }
            match lock(books).sync() {
                Ok(()) => work.is_reconciled = true,
                Err(err) => {
                    kept.errors.add(StateOp::Storage(err.operation));
                    // To forget what is settled changes no total; anything else has to be durable before it shows.
                    let forgets_only = Reconciled {
                        forgotten: found.forgotten,
                        entombed: found.entombed,
                        ..Reconciled::default()
                    };
                    work.is_reconciled = found == forgets_only && !lost_power;
                    let served = if work.is_reconciled {
                        "totals are exact, and retirement waits until it can"
                    } else {
                        "nothing merged is shown until it can"
                    };
                    tracing::error!(error = %sentence(&err), "the state directory cannot be written; {served}");
                }
            }
        }
        Err(err) => {
            tracing::error!(error = %sentence(&err), "the state directory cannot be written; nothing merged is shown")
        }
    }
    work.kept = *kept;
}

/// Takes as many descriptors as the system allows, and says how many of them shards may keep.
fn raise_descriptor_limit() -> usize {
    let limit = getrlimit(Resource::Nofile);
    // Lowering nothing: the soft limit goes up to the hard one, which any process may do.
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    let current = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    let available = current.unwrap_or(u64::MAX);
    let budget = shard_descriptors(available);
    tracing::debug!(available, budget, "file descriptors");
    usize::try_from(budget).unwrap_or(usize::MAX)
}

/// How many shards are kept open by a daemon that may have `available` descriptors.
pub(crate) fn shard_descriptors(available: u64) -> u64 {
    available
        .saturating_sub(DESCRIPTORS_RESERVED)
        .max(available / 4)
        .min(DESCRIPTORS_MAX)
}

fn site() -> Site {
    Site {
        title: "metricsd".to_owned(),
        description: "Merged metrics of the processes that write shards into one directory."
            .to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        links: Vec::new(),
    }
}

/// Tells the service manager, if there is one.
fn notify(state: &[NotifyState<'_>]) {
    if let Err(err) = sd_notify::notify(state) {
        tracing::warn!(error = %err, "the service manager cannot be told");
    }
}

#[cfg(test)]
mod tests;
