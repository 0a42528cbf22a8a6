//! The start, the main loop, the end.
//!
//! Invariant: the service manager hears that the bridge is ready only when a notification can be taken in, and its watchdog is fed by the
//! loop that looks after the always-firing alert.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use metricsd_client::{Registry, Settings, Target};
use sd_notify::NotifyState;
use tracing::{info, warn};

use crate::bridge::{Bridge, Load};
use crate::config::{Config, Kind};
use crate::endpoint::{self, ServeError};
use crate::queue::{OpenError, Queue};
use crate::silence::{KeyError, Signer};
use crate::stop::Stop;
use crate::telemetry::Telemetry;

/// How often the always-firing alert and the workers are looked after.
const BEAT: Duration = Duration::from_millis(500);

/// Why the bridge does not start: exit status 1.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Signals cannot be handled.
    #[error("cannot watch for signals")]
    Signals(#[source] io::Error),
    /// There is no queue.
    #[error(transparent)]
    Queue(#[from] OpenError),
    /// There is no key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Nobody can be served.
    #[error(transparent)]
    Serve(#[from] ServeError),
}

/// Run until `stop` is requested.
///
/// # Errors
/// See [`StartError`]; once it runs it goes on whatever happens.
pub fn run(config: Config, load: Box<Load>, stop: &Stop) -> Result<(), StartError> {
    let listen = config.listen.clone();
    let registry = registry(&config);
    let telemetry = Telemetry::new(&registry);
    let queue = Queue::open(&config.queue_path, telemetry.clone())?;
    let own_signer = Signer::of_directory(&config.queue_path)?;
    log_configuration(&config);
    let bridge = Bridge::start(config, load, queue, telemetry, own_signer);
    let server = endpoint::serve(&listen, registry, bridge.clone())?;
    for address in server.addresses() {
        info!(%address, "taking notifications");
    }
    notify(&[NotifyState::Ready]);
    let has_watchdog = sd_notify::watchdog_enabled().is_some();
    while !stop.is_requested() {
        if stop.take_reload() {
            // What is wrong with a new configuration is in the log; the old one stays.
            let _ = bridge.reload();
        }
        bridge.look_after();
        if has_watchdog {
            notify(&[NotifyState::Watchdog]);
        }
        stop.wait(BEAT);
    }
    notify(&[NotifyState::Stopping]);
    bridge.end();
    drop(server);
    info!("ended by a signal");
    Ok(())
}

/// The bridge serves its metrics itself, whatever the variables of other programs say.
fn registry(config: &Config) -> Registry {
    let listen = config.listen.first().copied();
    Registry::start_unserved(Settings {
        program: "alertbridge".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        runs_as: String::new(),
        target: Target::Endpoint {
            listen: listen.unwrap_or(metricsd_client::LISTEN_DEFAULT),
        },
        labels: BTreeMap::new(),
        warnings: Vec::new(),
    })
}

fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        warn!(%error, "the service manager cannot be told");
    }
}

fn log_configuration(config: &Config) {
    let queue = std::path::absolute(&config.queue_path);
    let queue = queue.unwrap_or_else(|_| config.queue_path.clone());
    info!(
        version = env!("CARGO_PKG_VERSION"),
        configuration = %config.path.display(),
        queue = %queue.display(),
        external_url = config.external_url,
        "alertbridge starts"
    );
    for (name, target) in &config.targets {
        let kind = target.kind.label().as_str();
        let is_signed = matches!(&target.kind, Kind::DingTalk(robot) if robot.secret.is_some());
        let (messages, seconds) = (target.rate.messages, target.rate.per.as_secs_f64());
        info!(target = name, kind, is_signed, messages, seconds, "target");
    }
    for warning in &config.warnings {
        warn!("{warning}");
    }
}
