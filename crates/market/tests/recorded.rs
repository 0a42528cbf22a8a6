//! Recorded feeds, over real files in a temporary directory and the shipped candles. Goal: whatever a file holds, it is either all
//! used or refused with one sentence that says where and what would be accepted.
#![allow(clippy::unwrap_used, reason = "a test stops where it cannot go on")]

use std::path::PathBuf;

use market::{Admission, Calendar, Defect, Feed, FeedError, Row, Sequence, Sma, Symbol, Timeframe};

const HEADER: &str = "open_time,open,high,low,close,volume\n";

fn load(content: &[u8]) -> (PathBuf, Result<Feed, FeedError>) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("candles.csv");
    std::fs::write(&path, content).unwrap();
    let feed = Feed::recorded(&path, &Symbol::new("EUR/USD"), Timeframe::H1);
    (path, feed)
}

/// The error's text, with the path of the file shown as `FILE`.
fn refusal(content: &[u8]) -> String {
    let (path, feed) = load(content);
    feed.unwrap_err()
        .to_string()
        .replace(path.to_str().unwrap(), "FILE")
}

fn shipped() -> Feed {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../data/eurusd-1h-2017.csv");
    Feed::recorded(&path, &Symbol::new("EUR/USD"), Timeframe::H1).unwrap()
}

#[test]
fn the_shipped_candles_load_and_their_only_defects_are_the_two_christmas_gaps() {
    let feed = shipped();
    assert_eq!(feed.rows.len(), 6_225);
    let mut sequence = Sequence::new(Timeframe::H1, Calendar::Fx);
    let gaps: Vec<(i64, u64)> = feed
        .rows
        .iter()
        .filter_map(|row| match sequence.admit(row, i64::MAX) {
            Admission::Accepted(_, 0) => None,
            Admission::Accepted(candle, missing) => Some((candle.open_time, missing)),
            Admission::Dropped(defect) => panic!("{row:?}: {defect:?}"),
        })
        .collect();
    // 2017-12-24 23:00 and 2017-12-25 22:00 UTC.
    assert_eq!(gaps, [(1_514_156_400, 1), (1_514_239_200, 14)]);
}

#[test]
fn the_averages_of_the_shipped_candles_cross_up_seventy_times_and_down_sixty_nine_times() {
    let (mut fast, mut slow) = (Sma::new(20), Sma::new(50));
    let (mut up, mut down, mut previous) = (0, 0, None);
    for row in &shipped().rows {
        let Row::Candle(candle) = row else {
            panic!("{row:?}")
        };
        fast.push(candle.close_units());
        slow.push(candle.close_units());
        let now = fast.compare(&slow);
        if let (Some(before), Some(now)) = (previous, now) {
            up += usize::from(
                now == std::cmp::Ordering::Greater && before != std::cmp::Ordering::Greater,
            );
            down +=
                usize::from(now == std::cmp::Ordering::Less && before != std::cmp::Ordering::Less);
        }
        previous = now;
    }
    assert_eq!((up, down), (70, 69));
}

#[test]
fn columns_are_found_by_name_in_any_order_and_case_and_every_time_spelling_reads_the_same() {
    let expected = load(format!("{HEADER}2017-01-01T22:00:00Z,1.1,1.3,1.0,1.2,7\n").as_bytes())
        .1
        .unwrap()
        .rows;
    let table = [
        "Time,Open,High,Low,Close,Volume\r\n01.01.2017 22:00:00.000,1.1,1.3,1.0,1.2,7\r\n",
        "VOLUME,close,LOW,High,open,Date\n7,1.2,1.0,1.3,1.1,2017-01-01 22:00:00\n",
        "timestamp,gmtoffset,open,high,low,close,volume\n1483308000,0,1.1,1.3,1.0,1.2,7\n",
        "\u{feff}# symbol: eur/usd\n# timeframe: 1h\n\n# a note without a key\nopen_time,open,high,low,close,volume\n2017-01-01T22:00:00Z, 1.1 ,1.3,1.0,1.2,7",
        "open_time,open,high,low,close,volume\n2017-01-01T22:00:00Z,1.1,1.3,1.0,1.2,7E+0\n\n",
        // R quotes what is text, a spreadsheet everything.
        "\"\",\"open_time\",\"open\",\"high\",\"low\",\"close\",\"volume\"\n\"1\",\"2017-01-01T22:00:00Z\",1.1,1.3,1.0,1.2,7\n",
        "\"note\",\"Date\",\"Open\",\"High\",\"Low\",\"Close\",\"Volume\"\r\n\"a, \"\"b\"\"\",\"2017-01-01 22:00:00\",\"1.1\",\"1.3\",\"1.0\",\"1.2\",\"7\"\r\n",
    ];
    for content in table {
        assert_eq!(
            load(content.as_bytes()).1.unwrap().rows,
            expected,
            "{content}"
        );
    }
}

