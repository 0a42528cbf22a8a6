//! From a message to a silence: a look at the link changes nothing, a confirmed form does, and only what was signed.

use serde_json::Value;
use stand_in::{Fault, Server};

use crate::process::*;

/// A bridge whose message held this path to a silence, and the Alertmanager it would ask.
fn with_link() -> (Bridge, Server, String) {
    let alertmanager =
        Server::answering(LOOPBACK, |_| b"{\"silenceID\":\"5i1e\"}".to_vec()).unwrap();
    let robot = robot();
    let config = format!(
        "{}silence: {{alertmanager_url: 'http://{}', max: 4h}}\n",
        target(&robot, ""),
        alertmanager.address()
    );
    let bridge = Bridge::start(&config);
    assert_eq!(bridge.send(&one("firing", "Noisy<b>")), 200);
    let message = eventually("the message", || robot.delivered().pop());
    let (_, url) = message
        .buttons
        .into_iter()
        .find(|(text, _)| text == "Silence")
        .unwrap();
    let path = url
        .strip_prefix(&format!("http://127.0.0.1:{}", bridge.port))
        .unwrap()
        .to_owned();
    (bridge, alertmanager, path)
}

fn hidden(page: &str, name: &str) -> String {
    let (_, behind) = page
        .split_once(&format!("name=\"{name}\" value=\""))
        .unwrap();
    behind.split('"').next().unwrap().to_owned()
}

fn form(page: &str, minutes: &str) -> String {
    format!(
        "issued={}&confirmation={}&minutes={minutes}&name=Li+Lei&comment=%E9%87%8D%E5%90%AF",
        hidden(page, "issued"),
        hidden(page, "confirmation")
    )
}

#[test]
fn a_look_at_the_link_silences_nothing_and_a_confirmed_form_does() {
    let (bridge, alertmanager, path) = with_link();
    for _ in 0..3 {
        assert_eq!(get(bridge.port, &path).0, 200);
        assert_eq!(head(bridge.port, &path), 200);
    }
    let (_, page) = get(bridge.port, &path);
    assert!(
        page.contains("Noisy&lt;b&gt;") && !page.contains("Noisy<b>"),
        "{page}"
    );
    assert!(
        page.contains("value=\"240\"") && !page.contains("value=\"480\""),
        "more than the maximum is offered: {page}"
    );
    assert_eq!(alertmanager.requests().len(), 0, "a look silenced");

    let (status, answer) = post(bridge.port, &path, &form(&page, "60"));
    assert_eq!(status, 200, "{answer}");
    assert!(answer.contains("5i1e"));
    let requests = alertmanager.requests();
    assert_eq!(
        (
            requests.len(),
            requests[0].method.as_str(),
            requests[0].path.as_str()
        ),
        (1, "POST", "/api/v2/silences")
    );
    let body: Value = serde_json::from_slice(&requests[0].body).unwrap();
    assert_eq!(body["createdBy"], "Li Lei");
    assert_eq!(body["comment"], "重启");
    let matchers = body["matchers"].as_array().unwrap();
    assert_eq!(matchers.len(), 3);
    assert!(matchers.iter().any(|one| one["name"] == "alertname"
        && one["value"] == "Noisy<b>"
        && one["isRegex"] == false
        && one["isEqual"] == true));
    let time = |name: &str| {
        body[name]
            .as_str()
            .unwrap()
            .parse::<jiff::Timestamp>()
            .unwrap()
    };
    assert_eq!(
        time("endsAt").duration_since(time("startsAt")).as_secs(),
        3_600
    );
    assert_eq!(
        bridge.metric("alertbridge_silences_total{result=\"created\"}"),
        1.0
    );
}

#[test]
fn a_form_that_did_not_come_from_the_page_silences_nothing() {
    let (bridge, alertmanager, path) = with_link();
    let (_, page) = get(bridge.port, &path);
    let good = form(&page, "60");
    let cross = [("sec-fetch-site", "cross-site")];
    for (path, headers, body, expected) in [
        (path.clone(), &[][..], String::new(), 400),
        (
            path.clone(),
            &[],
            good.replace("confirmation=", "confirmation=x"),
            400,
        ),
        (path.clone(), &[], good.replace("issued=", "issued=1"), 400),
        (path.clone(), &[], form(&page, "241"), 400),
        (path.clone(), &[], form(&page, "0"), 400),
        (path.clone(), &cross, good.clone(), 400),
        (format!("{}x", path), &[], good.clone(), 410),
        (
            path.replace("/silence/", "/silence/A"),
            &[],
            good.clone(),
            410,
        ),
    ] {
        assert_eq!(
            post_with(bridge.port, &path, headers, &body).0,
            expected,
            "{path} {body}"
        );
    }
    assert_eq!(alertmanager.requests().len(), 0);
    // The link survives a restart, since its key does.
    let bridge = bridge.kill_and_restart();
    alertmanager.script([Fault::Status(500)]);
    assert_eq!(post(bridge.port, &path, &good).0, 502);
    assert_eq!(post(bridge.port, &path, &good).0, 200);
}
