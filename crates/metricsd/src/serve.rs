//! `metricsd serve`: from settings to a running daemon and back.
//!
//! Invariant: the lock is taken before the port, so that a second daemon changes nothing and says who is first; readiness is
//! announced after the first collection. Must not delete, create or rename anything in the shard directory.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use metricsd_exporter::http::{BindError, Endpoint, Limits, Server, Site, bind, spawn};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sd_notify::NotifyState;
use thiserror::Error;

use crate::collect::{Collector, Locking};
use crate::daemon::Daemon;
use crate::directory::{DirectoryError, ShardDirectory};
use crate::liveness::LivenessWatch;
use crate::settings::{MergeSettings, ServeSettings};
use crate::telemetry::Telemetry;

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

/// A running daemon.
#[derive(Debug)]
pub struct Running {
    server: Server,
    daemon: Arc<Daemon>,
}

impl Running {
    /// Starts the daemon. The process must have ignored SIGIO; the log must be up.
    ///
    /// # Errors
    /// The directory, the lock, an address, or the system.
    pub fn start(settings: ServeSettings) -> Result<Running, StartError> {
        announce(&settings.merge);
        let directory = ShardDirectory::create(&settings.merge.directory.path)?;
        directory.lock()?;
        let listeners = bind(&settings.listen)?;
        let descriptor_budget = raise_descriptor_limit();
        let liveness = LivenessWatch::start().map_err(|source| StartError::System {
            what: "the liveness thread",
            source,
        })?;
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
        );
        let daemon = Arc::new(Daemon::new(collector, liveness, telemetry));
        daemon.scrape(&Default::default());

        let (for_metrics, for_ready) = (Arc::clone(&daemon), Arc::clone(&daemon));
        let endpoint = Endpoint {
            site: site(),
            metrics: Arc::new(move |request| for_metrics.scrape(request)),
            ready: Arc::new(move || for_ready.ready()),
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
        Ok(Running { server, daemon })
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

    /// Stops within a second; running scrapes are finished, nothing in the shard directory is touched.
    pub fn stop(self) {
        notify(&[NotifyState::Stopping]);
        self.server.stop();
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
    let budget = available
        .saturating_sub(DESCRIPTORS_RESERVED)
        .max(available / 4)
        .min(DESCRIPTORS_MAX);
    tracing::debug!(available, budget, "file descriptors");
    usize::try_from(budget).unwrap_or(usize::MAX)
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
