//! Ten thousand alerts in one burst, and the bridge is killed in the middle: every one arrives, and the robot is never sent too much.

use std::collections::BTreeSet;

use crate::process::*;

const ALERTS: usize = 10_000;
const GROUP: usize = 100;

/// Names of instances in a text.
fn instances(text: &str) -> impl Iterator<Item = &str> {
    text.split([',', '\n', ' ', ':'])
        .filter(|word| word.starts_with("host-"))
}

#[test]
fn every_alert_of_a_burst_is_delivered_through_kill_9_and_the_robot_is_never_sent_too_much() {
    let robot = robot();
    let mut bridge = Bridge::start(&format!("{}{QUICK}", target(&robot, "")));
    let groups: Vec<String> = (0..ALERTS / GROUP)
        .map(|group| {
            let alerts = (group * GROUP..(group + 1) * GROUP)
                .map(|number| alert("firing", "Storm", &format!("host-{number}")));
            notification(&format!("g{group}"), &alerts.collect::<Vec<_>>())
        })
        .collect();
    let mut acknowledged = 0;
    for (index, body) in groups.iter().enumerate() {
        // As Alertmanager does: again until it is acknowledged.
        while bridge.send(body) != 200 {}
        acknowledged += 1;
        if index % 25 == 12 {
            bridge = bridge.kill_and_restart();
        }
    }
    assert_eq!(acknowledged, groups.len());
    eventually("some of it to be delivered", || {
        (robot.delivered().len() > 3).then_some(())
    });
    bridge = bridge.kill_and_restart();
    eventually("the queue to be empty", || {
        (bridge.metric("alertbridge_queue_alerts ") == 0.0).then_some(())
    });
    let texts = texts(&robot);
    let named: BTreeSet<&str> = texts.iter().flat_map(|text| instances(text)).collect();
    assert_eq!(named.len(), ALERTS, "alerts are missing");
    assert_eq!(
        robot.refusals(),
        Vec::<i64>::new(),
        "the robot was sent too much, or something it does not take"
    );
    assert!(
        robot
            .delivered()
            .iter()
            .all(|message| message.bytes <= 15_000)
    );
    assert!(
        texts.len() < groups.len(),
        "{} messages, no digests",
        texts.len()
    );
    // What is delivered is known to be after the next kill too.
    let before = robot.delivered().len();
    let bridge = bridge.kill_and_restart();
    assert_eq!(bridge.metric("alertbridge_queue_alerts "), 0.0);
    assert_eq!(robot.delivered().len(), before);
    // A resend of what is known is no message.
    assert_eq!(bridge.send(&groups[0]), 200);
    assert_eq!(
        bridge.metric("alertbridge_alerts_received_total{result=\"duplicate\"}"),
        GROUP as f64
    );
    assert_eq!(bridge.metric("alertbridge_queue_alerts "), 0.0);
}

#[test]
fn targets_that_share_a_robot_share_its_rate() {
    let robot = robot();
    let one_target = target(&robot, "");
    let (_, same) = one_target.split_once("  ops:\n").unwrap();
    let config = format!("targets:\n  ops:\n{same}  b:\n{same}  c:\n{same}{QUICK}");
    let bridge = Bridge::start(&config);
    for number in 0..40 {
        for name in ["ops", "b", "c"] {
            let body = one("firing", &format!("Shared{number:02}{name}."));
            assert_eq!(
                post(bridge.port, &format!("/dingtalk/{name}/send"), &body).0,
                200
            );
        }
    }
    eventually("the queue to be empty", || {
        (bridge.metric("alertbridge_queue_alerts ") == 0.0).then_some(())
    });
    assert_eq!(robot.refusals(), Vec::<i64>::new());
    let all = texts(&robot).concat();
    for number in 0..40 {
        for name in ["ops", "b", "c"] {
            assert!(all.contains(&format!("Shared{number:02}{name}.")));
        }
    }
}

#[test]
fn an_alert_that_ends_while_the_robot_is_away_is_told_after_its_begin() {
    let robot = robot();
    robot.set_fault(Some(stand_in::Fault::Status(503)));
    let bridge = Bridge::start(&format!("{}{QUICK}", target(&robot, "")));
    assert_eq!(bridge.send(&one("firing", "Flap")), 200);
    assert_eq!(bridge.send(&one("resolved", "Flap")), 200);
    assert_eq!(bridge.send(&one("firing", "Flap")), 200);
    let bridge = bridge.kill_and_restart();
    eventually("an attempt", || {
        (bridge.metric("alertbridge_send_attempts_total{kind=\"dingtalk\",outcome=\"http_5xx\"}")
            > 0.0)
            .then_some(())
    });
    robot.set_fault(None);
    eventually("the queue to be empty", || {
        (bridge.metric("alertbridge_queue_alerts ") == 0.0).then_some(())
    });
    // One by one in order, or in digests, in which an alert stands where it ended.
    let all = texts(&robot).join("\n");
    let place = |marks: [&str; 2]| marks.iter().filter_map(|mark| all.rfind(mark)).max();
    let firing = place(["[FIRING] **Flap**", "**Flap** · critical · firing"]);
    let resolved = place(["[RESOLVED] **Flap**", "**Flap** · critical · resolved"]);
    assert!(firing.is_some() && firing > resolved, "{all}");
}
