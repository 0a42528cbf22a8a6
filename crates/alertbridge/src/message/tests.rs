//! Messages: what they say, in both languages; that no alert is left out and no body is too long.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::config::{Config, DingTalk, Kind, Language, MentionRule, Rate};
use crate::payload::{Alert, Header};
use crate::queue::Batch;
use program::secret::Secret;

fn target(language: Language, max_bytes: usize) -> Target {
    Target {
        name: "ops".to_owned(),
        kind: Kind::DingTalk(DingTalk {
            url: Secret::new("https://h/?access_token=T").unwrap(),
            token: Secret::new("T").unwrap(),
            secret: None,
        }),
        timeout: Duration::from_secs(1),
        language,
        format: Format::Auto,
        mentions: Vec::new(),
        rate: Rate {
            messages: 18,
            per: Duration::from_secs(60),
        },
        max_bytes,
        mute_for: Duration::from_secs(1),
        fallback: None,
        title: None,
        text: None,
    }
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs
        .iter()
        .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
        .collect()
}

fn alert(status: Status, instance: &str) -> Alert {
    Alert {
        status,
        labels: labels(&[
            ("alertname", "SentinelDown"),
            ("severity", "critical"),
            ("instance", instance),
        ]),
        annotations: labels(&[
            ("summary", "Sentinel is unreachable."),
            ("runbook_url", "http://127.0.0.1:8060/runbooks/SentinelDown"),
        ]),
        starts_at: "2026-11-22T10:00:00.5Z".to_owned(),
        ends_at: "2026-11-22T10:12:05.5Z".to_owned(),
        generator_url: "http://p/graph?g0.expr=up(x)".to_owned(),
        fingerprint: format!("fp-{instance}"),
    }
}

/// Each list came as a notification of its own.
fn waiting(batches: Vec<Vec<Alert>>) -> Vec<Waiting> {
    let mut id = 0;
    let mut all = Vec::new();
    for alerts in batches {
        let batch = Arc::new(Batch {
            at: 0.0,
            header: Header::default(),
        });
        for alert in alerts {
            all.push(Waiting::for_tests(id, &batch, alert));
            id += 1;
        }
    }
    all
}

fn compose(target: &Target, waiting: &[Waiting], may_send: usize, level: Level) -> Message {
    let zone = TimeZone::get("Asia/Shanghai").unwrap();
    let context = Context {
        target,
        external_url: "http://b",
        time_zone: &zone,
        silence_link: &|_| Some("http://b/silence/x".to_owned()),
    };
    next(context, waiting, waiting.len(), may_send, level)
}

#[test]
fn a_single_alert_is_a_card_with_three_buttons_in_either_language() {
    let one = waiting(vec![vec![alert(Status::Firing, "a:1")]]);
    let message = compose(&target(Language::English, 15_000), &one, 1, Level::Full);
    assert_eq!(
        message.title,
        "[FIRING] SentinelDown: Sentinel is unreachable."
    );
    assert_eq!(
        message.text,
        "#### [FIRING] **SentinelDown** · critical\n\nSentinel is unreachable.\n\n- instance: a:1\n\nsince 2026-11-22 18:00:00 CST"
    );
    let urls = [
        "http://b/runbooks/SentinelDown",
        "http://p/graph?g0.expr=up%28x%29",
        "http://b/silence/x",
    ];
    let buttons = |texts: [&str; 3]| -> Vec<(String, String)> {
        texts
            .iter()
            .zip(urls)
            .map(|(a, b)| ((*a).to_owned(), b.to_owned()))
            .collect()
    };
    assert_eq!(message.buttons, buttons(["Runbook", "Graph", "Silence"]));
    let message = compose(&target(Language::Chinese, 15_000), &one, 1, Level::Full);
    assert!(
        message.title.starts_with("[告警] SentinelDown")
            && message.text.contains("开始于 2026-11-22 18:00:00 CST"),
        "{message:?}"
    );
    assert_eq!(message.buttons, buttons(["处理手册", "图表", "静默"]));
}

#[test]
fn a_resolved_alert_says_how_long_it_was_on_and_offers_no_silence() {
    let one = waiting(vec![vec![alert(Status::Resolved, "a:1")]]);
    let message = compose(&target(Language::English, 15_000), &one, 1, Level::Full);
    assert!(
        message
            .text
            .ends_with("resolved 2026-11-22 18:12:05 CST, after 12m 5s"),
        "{}",
        message.text
    );
    assert_eq!(message.buttons.len(), 2);
    let message = compose(&target(Language::Chinese, 15_000), &one, 1, Level::Full);
    assert!(
        message.text.ends_with("持续 12 分 5 秒"),
        "{}",
        message.text
    );
}

#[test]
fn who_is_mentioned_stands_in_the_text_and_the_links_too() {
    let mut target = target(Language::English, 15_000);
    let mention = Mention {
        mobiles: vec!["13800000000".into()],
        ..Mention::default()
    };
    target.mentions = vec![MentionRule {
        labels: labels(&[("severity", "critical")]),
        mention,
    }];
    let one = waiting(vec![vec![alert(Status::Firing, "a:1")]]);
    let message = compose(&target, &one, 1, Level::Full);
    assert!(
        message.buttons.is_empty()
            && message
                .text
                .ends_with("[Silence](http://b/silence/x)\n\n@13800000000"),
        "{}",
        message.text
    );
}

