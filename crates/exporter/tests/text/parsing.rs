//! The parser: what was written comes back, what is malformed is refused with its line.

use metricsd_exporter::{Family, Kind, ParseErrorKind, Series, Value, parse_text, write_text};
use proptest::prelude::*;

use crate::flat;

/// NaN is never equal to itself, so families are compared by their page as well as by value where that is possible.
fn page(families: &[Family]) -> String {
    let mut page = Vec::new();
    write_text(families, &mut page);
    String::from_utf8(page).expect("UTF-8 in, UTF-8 out")
}

fn holds_nan(families: &[Family]) -> bool {
    flat::samples(families)
        .iter()
        .any(|sample| sample.value.is_nan())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_was_written_comes_back(families in flat::families()) {
        let page = page(&families);
        let parsed = parse_text(page.as_bytes()).map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert_eq!(self::page(&parsed), page);
        if !holds_nan(&families) {
            prop_assert_eq!(parsed, families);
        }
    }

    #[test]
    fn no_bytes_make_the_parser_panic(bytes: Vec<u8>) {
        let _ = parse_text(&bytes);
    }

    #[test]
    fn a_page_with_one_byte_changed_is_read_or_refused(families in flat::families(), at: prop::sample::Index, byte: u8) {
        let mut page = page(&families).into_bytes();
        prop_assume!(!page.is_empty());
        let at = at.index(page.len());
        page[at] = byte;
        if let Err(error) = parse_text(&page) {
            prop_assert!(error.line >= 1 && error.line <= page.iter().filter(|&&b| b == b'\n').count() + 1);
        }
    }
}

#[test]
fn malformed_lines_are_refused_with_their_number_and_reason() {
    use ParseErrorKind as Kind;
    let text = |text: &str| text.to_string();
    let table: &[(&str, usize, ParseErrorKind)] = &[
        ("a 1", 1, Kind::NoFinalLineFeed),
        ("a 1\nb", 2, Kind::NoFinalLineFeed),
        ("# HELP\n", 1, Kind::IncompleteComment),
        ("# TYPE a\n", 1, Kind::IncompleteComment),
        ("# TYPE a info\n", 1, Kind::UnknownType(text("info"))),
        ("# HELP a.b x\n", 1, Kind::BadMetricName(text("a.b"))),
        ("# HELP a x\\y\n", 1, Kind::BadEscape(text("\\y"))),
        ("a 1\n9 1\n", 2, Kind::BadMetricName(text("9"))),
        (" a 1\n", 1, Kind::BadMetricName(text(""))),
        ("a{b.c=\"x\"} 1\n", 1, Kind::BadLabelName(text("b.c"))),
        (
            "a{__name__=\"x\"} 1\n",
            1,
            Kind::BadLabelName(text("__name__")),
        ),
        ("a{b=\"x\",b=\"y\"} 1\n", 1, Kind::DuplicateLabel(text("b"))),
        ("a{b=x} 1\n", 1, Kind::MalformedLabels),
        ("a{b=\"x\" 1\n", 1, Kind::MalformedLabels),
        ("a{b=\"x\"c=\"y\"} 1\n", 1, Kind::MalformedLabels),
        ("a{b=\"x 1\n", 1, Kind::MalformedLabels),
        ("a{b} 1\n", 1, Kind::MalformedLabels),
        ("a{b=\"\\t\"} 1\n", 1, Kind::BadEscape(text("\\t"))),
        ("a\n", 1, Kind::BadValue(text(""))),
        ("a one\n", 1, Kind::BadValue(text("one"))),
        ("a infinity\n", 1, Kind::BadValue(text("infinity"))),
        ("a 0x10\n", 1, Kind::BadValue(text("0x10"))),
        ("a 1\r\n", 1, Kind::BadValue(text("1\r"))),
        (
            "a 1 1700000000000\n",
            1,
            Kind::TrailingText(text("1700000000000")),
        ),
        ("# HELP a x\n# HELP a y\n", 2, Kind::Misplaced("HELP")),
        ("# TYPE a gauge\n# HELP a y\n", 2, Kind::Misplaced("HELP")),
        (
            "# TYPE a gauge\na 1\n# TYPE a gauge\n",
            3,
            Kind::Misplaced("TYPE"),
        ),
        ("a 1\nb 1\na{x=\"y\"} 1\n", 3, Kind::FamilyAgain(text("a"))),
        (
            "a{b=\"1\",c=\"2\"} 1\na{c=\"2\",b=\"1\"} 2\n",
            2,
            Kind::SampleAgain(text("a{b=\"1\",c=\"2\"}")),
        ),
        ("# TYPE h histogram\nh_bucket 1\n", 2, Kind::BadBound("le")),
        (
            "# TYPE h histogram\nh_bucket{le=\"x\"} 1\n",
            2,
            Kind::BadBound("le"),
        ),
        (
            "# TYPE s summary\ns{quantile=\"x\"} 1\n",
            2,
            Kind::BadBound("quantile"),
        ),
    ];
    for (page, line, kind) in table {
        let error = parse_text(page.as_bytes()).expect_err(page);
        assert_eq!((error.line, &error.kind), (*line, kind), "{page:?}");
    }
    let error = parse_text(b"a 1\nb{c=\"\xff\"} 1\n").expect_err("not UTF-8");
    assert_eq!((error.line, error.kind), (2, ParseErrorKind::NotUtf8));
}

