//! The sentinel of a soak: the program's own parts, put together as its daemon does, on the simulated time and with budgets that are that much
//! shorter; a cycle when it is told to, and a SIGKILL of its own behind any step of an order.
//!
//! Invariant: what decides, guards, writes and sends is the sentinel's own code, and nothing of it knows that this is a soak. It ends with the
//! process that started it.

mod desk;
mod scaled;

use std::io::{self, BufRead as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use metricsd_client::Registry;
use rustix::process::{Signal, getpid, getppid, kill_process, set_parent_process_death_signal};
use sentinel::calls::Calls;
use sentinel::cli::Cli;
use sentinel::clock::Clock;
use sentinel::config::Config;
use sentinel::cycle::{Cycle, Predictor};
use sentinel::eodhd::Eodhd;
use sentinel::gateway::link::{Link, LinkSettings};
use sentinel::health::Health;
use sentinel::model::hub::HubModel;
use sentinel::pulse::Pulse;
use sentinel::stop::{CaughtSignals, Stop};
use sentinel::telemetry::Telemetry;
use sentinel::trading::{Trader, live_over};

use crate::sentinel_process::{Request, Said};
use crate::simulated::{follow, real};
use desk::{Shown, WatchedDesk};
use scaled::{ScaledGateway, ScaledRemotes};

/// The steps of an order behind which the sentinel is killed, by their names in [`sentinel::trading::Step`].
pub const STEPS: [&str; 9] = [
    "Checked",
    "Recorded",
    "Audited",
    "AboutToSend",
    "Answered",
    "OutcomeRecorded",
    "AuditClosed",
    "StatusAnswered",
    "Reconciled",
];

/// The step behind which to die.
type DieAt = Arc<Mutex<Option<String>>>;

/// The command line of the child.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The process that it ends with.
    #[arg(long)]
    parent: String,
    /// The sentinel's configuration.
    #[arg(long)]
    config: PathBuf,
    /// The file of the simulated time.
    #[arg(long)]
    clock: PathBuf,
}

/// Runs until it is told to quit.
///
/// # Errors
/// It cannot start, or cannot say what it did.
pub fn run(arguments: &Arguments) -> Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL)).context("the end with the parent")?;
    let parent = getppid().map_or(0, |parent| parent.as_raw_nonzero().get());
    ensure!(
        parent.to_string() == arguments.parent,
        "whoever started this is gone"
    );
    let signals = CaughtSignals::catch().context("signals")?;
    tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_ansi(false)
        .init();
    let stop = Stop::on_signals(signals).context("signals")?;
    let cli = Cli {
        config_file: Some(arguments.config.clone()),
        live: true,
        ..Cli::default()
    };
    let config = Config::load(&cli, &|name| std::env::var_os(name))?;
    let clock = follow(&arguments.clock).context("the simulated time")?;
    let die_at = DieAt::default();
    let said = Shown::default();
    let (mut cycle, mut remotes) = assemble(&config, &clock, &stop, &die_at, &said)?;
    answer(&said)?;
    for line in io::stdin().lock().lines() {
        let request: Request = serde_json::from_str(&line.context("reading")?)?;
        match request {
            Request::Cycle => {
                cycle.run(&mut remotes);
            }
            Request::Beats(count) => (0..count).for_each(|_| cycle.beat()),
            Request::DieAt(step) => {
                *die_at.lock().unwrap_or_else(PoisonError::into_inner) = step;
            }
            Request::Quit => break,
        }
        answer(&said)?;
    }
    cycle.end();
    Ok(())
}

fn answer(said: &Shown) -> Result<()> {
    let said: Said = said.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let mut out = io::stdout().lock();
    writeln!(out, "{}", serde_json::to_string(&said)?)
        .and_then(|()| out.flush())
        .context("answering")
}

/// The parts, as the daemon has them.
fn assemble(
    config: &Config,
    clock: &Clock,
    stop: &Stop,
    die_at: &DieAt,
    said: &Shown,
) -> Result<(Cycle, ScaledRemotes)> {
    let start = clock.now();
    let registry = Registry::start_unserved(config.telemetry.clone());
    let telemetry = Telemetry::new(&registry, start);
    let health = Health::new(clock.clone(), std::time::Duration::from_secs(600), "hub");
    // Calls compare their deadlines with the machine's time.
    let real_time = Clock::system();
    let pulse = Pulse::new(
        real_time.clone(),
        real_time.now(),
        telemetry.clone(),
        health.clone(),
    );
    let eodhd = Eodhd::new(
        &config.base_url.value,
        &config.symbol.value,
        config.interval.value,
        config.token.as_ref().map(|token| token.value.clone()),
    );
    let hub = HubModel::new(
        &config.hub_host.value,
        config.hub_port.value,
        real(config.predict_timeout.value),
    );
    let calls = Calls::new(eodhd, hub, stop.clone(), pulse);
    let desk = trader(config, clock, stop, die_at, &telemetry, &health)?;
    let desk = WatchedDesk::new(desk, clock.clone(), said.clone());
    let cycle = Cycle::new(
        config,
        Predictor::Hub,
        Box::new(desk),
        clock.clone(),
        telemetry,
        health,
    );
    Ok((cycle, ScaledRemotes::new(calls, clock.clone())))
}

fn trader(
    config: &Config,
    clock: &Clock,
    stop: &Stop,
    die_at: &DieAt,
    telemetry: &Telemetry,
    health: &Health,
) -> Result<Trader<ScaledGateway>> {
    let live = config
        .live
        .as_ref()
        .context("the configuration is of no live run")?;
    let gateway = &config.gateway;
    let settings = LinkSettings {
        host: gateway.host.value.clone(),
        port: gateway.port.value,
        key: live.key.clone(),
        heartbeat_every: real(gateway.heartbeat_every.value),
        timeout: real(gateway.timeout.value),
    };
    let connect = || {
        let link = Link::start(settings, clock.clone(), stop.clone(), || {})?;
        Ok(ScaledGateway(link))
    };
    let mut trader = live_over(connect, config, clock, stop, telemetry, health)?;
    let die_at = Arc::clone(die_at);
    trader.on_step(move |step| {
        let armed = die_at
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if armed == Some(format!("{step:?}")) {
            die();
        }
    });
    Ok(trader)
}

/// What `kill -9` does, here and now.
fn die() -> ! {
    let _ = kill_process(getpid(), Signal::KILL);
    loop {
        std::thread::park();
    }
}

/// `sentinel reset`, on the simulated time as the sentinel's own program calls it on the machine's.
///
/// # Errors
/// Trading is as it was.
pub fn reset(config: &Path, attempt: &Path, clock: &Path) -> Result<String> {
    let cli = Cli {
        config_file: Some(config.to_owned()),
        live: true,
        ..Cli::default()
    };
    let config = Config::load(&cli, &|name| std::env::var_os(name))?;
    let now_ms = (follow(clock)?.now().unix * 1e3) as i64;
    Ok(sentinel::reset::run(&config.state, attempt, now_ms)?)
}

#[cfg(test)]
mod tests {
    use sentinel::trading::Step;

    use super::*;

    #[test]
    fn the_names_of_the_steps_are_those_of_the_sentinel() {
        let names: Vec<String> = Step::ALL.iter().map(|step| format!("{step:?}")).collect();
        assert_eq!(names, STEPS);
    }
}