#[test]
fn a_group_is_told_whole_and_more_notifications_than_may_be_sent_become_a_digest() {
    let target = target(Language::English, 15_000);
    let group = waiting(vec![vec![
        alert(Status::Firing, "a:1"),
        alert(Status::Resolved, "b:2"),
    ]]);
    let message = compose(&target, &group, 1, Level::Full);
    assert_eq!(message.title, "[FIRING:1 RESOLVED:1] SentinelDown");
    assert_eq!((message.count, message.is_digest), (2, false));
    let two = waiting(vec![
        vec![alert(Status::Firing, "a:1")],
        vec![alert(Status::Resolved, "b:2")],
    ]);
    let message = compose(&target, &two, 2, Level::Full);
    assert_eq!((message.count, message.is_digest), (1, false));
    let message = compose(&target, &two, 1, Level::Full);
    assert_eq!((message.count, message.is_digest), (2, true));
    assert_eq!(
        message.text,
        "#### [DIGEST] 1 firing, 1 resolved\n\n**SentinelDown** · critical · firing 1\n\na:1\n\n**SentinelDown** · critical · resolved 1\n\nb:2 (12m 5s)"
    );
}

#[test]
fn an_alert_that_changed_several_times_stands_in_a_digest_once_where_it_ended() {
    let target = target(Language::English, 15_000);
    let states = [Status::Firing, Status::Resolved, Status::Firing];
    let flapping = waiting(
        states
            .iter()
            .map(|status| vec![alert(*status, "a:1")])
            .collect(),
    );
    let message = compose(&target, &flapping, 1, Level::Full);
    assert_eq!(message.count, 3);
    assert_eq!(
        message.text,
        "#### [DIGEST] 1 firing, 0 resolved\n\n**SentinelDown** · critical · firing 1\n\na:1 ×3"
    );
    let over = &flapping[..2];
    let message = compose(&target, over, 1, Level::Full);
    assert!(
        message.text.ends_with("resolved 1\n\na:1 (12m 5s) ×2"),
        "{}",
        message.text
    );
}

#[test]
fn templates_take_fields_and_our_texts() {
    let mut target = target(Language::English, 15_000);
    let text = "targets:\n  a:\n    type: log\n    message:\n      title: 'X {{ template \"ding.link.title\" . }}'\n      text: 'FX-keyword {{ template \"ding.link.content\" . }}'\n";
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("f.yml");
    std::fs::write(&path, text).unwrap();
    let cli = crate::cli::Cli {
        config_file: Some(path),
        ..Default::default()
    };
    let config = Config::load(&cli, &|_| None).unwrap();
    target.title = config.targets["a"].title.clone();
    target.text = config.targets["a"].text.clone();
    let one = waiting(vec![vec![alert(Status::Firing, "a:1")]]);
    let message = compose(&target, &one, 1, Level::Full);
    assert!(
        message.title.starts_with("X [FIRING]") && message.text.starts_with("FX-keyword ####"),
        "{message:?}"
    );
}

/// Every body is within its bound, and message by message every alert is named, in order, until none waits.
fn drain(target: &Target, mut rest: &[Waiting], may_send: usize) -> Vec<Message> {
    let mut messages = Vec::new();
    while !rest.is_empty() {
        let message = compose(target, rest, may_send, Level::Full);
        let body = crate::dingtalk::body(&message);
        assert!(
            body.len() <= target.max_bytes,
            "{} > {}",
            body.len(),
            target.max_bytes
        );
        assert!(message.count > 0);
        rest = &rest[message.count..];
        messages.push(message);
    }
    messages
}

#[test]
fn ten_thousand_alerts_are_all_named_in_digests() {
    let alerts: Vec<Alert> = (0..10_000)
        .map(|number| alert(Status::Firing, &format!("host-{number}:9100")))
        .collect();
    let all = waiting(alerts.chunks(100).map(<[Alert]>::to_vec).collect());
    let messages = drain(&target(Language::English, 15_000), &all, 1);
    let mut named: Vec<&str> = messages
        .iter()
        .flat_map(|message| message.text.split([',', '\n', ' ']))
        .filter(|word| word.starts_with("host-"))
        .collect();
    named.sort_unstable();
    named.dedup();
    assert_eq!(named.len(), 10_000);
    assert!(messages.len() <= 18, "{} messages", messages.len());
    assert!(messages[0].text.ends_with("more wait for the next message"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_body_is_too_long_whatever_the_alerts_say(
        texts in proptest::collection::vec("[\\u{4e00}-\\u{4fff}a-z\"\\n\\\\@\\]\\(]{0,600}", 1..30),
        group in 1usize..5,
        max_bytes in 1_000usize..6_000,
        may_send in 1usize..4,
        is_chinese in any::<bool>(),
    ) {
        let language = if is_chinese { Language::Chinese } else { Language::English };
        let alerts: Vec<Alert> = texts.iter().enumerate().map(|(number, text)| {
            let mut alert = alert(Status::Firing, &format!("i{number}"));
            alert.annotations.insert("description".to_owned(), text.clone());
            alert.annotations.insert("summary".to_owned(), text.clone());
            alert.labels.insert("text".to_owned(), text.clone());
            alert.labels.insert("alertname".to_owned(), text.chars().take(200).collect());
            alert
        }).collect();
        let all = waiting(alerts.chunks(group).map(<[Alert]>::to_vec).collect());
        let count: usize = drain(&target(language, max_bytes), &all, may_send).iter().map(|message| message.count).sum();
        prop_assert_eq!(count, all.len());
    }
}
