//! What the writer does with values that no honest program makes: it never writes a broken line.

use metricsd_exporter::{
    BadName, Family, Kind, NameFilter, PreparedFamily, PreparedHistogram, Series, Value, Written,
    check_family, parse_text, write_text, write_text_filtered,
};
use proptest::prelude::*;

use crate::flat::families;

fn series(labels: &[(&str, &str)], value: Value) -> Series {
    let labels = labels
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_string()))
        .collect();
    Series {
        labels,
        start_unix_seconds: None,
        value,
    }
}

fn family(name: &str, kind: Kind, series: Vec<Series>) -> Family {
    Family {
        name: name.to_string(),
        help: "Help".to_string(),
        kind,
        series,
    }
}

fn page(families: &[Family]) -> (String, Written) {
    let mut page = Vec::new();
    let written = write_text(families, &mut page);
    (String::from_utf8(page).expect("UTF-8"), written)
}

#[test]
fn help_and_label_values_are_escaped_each_in_its_way() {
    let mut gauge = family(
        "g",
        Kind::Gauge,
        vec![series(&[("a", "\\ \n \" \r é")], Value::Single(1.0))],
    );
    gauge.help = "\\ \n \" \r é".to_string();
    let expected = "# HELP g \\\\ \\n \" \r é\n# TYPE g gauge\ng{a=\"\\\\ \\n \\\" \r é\"} 1.0\n";
    assert_eq!(page(&[gauge]).0, expected);
}

#[test]
fn a_histogram_is_sum_buckets_count_with_le_sorted_among_the_labels() {
    let buckets = vec![(0.005, 1.0), (1.0, 2.0), (1e6, 2.0), (f64::INFINITY, 3.0)];
    let value = Value::Histogram { buckets, sum: 2.5 };
    let expected = "# HELP h Help\n# TYPE h histogram\n\
        h_sum{job=\"x\",zone=\"y\"} 2.5\n\
        h_bucket{job=\"x\",le=\"0.005\",zone=\"y\"} 1.0\n\
        h_bucket{job=\"x\",le=\"1.0\",zone=\"y\"} 2.0\n\
        h_bucket{job=\"x\",le=\"1e+06\",zone=\"y\"} 2.0\n\
        h_bucket{job=\"x\",le=\"+Inf\",zone=\"y\"} 3.0\n\
        h_count{job=\"x\",zone=\"y\"} 3.0\n";
    assert_eq!(
        page(&[family(
            "h",
            Kind::Histogram,
            vec![series(&[("job", "x"), ("zone", "y")], value)]
        )])
        .0,
        expected
    );
}

#[test]
fn a_name_that_is_not_legal_costs_only_what_bears_it() {
    let good = || series(&[("a", "b")], Value::Single(1.0));
    let families = [
        family("bad name 1\nevil 1", Kind::Gauge, vec![good(), good()]),
        family(
            "a",
            Kind::Gauge,
            vec![
                good(),
                series(&[("bad\n", "x")], Value::Single(1.0)),
                series(&[("__name__", "evil")], Value::Single(1.0)),
            ],
        ),
        family(
            "b",
            Kind::Gauge,
            vec![series(&[("a", "1"), ("a", "2")], Value::Single(1.0))],
        ),
        family(
            "c",
            Kind::Untyped,
            vec![series(
                &[],
                Value::Samples(vec![
                    ("c{x".to_string(), vec![], 1.0),
                    ("c".to_string(), vec![], 2.0),
                ]),
            )],
        ),
    ];
    let (page, written) = page(&families);
    assert_eq!(
        written,
        Written {
            samples: 2,
            refused: 6
        }
    );
    let head = |name: &str, kind: &str| format!("# HELP {name} Help\n# TYPE {name} {kind}\n");
    let expected = [
        head("a", "gauge"),
        "a{a=\"b\"} 1.0\n".to_string(),
        head("b", "gauge"),
        head("c", "untyped"),
        "c 2.0\n".to_string(),
    ];
    assert_eq!(page, expected.concat());
    assert!(parse_text(page.as_bytes()).is_ok());
    assert!(matches!(
        check_family(&families[0]),
        Err(BadName::Family { .. })
    ));
    assert!(matches!(
        check_family(&families[1]),
        Err(BadName::Label { .. })
    ));
    assert!(matches!(
        check_family(&families[2]),
        Err(BadName::DuplicateLabel { .. })
    ));
    assert!(matches!(
        check_family(&families[3]),
        Err(BadName::Sample { .. })
    ));
}

#[test]
fn labels_out_of_order_are_sorted_and_a_stray_bound_yields_to_the_real_one() {
    let gauge = family(
        "g",
        Kind::Gauge,
        vec![series(&[("b", "2"), ("a", "1")], Value::Single(0.0))],
    );
    assert!(page(&[gauge]).0.ends_with("\ng{a=\"1\",b=\"2\"} 0.0\n"));
    let value = Value::Histogram {
        buckets: vec![(1.0, 1.0)],
        sum: 1.0,
    };
    let histogram = family("h", Kind::Histogram, vec![series(&[("le", "evil")], value)]);
    assert!(
        page(&[histogram])
            .0
            .contains("\nh_bucket{le=\"1.0\"} 1.0\n")
    );
    let extra = vec![("a".to_string(), "extra".to_string())];
    let irregular = Value::Samples(vec![("u".to_string(), extra, 1.0)]);
    let untyped = family(
        "u",
        Kind::Untyped,
        vec![series(&[("a", "own"), ("z", "1")], irregular)],
    );
    assert!(
        page(&[untyped])
            .0
            .ends_with("\nu{a=\"extra\",z=\"1\"} 1.0\n")
    );
}

