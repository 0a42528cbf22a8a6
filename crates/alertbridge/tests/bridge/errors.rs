//! Each class of error, what is done about it, and that no secret is in anything that the bridge says.

use stand_in::{DingTalk, Fault, Robot, Server};

use crate::process::*;

fn attempts(bridge: &Bridge, outcome: &str) -> f64 {
    bridge.metric(&format!(
        "alertbridge_send_attempts_total{{kind=\"dingtalk\",outcome=\"{outcome}\"}}"
    ))
}

/// Sends one alert and waits until nothing waits.
fn deliver(bridge: &Bridge, name: &str) {
    assert_eq!(bridge.send(&one("firing", name)), 200);
    eventually("the queue to be empty", || {
        (bridge.metric("alertbridge_queue_alerts ") == 0.0).then_some(())
    });
}

#[test]
fn what_may_work_later_is_tried_until_it_does() {
    let robot = robot();
    let bridge = Bridge::start(&format!("{}{QUICK}", target(&robot, "")));
    let far = DingTalk::start(LOOPBACK, Robot::default()).unwrap();
    let table = [
        ("http_5xx", Fault::Status(502)),
        ("http_4xx", Fault::Status(404)),
        ("http_3xx", Fault::Redirect(far.url())),
        ("timeout", Fault::Hang),
        ("malformed", Fault::Garbage),
        ("malformed", Fault::Body("<html>".to_owned())),
        ("malformed", Fault::Empty),
        ("connect", Fault::Close),
        (
            "busy",
            Fault::Body("{\"errcode\":-1,\"errmsg\":\"system busy\"}".to_owned()),
        ),
        (
            "other",
            Fault::Body("{\"errcode\":987654,\"errmsg\":\"what is this\"}".to_owned()),
        ),
    ];
    for (index, (outcome, fault)) in table.into_iter().enumerate() {
        let before = attempts(&bridge, outcome);
        let name = format!("Try{index}");
        robot.script([fault.clone()]);
        deliver(&bridge, &name);
        assert_eq!(attempts(&bridge, outcome), before + 1.0, "{fault:?}");
        assert!(texts(&robot).last().unwrap().contains(&name));
    }
    assert!(
        far.requests() == 0,
        "a redirect was followed with the token"
    );
    assert!(bridge.log().contains("errcode 987654: what is this"));
}

#[test]
fn a_robot_that_is_sent_too_much_by_somebody_else_is_left_alone_and_then_gets_a_digest() {
    let robot = robot();
    robot.change(|robot| robot.messages = 0);
    let bridge = Bridge::start(&format!("{}{QUICK}", target(&robot, "mute_for: 300ms")));
    for number in 0..5 {
        assert_eq!(
            bridge.send(&one("firing", &format!("Limited{number}"))),
            200
        );
    }
    eventually("it to be refused", || {
        (!robot.refusals().is_empty()).then_some(())
    });
    robot.change(|robot| robot.messages = 20);
    eventually("the queue to be empty", || {
        (bridge.metric("alertbridge_queue_alerts ") == 0.0).then_some(())
    });
    assert!(robot.refusals().iter().all(|code| *code == 130_101));
    let all = texts(&robot).concat();
    assert!(
        (0..5).all(|number| all.contains(&format!("Limited{number}"))),
        "{all}"
    );
    assert!(attempts(&bridge, "rate_limited") >= 1.0);
}

#[test]
fn a_wrong_secret_is_reported_once_as_what_it_is_and_the_fallback_is_told() {
    let robot = robot();
    robot.change(|robot| robot.secret = Some("SECanother".to_owned()));
    let config = format!(
        "{}  spare:\n    type: log\n    path: spare.jsonl\n{QUICK}",
        target(&robot, "fallback: spare")
    );
    let bridge = Bridge::start(&config);
    assert_eq!(bridge.send(&one("firing", "Waits")), 200);
    eventually("several attempts", || {
        (attempts(&bridge, "refused") > 3.0).then_some(())
    });
    assert_eq!(
        bridge.metric("alertbridge_refused_targets{kind=\"dingtalk\"}"),
        1.0
    );
    let log = bridge.log();
    assert_eq!(
        log.matches("errcode 310000: sign not match").count(),
        1,
        "{log}"
    );
    assert!(
        log.contains("the `secret` of the target is not that of the robot"),
        "{log}"
    );
    let spare =
        || std::fs::read_to_string(bridge.folder.path().join("spare.jsonl")).unwrap_or_default();
    eventually("the fallback to be told", || {
        spare().contains("AlertbridgeTargetRefuses").then_some(())
    });
    robot.change(|robot| robot.secret = Some(SECRET.to_owned()));
    eventually("the alert to arrive", || {
        texts(&robot).concat().contains("Waits").then_some(())
    });
    eventually("the fallback to be told of the end", || {
        spare().contains("\"status\":\"resolved\"").then_some(())
    });
    assert_eq!(
        bridge.metric("alertbridge_refused_targets{kind=\"dingtalk\"}"),
        0.0
    );
}

