//! What a desk needs: the state directory, the intent log, the audit, the kill switch and, in a live run, the link.
//!
//! Invariant: a live run does not start without all of it, and a dry run always starts. Must not touch: what is in the files.

use std::path::{self, Path};

use tracing::{error, info, warn};

use super::{DeskError, DryRun, Pace, Parts, Terms, Trader, millis};
use crate::audit::{Audit, Configuration, Mode, Origin, Start};
use crate::clock::Clock;
use crate::config::{Config, Live, ModelChoice};
use crate::gateway::intent_log::{IntentLog, Opened};
use crate::gateway::kill::KillSwitch;
use crate::gateway::link::{Gateway, Link, LinkSettings};
use crate::health::Health;
use crate::pulse::Pulse;
use crate::state_directory::{RunMode, StateDirectory};
use crate::stop::Stop;
use crate::telemetry::Telemetry;

/// The desk of a dry run. What cannot be opened costs what it is for, and is said.
///
/// # Errors
/// A setting makes no sense.
pub fn dry_run(
    config: &Config,
    clock: &Clock,
    stop: &Stop,
    telemetry: &Telemetry,
    health: &Health,
) -> Result<DryRun, DeskError> {
    let opened = StateDirectory::create(&config.state.dir.value, RunMode::DryRun)
        .map_err(DeskError::from)
        .and_then(|directory| {
            let (log, _) = IntentLog::open(&directory.intents(), millis(clock.now()))?;
            let audit = Audit::open(&directory.audit(), &start(config, Mode::DryRun, clock));
            Ok((log, audit))
        });
    let (pace, audit) = match opened {
        Ok((log, audit)) => {
            if let Err(error) = &audit {
                warn!(%error, "the dry run has no audit");
            }
            (Pace::Log(Box::new(log)), audit.ok())
        }
        Err(error) => {
            warn!(%error, "the dry run goes on without its state directory: it counts in memory, and after a restart decides on the same bar again");
            (Pace::in_memory(&error.to_string()), None)
        }
    };
    let kill_file = &config.state.kill_file.value;
    // Where its directory cannot be there, nobody could have put it there; a live run takes that for a kill, and this one for no reason to stop.
    let has_place = matches!(pace, Pace::Log(_)) || kill_file.parent().is_some_and(Path::is_dir);
    let kill = has_place.then(|| KillSwitch::new(kill_file, stop.clone()));
    let (clock, telemetry, health) = (clock.clone(), telemetry.clone(), health.clone());
    DryRun::new(config, pace, audit, kill, clock, telemetry, health)
}

/// The trader of a live run, which has not asked the gateway for anything yet.
///
/// # Errors
/// Anything of what it needs is not to be had.
pub fn live(
    config: &Config,
    live: &Live,
    clock: &Clock,
    stop: &Stop,
    pulse: &Pulse,
    telemetry: &Telemetry,
    health: &Health,
) -> Result<Trader<Link>, DeskError> {
    let gateway = &config.gateway;
    let settings = LinkSettings {
        host: gateway.host.value.clone(),
        port: gateway.port.value,
        key: live.key.clone(),
        heartbeat_every: gateway.heartbeat_every.value,
        timeout: gateway.timeout.value,
    };
    let beat = {
        let pulse = pulse.clone();
        move || pulse.beat()
    };
    let link = || Ok(Link::start(settings, clock.clone(), stop.clone(), beat)?);
    live_over(link, config, clock, stop, telemetry, health)
}

/// The same over any gateway, which is connected to when everything else is there.
///
/// # Errors
/// Anything of what it needs is not to be had.
pub fn live_over<G: Gateway>(
    connect: impl FnOnce() -> Result<G, DeskError>,
    config: &Config,
    clock: &Clock,
    stop: &Stop,
    telemetry: &Telemetry,
    health: &Health,
) -> Result<Trader<G>, DeskError> {
    let terms = Terms::of(config)?;
    let directory = StateDirectory::create(&config.state.dir.value, RunMode::Live)?;
    let (log, opened) = IntentLog::open(&directory.intents(), millis(clock.now()))?;
    // Under the log's lock.
    directory.claim(terms.account())?;
    tell(&directory.intents(), &opened);
    let audit = Audit::open(&directory.audit(), &start(config, Mode::Live, clock))?;
    let kill = KillSwitch::new(&config.state.kill_file.value, stop.clone());
    Trader::new(Parts {
        gateway: connect()?,
        log,
        audit,
        settings: config.guards_settings(),
        terms,
        timeout: config.gateway.timeout.value,
        kill,
        clock: clock.clone(),
        telemetry: telemetry.clone(),
        health: health.clone(),
    })
    .map_err(DeskError::from)
}

/// What the opening of the log found.
fn tell(directory: &Path, opened: &Opened) {
    // A relative one is another one wherever the daemon is started from.
    let directory = path::absolute(directory).unwrap_or_else(|_| directory.to_owned());
    let directory = directory.display();
    if opened.is_new {
        warn!(%directory, "a new intent log: nothing was ever decided here");
    }
    if opened.torn {
        info!(%directory, "the intent log ends in a record that was never acknowledged, which is passed over");
    }
    for damage in &opened.damage {
        error!(%directory, file = damage.file, line = damage.line, fault = damage.fault, "the intent log is damaged, trading is halted");
    }
}

fn start(config: &Config, mode: Mode, clock: &Clock) -> Start {
    let gateway = &config.gateway;
    let sizes = gateway.contract_sizes.iter();
    Start {
        at_ms: millis(clock.now()),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        mode,
        configuration: Configuration {
            symbol: config.symbol.value.clone(),
            interval: config.interval.value,
            calendar: config.calendar.value,
            bar_stale_after: config.stale_after.value,
            model: match config.model.value {
                ModelChoice::Hub => Origin::Hub,
                ModelChoice::Embedded => Origin::Embedded,
            },
            volume: gateway.volume.value,
            contract_sizes: sizes
                .map(|(symbol, size)| (symbol.clone(), size.value))
                .collect(),
            worst_price_bps: gateway.worst_price_bps.value,
            valid_for: gateway.valid_for.value,
            guards: config.guards_settings(),
        },
    }
}
