//! However it ends, nothing is lost and nothing hangs.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::PathBuf;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::process::Signal;

use crate::daemon::Daemon;
use crate::world::{World, executed, some_cycles, until_executed, until_reconciled, until_why};

const PRICES: &str = r#"{"EURUSD": {"bid": "1.09990", "ask": "1.10010"}}"#;

/// A peer that hangs while it executes an order: its file of prices is a pipe that nobody writes to.
struct Hanging {
    prices: PathBuf,
}

impl Hanging {
    /// Before the peer is started.
    fn new(world: &mut World) -> Hanging {
        let prices = world.folder.path().join("prices");
        rustix::fs::mkfifoat(CWD, &prices, Mode::RUSR | Mode::WUSR).unwrap();
        let path = prices.to_str().unwrap().to_owned();
        world.site.options = vec!["--prices".to_owned(), path];
        Hanging { prices }
    }

    /// Waits until the order is there; only then is the pipe read.
    fn until_it_has_the_order(&self, daemon: &Daemon) -> File {
        daemon.eventually("the order at the peer", |_| {
            let flags = OFlags::WRONLY | OFlags::NONBLOCK;
            let pipe = rustix::fs::open(&self.prices, flags, Mode::empty()).ok()?;
            Some(File::from(pipe))
        })
    }

    /// The peer goes on, and has prices from here on.
    fn go_on(&self, mut pipe: File) {
        let file = self.prices.with_extension("json");
        fs::write(&file, PRICES).unwrap();
        fs::rename(&file, &self.prices).unwrap();
        pipe.write_all(PRICES.as_bytes()).unwrap();
    }
}

/// A world in which the first order hangs at the peer.
fn hanging(test: &str) -> Option<(World, Hanging)> {
    let mut world = World::without_peer(test)?;
    let hanging = Hanging::new(&mut world);
    world.site.run();
    Some((world, hanging))
}

#[test]
fn killed_while_an_order_is_under_way_the_next_start_finds_out_before_anything_else() {
    let Some((world, hanging)) = hanging("killed_while_an_order_is_under_way") else {
        return;
    };
    let mut daemon = world.start();
    let pipe = hanging.until_it_has_the_order(&daemon);
    daemon.send(Signal::KILL);
    daemon.wait();
    hanging.go_on(pipe);
    let daemon = world.start();
    until_reconciled(&daemon, "executed; position 0.01 EURUSD, as expected");
    some_cycles(&daemon);
    assert_eq!((world.fills(), executed(&daemon)), (1, 1.0));
    world.next_bar();
    until_executed(&daemon, 2.0);
    assert_eq!(world.fills(), 2);
    daemon.end();
}

#[test]
fn a_signal_during_an_exchange_with_a_peer_that_hangs_ends_the_program_in_time() {
    let Some((world, hanging)) = hanging("a_signal_during_an_exchange") else {
        return;
    };
    let mut daemon = world.start();
    let pipe = hanging.until_it_has_the_order(&daemon);
    daemon.terminate();
    // Later than 900 ms it would be 1.
    assert_eq!(daemon.wait().code(), Some(0), "{}", daemon.log());
    hanging.go_on(pipe);
    let daemon = world.start();
    until_reconciled(&daemon, "executed; position 0.01 EURUSD, as expected");
    daemon.end();
}

#[test]
fn a_peer_that_hangs_leaves_the_outcome_unknown_until_it_says_what_it_did() {
    let Some((world, hanging)) = hanging("a_peer_that_hangs") else {
        return;
    };
    let daemon = world.start();
    let pipe = hanging.until_it_has_the_order(&daemon);
    until_why(&daemon, "an order has no known outcome");
    world.next_bar();
    some_cycles(&daemon);
    let health = daemon.health().unwrap();
    assert_eq!(health["status"], "degraded", "{health}");
    assert_eq!(
        health["gateway"]["orders"][0]["stage"], "unknown",
        "{health}"
    );
    let metrics = daemon.metrics().unwrap();
    for (sample, value) in [
        ("sentinel_order_results_total{result=\"timeout\"}", 1.0),
        ("sentinel_signals_suppressed_total{reason=\"halted\"}", 1.0),
        (
            "sentinel_trading_signals_executed_total{action=\"BUY\"}",
            0.0,
        ),
    ] {
        assert_eq!(metrics.get(sample), Some(value), "{sample}");
    }
    hanging.go_on(pipe);
    until_reconciled(&daemon, "executed; position 0.01 EURUSD, as expected");
    assert_eq!((world.fills(), executed(&daemon)), (1, 1.0));
    world.next_bar();
    until_executed(&daemon, 2.0);
    assert_eq!(world.fills(), 2);
    daemon.end();
}

#[test]
fn without_a_gateway_the_loop_goes_on_and_says_so_and_with_it_trades_at_once() {
    let Some(mut world) = World::without_peer("without_a_gateway") else {
        return;
    };
    let daemon = world.start();
    until_why(&daemon, "the gateway has not answered a heartbeat yet");
    some_cycles(&daemon);
    assert_eq!(daemon.health().unwrap()["status"], "degraded");
    world.site.run();
    until_reconciled(&daemon, "taken over");
    world.next_bar();
    until_executed(&daemon, 1.0);
    // It goes, and comes back.
    world.site.kill();
    until_why(&daemon, "the gateway has not answered");
    some_cycles(&daemon);
    world.site.run();
    until_reconciled(&daemon, "as expected");
    world.next_bar();
    until_executed(&daemon, 2.0);
    assert_eq!(world.fills(), 2);
    daemon.end();
}
