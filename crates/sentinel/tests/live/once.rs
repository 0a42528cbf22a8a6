//! Orders happen once.

use crate::world::{World, executed, some_cycles, until_executed, until_reconciled};

#[test]
fn each_bar_is_one_order_and_a_restart_does_not_make_it_two() {
    let Some(world) = World::new("each_bar_is_one_order") else {
        return;
    };
    let daemon = world.start();
    until_executed(&daemon, 1.0);
    some_cycles(&daemon);
    assert_eq!(world.fills(), 1);
    world.next_bar();
    until_executed(&daemon, 2.0);
    let health = daemon.health().unwrap();
    assert_eq!(health["status"], "ok", "{health}");
    assert_eq!(health["mode"], "live");
    assert_eq!(health["gateway"]["account"], "1000001");
    let metrics = daemon.metrics().unwrap();
    for (sample, value) in [
        ("sentinel_order_results_total{result=\"filled\"}", 2.0),
        ("sentinel_order_roundtrip_seconds_count", 2.0),
        ("sentinel_zmq_send_latency_seconds_count", 2.0),
        ("sentinel_order_slippage_basis_points_count", 2.0),
        ("sentinel_zmq_send_failures_total", 0.0),
        ("sentinel_trading_state{state=\"active\"}", 1.0),
    ] {
        assert_eq!(metrics.get(sample), Some(value), "{sample}");
    }
    assert!(
        metrics
            .get("sentinel_gateway_last_heartbeat_timestamp_seconds")
            .is_some()
    );
    daemon.end();
    let daemon = world.start();
    until_reconciled(&daemon, "position 0.02 EURUSD, as expected");
    some_cycles(&daemon);
    assert_eq!((world.fills(), executed(&daemon)), (2, 0.0));
    world.next_bar();
    until_executed(&daemon, 1.0);
    assert_eq!(world.fills(), 3);
    daemon.end();
}

#[test]
fn a_second_live_run_on_the_same_state_does_not_start() {
    let Some(world) = World::new("a_second_live_run") else {
        return;
    };
    let daemon = world.start();
    until_executed(&daemon, 1.0);
    let mut second = world.start();
    assert_eq!(second.wait().code(), Some(1));
    let log = second.log();
    assert!(log.contains("belongs to another running process"), "{log}");
    daemon.end();
}