#[test]
fn a_malformed_row_names_file_line_column_what_was_found_and_what_belongs_there() {
    let good = "2017-01-01T22:00:00Z,1.1,1.3,1.0,1.2,7\n";
    let table = [
        (
            "yesterday,1.1,1.3,1.0,1.2,7",
            "FILE: line 3, column 1 (open_time): found `yesterday`, expected a time in UTC on a whole second, as 2017-01-01T22:00:00Z (or with an offset), 2017-01-01 22:00:00, 01.01.2017 22:00:00.000, 2017-01-01 (its midnight) or Unix seconds",
        ),
        (
            "2017-01-01T23:00:00Z,1.1,abc,1.0,1.2,7",
            "FILE: line 3, column 3 (high): found `abc`, expected a decimal number",
        ),
        (
            "2017-01-01T23:00:00Z,1.1,1.3,,1.2,7",
            "FILE: line 3, column 4 (low): found ``, expected a decimal number",
        ),
        (
            "2017-01-01T23:00:00Z,1.1,1.3,1.0,1.2,1_000",
            "FILE: line 3, column 6 (volume): found `1_000`, expected a decimal number",
        ),
        (
            "2017-01-01T23:00:00Z,1.1,1.3,1.0,1.12345678901,7",
            "FILE: line 3, column 5 (close): found `1.12345678901`, expected a price below 900000000 with at most 10 decimals",
        ),
        (
            "2017-01-01T23:00:00Z,1.1,1e9,1.0,1.2,7",
            "FILE: line 3, column 3 (high): found `1e9`, expected a price below 900000000 with at most 10 decimals",
        ),
        (
            "2017-01-01T23:00:00Z,1.1,1.3,1.0,1.2",
            "FILE: line 3: found 5 fields, expected 6 as in the header",
        ),
        (
            "2017-01-01T23:00:00Z,1.1,1.3,1.0,1.2,7,8",
            "FILE: line 3: found 7 fields, expected 6 as in the header",
        ),
    ];
    for (row, message) in table {
        assert_eq!(
            refusal(format!("{HEADER}{good}{row}\n").as_bytes()),
            message
        );
    }
    let not_text = [
        HEADER.as_bytes(),
        good.as_bytes(),
        b"2017-01-01T23:00:00Z,\xff\xfe,1.3,1.0,1.2,7\n",
    ]
    .concat();
    assert_eq!(
        refusal(&not_text),
        "FILE: line 3: found bytes that are not UTF-8, expected text"
    );
    let long = format!(
        "{HEADER}{good}2017-01-01T23:00:00Z,1.1,{},1.0,1.2,7\n",
        "x".repeat(1_000)
    );
    assert_eq!(
        refusal(long.as_bytes()),
        format!(
            "FILE: line 3, column 3 (high): found `{}...`, expected a decimal number",
            "x".repeat(60)
        )
    );
}

#[test]
fn a_header_without_a_column_or_no_header_at_all_is_refused() {
    let columns = "expected the columns open_time, open, high, low, close, volume";
    let table = [
        (
            "",
            format!(
                "FILE: line 1: found the header `end of file`, {columns} in any order; open_time is missing"
            ),
        ),
        (
            "# symbol: EUR/USD\n",
            format!(
                "FILE: line 1: found the header `end of file`, {columns} in any order; open_time is missing"
            ),
        ),
        (
            "open_time,open,high,low,close\n",
            format!(
                "FILE: line 1: found the header `open_time,open,high,low,close`, {columns} in any order; volume is missing"
            ),
        ),
        (
            "time,date,open,high,low,close,volume\n",
            format!(
                "FILE: line 1: found the header `time,date,open,high,low,close,volume`, {columns} in any order; open_time is there twice"
            ),
        ),
        (HEADER, "FILE: holds no candles".to_owned()),
    ];
    for (content, message) in table {
        assert_eq!(refusal(content.as_bytes()), message, "{content}");
    }
}