#[test]
fn pages_of_other_exporters_are_read() {
    let page = "\n# a comment\n#\n# HELP up Is\\\\it \\n\n#\tTYPE\tup\tgauge\nup  1e3\nup { a = \"}\" , } -Inf\n\
        # TYPE requests counter\nrequests 1\nalone_total NaN\n";
    let families = parse_text(page.as_bytes()).expect("legal text");
    let single = |labels: &[(&str, &str)], value| Series {
        labels: labels
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .collect(),
        start_unix_seconds: None,
        value,
    };
    let up = Family {
        name: "up".to_string(),
        help: "Is\\it \n".to_string(),
        kind: Kind::Gauge,
        series: vec![
            single(&[], Value::Single(1000.0)),
            single(&[("a", "}")], Value::Single(f64::NEG_INFINITY)),
        ],
    };
    assert_eq!(families[0], up);
    let counter = Value::Samples(vec![("requests".to_string(), vec![], 1.0)]);
    assert_eq!(
        (families[1].kind, &families[1].series[0].value),
        (Kind::Counter, &counter)
    );
    assert_eq!(
        (families[2].name.as_str(), families[2].kind, families.len()),
        ("alone_total", Kind::Untyped, 3)
    );
}

#[test]
fn an_irregular_histogram_comes_back_sample_by_sample() {
    for page in [
        "# HELP h \n# TYPE h histogram\nh_sum 1.0\n",
        "# HELP h \n# TYPE h histogram\nh_sum 1.0\nh_bucket{le=\"2.0\"} 1.0\nh_bucket{le=\"1.0\"} 2.0\nh_count 2.0\n",
        "# HELP h \n# TYPE h histogram\nh_sum 1.0\nh_bucket{le=\"1.0\"} 1.0\nh_count 2.0\n",
        "# HELP h \n# TYPE h histogram\nh_bucket{le=\"1.0\"} 1.0\nh_count 1.0\n",
        "# HELP h \n# TYPE h histogram\nh_sum{le=\"x\"} 1.0\nh_bucket{le=\"1.0\"} 1.0\nh_count 1.0\n",
        "# HELP s \n# TYPE s summary\ns_sum 1.0\n",
    ] {
        let families = parse_text(page.as_bytes()).expect("legal text");
        assert!(
            matches!(families[0].series[0].value, Value::Samples(_)),
            "{page}"
        );
        assert_eq!(self::page(&families), page);
    }
}
