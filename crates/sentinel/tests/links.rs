//! The feed and the model server as they are and with every fault, against the stand-ins: what comes through is closed bars and
//! probabilities, and everything else is typed and counted.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

use market::eodhd::{BarDefect, History};
use market::{Calendar, Timeframe};
use program::secret::Secret;
use sentinel::eodhd::Eodhd;
use sentinel::error_code::ErrorCode;
use sentinel::features::{Features, NAMES};
use sentinel::http::CallError;
use sentinel::model::hub::HubModel;
use stand_in::{Clock, Fault, Mlflow, Predict, Replay, RowFault};

const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
/// Wednesday 2026-03-04 10:30:10 UTC.
const NOW: i64 = 1_772_620_210;
const TOKEN: &str = "a+token/of mine";

fn feed(now: i64) -> stand_in::Eodhd {
    let clock = Clock(Arc::new(move || now));
    stand_in::Eodhd::start(Replay {
        clock,
        ..Replay::default()
    })
    .expect("a stand-in")
}

fn client(url: &str, interval: Timeframe) -> Eodhd {
    Eodhd::new(url, "EURUSD", interval, Secret::new(TOKEN))
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

fn checked(error: CallError) -> ErrorCode {
    let text = format!("{error} {error:?}");
    assert!(
        !text.contains(TOKEN) && !text.contains("a%2Btoken"),
        "{text}"
    );
    error.code
}

#[test]
fn the_first_fetch_fills_the_history_and_the_next_one_asks_only_for_what_is_new() {
    for (interval, calendar) in [
        (Timeframe::H1, Calendar::Fx),
        (Timeframe::M5, Calendar::Always),
        (Timeframe::M1, Calendar::Always),
    ] {
        let server = feed(NOW);
        let eodhd = client(&format!("{}/", server.url()), interval);
        let mut history = History::new(interval, calendar, 200);
        let rows = eodhd.fetch(None, NOW, soon()).expect("rows");
        let admitted = history.admit(&rows, NOW);
        assert_eq!(admitted.defects.total(), 0, "{interval}: {admitted:?}");
        assert_eq!(history.bars().len(), 200, "{interval}");
        let newest = history.newest_open_time().expect("a bar");
        assert!(
            newest + 2 * interval.seconds() > NOW,
            "the newest has just closed"
        );
        assert_eq!(history.fetch_from(NOW), newest);
        let rows = eodhd.fetch(Some(newest), NOW, soon()).expect("rows");
        assert_eq!(rows.len(), 2, "the known one and the forming one");
        assert_eq!(history.admit(&rows, NOW).new_closed, 0);

        let requests = server.requests();
        assert_eq!(requests[1].path, "/api/intraday/EURUSD.FOREX");
        let query = |name| requests[1].query_value(name).unwrap_or_default().to_owned();
        assert_eq!(query("api_token"), TOKEN);
        assert_eq!(
            (query("interval"), query("fmt")),
            (interval.to_string(), "json".to_owned())
        );
        assert_eq!(
            (query("from"), query("to")),
            (newest.to_string(), NOW.to_string())
        );
    }
}

#[test]
fn a_forming_bar_comes_with_other_prices_and_is_taken_when_it_is_closed() {
    let mut history = History::new(Timeframe::H1, Calendar::Fx, 200);
    let mut newest = None;
    for hours in 0..3 {
        let now = NOW + hours * 3_600;
        let server = feed(now);
        let from = Some(history.fetch_from(now));
        let rows = client(&server.url(), Timeframe::H1).fetch(from, now, soon());
        let admitted = history.admit(&rows.expect("rows"), now);
        assert_eq!(admitted.defects.total(), 0, "{admitted:?}");
        if newest.is_some() {
            assert_eq!(admitted.new_closed, 1);
        }
        assert!(history.newest_open_time() > newest);
        newest = history.newest_open_time();
    }
}

/// A feed that answers these rows of an hour (opening times) with that line in its head, once.
fn feed_with_head(line: String, times: &[i64]) -> String {
    let rows: Vec<String> = times
        .iter()
        .map(|time| {
            format!(
                "{{\"timestamp\":{time},\"open\":1,\"high\":1,\"low\":1,\"close\":1,\"volume\":1}}"
            )
        })
        .collect();
    let body = format!("[{}]", rows.join(","));
    let listener = TcpListener::bind(LOOPBACK).expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        let Ok((mut stream, _)) = listener.accept() else {
            return;
        };
        let _ = stream.read(&mut [0; 4_096]);
        let length = body.len();
        let _ = write!(
            stream,
            "HTTP/1.1 200 OK\r\n{line}Content-Length: {length}\r\n\r\n{body}"
        );
    });
    format!("http://{address}/api")
}

