//! The report from made-up steps: that it reads well, hides what it must and stays in one piece whatever the answers are.

use super::*;

fn step(id: &str, outcome: Ended, answer: &str) -> Step {
    let at = Timestamp::UNIX_EPOCH;
    Step {
        id: id.into(),
        title: format!("title of {id}"),
        outcome,
        text: format!("text of {id}, a|b"),
        next: (outcome != Ended::Pass).then(|| "do that".to_owned()),
        attempts: 3,
        started: at,
        duration: Duration::from_millis(1500),
        exchanges: vec![Exchange::new(
            "curl -si http://127.0.0.1:9111/metrics",
            answer,
            at,
            Duration::from_micros(1500),
        )],
    }
}

fn evidence(steps: Vec<Step>) -> Evidence {
    Evidence {
        subject: Subject {
            title: "metricsd Mode B",
            command: redact(["metricsd", "verify", "mode-b"]),
            version: "1.2.3",
            verified: vec![
                Verified {
                    key: "url",
                    label: "Page",
                    value: Some("http://127.0.0.1:9111/metrics".into()),
                },
                Verified {
                    key: "prometheus",
                    label: "Prometheus",
                    value: None,
                },
            ],
            host: "desk-7".into(),
            kernel: "Linux 6.1 x86_64".into(),
            user: "alice (uid 1000)".into(),
            working_directory: "/srv".into(),
        },
        started: Timestamp::UNIX_EPOCH,
        ended: Timestamp::from_second(61).unwrap(),
        result: result(&steps),
        steps,
        evidence: None,
        raw: vec![RawFile {
            name: "metrics-before.prom".into(),
            content: b"x 1\n".to_vec(),
        }],
    }
}

#[test]
fn every_step_is_there_with_what_was_asked_answered_and_when() {
    let text = markdown(&evidence(vec![
        step("http_ok", Ended::Pass, "200"),
        step("up_stable", Ended::Skip, ""),
        step("verdict", Ended::Pass, ""),
    ]));
    for part in [
        "# Verification of metricsd Mode B: PASS",
        "| Host | desk-7 |",
        "| Page | http://127.0.0.1:9111/metrics |",
        "| Prometheus | not asked |",
        "alice (uid 1000)",
        "| Begun | 1970-01-01 00:00:00.000 UTC |",
        "1970-01-01 00:01:01.000 UTC (61.0 s)",
        "| 1 | `http_ok` | PASS |",
        "| 2 | `up_stable` | not checked |",
        "```console\ncurl -si http://127.0.0.1:9111/metrics\n```",
        "took 1.50 s, 3 attempts",
        "answered after 1.5 ms",
        "To do: do that",
        "metrics-before.prom",
        "Signature",
    ] {
        assert!(text.contains(part), "no {part:?} in:\n{text}");
    }
}

#[test]
fn an_answer_cannot_break_out_of_its_fence_or_cell() {
    let text = markdown(&evidence(vec![step(
        "http_ok",
        Ended::Fail,
        "```\n# forged\n\x1b[2J````",
    )]));
    assert!(
        text.contains("`````text\n```\n# forged\n?[2J````\n`````"),
        "{text}"
    );
    assert!(text.contains("a\\|b"), "{text}");
    assert!(text.contains("**FAIL**"), "{text}");
}

#[test]
fn one_failure_or_no_pass_at_all_is_no_pass() {
    let of = |outcomes: &[Ended]| {
        let steps: Vec<Step> = outcomes.iter().map(|&it| step("a", it, "")).collect();
        result(&steps)
    };
    assert_eq!(of(&[Ended::Pass, Ended::Skip]), Ended::Pass);
    assert_eq!(of(&[Ended::Pass, Ended::Fail]), Ended::Fail);
    assert_eq!(of(&[Ended::Skip]), Ended::Fail);
    assert_eq!(of(&[]), Ended::Fail);
}

#[test]
fn secrets_on_a_command_line_do_not_come_out() {
    let shown = redact([
        "exporter",
        "--api-token=s3cret1",
        "--password",
        "s3cret2",
        "--port",
        "9111",
        "EODHD_API_TOKEN=s3cret3",
        "http://me:s3cret4@host:9090/x?y",
        "two words",
    ]);
    assert!(!shown.contains("s3cret"), "{shown}");
    assert_eq!(
        shown,
        "exporter --api-token=[hidden] --password [hidden] --port 9111 EODHD_API_TOKEN=[hidden] 'http://[hidden]@host:9090/x?y' 'two words'"
    );
}

#[test]
fn users_and_tokens_of_addresses_do_not_come_out_of_an_answer() {
    for (text, shown) in [
        ("no address, a=b token=x", "no address, a=b token=x"),
        (
            "Get \"http://me:s3cret@h:1/m?a=1&access_token=s3cret&b=2\": refused",
            "Get \"http://[hidden]@h:1/m?a=1&access_token=[hidden]&b=2\": refused",
        ),
        (
            r#"{"u":"https://h/x?q=1\u0026api_key=s3cret\u0026z=2","v":"http://s3cret@g"}"#,
            r#"{"u":"https://h/x?q=1\u0026api_key=[hidden]\u0026z=2","v":"http://[hidden]@g"}"#,
        ),
        (
            "http://h/graph?g0.expr=up == 1",
            "http://h/graph?g0.expr=up == 1",
        ),
    ] {
        assert_eq!(redact_addresses(text), shown);
    }
}

#[test]
fn a_second_report_of_the_same_second_gets_a_folder_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let first = Folder::create(folder.path(), "mode-b", Timestamp::UNIX_EPOCH).unwrap();
    let second = Folder::create(folder.path(), "mode-b", Timestamp::UNIX_EPOCH).unwrap();
    assert_ne!(first.path(), second.path());
    let all = evidence(vec![step("verdict", Ended::Pass, "")]);
    write(&first, &all).unwrap();
    let json = std::fs::read_to_string(first.path().join("report.json")).unwrap();
    let object: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(object["result"], "pass");
    assert_eq!(object["host"], "desk-7");
    assert_eq!(object["url"], "http://127.0.0.1:9111/metrics");
    assert!(object["prometheus"].is_null());
    assert!(object.as_object().unwrap().contains_key("prometheus"));
    assert_eq!(object["steps"][0]["duration_seconds"], 1.5);
    assert_eq!(
        std::fs::read(first.path().join("metrics-before.prom")).unwrap(),
        b"x 1\n"
    );
    assert!(
        write(&first, &all).is_err(),
        "what is there is never written over"
    );
    assert_eq!(std::fs::read_dir(second.path()).unwrap().count(), 0);
}
