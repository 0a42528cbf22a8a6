//! Every fault on every link: the loop goes on, nothing becomes a signal, and both pages say what is wrong.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use stand_in::{Fault, RowFault};

use crate::daemon::{Daemon, Start, TOKEN, eodhd, feed_at, frozen_eodhd, mlflow, now};

/// What HTTP can do wrong, and the code that each is counted under.
fn transport_faults() -> Vec<(Fault, &'static str)> {
    vec![
        (Fault::Hang, "timeout"),
        (Fault::HangInHead, "timeout"),
        (Fault::HangInBody, "timeout"),
        (Fault::SlowDrip(Duration::from_millis(20)), "timeout"),
        (Fault::SlowHead(Duration::from_millis(20)), "timeout"),
        (Fault::Reset, "connect"),
        (Fault::ResetInBody, "connect"),
        (Fault::Close, "connect"),
        (Fault::Truncated, "connect"),
        (Fault::Garbage, "malformed"),
        (Fault::EndlessHead, "malformed"),
        (Fault::BadLength, "malformed"),
        (Fault::BadChunks, "malformed"),
        (Fault::Gzip, "malformed"),
        (Fault::Empty, "empty_response"),
        (Fault::Body("<html>".to_owned()), "malformed"),
        (Fault::Body("[1,2".to_owned()), "malformed"),
        (Fault::Status(400), "http_4xx"),
        (Fault::Status(401), "http_4xx"),
        (Fault::Status(500), "http_5xx"),
        (Fault::Status(503), "http_5xx"),
        (
            Fault::Redirect("http://127.0.0.1:1/".to_owned()),
            "http_4xx",
        ),
        (Fault::RetryAfter(429, "30".to_owned()), "http_429"),
        (Fault::EndlessBody, "malformed"),
    ]
}

fn stage<'a>(health: &'a Value, name: &str) -> &'a Value {
    health["stages"]
        .as_array()
        .unwrap()
        .iter()
        .find(|stage| stage["stage"] == name)
        .unwrap()
}

/// Some at a time: each waits most of its time.
fn in_parallel<T: Sync>(cases: &[T], check: impl Fn(&T) + Sync) {
    for some in cases.chunks(4) {
        std::thread::scope(|scope| {
            for case in some {
                scope.spawn(|| check(case));
            }
        });
    }
}

/// What a failing stage looks like on both pages.
fn assert_failing(daemon: &Daemon, endpoint: &str, at_stage: &str, code: &str, fault: &Fault) {
    let error =
        format!("sentinel_api_errors_total{{endpoint=\"{endpoint}\",error_code=\"{code}\"}}");
    let metrics = daemon.eventually(&format!("{endpoint} {fault:?}"), |daemon| {
        let metrics = daemon.metrics()?;
        let is_seen = metrics.get(&error)? >= 1.0
            && metrics.get("sentinel_trading_cycles_failed_total")? >= 1.0;
        is_seen.then_some(metrics)
    });
    assert_eq!(metrics.signals(), 0.0, "{fault:?}");
    let health = daemon.health().unwrap();
    assert_eq!(health["status"], "degraded", "{fault:?}: {health}");
    let kind = stage(&health, at_stage)["error"]["kind"].as_str();
    // By now the breaker may have opened.
    assert!(
        kind == Some(code) || kind == Some("breaker_open"),
        "{fault:?}: {health}"
    );
    let cycles = metrics.get("sentinel_trading_cycles_total").unwrap();
    daemon.after_cycles(cycles + 2.0);
}

#[test]
fn no_fault_of_the_model_server_is_a_signal_or_stops_the_loop_and_each_is_counted() {
    let mut faults = transport_faults();
    for body in [
        "{\"predictions\": [[0.9]]}",
        "{\"predictions\": [[0.1, 0.2, 0.8]]}",
        "{\"predictions\": [[-0.1, 0.2, 0.9]]}",
        "{\"predictions\": [[NaN, 0.5, 0.5]]}",
        "{\"predictions\": [[0.05, 0.05, 0.9], [0.05, 0.05, 0.9]]}",
        "{\"predictions\": [[\"0.05\", \"0.05\", \"0.9\"]]}",
        "{\"predictions\": []}",
        "[[0.05, 0.05, 0.9]]",
        "0.5",
    ] {
        faults.push((Fault::Body(body.to_owned()), "malformed"));
    }
    let bars = eodhd();
    let url = bars.url();
    in_parallel(&faults, |(fault, code)| {
        let hub = mlflow();
        hub.set_fault(Some(fault.clone()));
        let daemon = Daemon::start(&Start {
            eodhd: &url,
            hub: Some(hub.address()),
            extra_config: "[hub]\ntimeout = \"500ms\"",
            ..Start::default()
        });
        assert_failing(&daemon, "hub", "predict", code, fault);
        let metrics = daemon.metrics().unwrap();
        let of = |name: &str| metrics.get(&format!("sentinel_prediction_{name}")).unwrap();
        assert!(of("failures_total") >= 1.0, "{fault:?}");
        assert_eq!(of("requests_total"), of("failures_total"), "{fault:?}");
        assert_eq!(
            of("latency_seconds_count"),
            of("requests_total"),
            "{fault:?}"
        );
        assert_eq!(of("confidence_ratio_count"), 0.0, "{fault:?}");
        daemon.end();
    });
}