#[test]
fn a_family_without_samples_shows_its_head_unless_samples_were_asked_for() {
    let empty = [family("g", Kind::Gauge, vec![])];
    assert_eq!(page(&empty).0, "# HELP g Help\n# TYPE g gauge\n");
    let mut filtered = b"kept".to_vec();
    write_text_filtered(&empty, &NameFilter::only(["g".to_string()]), &mut filtered);
    assert_eq!(filtered, b"kept");
    assert_eq!(page(&[]).0, "");
}

/// The family without its numbers, and these; none if not all of its series are single numbers.
fn prepare(family: &Family) -> Option<(PreparedFamily, Vec<Option<f64>>)> {
    let single = |series: &Series| match series.value {
        Value::Single(value) => Some(Some(value)),
        _ => None,
    };
    let numbers = family.series.iter().map(single).collect::<Option<_>>()?;
    let (name, help) = (family.name.clone(), family.help.clone());
    let mut prepared = PreparedFamily::new(name, help, family.kind).expect("a legal name");
    for series in &family.series {
        prepared.push(&series.labels).expect("legal labels");
    }
    Some((prepared, numbers))
}

/// The same of a family of histograms.
fn prepare_histograms(family: &Family) -> Option<PreparedHistogram> {
    let (name, help) = (family.name.clone(), family.help.clone());
    let mut prepared = PreparedHistogram::new(name, help).expect("a legal name");
    for series in &family.series {
        let Value::Histogram { buckets, .. } = &series.value else {
            return None;
        };
        let bounds = buckets.iter().map(|&(bound, _)| bound);
        let pushed = prepared.push(&series.labels, bounds);
        if series.labels.iter().any(|(name, _)| name == "le") {
            assert!(matches!(pushed, Err(BadName::DuplicateLabel { .. })));
            return None;
        }
        pushed.expect("legal labels");
    }
    (family.kind == Kind::Histogram).then_some(prepared)
}

/// The cumulative counts and the sum of a series.
fn numbers_of(family: &Family, series: usize, counts: &mut [f64]) -> f64 {
    let Value::Histogram { buckets, sum } = &family.series[series].value else {
        unreachable!("prepared only if all are");
    };
    let given = buckets.iter().map(|&(_, count)| count);
    counts
        .iter_mut()
        .zip(given)
        .for_each(|(to, count)| *to = count);
    *sum
}

/// What a request may ask of a family: everything, and each name that it takes up.
fn filters(family: &Family) -> impl Iterator<Item = NameFilter> {
    let suffixes = ["", "_total", "_bucket", "_sum", "_count"];
    let names = suffixes.map(|suffix| format!("{}{suffix}", family.name));
    let some = [
        NameFilter::all(),
        NameFilter::only([names[2].clone(), names[3].clone()]),
    ];
    some.into_iter()
        .chain(names.map(|name| NameFilter::only([name])))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_prepared_family_is_written_byte_for_byte_as_its_values_are(families in families()) {
        for family in &families {
            let (mut singles, mut histograms) = (prepare(family), prepare_histograms(family));
            for filter in filters(family) {
                let mut by_values = Vec::new();
                let expected =
                    write_text_filtered(std::slice::from_ref(family), &filter, &mut by_values);
                if let Some((prepared, numbers)) = &mut singles {
                    let mut direct = Vec::new();
                    let written = prepared.write(numbers.iter().copied(), &filter, &mut direct);
                    prop_assert_eq!(&direct, &by_values);
                    prop_assert_eq!(written, expected);
                }
                if let Some(prepared) = &mut histograms {
                    let mut direct = Vec::new();
                    let numbers = |series, counts: &mut [f64]| numbers_of(family, series, counts);
                    let written = prepared.write(numbers, &filter, &mut direct);
                    prop_assert_eq!(&direct, &by_values);
                    prop_assert_eq!(written, expected);
                }
            }
            // A NaN equals nothing.
            if let Some((prepared, numbers)) = &singles {
                let again = prepared.family(numbers.iter().copied());
                prop_assert_eq!(format!("{:?}", again), format!("{:?}", family));
            }
            if let Some(prepared) = &histograms {
                let numbers = |series, counts: &mut [f64]| numbers_of(family, series, counts);
                let again = prepared.family(numbers);
                prop_assert_eq!(format!("{:?}", again), format!("{:?}", family));
            }
        }
    }

    #[test]
    fn a_series_without_a_number_has_no_line(there in prop::collection::vec(any::<bool>(), 0..9)) {
        let mut prepared = PreparedFamily::new("g".to_owned(), String::new(), Kind::Gauge).expect("a legal name");
        let mut expected = family("g", Kind::Gauge, vec![]);
        expected.help = String::new();
        for (index, is_there) in there.iter().enumerate() {
            let labels = [("a".to_owned(), index.to_string())];
            prepared.push(&labels).expect("legal labels");
            if *is_there {
                expected.series.push(Series {
                    labels: labels.to_vec(),
                    start_unix_seconds: None,
                    value: Value::Single(index as f64),
                });
            }
        }
        let numbers = there.iter().enumerate().map(|(index, is_there)| is_there.then_some(index as f64));
        prop_assert_eq!(prepared.family(numbers.clone()), expected.clone());
        for filter in filters(&expected) {
            let (mut direct, mut by_values) = (Vec::new(), Vec::new());
            let written = prepared.write(numbers.clone(), &filter, &mut direct);
            prop_assert_eq!(written, write_text_filtered(std::slice::from_ref(&expected), &filter, &mut by_values));
            prop_assert_eq!(direct, by_values);
        }
    }
}
