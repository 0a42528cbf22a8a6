//! A dry run counts what it would have sent, on disk where it can.

use std::path::Path;

use super::*;
use crate::config::Config;
use crate::gateway::guards::refusal::Reason;

struct Run {
    clock: Clock,
    stop: Stop,
    registry: Registry,
    health: Health,
    desk: DryRun,
}

fn start(state: &Path, clock: &Clock) -> Run {
    let text = format!(
        "[decide]\ncooldown = \"90m\"\n[state]\ndir = \"{}\"\n",
        state.display()
    );
    let stop = Stop::default();
    let health = Health::new(clock.clone(), Duration::from_secs(60), "hub");
    let registry = Registry::in_memory();
    let telemetry = Telemetry::new(&registry, clock.now());
    let config = Config::of(&text);
    let desk = super::super::dry_run(&config, clock, &stop, &telemetry, &health).unwrap();
    Run {
        clock: clock.clone(),
        stop,
        registry,
        health,
        desk,
    }
}

impl Run {
    /// The reason why the order of the hour is not sent.
    fn decide(&mut self) -> Reason {
        let now = self.clock.now().unix_seconds();
        let bar = Bar {
            open_time: now.div_euclid(3_600) * 3_600 - 3_600,
            open: 1.1,
            high: 1.1,
            low: 1.1,
            close: 1.1,
            volume: 1.0,
        };
        match consider(&mut self.desk, bar, BUY, now + 60) {
            Fate::Refused(refusal) => refusal.reason(),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn what_would_have_been_sent_counts_over_a_restart_and_its_bar_is_decided_once() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::driven(NOON as f64);
    let hour = Duration::from_secs(3_600);
    let mut run = start(folder.path(), &clock);
    assert_eq!(run.decide(), Reason::DryRun);
    drop(run);
    let mut run = start(folder.path(), &clock);
    assert_eq!(run.desk.last_decided(), Some(NOON - 3_600));
    clock.advance(hour);
    assert_eq!(run.decide(), Reason::Cooldown);
    drop(run);
    let mut run = start(folder.path(), &clock);
    clock.advance(hour);
    assert_eq!(run.decide(), Reason::DryRun);
    assert_eq!(run.health.report().notes, [""; 0]);
    assert!(folder.path().join("dry-run/audit").is_dir());
    assert!(!folder.path().join("live").exists());
}

#[test]
fn without_a_state_directory_it_goes_on_in_memory_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let clock = Clock::driven(NOON as f64);
    let mut run = start(&file, &clock);
    assert!(run.health.report().notes[0].contains("in memory"));
    assert_eq!(run.desk.last_decided(), None);
    // Nor is there a place for a kill file, which is no kill here.
    assert_eq!(run.decide(), Reason::DryRun);
    assert_eq!(run.desk.last_decided(), Some(NOON - 3_600));
    clock.advance(Duration::from_secs(3_600));
    assert_eq!(run.decide(), Reason::Cooldown);
}

#[test]
fn a_second_dry_run_on_the_same_state_counts_in_memory() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::driven(NOON as f64);
    let _first = start(folder.path(), &clock);
    let mut second = start(folder.path(), &clock);
    assert!(second.health.report().notes[0].contains("another running process"));
    assert_eq!(second.decide(), Reason::DryRun);
    clock.advance(Duration::from_secs(3_600));
    assert_eq!(second.decide(), Reason::Cooldown);
}

#[test]
fn the_kill_switch_stops_the_orders_of_a_dry_run_until_it_ends_and_halts_nothing_for_good() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::driven(NOON as f64);
    let mut run = start(folder.path(), &clock);
    run.stop.kill();
    assert_eq!(run.decide(), Reason::Halted);
    run.desk.beat();
    let report = run.health.report();
    assert_eq!(report.trading_state, "halted");
    assert_eq!(report.trading_state_reason, Some("kill_switch"));
    assert_eq!(
        report.status,
        crate::health::Status::Degraded,
        "no word of ok while nothing would be sent"
    );
    let page = run.registry.render();
    assert!(
        page.contains("sentinel_trading_state{state=\"halted\"} 1"),
        "{page}"
    );
    assert!(
        page.contains("sentinel_trading_state{state=\"active\"} 0"),
        "{page}"
    );
    drop(run);
    clock.advance(Duration::from_secs(3_600));
    assert_eq!(start(folder.path(), &clock).decide(), Reason::DryRun);
}
