//! The trading path over a gateway in memory and a directory that loses power.

mod dry_run;
mod model;
mod peer;
mod situations;
mod steps;
mod terms;
mod told;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use market::{Bar, Calendar, Timeframe};
use metricsd_client::Registry;
use rust_decimal::Decimal;

use super::*;
use crate::audit::{self, Audit, Configuration, Mode, Origin, Start};
use crate::clock::Clock;
use crate::features::{self, BAR_COUNT};
use crate::gateway::guards::{Arm, Settings};
use crate::gateway::intent_log::IntentLog;
use crate::gateway::intent_log::state::State;
use crate::gateway::intent_log::tests::simulated::Simulated;
use crate::gateway::kill::KillSwitch;
use crate::gateway::protocol::Text;
use crate::health::Health;
use crate::model::ModelIdentity;
use crate::stop::Stop;
use crate::telemetry::Telemetry;
use peer::Peer;

/// A Wednesday noon, Unix seconds.
const NOON: i64 = 1_483_531_200;
/// Short files, so that the log rotates.
const ROTATE: u64 = 3_000;

pub(super) const BUY: [f64; 3] = [0.05, 0.05, 0.9];
pub(super) const SELL: [f64; 3] = [0.9, 0.05, 0.05];
pub(super) const HOLD: [f64; 3] = [0.05, 0.9, 0.05];

/// What ends a process in the middle of a step.
struct Crash;

/// A trader and everything around it.
struct World {
    clock: Clock,
    disk: Simulated,
    audit_disk: Simulated,
    peer: Peer,
    registry: Registry,
    telemetry: Telemetry,
    health: Health,
    folder: tempfile::TempDir,
    settings: Settings,
    /// Steps until the process ends; 0 is never.
    crash_in: Arc<AtomicUsize>,
    trader: Trader<Peer, Simulated>,
    bar: i64,
}

fn d(text: &str) -> Decimal {
    text.parse().unwrap()
}

fn settings() -> Settings {
    Settings {
        threshold: 0.6,
        cooldown: Duration::ZERO,
        orders_per_minute: 1_000,
        orders_per_day: 1_000,
        stale_after: Duration::from_secs(10),
        limits: [None; 6],
        arm: Arm {
            is_live: true,
            account: "7001".to_owned(),
            confirm: "7001".to_owned(),
        },
    }
}

fn terms() -> Terms {
    Terms {
        account: Text::name("7001").unwrap(),
        symbol: Text::name("EURUSD").unwrap(),
        interval: Timeframe::H1,
        volume: peer::amount(d("0.02")),
        worst_price_bps: 20,
        valid_for: Duration::from_secs(5),
        magic: 7,
        contract_sizes: BTreeMap::from([("EURUSD".to_owned(), Decimal::from(100_000))]),
    }
}

impl World {
    fn new() -> World {
        World::with(settings(), Simulated::default())
    }

    fn with(settings: Settings, disk: Simulated) -> World {
        let clock = Clock::driven(NOON as f64);
        let registry = Registry::in_memory();
        let telemetry = Telemetry::new(&registry, clock.now());
        let health = Health::new(clock.clone(), Duration::from_secs(60), "hub");
        let peer = Peer::new(clock.clone(), disk.clone());
        let folder = tempfile::tempdir().unwrap();
        let crash_in = Arc::default();
        let audit_disk = Simulated::default();
        let trader = trader(
            &clock,
            &disk,
            &audit_disk,
            &peer,
            &telemetry,
            &health,
            &folder,
            &settings,
            &crash_in,
        );
        World {
            clock,
            disk,
            audit_disk,
            peer,
            registry,
            telemetry,
            health,
            folder,
            settings,
            crash_in,
            trader,
            bar: NOON / 3_600 - 2,
        }
    }

    /// A new process on what the old one left.
    fn restart(&mut self, disk: Simulated) {
        self.disk = disk;
        self.audit_disk = self.audit_disk.process_death();
        self.peer.0.borrow_mut().disk = self.disk.clone();
        self.trader = trader(
            &self.clock,
            &self.disk,
            &self.audit_disk,
            &self.peer,
            &self.telemetry,
            &self.health,
            &self.folder,
            &self.settings,
            &self.crash_in,
        );
    }

    fn bar(&self) -> Bar {
        Bar {
            open_time: self.bar * 3_600,
            open: 1.1,
            high: 1.1,
            low: 1.1,
            close: 1.1,
            volume: 1.0,
        }
    }

    /// A whole cycle on the bar that is the newest; the market's time is the clock's.
    fn cycle(&mut self, wire: [f64; 3]) -> Fate {
        self.trader.begin_cycle();
        let fate = self.consider(wire);
        self.trader.end_cycle();
        fate
    }

    fn consider(&mut self, wire: [f64; 3]) -> Fate {
        let stale_from = self.clock.now().unix_seconds() + 60;
        let bar = self.bar();
        consider(&mut self.trader, bar, wire, stale_from)
    }

    fn next_bar(&mut self) {
        self.bar += 1;
        self.clock.advance(Duration::from_secs(3_600));
    }

    fn state(&self) -> &State {
        self.trader.log().state().unwrap()
    }

    fn value(&self, sample: &str) -> f64 {
        let page = self.registry.render();
        page.lines()
            .find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '))
            .unwrap_or_else(|| panic!("no {sample}"))
            .parse()
            .unwrap()
    }

    fn results(&self, result: &str) -> f64 {
        self.value(&format!(
            "sentinel_order_results_total{{result=\"{result}\"}}"
        ))
    }