#[test]
fn a_nan_or_contradicting_bar_is_a_defect_of_that_bar_and_not_of_the_file() {
    for (row, defect) in [
        ("2017-01-01T22:00:00Z,nan,1.3,1.0,1.2,7", Defect::NonFinite),
        ("2017-01-01T22:00:00Z,1.1,inf,1.0,1.2,7", Defect::NonFinite),
        (
            "2017-01-01T22:00:00Z,1.1,1.3,-Infinity,1.2,7",
            Defect::NonFinite,
        ),
        (
            "2017-01-01T22:00:00Z,1.1,1.3,1.0,1.2,NaN",
            Defect::NonFinite,
        ),
        (
            "2017-01-01T22:00:00Z,1.1,1.05,1.0,1.2,7",
            Defect::OhlcViolation,
        ),
        ("2017-01-01T22:00:00Z,0,0,0,0,7", Defect::OhlcViolation),
        (
            "2017-01-01T22:00:00Z,1.1,1.3,1.0,1.2,-7",
            Defect::OhlcViolation,
        ),
    ] {
        let rows = load(format!("{HEADER}{row}\n").as_bytes()).1.unwrap().rows;
        assert_eq!(
            rows,
            [Row::Unusable {
                open_time: 1_483_308_000,
                defect
            }],
            "{row}"
        );
    }
}

#[test]
fn a_file_of_another_symbol_or_timeframe_is_refused_and_says_what_it_holds() {
    let hours = "2017-01-02T00:00:00Z,1,1,1,1,1\n2017-01-02T01:00:00Z,1,1,1,1,1\n2017-01-02T02:00:00Z,1,1,1,1,1\n";
    let minutes = hours
        .replace("T01:00", "T00:01")
        .replace("T02:00", "T00:02");
    let odd = hours
        .replace("T01:00", "T00:07")
        .replace("T02:00", "T00:14");
    let table = [
        (
            format!("# symbol: BTC/EUR\n{HEADER}{hours}"),
            "FILE: holds BTC/EUR, but the session is to trade EUR/USD; accepted: BTC/EUR",
        ),
        (
            format!("# timeframe: 4h\n{HEADER}{hours}"),
            "FILE: holds bars of 4h, but the session is to trade bars of 1h; accepted: 4h",
        ),
        (
            format!("{HEADER}{minutes}"),
            "FILE: holds bars of 1m, but the session is to trade bars of 1h; accepted: 1m",
        ),
        (
            format!("{HEADER}{odd}"),
            "FILE: holds bars of 420 s, but the session is to trade bars of 1h; accepted: 420 s",
        ),
    ];
    for (content, message) in table {
        assert_eq!(refusal(content.as_bytes()), message);
    }
    assert_eq!(
        load(format!("{HEADER}{hours}").as_bytes())
            .1
            .unwrap()
            .rows
            .len(),
        3
    );
}

#[test]
fn a_stated_timeframe_does_not_switch_the_look_at_the_spacing_off() {
    let rows = |hours: &[f64]| -> String {
        let start = 1_483_488_000.0;
        let row = |hour: &f64| format!("{},1,1,1,1,1\n", (start + hour * 3_600.0) as i64);
        hours.iter().map(row).collect()
    };
    let stated = |hours: &[f64]| format!("# timeframe: 1h\n{HEADER}{}", rows(hours));
    let refused = [
        (&[0.0, 0.25, 0.5, 0.75, 1.0][..], "15m"),
        (&[0.0, 0.5, 1.0, 1.5, 3.0], "30m"),
        (&[0.0, 4.0, 8.0, 12.0, 16.0], "4h"),
        (&[0.0, 24.0, 48.0, 72.0, 168.0], "1d"),
        (&[0.0, 1.5, 3.0, 4.5], "5400 s"),
    ];
    for (hours, found) in refused {
        assert_eq!(
            refusal(stated(hours).as_bytes()),
            format!(
                "FILE: line 1: says bars of 1h, but the bars are {found} apart; accepted: a comment that is true, or none"
            )
        );
    }
    // Holes, also more holes than neighbours, and too few bars to say anything.
    for hours in [
        &[0.0, 1.0, 2.0, 50.0, 51.0][..],
        &[0.0, 2.0, 4.0, 6.0, 7.0],
        &[0.0, 4.0, 8.0, 9.0, 13.0, 17.0],
        &[0.0, 24.0],
        &[0.0, 2.0, 4.0, 6.0],
        &[3.0, 2.0, 1.0],
        &[0.0, 0.0],
    ] {
        assert_eq!(
            load(stated(hours).as_bytes()).1.unwrap().rows.len(),
            hours.len(),
            "{hours:?}"
        );
    }
}

