//! The alert that always fires: while it comes it is no message, when it stays away the bridge says so, and says when it is back.

use crate::process::*;

fn watchdog() -> String {
    one("firing", "Watchdog")
}

#[test]
fn a_watchdog_that_stays_away_is_told_once_and_its_return_also_over_a_restart() {
    let robot = robot();
    let config = format!(
        "{}dead_man: {{after: 1s, targets: [ops]}}\n{QUICK}",
        target(&robot, "")
    );
    let bridge = Bridge::start(&config);
    // Its receiver needs no target of its own.
    let path = "/dingtalk/watchdog/send";
    assert_eq!(post(bridge.port, path, &watchdog()).0, 200);
    assert_eq!(
        bridge.metric("alertbridge_alerts_received_total{result=\"watchdog\"}"),
        1.0
    );
    eventually("the bridge to say so", || {
        texts(&robot)
            .concat()
            .contains("AlertbridgeWatchdogMissing")
            .then_some(())
    });
    eventually("the metric", || {
        (bridge.metric("alertbridge_watchdog_missing ") == 1.0).then_some(())
    });
    // A kill between a message and its note would tell it twice.
    eventually("the queue to be empty", || {
        (bridge.metric("alertbridge_queue_alerts ") == 0.0).then_some(())
    });
    let bridge = bridge.kill_and_restart();
    eventually("it to know after a restart", || {
        (bridge.metric("alertbridge_watchdog_missing ") == 1.0).then_some(())
    });
    assert_eq!(bridge.send(&watchdog()), 200);
    eventually("the return to be told", || {
        texts(&robot)
            .concat()
            .contains("[RESOLVED] **AlertbridgeWatchdogMissing**")
            .then_some(())
    });
    let all = texts(&robot).concat();
    assert_eq!(
        all.matches("[FIRING] **AlertbridgeWatchdogMissing**")
            .count(),
        1,
        "{all}"
    );
    assert!(!all.contains("**Watchdog**"), "{all}");
}