#[test]
fn a_bar_that_was_forming_when_the_response_was_made_is_none_whatever_our_clock_says() {
    // By our clock it is 10:30:10, so the bar of 9 o'clock is closed, and that of 10 o'clock is forming.
    let times = [8, 9, 10].map(|hour| NOW - 1_810 + (hour - 10) * 3_600);
    for (line, expected) in [
        (String::new(), &times[..]),
        (
            "Date: Wed, 04 Mar 2026 10:30:09 GMT\r\n".to_owned(),
            &times[..],
        ),
        // The moment of the close.
        (
            "Date: Wed, 04 Mar 2026 10:00:00 GMT\r\n".to_owned(),
            &times[..],
        ),
        // Our clock is 31 minutes ahead, or a cache kept the response for so long.
        (
            "Date: Wed, 04 Mar 2026 09:59:10 GMT\r\n".to_owned(),
            &[times[0], times[2]],
        ),
        ("Date: yesterday\r\n".to_owned(), &times[..]),
    ] {
        let url = feed_with_head(line.clone(), &times);
        let rows = client(&url, Timeframe::H1).fetch(Some(times[0]), NOW, soon());
        let found: Vec<i64> = rows
            .expect("rows")
            .iter()
            .map(|row| row.open_time)
            .collect();
        assert_eq!(found, expected, "{line}");
        // What is left is used: the forming one of our clock is not either.
        let mut history = History::new(Timeframe::H1, Calendar::Fx, 200);
        let url = feed_with_head(line.clone(), &times);
        let rows = client(&url, Timeframe::H1).fetch(Some(times[0]), NOW, soon());
        history.admit(&rows.expect("rows"), NOW);
        let newest = expected.iter().rev().find(|time| **time + 3_600 <= NOW);
        assert_eq!(history.newest_open_time().as_ref(), newest, "{line}");
    }
}

#[test]
fn without_a_token_no_call_is_made() {
    let server = feed(NOW);
    let eodhd = Eodhd::new(&server.url(), "EURUSD", Timeframe::H1, None);
    let error = eodhd.fetch(None, NOW, soon()).expect_err("no token");
    assert_eq!(checked(error), ErrorCode::NoApiKey);
    assert!(server.requests().is_empty());
}

#[test]
fn what_the_feed_refuses_or_garbles_is_typed() {
    let server = feed(NOW);
    let eodhd = client(&server.url(), Timeframe::H1);
    for (fault, expected) in [
        (Fault::Body("[]".to_owned()), ErrorCode::EmptyResponse),
        (Fault::Empty, ErrorCode::EmptyResponse),
        (
            Fault::Body(format!("{{\"error\":\"{TOKEN}\"}}")),
            ErrorCode::Malformed,
        ),
        (Fault::Body(format!("<html>{TOKEN}")), ErrorCode::Malformed),
        (
            Fault::Body("[{\"open\":1}]".to_owned()),
            ErrorCode::Malformed,
        ),
        (Fault::Rows(RowFault::WithoutTime), ErrorCode::Malformed),
        (Fault::Truncated, ErrorCode::Connect),
        (Fault::Status(402), ErrorCode::Http4xx),
        (Fault::Status(500), ErrorCode::Http5xx),
        (Fault::RetryAfter(429, "5".to_owned()), ErrorCode::Http429),
    ] {
        server.script([fault.clone()]);
        let error = eodhd.fetch(None, NOW, soon()).expect_err("a failure");
        assert_eq!(checked(error), expected, "{fault:?}");
    }
    let unknown = Eodhd::new(&server.url(), "NOSUCH", Timeframe::H1, Secret::new(TOKEN));
    let error = unknown
        .fetch(None, NOW, soon())
        .expect_err("no such symbol");
    assert_eq!(checked(error), ErrorCode::Http4xx);
}

#[test]
fn no_part_of_the_token_is_shown_wherever_the_text_of_an_error_is_cut() {
    let token = "5f3c9a71.20485163";
    let server = feed(NOW);
    let eodhd = Eodhd::new(&server.url(), "EURUSD", Timeframe::H1, Secret::new(token));
    // The beginning of a response is shown up to 120 characters, an error of a call up to 200, the page of an error up to 1024 bytes.
    for pad in (90..125).chain(170..200).chain(1_000..1_030) {
        server.set_fault(Some(Fault::Body(format!(
            "<{}{token} not known",
            "x".repeat(pad)
        ))));
        let error = eodhd.fetch(None, NOW, soon()).expect_err("no rows");
        assert_eq!(error.code, ErrorCode::Malformed);
        assert!(!error.detail.contains("5f3c"), "{pad}: {}", error.detail);
    }
}

#[test]
fn each_kind_of_bad_row_is_counted_once_and_the_other_bars_are_used() {
    for (fault, expected, kept) in [
        (RowFault::Stale(3), None, 200),
        (RowFault::Short(50), None, 50),
        (RowFault::Duplicate, Some(BarDefect::Duplicate), 200),
        (RowFault::OutOfOrder, Some(BarDefect::OutOfOrder), 200),
        (RowFault::Null, Some(BarDefect::NonFinite), 200),
        (RowFault::NotANumber, Some(BarDefect::NonFinite), 200),
        (RowFault::Ohlc, Some(BarDefect::OhlcViolation), 200),
        (RowFault::Future, Some(BarDefect::FutureBar), 200),
        (RowFault::Gap, Some(BarDefect::Gap), 200),
    ] {
        let server = feed(NOW);
        server.set_fault(Some(Fault::Rows(fault)));
        let eodhd = client(&server.url(), Timeframe::H1);
        let mut history = History::new(Timeframe::H1, Calendar::Fx, 200);
        for turn in 0..3 {
            let rows = eodhd.fetch(None, NOW, soon()).expect("rows");
            let admitted = history.admit(&rows, NOW);
            let found: Vec<(BarDefect, u64)> = admitted
                .defects
                .iter()
                .filter(|(_, count)| *count > 0)
                .collect();
            let wanted = expected.filter(|_| turn == 0).map(|kind| (kind, 1));
            assert_eq!(found, Vec::from_iter(wanted), "{fault:?}, turn {turn}");
            assert_eq!(history.bars().len(), kept, "{fault:?}");
        }
    }
}

