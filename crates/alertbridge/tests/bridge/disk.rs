//! A disk that takes nothing more: refused with 503, not ready, and well again by itself.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::process::Command;

use crate::process::*;

#[test]
fn a_disk_without_room_is_503_and_not_ready_and_what_was_acknowledged_before_arrives() {
    if Command::new("prlimit").arg("--version").output().is_err() {
        return skip(
            "a_disk_without_room_is_503_and_not_ready_and_what_was_acknowledged_before_arrives",
            "there is no prlimit",
        );
    }
    let robot = robot();
    robot.set_fault(Some(stand_in::Fault::Status(500)));
    let bridge = Bridge::start_limited(&format!("{}{QUICK}", target(&robot, "")), 24 << 10);
    let mut acknowledged = Vec::new();
    let refused = (0..1_000).find(|number| {
        let name = format!("Full{number:03}");
        match bridge.send(&one("firing", &name)) {
            200 => {
                acknowledged.push(name);
                false
            }
            status => {
                assert_eq!(status, 503);
                true
            }
        }
    });
    let refused = refused.expect("the limit was never reached");
    assert!(acknowledged.len() > 5);
    let (status, reason) = get(bridge.port, "/-/ready");
    assert_eq!(status, 503);
    assert!(reason.contains("the queue cannot be written"), "{reason}");
    assert_eq!(get(bridge.port, "/-/healthy").0, 200);
    assert_eq!(bridge.metric("alertbridge_queue_writable "), 0.0);
    assert!(
        bridge.metric("alertbridge_notifications_received_total{result=\"disk_error\"}") >= 1.0
    );
    let pid = bridge.pid().to_string();
    let lifted = Command::new("prlimit")
        .args(["--pid", &pid, "--fsize=unlimited:unlimited"])
        .status()
        .unwrap();
    assert!(lifted.success());
    eventually("it to be ready again", || {
        (get(bridge.port, "/-/ready").0 == 200).then_some(())
    });
    assert_eq!(
        bridge.send(&one("firing", &format!("Full{refused:03}"))),
        200
    );
    acknowledged.push(format!("Full{refused:03}"));
    // The file holds whole records only: a kill now loses nothing.
    let bridge = bridge.kill_and_restart();
    robot.set_fault(None);
    eventually("the queue to be empty", || {
        (bridge.metric("alertbridge_queue_alerts ") == 0.0).then_some(())
    });
    let texts = texts(&robot).concat();
    for name in acknowledged {
        assert!(texts.contains(&name), "{name} is missing");
    }
}

#[test]
fn a_bridge_whose_disk_is_full_says_so_by_itself_and_its_dead_man_still_speaks() {
    const NAME: &str =
        "a_bridge_whose_disk_is_full_says_so_by_itself_and_its_dead_man_still_speaks";
    if Command::new("prlimit").arg("--version").output().is_err() {
        return skip(NAME, "there is no prlimit");
    }
    let robot = robot();
    let config = format!(
        "{}dead_man: {{after: 2s, targets: [ops]}}\nsilence: {{alertmanager_url: http://127.0.0.1:1}}\n{QUICK}",
        target(&robot, "")
    );
    let bridge = Bridge::start_limited(&config, 8 << 10);
    let long = notification("long", &[alert("firing", "Long", &"x".repeat(9_000))]);
    assert_eq!(bridge.send(&long), 503);
    let says = |text: &str| {
        eventually(text, || texts(&robot).concat().contains(text).then_some(()));
    };
    says("[FIRING] **AlertbridgeQueueNotWritable**");
    says("AlertbridgeWatchdogMissing");
    // Alertmanager does not know these alerts, so it cannot silence them.
    let buttons = robot.delivered().into_iter().flat_map(|one| one.buttons);
    let names: Vec<String> = buttons.map(|(name, _)| name).collect();
    assert!(
        names.contains(&"Runbook".to_owned()) && !names.contains(&"Silence".to_owned()),
        "{names:?}"
    );
    let pid = bridge.pid().to_string();
    let lifted = Command::new("prlimit")
        .args(["--pid", &pid, "--fsize=unlimited:unlimited"])
        .status()
        .unwrap();
    assert!(lifted.success());
    // Nobody asks whether it is ready, and nothing comes.
    says("[RESOLVED] **AlertbridgeQueueNotWritable**");
    assert_eq!(bridge.send(&long), 200);
    says("**Long**");
}

fn skip(name: &str, why: &str) {
    let line = format!("SKIPPED: {why}\n");
    io::stderr().write_all(line.as_bytes()).unwrap();
    if let Some(path) = std::env::var_os("METRICSD_TEST_SKIPS") {
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .unwrap();
        writeln!(file, "{name}: {why}").unwrap();
    }
}
