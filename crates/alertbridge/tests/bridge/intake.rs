//! What requests are answered with, and how the program starts and ends.

use std::process::Command;

use crate::process::*;

#[test]
fn only_what_cannot_be_read_is_4xx() {
    let robot = robot();
    let bridge = Bridge::start(&target(&robot, ""));
    let whole = one("firing", "Down");
    for (path, body, expected) in [
        ("/dingtalk/ops/send", whole.as_str(), 200),
        ("/webhook/ops", &whole, 200),
        ("/dingtalk/ops/send", "no json", 400),
        ("/dingtalk/ops/send", &whole[..whole.len() / 2], 400),
        ("/dingtalk/ops/send", "{\"alerts\":[{}]}", 400),
        // A repetition helps once the configuration is put right.
        ("/dingtalk/nobody/send", &whole, 503),
        ("/webhook/nobody", &whole, 503),
        ("/dingtalk/ops", &whole, 404),
        ("/-/reload", "", 403),
    ] {
        let (status, text) = post(bridge.port, path, body);
        assert_eq!(status, expected, "{path}: {text}");
    }
    assert_eq!(get(bridge.port, "/dingtalk/ops/send").0, 405);
    let large = format!("{{\"alerts\":[],\"x\":\"{}\"}}", "x".repeat(33 << 20));
    // The server may close before it has read what it does not want.
    assert!([503, 0].contains(&post(bridge.port, "/dingtalk/ops/send", &large).0));
    for (result, count) in [
        ("accepted", 2.0),
        ("unparsable", 3.0),
        ("unknown_target", 2.0),
    ] {
        let name = format!("alertbridge_notifications_received_total{{result=\"{result}\"}}");
        assert_eq!(bridge.metric(&name), count, "{result}");
    }
    eventually("the one message", || {
        (robot.delivered().len() == 1).then_some(())
    });
}

#[test]
fn a_message_has_buttons_that_work_and_mentions_who_is_to_be() {
    let robot = robot();
    let config = format!(
        "{}silence:\n  alertmanager_url: http://127.0.0.1:9\n",
        target(
            &robot,
            "mentions:\n  - match: {alertname: Loud}\n    mobiles: ['13800000000']"
        )
    );
    let bridge = Bridge::start(&config);
    assert_eq!(bridge.send(&one("firing", "Quiet")), 200);
    assert_eq!(bridge.send(&one("firing", "Loud")), 200);
    let messages = eventually("two messages", || {
        let messages = robot.delivered();
        (messages.len() == 2).then_some(messages)
    });
    assert_eq!(messages[0].kind, "actionCard");
    let texts: Vec<&str> = messages[0]
        .buttons
        .iter()
        .map(|(text, _)| text.as_str())
        .collect();
    assert_eq!(texts, ["Runbook", "Graph", "Silence"]);
    for (text, url) in &messages[0].buttons {
        if text != "Graph" {
            let path = url
                .strip_prefix(&format!("http://127.0.0.1:{}", bridge.port))
                .unwrap();
            assert_eq!(get(bridge.port, path).0, 200, "{url}");
        }
    }
    assert_eq!(messages[1].mentioned, ["13800000000"]);
}

#[test]
fn sigterm_ends_it_with_status_0_also_while_a_robot_hangs() {
    let robot = robot();
    robot.set_fault(Some(stand_in::Fault::Hang));
    let bridge = Bridge::start(&target(&robot, ""));
    assert_eq!(bridge.send(&one("firing", "Hangs")), 200);
    eventually("an attempt", || (robot.requests() > 0).then_some(()));
    assert_eq!(bridge.terminate(), Some(0));
}

#[test]
fn a_bad_start_is_one_sentence_and_its_own_status() {
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_alertbridge"))
            .args(arguments)
            .current_dir(folder.path())
            .output()
            .unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        (
            output.status.code(),
            text.lines().last().unwrap_or_default().to_owned(),
        )
    };
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("good.yml", "targets: {a: {type: log}}\n");
    write("bad.yml", "targets:\n  a:\n    type: smoke\n");
    write("file", "");
    let robot = robot();
    let busy = robot.url().split('/').nth(2).unwrap().to_owned();
    let table: [(&[&str], i32, &str); 7] = [
        (
            &["--config.file", "none.yml"],
            2,
            "alertbridge: none.yml: cannot read the configuration",
        ),
        (
            &["--config.file", "bad.yml"],
            2,
            "alertbridge: bad.yml: line 3: targets.a.type: found `smoke`, accepted: dingtalk webhook log",
        ),
        (
            &["--config.file", "bad.yml", "--check-config"],
            2,
            "alertbridge: bad.yml: line 3",
        ),
        (&["--config.file", "good.yml", "--check-config"], 0, ""),
        (
            &["--config.file", "good.yml", "--web.listen-address", "here"],
            2,
            "alertbridge: --web.listen-address: found `here`",
        ),
        (
            &[
                "--config.file",
                "good.yml",
                "--web.listen-address",
                &busy,
                "--queue.path",
                "q",
            ],
            1,
            "already in use",
        ),
        (
            &["--config.file", "good.yml", "--queue.path", "file"],
            1,
            "alertbridge: file: cannot make the directory of the queue",
        ),
    ];
    for (arguments, status, begin) in table {
        let (found, last) = run(arguments);
        assert_eq!(found, Some(status), "{arguments:?}: {last}");
        assert!(last.contains(begin), "{arguments:?}: {last}");
    }
}