#[test]
fn a_restated_bar_is_counted_and_the_first_version_stands() {
    let server = feed(NOW);
    let eodhd = client(&server.url(), Timeframe::H1);
    let mut history = History::new(Timeframe::H1, Calendar::Fx, 200);
    history.admit(&eodhd.fetch(None, NOW, soon()).expect("rows"), NOW);
    let before = history.bars().to_vec();
    server.set_fault(Some(Fault::Rows(RowFault::Restated)));
    let rows = eodhd
        .fetch(history.newest_open_time(), NOW, soon())
        .expect("rows");
    let admitted = history.admit(&rows, NOW);
    assert_eq!(admitted.defects.of(BarDefect::Duplicate), 1);
    assert_eq!(history.bars(), before);
}

fn some_features() -> Features {
    Features::new(std::array::from_fn(|index| index as f64 / 7.0)).expect("finite")
}

fn hub(server: &Mlflow) -> HubModel {
    HubModel::new(
        "127.0.0.1",
        server.address().port(),
        Duration::from_secs(20),
    )
}

#[test]
fn the_model_server_gets_names_and_numbers_and_its_three_probabilities_come_back() {
    let predict = Predict(Arc::new(|row| {
        assert_eq!(row, some_features().values());
        serde_json::json!([0.125, 0.25, 0.625])
    }));
    let server = Mlflow::start(LOOPBACK, &NAMES, predict).expect("a stand-in");
    let found = hub(&server)
        .predict(&some_features(), soon())
        .expect("a prediction");
    assert_eq!(found.to_array(), [0.125, 0.25, 0.625]);
    assert_eq!(hub(&server).server_version(soon()).as_deref(), Ok("3.17.2"));
    let body: serde_json::Value = serde_json::from_slice(&server.requests()[0].body).expect("JSON");
    assert_eq!(body["dataframe_split"]["columns"], serde_json::json!(NAMES));
}

#[test]
fn no_fault_of_the_model_server_is_a_prediction() {
    let server = Mlflow::start(LOOPBACK, &NAMES, Predict::always([0.2, 0.5, 0.3])).expect("one");
    let body = |text: &str| Fault::Body(text.to_owned());
    for (fault, expected) in [
        (body("[[0.2,0.5,0.3]]"), ErrorCode::Malformed),
        (body("{\"predictions\":[[0.5]]}"), ErrorCode::Malformed),
        (
            body("{\"predictions\":[[NaN,0.5,0.5]]}"),
            ErrorCode::Malformed,
        ),
        (
            body("{\"predictions\":[[0.2,0.5,0.2]]}"),
            ErrorCode::Malformed,
        ),
        (Fault::Garbage, ErrorCode::Malformed),
        (Fault::EndlessBody, ErrorCode::Malformed),
        (Fault::Empty, ErrorCode::EmptyResponse),
        (Fault::Reset, ErrorCode::Connect),
        (Fault::Truncated, ErrorCode::Connect),
        (Fault::Status(500), ErrorCode::Http5xx),
        (Fault::RetryAfter(429, "1".to_owned()), ErrorCode::Http429),
    ] {
        server.script([fault.clone()]);
        let error = hub(&server).predict(&some_features(), soon());
        assert_eq!(
            error.map_err(|error| error.code),
            Err(expected),
            "{fault:?}"
        );
    }
    server.script([Fault::Hang]);
    let deadline = Instant::now() + Duration::from_millis(200);
    let error = hub(&server).predict(&some_features(), deadline);
    assert_eq!(error.map_err(|error| error.code), Err(ErrorCode::Timeout));
}

#[test]
fn a_model_with_other_columns_is_an_error_in_one_line() {
    let names: Vec<&str> = NAMES.into_iter().chain(["one_more"]).collect();
    let server = Mlflow::start(LOOPBACK, &names, Predict::always([0.2, 0.5, 0.3])).expect("one");
    let error = hub(&server)
        .predict(&some_features(), soon())
        .expect_err("a column is missing");
    assert_eq!(error.code, ErrorCode::Http4xx);
    let detail = &error.detail;
    assert!(
        detail.starts_with("status 400: SCHEMA_ENFORCEMENT_FAILED"),
        "{detail}"
    );
    assert!(
        detail.ends_with("Model is missing inputs ['one_more']."),
        "{detail}"
    );
    assert!(
        detail.chars().count() <= 200 && !detail.contains('\n'),
        "{detail}"
    );
}
