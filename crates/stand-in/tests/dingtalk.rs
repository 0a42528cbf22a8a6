//! The robot is as strict as the vendor: each thing that it checks, once right and once wrong.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends here")]

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;
use stand_in::{DingTalk, Fault, Robot};

fn start(robot: Robot) -> DingTalk {
    DingTalk::start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), robot).unwrap()
}

fn unsigned() -> DingTalk {
    start(Robot {
        secret: None,
        ..Robot::default()
    })
}

fn markdown(text: &str) -> String {
    json!({"msgtype": "markdown", "markdown": {"title": "t", "text": text}}).to_string()
}

/// Status of HTTP and errcode.
fn post_as(url: &str, kind: &str, body: &str) -> (u16, i64) {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .build()
        .into();
    let mut response = agent
        .post(url)
        .header("Content-Type", kind)
        .send(body)
        .unwrap();
    let text = response.body_mut().read_to_string().unwrap();
    let value: Value = serde_json::from_str(&text).unwrap_or_default();
    (
        response.status().as_u16(),
        value["errcode"].as_i64().unwrap_or(i64::MIN),
    )
}

fn post(url: &str, body: &str) -> i64 {
    let (status, code) = post_as(url, "application/json; charset=utf-8", body);
    assert_eq!(status, 200, "refusals come with status 200");
    code
}

fn now_millis() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_millis() as i64
}

fn signed(url: &str, millis: i64, secret: &str, encodes_twice: bool) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(format!("{millis}\n{secret}").as_bytes());
    let sign = BASE64_STANDARD.encode(mac.finalize().into_bytes());
    let once = sign
        .replace('+', "%2B")
        .replace('/', "%2F")
        .replace('=', "%3D");
    let sign = if encodes_twice {
        once.replace('%', "%25")
    } else {
        once
    };
    format!("{url}&timestamp={millis}&sign={sign}")
}

#[test]
fn only_a_timely_signature_with_the_right_secret_that_is_encoded_once_passes() {
    let robot = start(Robot::default());
    let (url, now) = (robot.url(), now_millis());
    let secret = "SECstand-in";
    for (url, expected) in [
        (signed(&url, now, secret, false), 0),
        (signed(&url, now - 3_590_000, secret, false), 0),
        (signed(&url, now - 3_700_000, secret, false), 310_000),
        (signed(&url, now + 3_700_000, secret, false), 310_000),
        (signed(&url, now / 1_000, secret, false), 310_000),
        (signed(&url, now, "SECother", false), 310_000),
        (signed(&url, now, secret, true), 310_000),
        (format!("{url}&timestamp={now}"), 310_000),
        (url.clone(), 310_000),
        (url.replace("stand-in-token", "other"), 300_001),
    ] {
        assert_eq!(post(&url, &markdown("x")), expected, "{url}");
    }
    assert_eq!(robot.delivered().len(), 2);
}

#[test]
fn the_twenty_first_message_of_a_window_mutes_the_robot_for_all_that_follow() {
    let robot = unsigned();
    let url = robot.url();
    for _ in 0..20 {
        assert_eq!(post(&url, &markdown("x")), 0);
    }
    assert_eq!(post(&url, &markdown("x")), 130_101);
    // The window alone would let it through; the mute does not.
    robot.change(|robot| robot.window = Duration::ZERO);
    assert_eq!(post(&url, &markdown("x")), 130_101);
    assert_eq!((robot.delivered().len(), robot.refusals().len()), (20, 2));
}

#[test]
fn size_type_shape_and_keywords_are_checked() {
    let robot = unsigned();
    let url = robot.url();
    assert_eq!(post(&url, &markdown(&"字".repeat(6_700))), 460_101);
    assert_eq!(post_as(&url, "text/plain", &markdown("x")), (200, 43_004));
    for body in [
        "no json",
        "{}",
        r#"{"msgtype":"markdown","markdown":{"title":"t"}}"#,
        r#"{"msgtype":"markdown","markdown":{"title":"t","text":""}}"#,
        r#"{"msgtype":"text","text":"x"}"#,
        r#"{"msgtype":"table","table":{}}"#,
        r#"{"msgtype":"actionCard","actionCard":{"title":"t","text":"x","btns":[]}}"#,
        r#"{"msgtype":"actionCard","actionCard":{"title":"t","text":"x","btns":[{"title":"b"}]}}"#,
    ] {
        assert_eq!(post(&url, body), 40_035, "{body}");
    }
    let card = r#"{"msgtype":"actionCard","actionCard":{"title":"t","text":"x","btns":[{"title":"b","actionURL":"http://u"}]}}"#;
    assert_eq!(post(&url, card), 0);
    assert_eq!(
        robot.delivered()[0].buttons,
        [("b".to_owned(), "http://u".to_owned())]
    );
    robot.change(|robot| robot.keywords = vec!["alert".to_owned()]);
    assert_eq!(post(&url, &markdown("x")), 310_000);
    assert_eq!(post(&url, &markdown("an alert")), 0);
}

#[test]
fn somebody_is_mentioned_only_if_the_text_says_so_too() {
    let robot = unsigned();
    for (text, expected) in [
        ("hello", vec![]),
        ("hello @13800000000", vec!["13800000000".to_owned()]),
    ] {
        let body = json!({"msgtype": "text", "text": {"content": text}, "at": {"atMobiles": ["13800000000"], "isAtAll": true}});
        assert_eq!(post(&robot.url(), &body.to_string()), 0);
        assert_eq!(robot.delivered().pop().unwrap().mentioned, expected);
    }
}

#[test]
fn a_message_that_met_a_fault_before_its_answer_was_not_delivered() {
    let robot = unsigned();
    robot.script([Fault::Status(502)]);
    let (status, _) = post_as(&robot.url(), "application/json", &markdown("x"));
    assert_eq!((status, robot.delivered().len()), (502, 0));
    assert_eq!(post(&robot.url(), &markdown("x")), 0);
    assert_eq!((robot.requests(), robot.delivered().len()), (2, 1));
}
