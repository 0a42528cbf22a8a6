//! The loop: one cycle at once, then one at each tick, until the end is asked for.
//!
//! Invariant: nothing in here waits without a deadline, and nothing that a remote does keeps it from its next tick longer than the budgets.

use std::io;
use std::time::{Duration, Instant};

use metricsd_client::{Registry, Target};
use sd_notify::NotifyState;
use tracing::{info, warn};

use crate::calls::Calls;
use crate::clock::{Clock, StepWatch};
use crate::config::{Config, ModelChoice};
use crate::cycle::{Cycle, Ended, Predictor};
use crate::endpoint::Serving;
use crate::eodhd::Eodhd;
use crate::gateway::link::Link;
use crate::health::Health;
use crate::model::hub::HubModel;
use crate::model::{EmbeddedModel, SHIPPED_TRAINED_ON};
use crate::pulse::{BEAT, Pulse, notify};
use crate::schedule::Schedule;
use crate::stop::Stop;
use crate::telemetry::{SkipReason, Telemetry};
use crate::trading::{self, Desk, DeskError, Trader};

/// What a cycle may take beyond its calls before it counts as late.
const SLACK: Duration = Duration::from_secs(5);
/// How often the first comparison with the gateway is tried.
const FIRST_LOOK: Duration = Duration::from_millis(20);

/// Why the daemon does not start: exit status 1.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Signals cannot be handled.
    #[error("cannot watch for signals")]
    Signals(#[source] io::Error),
    /// What decisions lead to cannot be opened.
    #[error(transparent)]
    Desk(#[from] DeskError),
}

/// Run until `stop` is requested.
///
/// # Errors
/// A live run lacks anything of what it needs.
pub fn run(config: &Config, stop: &Stop) -> Result<(), StartError> {
    let clock = Clock::system();
    let start = clock.now();
    log_configuration(config);
    let registry = Registry::start_unserved(config.telemetry.clone());
    let telemetry = Telemetry::new(&registry, start);
    let health = Health::new(
        clock.clone(),
        stalled_after(config),
        config.model.value.as_str(),
    );
    let pulse = Pulse::new(clock.clone(), start, telemetry.clone(), health.clone());
    let mut serving = match config.telemetry.target {
        Target::Endpoint { listen } => Some(Serving::new(
            listen,
            registry.clone(),
            pulse.clone(),
            health.clone(),
            telemetry.clone(),
        )),
        Target::Shards { .. } => None,
    };
    let desk: Box<dyn Desk> = match &config.live {
        None => Box::new(trading::dry_run(config, &clock, stop, &telemetry, &health)?),
        Some(live) => {
            let mut trader =
                trading::live(config, live, &clock, stop, &pulse, &telemetry, &health)?;
            if let Some(serving) = &mut serving {
                serving.tend();
            }
            reconcile_first(&mut trader, config.gateway.timeout.value, stop, &pulse);
            Box::new(trader)
        }
    };
    let mut calls = remotes(config, stop, &pulse);
    let predictor = match config.model.value {
        ModelChoice::Hub => Predictor::Hub,
        ModelChoice::Embedded => Predictor::Embedded(Box::new(EmbeddedModel::shipped())),
    };
    let mut cycle = Cycle::new(
        config,
        predictor,
        desk,
        clock.clone(),
        telemetry.clone(),
        health.clone(),
    );
    let budget = config.cycle_budget() + SLACK;
    let mut schedule = Schedule::new(config.every.value, config.at_second.value, clock.now());
    let mut steps = StepWatch::new(clock.now());
    let mut is_ready = false;
    while !stop.is_requested() {
        if let Some(serving) = &mut serving {
            serving.tend();
        }
        pulse.beat();
        cycle.beat();
        let now = clock.now();
        if let Some(seconds) = steps.look(now) {
            warn!(
                seconds,
                "the wall clock was set, or the machine slept; the schedule follows the new time"
            );
            health.clock_stepped(seconds);
            schedule.realign(now);
            cycle.clock_was_set();
        }
        let wait = schedule.until_due(now);
        if !wait.is_zero() {
            stop.wait(wait.min(BEAT), || false);
            continue;
        }
        let missed = schedule.take(now);
        if missed > 0 {
            telemetry.record_skipped(SkipReason::Overrun, missed);
            warn!(
                missed,
                "cycles were skipped because one took longer than the time between two"
            );
        }
        if cycle.run(&mut calls) == Ended::Stopped {
            break;
        }
        telemetry.record_next_cycle_due(schedule.next_unix() + budget.as_secs_f64());
        if !is_ready {
            is_ready = true;
            notify(&[NotifyState::Ready]);
        }
    }
    cycle.end();
    notify(&[NotifyState::Stopping]);
    info!("ended by a signal");
    Ok(())
}

/// Before anything else: what became of orders, and whether the position is what they lead to. A gateway that is not there is not waited for
/// longer than for a reply; the trader goes on asking, and sends nothing before.
fn reconcile_first(trader: &mut Trader<Link>, timeout: Duration, stop: &Stop, pulse: &Pulse) {
    let until = Instant::now() + timeout;
    loop {
        pulse.beat();
        trader.beat();
        if trader.is_reconciled() || stop.is_requested() {
            return;
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            warn!(
                "the gateway was not reached yet; no order is sent before what is open and the position are compared with its books"
            );
            return;
        }
        stop.wait(left.min(FIRST_LOOK), || false);
    }
}

/// Three periods, or a period and the longest cycle if that is more.
fn stalled_after(config: &Config) -> Duration {
    let period = Duration::from_secs(config.every.value.unsigned_abs());
    (3 * period).max(period + config.cycle_budget() + SLACK)
}

fn remotes(config: &Config, stop: &Stop, pulse: &Pulse) -> Calls {
    let eodhd = Eodhd::new(
        &config.base_url.value,
        &config.symbol.value,
        config.interval.value,
        config.token.as_ref().map(|token| token.value.clone()),
    );
    let hub = HubModel::new(
        &config.hub_host.value,
        config.hub_port.value,
        config.predict_timeout.value,
    );
    Calls::new(eodhd, hub, stop.clone(), pulse.clone())
}

fn log_configuration(config: &Config) {
    let path = config
        .path
        .as_ref()
        .map_or("built-in defaults".to_owned(), |path| {
            path.display().to_string()
        });
    info!(
        version = env!("CARGO_PKG_VERSION"),
        configuration = path,
        "sentinel starts; {}",
        match config.live {
            Some(_) => "LIVE: orders are sent",
            None => "dry run, no order is sent",
        }
    );
    for line in config.lines() {
        info!("{line}");
    }
    for warning in config.live.iter().flat_map(|live| &live.warnings) {
        warn!("{warning}");
    }
    let (symbol, interval) = SHIPPED_TRAINED_ON;
    let is_at_home = config.symbol.value == symbol && config.interval.value == interval;
    if config.model.value == ModelChoice::Embedded && !is_at_home {
        warn!(
            "the embedded model was trained on {symbol} at {interval}; what it says of other bars means little"
        );
    }
    if config.token.is_none() {
        warn!(
            "no token for the market data: set EODHD_API_TOKEN or market.token_file; nothing is fetched without"
        );
    }
}