#[test]
fn no_fault_of_the_feed_is_a_signal_or_stops_the_loop_and_each_is_counted() {
    let mut faults = transport_faults();
    faults.push((Fault::Rows(RowFault::WithoutTime), "malformed"));
    for body in [
        // Bars of five minutes, and of an hour, where bars of a minute were asked for; and times in milliseconds.
        rows(300, 1, "1.1"),
        rows(3_600, 1, "1.1"),
        rows(60, 1_000, "1.1"),
        "[]".to_owned(),
        "{\"message\": \"limit reached\"}".to_owned(),
    ] {
        let code = if body == "[]" {
            "empty_response"
        } else {
            "malformed"
        };
        faults.push((Fault::Body(body), code));
    }
    let hub = mlflow();
    in_parallel(&faults, |(fault, code)| {
        let bars = eodhd();
        bars.set_fault(Some(fault.clone()));
        let daemon = Daemon::start(&Start {
            eodhd: &bars.url(),
            hub: Some(hub.address()),
            extra_config: "[market]\ntimeout = \"1s\"",
            ..Start::default()
        });
        assert_failing(&daemon, "eodhd", "fetch", code, fault);
        let metrics = daemon.metrics().unwrap();
        assert!(metrics.get("sentinel_data_fetch_failed_total").unwrap() >= 1.0);
        assert_eq!(metrics.get("sentinel_prediction_requests_total"), Some(0.0));
        daemon.end();
    });
}

/// A response of 250 bars of that many seconds up to now, their times in that many parts of a second, their closes that.
fn rows(step: i64, parts: i64, close: &str) -> String {
    let last = now().div_euclid(step) * step;
    let rows: Vec<String> = (0..250)
        .rev()
        .map(|back| {
            let time = (last - back * step) * parts;
            format!("{{\"timestamp\":{time},\"open\":1.1,\"high\":1.2,\"low\":1.0,\"close\":{close},\"volume\":1}}")
        })
        .collect();
    format!("[{}]", rows.join(","))
}

#[test]
fn a_feed_of_unusable_bars_alone_is_not_ok_although_each_call_succeeds() {
    let hub = mlflow();
    let closes = [
        "null",
        "\"NaN\"",
        "\"Infinity\"",
        "-1.1",
        "0",
        "1.3",
        "true",
        "[1.1]",
    ];
    in_parallel(&closes, |close| {
        let bars = frozen_eodhd();
        bars.set_fault(Some(Fault::Body(rows(60, 1, close))));
        let daemon = Daemon::start(&Start {
            eodhd: &bars.url(),
            hub: Some(hub.address()),
            ..Start::default()
        });
        let metrics = daemon.after_cycles(3.0);
        assert_eq!(metrics.signals(), 0.0, "{close}");
        assert_eq!(metrics.get("sentinel_prediction_requests_total"), Some(0.0));
        let health = daemon.health().unwrap();
        assert_eq!(health["status"], "degraded", "{close}: {health}");
        daemon.end();
    });
}

/// What is wrong with the rows, the kind that it is counted as, and how many bars before the feed's newest one the newest usable one is.
const ROWS: [(RowFault, &str, i64); 8] = [
    (RowFault::Null, "non_finite", 1),
    (RowFault::NotANumber, "non_finite", 1),
    (RowFault::Ohlc, "ohlc_violation", 1),
    (RowFault::Future, "future_bar", 0),
    (RowFault::Duplicate, "duplicate", 0),
    (RowFault::OutOfOrder, "out_of_order", 0),
    (RowFault::Gap, "gap", 0),
    (RowFault::Restated, "duplicate", 0),
];

#[test]
fn bad_rows_are_counted_once_by_kind_and_no_signal_comes_of_one() {
    let hub = mlflow();
    in_parallel(&ROWS, |(fault, defect, behind)| {
        // A minute behind, so that the next bar is due all the time and the same rows come again with each cycle.
        let now = now() - 60;
        let newest = now.div_euclid(60) * 60 - 60;
        let bars = feed_at(now);
        if *fault == RowFault::Restated {
            // As it was before.
            bars.script([Fault::Nothing]);
        }
        bars.set_fault(Some(Fault::Rows(*fault)));
        let daemon = Daemon::start(&Start {
            eodhd: &bars.url(),
            hub: Some(hub.address()),
            ..Start::default()
        });
        let sample = format!("sentinel_market_data_defects_total{{defect=\"{defect}\"}}");
        daemon.eventually(&format!("{fault:?}"), |daemon| {
            let metrics = daemon.metrics()?;
            (metrics.get(&sample)? >= 1.0 && metrics.signals() >= 1.0).then_some(())
        });
        let cycles = bars.requests().len();
        daemon.eventually("the same rows again", |_| {
            (bars.requests().len() >= cycles + 3).then_some(())
        });
        let metrics = daemon.metrics().unwrap();
        assert_eq!(metrics.get(&sample), Some(1.0), "{fault:?}");
        // One signal: that of the newest usable bar, and none of another one.
        assert_eq!(metrics.signals(), 1.0, "{fault:?}\n{}", daemon.log());
        let used = newest - 60 * behind;
        let log = daemon.log();
        let decided: Vec<&str> = log
            .lines()
            .filter(|line| line.contains(" decided "))
            .collect();
        assert_eq!(decided.len(), 1, "{fault:?}: {decided:#?}");
        assert!(
            decided[0].contains(&format!("bar={used} ")),
            "{fault:?}: {used} {decided:#?}"
        );
        let last_bar = metrics.get("sentinel_last_bar_timestamp_seconds{source=\"eodhd\"}");
        assert_eq!(last_bar, Some(used as f64), "{fault:?}");
        daemon.end();
    });
}