#[test]
fn a_comment_that_says_nothing_is_none_and_an_unknown_timeframe_is_answered_with_the_known_ones() {
    let rows = "2017-01-02T00:00:00Z,1,1,1,1,1\n2017-01-02T01:00:00Z,1,1,1,1,1\n";
    assert!(
        load(format!("# symbol:\n# timeframe: \n{HEADER}{rows}").as_bytes())
            .1
            .is_ok()
    );
    assert_eq!(
        refusal(format!("# symbol: EUR/USD\n# timeframe: 1H\n{HEADER}{rows}").as_bytes()),
        "FILE: line 2: timeframe `1H` is unknown; accepted: 1m 5m 15m 30m 1h 4h 1d 1w"
    );
    let long = refusal(format!("# symbol: {}\n{HEADER}{rows}", "X".repeat(500)).as_bytes());
    assert!(long.len() < 250, "{long}");
}

#[test]
fn digits_that_say_nothing_refuse_no_price_and_a_volume_is_rounded() {
    let row = |fields: &str| {
        load(format!("{HEADER}2017-01-01T22:00:00Z,{fields}\n").as_bytes())
            .1
            .unwrap()
            .rows
    };
    let plain = row("1.1,1.3,1.0,1.2,7");
    assert_eq!(
        row("1.100000000000,1.3,1.000000000000000,1.20000000000,7"),
        plain
    );
    let Row::Candle(candle) = row("1.1,1.3,1.0,1.2,0.12345678901234567890123456789012345")[0]
    else {
        panic!("a long volume is a volume")
    };
    assert_eq!(candle.volume.to_string(), "0.1234567890123456789012345679");
    // What sums of floats leave where nothing was traded; once it refused the whole file.
    for (volume, rounded) in [
        ("5.684341886080801e-14", "0.000000000000056843418860808"),
        ("1.1368683772161603E-13", "0.000000000000113686837721616"),
        ("1e-40", "0"),
    ] {
        let Row::Candle(candle) = row(&format!("1.1,1.3,1.0,1.2,{volume}"))[0] else {
            panic!("{volume}")
        };
        assert_eq!(candle.volume.to_string(), rounded, "{volume}");
    }
}

#[test]
fn daily_bars_may_be_written_with_their_day_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("days.csv");
    let content = "Date,Open,High,Low,Close,Volume\n2017-01-02,1.1,1.3,1.0,1.2,7\n2017-01-03,1.1,1.3,1.0,1.2,7\n";
    std::fs::write(&path, content).unwrap();
    let feed = Feed::recorded(&path, &Symbol::new("EUR/USD"), Timeframe::D1).unwrap();
    let times: Vec<i64> = feed.rows.iter().map(Row::open_time).collect();
    assert_eq!(times, [1_483_315_200, 1_483_401_600]);
}

#[test]
fn a_row_of_the_feed_knows_its_line_of_the_file() {
    let rows = "# a\n\n2017-01-02T00:00:00Z,1,1,1,1,1\n\n2017-01-02T01:00:00Z,1,1,1,1,1\n";
    let content = rows.replacen("\n\n", &format!("\n\n{HEADER}"), 1);
    let feed = load(content.as_bytes()).1.unwrap();
    assert_eq!(
        [0, 1, 2].map(|row| feed.line_of(row)),
        [Some(4), Some(6), None]
    );
}

#[test]
fn what_is_no_readable_file_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let open = |path: &std::path::Path| {
        Feed::recorded(path, &Symbol::new("EUR/USD"), Timeframe::H1).unwrap_err()
    };
    assert!(matches!(
        open(&directory.path().join("missing.csv")),
        FeedError::Read { .. }
    ));
    let error = open(directory.path()).to_string();
    assert!(
        error.ends_with("is a directory; expected a regular file of at most 512 MiB"),
        "{error}"
    );
    let error = open(std::path::Path::new("/dev/zero")).to_string();
    assert_eq!(
        error,
        "/dev/zero: is not a regular file; expected a regular file of at most 512 MiB"
    );
}