/// Waits for an alert to be refused and the fallback to be told, and hands over what reads the fallback.
fn refused_with_fallback() -> (DingTalk, Bridge, String) {
    let robot = robot();
    robot.change(|robot| robot.secret = Some("SECanother".to_owned()));
    let config = format!(
        "{}  spare:\n    type: log\n    path: spare.jsonl\n{QUICK}",
        target(&robot, "fallback: spare")
    );
    let bridge = Bridge::start(&config);
    assert_eq!(bridge.send(&one("firing", "Waits")), 200);
    eventually("the fallback to be told", || {
        spare(&bridge)
            .contains("AlertbridgeTargetRefuses")
            .then_some(())
    });
    (robot, bridge, config)
}

fn spare(bridge: &Bridge) -> String {
    std::fs::read_to_string(bridge.folder.path().join("spare.jsonl")).unwrap_or_default()
}

/// One begin and one end, in this order.
fn told_once(bridge: &Bridge) {
    eventually("the fallback to be told of the end", || {
        spare(bridge)
            .contains("\"status\":\"resolved\"")
            .then_some(())
    });
    let spare = spare(bridge);
    assert_eq!(spare.matches("\"status\":\"firing\"").count(), 1, "{spare}");
    assert_eq!(spare.lines().count(), 2, "{spare}");
}

#[test]
fn the_fallback_is_told_of_the_end_also_when_a_reload_brought_it() {
    let (robot, bridge, config) = refused_with_fallback();
    // A reload that mends nothing is no news.
    bridge.signal("HUP");
    eventually("the reload", || {
        bridge.log().contains("read anew").then_some(())
    });
    let before = attempts(&bridge, "refused");
    eventually("it to be refused again", || {
        (attempts(&bridge, "refused") > before + 1.0).then_some(())
    });
    let path = bridge.folder.path().join("config.yml");
    std::fs::write(&path, config.replace(SECRET, "SECanother")).unwrap();
    bridge.signal("HUP");
    eventually("the alert to arrive", || {
        texts(&robot).concat().contains("Waits").then_some(())
    });
    told_once(&bridge);
}

#[test]
fn the_fallback_is_told_of_the_end_also_when_a_restart_brought_it() {
    let (robot, bridge, config) = refused_with_fallback();
    // A kill between a message and its note would tell it twice.
    eventually("only the alert to wait", || {
        (bridge.metric("alertbridge_queue_alerts ") == 1.0).then_some(())
    });
    let path = bridge.folder.path().join("config.yml");
    std::fs::write(&path, config.replace(SECRET, "SECanother")).unwrap();
    let bridge = bridge.kill_and_restart();
    eventually("the alert to arrive", || {
        texts(&robot).concat().contains("Waits").then_some(())
    });
    told_once(&bridge);
}

#[test]
fn a_message_that_is_taken_in_no_form_is_told_by_the_fallback() {
    let robot = robot();
    robot.set_fault(Some(Fault::Body(
        "{\"errcode\":40035,\"errmsg\":\"bad\"}".to_owned(),
    )));
    let config = format!(
        "{}  spare:\n    type: log\n    path: spare.jsonl\n{QUICK}",
        target(&robot, "fallback: spare")
    );
    let bridge = Bridge::start(&config);
    assert_eq!(bridge.send(&one("firing", "Waits")), 200);
    eventually("the fallback to be told", || {
        spare(&bridge).contains("errcode 40035: bad").then_some(())
    });
    robot.set_fault(None);
    eventually("the alert to arrive", || {
        texts(&robot).concat().contains("Waits").then_some(())
    });
    told_once(&bridge);
}

#[test]
fn a_template_that_comes_out_empty_does_not_keep_the_alert_from_arriving() {
    let robot = robot();
    let lines =
        "message:\n  title: '{{ .CommonLabels.none }}'\n  text: '{{ .CommonAnnotations.none }}'";
    let bridge = Bridge::start(&format!("{}{QUICK}", target(&robot, lines)));
    deliver(&bridge, "Untold");
    let message = robot.delivered().pop().unwrap();
    assert!(message.title.contains("Untold"), "{message:?}");
    assert!(message.text.contains("Untold"), "{message:?}");
    assert_eq!(attempts(&bridge, "bad_message"), 0.0);
}

