//! What `sentinel paper-gateway` says when it cannot start, and how it ends.

use std::process::Output;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::messages::{buy, message, order};
use crate::process::{Dealer, Site, now, text};

fn said(output: &Output) -> (Option<i32>, String) {
    (
        output.status.code(),
        String::from_utf8(output.stderr.clone()).unwrap(),
    )
}

#[test]
fn what_keeps_it_from_starting_is_one_sentence() {
    let site = Site::new();
    let gateway = site.gateway(&[]);
    std::fs::write(site.path("short"), "too-short\n").unwrap();
    std::fs::write(site.path("spaced"), "x".repeat(20) + " " + &"x".repeat(20)).unwrap();
    std::fs::write(site.path("bytes"), [0xff; 40]).unwrap();
    std::fs::write(
        site.path("damaged"),
        "{\"record\":\"release\",\"at\":1}\n{\"record\":\n",
    )
    .unwrap();
    let other = ["--secret-file", "secret", "--journal", "other"];
    let with = |more: &[&'static str]| [&other[..], more].concat();
    let cases: Vec<(Vec<&str>, &str)> = vec![
        (
            vec!["--secret-file", "short", "--journal", "other"],
            "short: the secret has 9 bytes, 32 to 512 are accepted",
        ),
        (
            vec!["--secret-file", "spaced", "--journal", "other"],
            "spaced: the secret has a character that is not printable ASCII, or a space",
        ),
        (
            vec!["--secret-file", "bytes", "--journal", "other"],
            "bytes: the secret has a character that is not printable ASCII, or a space",
        ),
        (
            vec!["--secret-file", "nowhere", "--journal", "other"],
            "nowhere: cannot read the secret: No such file or directory",
        ),
        (
            vec!["--secret-file", "secret", "--journal", "journal"],
            "journal: the journal belongs to another running gateway",
        ),
        (
            vec!["--journal", "journal", "--release-kill"],
            "journal: the journal belongs to another running gateway",
        ),
        (
            vec!["--secret-file", "secret", "--journal", "damaged"],
            "damaged: line 2 of the journal is damaged",
        ),
        // A mistyped name: made anew, it would look released.
        (
            vec!["--journal", "nowhere", "--release-kill"],
            "nowhere: cannot read the journal: No such file or directory",
        ),
        (
            vec!["--journal", "damaged", "--book", "-"],
            "damaged: line 2 of the journal is damaged",
        ),
        (
            vec!["--secret-file", "secret", "--journal", "nowhere/j"],
            "nowhere/j: cannot open the journal: No such file or directory",
        ),
        (
            vec!["--secret-file", "secret", "--journal", "."],
            ".: not a regular file, the journal has to be one",
        ),
        (
            vec!["--journal", "nowhere", "--book", "-"],
            "nowhere: cannot read the journal: No such file or directory",
        ),
        (
            vec!["--journal", "journal", "--book", "nowhere/b"],
            "nowhere/b: cannot write the book: No such file or directory",
        ),
        (
            with(&["--prices", "nowhere"]),
            "nowhere: cannot read the prices: No such file or directory",
        ),
    ];
    let address = gateway.address().to_owned();
    let busy = [&other[..], &["--bind", &address]].concat();
    let taken = format!("{address}: cannot listen: Address already in use");
    for (arguments, wanted) in cases.into_iter().chain([(busy, taken.as_str())]) {
        let (status, complaint) = said(&site.run(&arguments));
        assert_eq!(status, Some(1), "{arguments:?}: {complaint}");
        assert!(
            complaint.starts_with(&format!("sentinel: {wanted}")),
            "{arguments:?}: {complaint}"
        );
        assert_eq!(complaint.lines().count(), 1, "{complaint}");
    }
    assert!(!site.path("nowhere").exists());
}

#[test]
fn a_bad_flag_ends_with_status_2_and_names_what_is_accepted() {
    let site = Site::new();
    let good = ["--secret-file", "secret", "--journal", "journal"];
    let cases: [(&[&str], &str); 10] = [
        (&["--bind", "localhost"], "an address and a port"),
        (&["--mid", "0"], "a decimal number above zero"),
        (
            &["--mid", "0.0001", "--spread", "0.0002"],
            "--mid 0.0001, --spread 0.0002: bid and ask are not prices above zero",
        ),
        (
            &["--mid", "1", "--spread", "0.00000001"],
            "at most 8 digits",
        ),
        (&["--contract", "1e5"], "a decimal number above zero"),
        (&["--fill-ratio", "1.1"], "a decimal number from 0 to 1"),
        (
            &["--reject", "late"],
            "requote, price, volume, margin, market_closed, disabled, other",
        ),
        (&["--placed", "-1"], "--placed"),
        (&["--account", ""], "1 to 64 bytes"),
        (&["--prices", "p", "--mid", "1"], "cannot be used with"),
    ];
    for (flags, wanted) in cases {
        let (status, complaint) = said(&site.run(&[&good[..], flags].concat()));
        assert_eq!(status, Some(2), "{flags:?}: {complaint}");
        assert!(complaint.contains(wanted), "{flags:?}: {complaint}");
    }
    for flags in [&["--journal", "journal"][..], &["--secret-file", "secret"]] {
        assert_eq!(said(&site.run(flags)).0, Some(2), "{flags:?}");
    }
    assert!(!site.path("journal").exists(), "nothing was made");
}

#[test]
fn a_signal_ends_it_in_good_order() {
    let site = Site::new();
    for signal in [Signal::TERM, Signal::INT] {
        let gateway = site.gateway(&[]);
        let dealer = Dealer::connect(&gateway.endpoint, None);
        dealer.ask(&message("HEARTBEAT", "h-1", &json!({}), now()));
        // A process that does not end in time by itself ends with status 1.
        assert_eq!(gateway.end(signal).code(), Some(0), "{signal:?}");
    }
}

#[test]
fn a_kill_lasts_until_a_human_releases_it() {
    let site = Site::new();
    let ask = |frame: &[u8]| -> Value {
        let gateway = site.gateway(&["--account", "77"]);
        let reply = Dealer::connect(&gateway.endpoint, None).ask(frame);
        gateway.kill();
        reply
    };
    let mut payload = buy("0.10");
    payload["account"] = json!("77");
    assert_eq!(
        ask(&message("KILL", "k-1", &json!({"reason": "test"}), now()))["type"],
        "KILL"
    );
    assert_eq!(
        ask(&order("o-1", "bar-1", &payload, now()))["payload"]["code"],
        "disabled"
    );
    for done in [
        "the kill switch is off\n",
        "the kill switch was not on, nothing was changed\n",
    ] {
        let released = site.run(&["--journal", "journal", "--release-kill"]);
        assert_eq!(said(&released), (Some(0), String::new()));
        assert_eq!(String::from_utf8_lossy(&released.stdout), done);
    }
    assert_eq!(
        ask(&order("o-2", "bar-2", &payload, now()))["type"],
        "FILLED"
    );
    assert!(
        site.run(&["--journal", "journal", "--book", "book.json"])
            .status
            .success()
    );
    let book: Value = serde_json::from_str(&text(&site.path("book.json"))).unwrap();
    assert_eq!(book["killed_at"], Value::Null);
    let verdicts = book["orders"]
        .as_array()
        .unwrap()
        .iter()
        .map(|order| (order["id"].as_str(), order["type"].as_str()));
    assert_eq!(
        verdicts.collect::<Vec<_>>(),
        [
            (Some("o-1"), Some("REJECTED")),
            (Some("o-2"), Some("FILLED"))
        ]
    );
}