#[test]
fn a_feed_that_cannot_be_trusted_or_found_is_no_signal_and_its_token_is_not_sent() {
    // What answers at once and in the clear, whatever it is asked.
    let plain = TcpListener::bind("127.0.0.1:0").unwrap();
    let plain_port = plain.local_addr().unwrap().port();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hears = heard.clone();
    // It ends with the test's process.
    std::thread::spawn(move || {
        for stream in plain.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut bytes = [0; 4_096];
            let length = stream.read(&mut bytes).unwrap_or(0);
            hears.lock().unwrap().extend_from_slice(&bytes[..length]);
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let strange = stranger();
    for (url, code) in [
        (format!("https://127.0.0.1:{plain_port}/api"), "tls"),
        (format!("https://{strange}/api"), "tls"),
        ("http://no-such-host.invalid/api".to_owned(), "connect"),
    ] {
        let daemon = Daemon::start(&Start {
            eodhd: &url,
            ..Start::default()
        });
        assert_failing(&daemon, "eodhd", "fetch", code, &Fault::Close);
        daemon.end();
    }
    let heard = String::from_utf8_lossy(&heard.lock().unwrap()).into_owned();
    assert!(!heard.is_empty() && !heard.contains(TOKEN));
}

/// A server with a certificate that nobody vouches for. It ends with the test's process.
fn stranger() -> SocketAddr {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.into())
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut connection = rustls::ServerConnection::new(config.clone()).unwrap();
            let mut stream = rustls::Stream::new(&mut connection, &mut stream);
            let _ = stream.read(&mut [0; 4_096]);
        }
    });
    address
}

#[test]
fn stale_data_and_too_few_bars_are_no_signal_although_the_model_is_sure() {
    let hub = mlflow();
    let bars = frozen_eodhd();
    bars.set_fault(Some(Fault::Rows(RowFault::Stale(10))));
    let daemon = Daemon::start(&Start {
        eodhd: &bars.url(),
        hub: Some(hub.address()),
        ..Start::default()
    });
    let metrics = daemon.eventually("a suppressed decision", |daemon| {
        let metrics = daemon.metrics()?;
        let stale = metrics.get("sentinel_signals_suppressed_total{reason=\"stale_data\"}")?;
        (stale == 1.0).then_some(metrics)
    });
    assert_eq!(metrics.signals(), 0.0);
    let health = daemon.health().unwrap();
    assert_eq!(health["status"], "degraded");
    assert!(health["why"].to_string().contains("too old"), "{health}");
    daemon.end();

    let bars = frozen_eodhd();
    bars.set_fault(Some(Fault::Rows(RowFault::Short(150))));
    let daemon = Daemon::start(&Start {
        eodhd: &bars.url(),
        hub: Some(hub.address()),
        ..Start::default()
    });
    let metrics = daemon.after_cycles(2.0);
    let health = daemon.health().unwrap();
    assert_eq!(
        stage(&health, "features")["error"]["kind"],
        "too_few_bars",
        "{health}"
    );
    assert_eq!(metrics.get("sentinel_prediction_requests_total"), Some(0.0));
    assert_eq!(metrics.signals(), 0.0);
    daemon.end();
}

#[test]
fn nothing_that_listens_and_no_token_are_told_apart() {
    let daemon = Daemon::start(&Start::default());
    assert_failing(&daemon, "eodhd", "fetch", "connect", &Fault::Close);
    daemon.end();
    let daemon = Daemon::start(&Start {
        variables: &[("EODHD_API_TOKEN", "")],
        ..Start::default()
    });
    let metrics = daemon.after_cycles(2.0);
    let error = "sentinel_api_errors_total{endpoint=\"eodhd\",error_code=\"no_api_key\"}";
    assert!(metrics.get(error).unwrap() >= 1.0);
    // What was not made is no call, and took no time.
    assert_eq!(
        metrics.get("sentinel_api_calls_total{endpoint=\"eodhd\"}"),
        Some(0.0)
    );
    assert_eq!(
        metrics.get("sentinel_data_fetch_duration_seconds_count"),
        Some(0.0)
    );
    daemon.end();
}