#[test]
fn a_message_that_is_too_long_or_not_understood_goes_again_in_a_simpler_form() {
    let robot = robot();
    robot.change(|robot| robot.max_bytes = 5_000);
    let bridge = Bridge::start(&format!("{}{QUICK}", target(&robot, "")));
    let alerts: Vec<_> = (0..20)
        .map(|number| {
            alert(
                "firing",
                "Long",
                &format!("host-{number}-{}", "x".repeat(150)),
            )
        })
        .collect();
    assert_eq!(bridge.send(&notification("long", &alerts)), 200);
    eventually("the queue to be empty", || {
        (bridge.metric("alertbridge_queue_alerts ") == 0.0).then_some(())
    });
    assert!(attempts(&bridge, "too_long") >= 1.0);
    let all = texts(&robot).concat();
    assert!(
        (0..20).all(|number| all.contains(&format!("host-{number}-"))),
        "{all}"
    );
    let not_understood = Fault::Body("{\"errcode\":40035,\"errmsg\":\"bad\"}".to_owned());
    robot.script([not_understood.clone(), not_understood]);
    deliver(&bridge, "Simple");
    let last = robot.delivered().pop().unwrap();
    assert_eq!(last.kind, "text");
    assert!(last.text.contains("Simple"));
}

#[test]
fn no_output_holds_a_secret() {
    let robot = robot();
    let hook = Server::answering(LOOPBACK, |_| Vec::new()).unwrap();
    let config = format!(
        "{}  hook:\n    type: webhook\n    url: http://{}/x?key=hookSecretInUrl\n    bearer_token: hookSecretBearer\n    timeout: 1s\nsilence:\n  key: silenceSigningSecret\n{QUICK}",
        target(&robot, ""),
        hook.address()
    );
    let bridge = Bridge::start(&config);
    // A remote that says back what it was sent, in each way that a text can take.
    let echo =
        format!("{{\"errcode\":310000,\"errmsg\":\"no access_token={TOKEN} with {SECRET}\"}}");
    robot.script([
        Fault::Body(echo),
        Fault::Redirect(format!("http://{TOKEN}/")),
        Fault::Status(500),
        Fault::Hang,
        Fault::Close,
    ]);
    deliver(&bridge, "Quiet");
    assert_eq!(
        post(bridge.port, "/webhook/hook", &one("firing", "Hook")).0,
        200
    );
    eventually("the webhook to be called", || {
        (!hook.requests().is_empty()).then_some(())
    });
    assert_eq!(
        hook.requests()[0].header("authorization"),
        Some("Bearer hookSecretBearer")
    );
    bridge.signal("HUP");
    eventually("the reload", || {
        bridge.log().contains("read anew").then_some(())
    });
    eventually("the queue to be empty", || {
        (bridge.metric("alertbridge_queue_alerts ") == 0.0).then_some(())
    });
    let mut outputs = vec![bridge.log(), texts(&robot).concat()];
    for path in [
        "/metrics",
        "/",
        "/-/ready",
        "/dingtalk/none/send",
        "/runbooks/",
    ] {
        outputs.push(get(bridge.port, path).1);
    }
    outputs.push(post(bridge.port, "/dingtalk/none/send", &one("firing", "X")).1);
    outputs.push(
        String::from_utf8_lossy(&std::fs::read(bridge.queue().join("queue.journal")).unwrap())
            .into_owned(),
    );
    for output in outputs {
        for secret in [
            TOKEN,
            SECRET,
            "hookSecretInUrl",
            "hookSecretBearer",
            "silenceSigningSecret",
        ] {
            assert!(!output.contains(secret), "{secret} in {output}");
        }
    }
}

#[test]
fn a_webhook_target_gets_what_alertmanager_would_send() {
    let hook = Server::answering(LOOPBACK, |_| b"{}".to_vec()).unwrap();
    let config = format!(
        "targets:\n  ops:\n    type: webhook\n    url: http://{}/in\n    timeout: 1s\n{QUICK}",
        hook.address()
    );
    let bridge = Bridge::start(&config);
    hook.script([
        Fault::Status(500),
        Fault::Status(401),
        Fault::RetryAfter(429, "1".into()),
    ]);
    assert_eq!(bridge.send(&one("firing", "Through")), 200);
    // The pause after 429 is the target's mute_for; a reload ends it.
    eventually("three attempts", || {
        (hook.requests().len() == 3).then_some(())
    });
    eventually("the answer to be known", || {
        bridge.log().contains("status 429").then_some(())
    });
    bridge.signal("HUP");
    eventually("the queue to be empty", || {
        (bridge.metric("alertbridge_queue_alerts ") == 0.0).then_some(())
    });
    let body: serde_json::Value =
        serde_json::from_slice(&hook.requests().last().unwrap().body).unwrap();
    let sent: serde_json::Value = serde_json::from_str(&one("firing", "Through")).unwrap();
    for key in [
        "version",
        "status",
        "alerts",
        "receiver",
        "groupKey",
        "groupLabels",
        "externalURL",
        "truncatedAlerts",
    ] {
        assert_eq!(body[key], sent[key], "{key}");
    }
}