    fn executed(&self) -> f64 {
        ["BUY", "SELL"]
            .iter()
            .map(|action| {
                self.value(&format!(
                    "sentinel_trading_signals_executed_total{{action=\"{action}\"}}"
                ))
            })
            .sum()
    }

    fn why(&self) -> String {
        self.health.report().why.join("; ")
    }
}

impl Drop for World {
    /// Whatever a test did: each decision comes out again as it is in the audit.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let report = audit::tests::replayed(&self.audit_disk);
            // A device that failed a sync, said yes to the next one and then lost power took a line that later ones are chained to: the replay
            // calls that damage, which it is. `docs/audit.md` says so.
            if self.audit_disk.has_lied() {
                return;
            }
            assert_eq!(report.findings, []);
            assert_eq!(report.reproduced, report.decisions);
        }
    }
}

/// A desk decides on a bar.
fn consider(desk: &mut dyn Desk, bar: Bar, wire: [f64; 3], stale_from: i64) -> Fate {
    let bars: Vec<Bar> = (1 - BAR_COUNT as i64..=0)
        .map(|back| Bar {
            open_time: bar.open_time + back * 3_600,
            ..bar
        })
        .collect();
    let identity = ModelIdentity {
        model: "m".to_owned(),
        version: "1".to_owned(),
    };
    let candidate = Candidate {
        bars: &bars,
        features: &features::build(&bars).unwrap(),
        model: &Model::hub(&identity),
        bar,
        probabilities: Probabilities::new(wire).unwrap(),
        stale_from,
        calendar: Calendar::Always,
    };
    desk.consider(&candidate).1
}

#[allow(clippy::too_many_arguments, reason = "the parts of a world")]
fn trader(
    clock: &Clock,
    disk: &Simulated,
    audit_disk: &Simulated,
    peer: &Peer,
    telemetry: &Telemetry,
    health: &Health,
    folder: &tempfile::TempDir,
    settings: &Settings,
    crash_in: &Arc<AtomicUsize>,
) -> Trader<Peer, Simulated> {
    let (log, opened) = IntentLog::open_in(disk.clone(), millis(clock.now()), ROTATE).unwrap();
    assert_eq!(opened.damage, []);
    let start = Start {
        at_ms: millis(clock.now()),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        mode: Mode::Live,
        configuration: Configuration {
            symbol: "EURUSD".to_owned(),
            interval: Timeframe::H1,
            calendar: Calendar::Always,
            bar_stale_after: Duration::from_secs(7_200),
            model: Origin::Hub,
            volume: d("0.02"),
            contract_sizes: terms().contract_sizes,
            worst_price_bps: 20,
            valid_for: Duration::from_secs(5),
            guards: settings.clone(),
        },
    };
    let audit = Audit::open_in(audit_disk.clone(), &start, ROTATE).unwrap();
    let mut trader = Trader::new(Parts {
        gateway: peer.clone(),
        log,
        audit,
        settings: settings.clone(),
        terms: terms(),
        timeout: Duration::from_secs(5),
        kill: KillSwitch::new(&folder.path().join("kill"), Stop::default()),
        clock: clock.clone(),
        telemetry: telemetry.clone(),
        health: health.clone(),
    })
    .unwrap();
    let crash_in = crash_in.clone();
    trader.on_step(move |_| {
        let left = crash_in.load(Ordering::Relaxed);
        if left > 0 {
            crash_in.store(left - 1, Ordering::Relaxed);
            if left == 1 {
                // Without a word: it is no fault.
                std::panic::resume_unwind(Box::new(Crash));
            }
        }
    });
    trader
}

#[test]
fn one_bar_is_one_order_and_a_restart_does_not_make_it_two() {
    let mut world = World::new();
    assert_eq!(world.cycle(BUY), Fate::Executed);
    assert_eq!(world.peer.net(), d("0.02"));
    assert_eq!(world.state().own_position("EURUSD"), Some(d("0.02")));
    world.restart(world.disk.process_death());
    assert_eq!(world.trader.last_decided(), Some(world.bar * 3_600));
    assert_eq!(world.cycle(BUY), Fate::Refused(Refusal::Duplicate));
    world.next_bar();
    assert_eq!(world.cycle(SELL), Fate::Executed);
    assert_eq!(world.peer.net(), Decimal::ZERO);
    assert_eq!(world.executed(), 2.0);
    assert_eq!(world.results("filled"), 2.0);
}

#[test]
fn a_bar_that_was_traded_is_not_traded_again_when_the_log_is_lost() {
    let mut world = World::new();
    assert_eq!(world.cycle(BUY), Fate::Executed);
    world.restart(Simulated::default());
    assert_eq!(world.cycle(BUY), Fate::Rejected);
    assert_eq!(world.peer.net(), d("0.02"));
    assert_eq!(
        (world.executed(), world.results("rejected_other")),
        (1.0, 1.0)
    );
    // The position was taken over as it is, and the answer moved nothing.
    assert_eq!(world.state().own_position("EURUSD"), Some(d("0.02")));
    world.next_bar();
    assert_eq!(world.cycle(SELL), Fate::Executed);
}

#[test]
fn below_the_threshold_and_on_hold_the_gateway_is_asked_for_nothing() {
    let mut world = World::new();
    world.trader.begin_cycle();
    world.peer.0.borrow_mut().asked.clear();
    assert_eq!(world.consider(HOLD), Fate::Hold);
    world.next_bar();
    world.trader.begin_cycle();
    assert_eq!(
        world.consider([0.25, 0.25, 0.5]),
        Fate::Refused(Refusal::BelowThreshold)
    );
    assert_eq!(world.peer.0.borrow().asked, [""; 0]);
    assert_eq!(world.trader.last_decided(), Some(world.bar * 3_600));
}
