//! What a response may look like, and what becomes of it.

use super::*;
use proptest::prelude::*;

/// A row as the vendor sends it, with one member replaced.
fn row_with(name: &str, value: &str) -> String {
    let mut members = vec![
        ("timestamp", "1483308000"),
        ("gmtoffset", "0"),
        ("datetime", "\"2017-01-01 22:00:00\""),
        ("open", "1.05236"),
        ("high", "1.05253"),
        ("low", "1.05221"),
        ("close", "1.05227"),
        ("volume", "143539993"),
    ];
    for member in &mut members {
        if member.0 == name {
            member.1 = value;
        }
    }
    let members: Vec<String> = members
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| format!("\"{name}\":{value}"))
        .collect();
    format!("{{{}}}", members.join(","))
}

#[test]
fn numbers_are_read_bare_and_in_quotes() {
    let expected = Bar {
        open_time: 1_483_308_000,
        open: 1.05236,
        high: 1.05253,
        low: 1.05221,
        close: 1.05227,
        volume: 143_539_993.0,
    };
    for (name, value) in [
        ("", ""),
        ("close", "\"1.05227\""),
        ("volume", "\"143539993\""),
        ("volume", "143539993.0"),
        ("timestamp", "\"1483308000\""),
        ("gmtoffset", "null"),
        ("datetime", "[1,{\"a\":2}]"),
    ] {
        let body = format!(" [{}]\n", row_with(name, value));
        let rows = parse(body.as_bytes()).unwrap();
        assert_eq!(
            rows,
            [RawBar {
                open_time: 1_483_308_000,
                bar: Ok(expected)
            }],
            "{body}"
        );
    }
}

#[test]
fn a_bad_number_makes_the_row_unusable_and_never_zero() {
    for (name, value, defect) in [
        ("close", "null", Defect::NonFinite),
        ("volume", "null", Defect::NonFinite),
        ("close", "", Defect::NonFinite),
        ("open", "\"NaN\"", Defect::NonFinite),
        ("high", "\"Infinity\"", Defect::NonFinite),
        ("low", "\"-inf\"", Defect::NonFinite),
        ("low", "\"about 1\"", Defect::NonFinite),
        ("low", "\"\"", Defect::NonFinite),
        ("low", "true", Defect::NonFinite),
        ("low", "[1]", Defect::NonFinite),
        ("low", "{\"a\":1}", Defect::NonFinite),
        ("low", "0", Defect::OhlcViolation),
        ("low", "-1", Defect::OhlcViolation),
        ("low", "1.06", Defect::OhlcViolation),
        ("high", "1", Defect::OhlcViolation),
        ("volume", "-1", Defect::OhlcViolation),
    ] {
        let body = format!("[{},{}]", row_with(name, value), row_with("", ""));
        let rows = parse(body.as_bytes()).unwrap();
        assert_eq!(rows[0].bar, Err(defect), "{body}");
        assert!(rows[1].bar.is_ok(), "{body}");
    }
}

#[test]
fn what_is_no_list_of_bars_is_a_typed_error() {
    for empty in ["", " \n", "[]", " [ ] "] {
        assert_eq!(parse(empty.as_bytes()), Err(ParseError::Empty), "{empty}");
    }
    for other in [
        "{\"errors\":{\"symbol\":\"not found\"}}",
        "{",
        "\"no data\"",
    ] {
        assert!(
            matches!(parse(other.as_bytes()), Err(ParseError::NotAnArray { .. })),
            "{other}"
        );
    }
    let row = row_with("", "");
    let malformed = [
        "<html>\n<body>502</body>".to_owned(),
        "null".to_owned(),
        "12".to_owned(),
        "[1]".to_owned(),
        "[null]".to_owned(),
        "[[1483308000,1,1,1,1,1]]".to_owned(),
        format!("[{row}"),
        format!("[{row}]]"),
        format!("[{row}] trailing"),
        format!("[{row},]"),
        "[{}]".to_owned(),
        format!("[{}]", row_with("timestamp", "null")),
        format!("[{}]", row_with("timestamp", "\"soon\"")),
        format!("[{}]", row_with("timestamp", "-1")),
        // Milliseconds.
        format!("[{}]", row_with("timestamp", "1483308000000")),
        format!("[{}]", row_with("close", "NaN")),
        format!("[{}]", row_with("close", "1e999")),
        format!("[{}]", row_with("close", "1,\"close\":2")),
        "[".repeat(100_000),
    ];
    for body in malformed {
        let error = parse(body.as_bytes()).unwrap_err();
        assert!(matches!(error, ParseError::Malformed { .. }), "{error}");
        let text = error.to_string();
        assert!(!text.contains('\n') && text.len() < 500, "{text}");
    }
    let mut bytes = row.into_bytes();
    bytes[20] = 0xff;
    assert!(matches!(
        parse(&[b"[", bytes.as_slice(), b"]"].concat()),
        Err(ParseError::Malformed { .. })
    ));
}

#[test]
fn the_number_of_rows_is_bounded() {
    let row = row_with("", "");
    let most = format!("[{}]", vec![row.as_str(); MAX_ROWS].join(","));
    assert_eq!(parse(most.as_bytes()).unwrap().len(), MAX_ROWS);
    let more = format!("[{}]", vec![row.as_str(); MAX_ROWS + 1].join(","));
    assert_eq!(parse(more.as_bytes()), Err(ParseError::TooManyRows));
}

#[test]
fn bars_of_another_interval_are_refused_as_a_whole() {
    let rows = |step: i64, count: i64| -> Vec<RawBar> {
        (0..count)
            .map(|index| RawBar {
                open_time: 1_483_308_000 + index * step,
                bar: Err(Defect::NonFinite),
            })
            .collect()
    };
    for timeframe in [Timeframe::M1, Timeframe::M5, Timeframe::H1] {
        for sent in [60, 300, 900, 3_600, 14_400] {
            assert_eq!(
                check_interval(&rows(sent, 50), timeframe).is_ok(),
                sent == timeframe.seconds(),
                "{sent} for {timeframe}"
            );
        }
    }
    // The known bar, a quiet while, the forming one.
    assert_eq!(check_interval(&rows(300, 2), Timeframe::M1), Ok(()));
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic_and_what_it_gives_is_checked(body in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = parse(&body);
    }

    #[test]
    fn a_response_cut_or_changed_anywhere_is_an_error_or_checked_rows(at in 0..400_usize, byte: u8, cut: bool) {
        let mut body = format!("[{},{}]", row_with("", ""), row_with("close", "\"NaN\"")).into_bytes();
        let at = at % body.len();
        if cut { body.truncate(at) } else { body[at] = byte }
        if let Ok(rows) = parse(&body) {
            prop_assert!(!rows.is_empty());
            for row in rows {
                if let Ok(bar) = row.bar {
                    prop_assert_eq!(bar.check(), Ok(bar));
                    prop_assert_eq!(bar.open_time, row.open_time);
                }
            }
        }
    }
}
