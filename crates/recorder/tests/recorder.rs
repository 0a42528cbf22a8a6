//! What the macros of the facade leave in a registry, recorder by recorder.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends here")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Barrier;

use metrics::{
    Unit, counter, describe_counter, describe_histogram, gauge, histogram, with_local_recorder,
};
use metricsd_client::{Defect, GaugeMode, Registry, Settings, Target};
use metricsd_recorder::{Matcher, Recorder};
use metricsd_shard::{HEADER_LEN_BYTES, parse_from};

fn samples(registry: &Registry) -> Vec<String> {
    let text = registry.render();
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    samples.map(str::to_owned).collect()
}

fn recorded(recorder: impl FnOnce(Registry) -> Recorder, work: impl FnOnce()) -> Registry {
    let registry = Registry::in_memory();
    let recorder = recorder(registry.clone());
    with_local_recorder(&recorder, work);
    registry
}

#[test]
fn every_operation_of_the_facade_does_what_it_says() {
    let registry = recorded(Recorder::new, || {
        counter!("orders_total", "side" => "buy").increment(2);
        counter!("seen").absolute(7);
        counter!("seen").absolute(5);
        counter!("seen").increment(1);
        counter!("seen").absolute(10);
        gauge!("level").set(2.5);
        gauge!("level").increment(1.0);
        gauge!("level").decrement(0.25);
        gauge!("level").set(f64::NAN);
        let _unset = gauge!("never_set");
        histogram!("step_seconds").record(0.3);
        histogram!("step_seconds").record_many(2.0, 3);
    });
    let text = samples(&registry);
    for line in [
        r#"orders_total{side="buy"} 2.0"#,
        "seen_total 10.0",
        "level 3.25",
        r#"step_seconds_bucket{le="0.25"} 0.0"#,
        r#"step_seconds_bucket{le="0.5"} 1.0"#,
        r#"step_seconds_bucket{le="2.5"} 4.0"#,
        r#"step_seconds_bucket{le="10.0"} 4.0"#,
        "step_seconds_sum 6.3",
    ] {
        assert!(text.contains(&line.to_owned()), "{line} in {text:#?}");
    }
    assert!(!registry.render().contains("never_set"));
    assert_eq!(registry.defects(Defect::NotFinite), 1);
}

#[test]
fn the_order_of_labels_makes_no_second_series() {
    let registry = recorded(Recorder::new, || {
        for _ in 0..2 {
            counter!("c", "a" => "1", "b" => "2", "c" => "3").increment(1);
            counter!("c", "c" => "3", "b" => "2", "a" => "1").increment(1);
            let (b, name) = (String::from("2"), String::from("c"));
            counter!(name, "b" => b, "a" => "1", "c" => "3").increment(1);
        }
    });
    assert_eq!(samples(&registry), [r#"c_total{a="1",b="2",c="3"} 6.0"#]);
}

#[test]
fn illegal_names_are_cleaned_and_collisions_are_refused_and_counted() {
    let registry = recorded(Recorder::new, || {
        for _ in 0..3 {
            counter!("http.requests", "status code" => "200").increment(1);
            // Each of these would be one of the above, or of each other, or cannot be.
            counter!("http_requests").increment(1);
            counter!("http.requests_total").increment(1);
            gauge!("http.requests").set(1.0);
            gauge!("9").set(1.0);
            gauge!("8").set(1.0);
            gauge!("").set(1.0);
            counter!("http.requests", "a.b" => "1", "a_b" => "2").increment(1);
            counter!("http.requests", "symbol" => "EURUSD").increment(1);
            counter!("http.requests", "__x" => "1").increment(1);
        }
    });
    assert_eq!(
        samples(&registry),
        ["_ 1.0", r#"http_requests_total{status_code="200"} 3.0"#]
    );
    // Once each, since a thread keeps the handles that lead nowhere too. The first two names that stand are counted by none.
    let of_names = 5;
    let of_labels = 3;
    assert_eq!(registry.defects(Defect::Registration), of_names + of_labels);
}

#[test]
fn more_than_ten_thousand_series_of_a_family_are_not_recorded() {
    let registry = recorded(Recorder::new, || {
        for n in 0..10_005 {
            counter!("wide", "n" => n.to_string()).increment(1);
        }
    });
    assert_eq!(samples(&registry).len(), 10_000);
    assert_eq!(registry.defects(Defect::LabelOverflow), 5);
}

#[test]
fn buckets_and_modes_are_those_of_the_most_exact_rule() {
    let rules = |registry| {
        Recorder::new(registry)
            .buckets(Matcher::Prefix("http_".into()), &[1.0])
            .buckets(Matcher::Full("http_exact".into()), &[2.0])
            .buckets(Matcher::Prefix("http_long_".into()), &[3.0])
            .buckets(Matcher::Suffix("_bytes".into()), &[4.0])
            .buckets(Matcher::Full("bad".into()), &[2.0, 1.0])
            .gauge_mode(Matcher::Suffix("_info".into()), GaugeMode::MostRecent)
    };
    let registry = recorded(rules, || {
        for name in ["http_a", "http_exact", "http_long_a", "size_bytes", "bad"] {
            histogram!(name).record(0.5);
        }
        gauge!("build_info").set(1.0);
        gauge!("build_info").increment(1.0);
    });
    let text = samples(&registry);
    for (name, bound) in [
        ("http_a", 1),
        ("http_exact", 2),
        ("http_long_a", 3),
        ("size_bytes", 4),
    ] {
        let line = format!(r#"{name}_bucket{{le="{bound}.0"}} 1.0"#);
        assert!(text.contains(&line), "{line} in {text:#?}");
        let lines = text
            .iter()
            .filter(|line| line.starts_with(&format!("{name}_bucket")));
        assert_eq!(lines.count(), 2);
    }
    assert!(!text.iter().any(|line| line.starts_with("bad")));
    assert!(text.contains(&"build_info 1.0".to_owned()));
    assert_eq!(registry.defects(Defect::GaugeMode), 1);
}

#[test]
fn a_description_that_comes_late_makes_no_second_series_and_changes_no_key() {
    let directory = tempfile::tempdir().unwrap();
    let registry = Registry::start(Settings {
        program: "judge".to_owned(),
        version: String::new(),
        runs_as: "test".to_owned(),
        target: Target::Shards {
            directory: directory.path().to_owned(),
        },
        labels: BTreeMap::new(),
        warnings: Vec::new(),
    });
    let recorder = Recorder::new(registry.clone());
    with_local_recorder(&recorder, || {
        describe_histogram!("early_seconds", Unit::Seconds, "Time of a step.");
        describe_counter!("early", "Said first.");
        describe_counter!("early", "Said second.");
        counter!("early").increment(1);
        counter!("late", "n" => "1").increment(1);
        histogram!("early_seconds").record(0.1);
    });
    let before = keys(directory.path());
    with_local_recorder(&recorder, || {
        describe_counter!("late", "Said too late.");
        counter!("late", "n" => "1").increment(1);
    });
    std::thread::scope(|scope| {
        // A thread that has no handles yet asks for all of them anew.
        scope
            .spawn(|| with_local_recorder(&recorder, || counter!("late", "n" => "1").increment(1)));
    });
    let entry = r#"["late", "late_total", {"n": "1"}, ""]"#.to_owned();
    let distinct = |mut keys: Vec<String>| {
        keys.sort();
        keys.dedup();
        keys
    };
    assert!(before.contains(&entry), "{before:#?}");
    assert_eq!(distinct(keys(directory.path())), distinct(before));
    with_local_recorder(&recorder, || counter!("late", "n" => "2").increment(1));
    assert!(keys(directory.path()).contains(&entry.replace('1', "2")));
    let text = registry.render();
    assert!(text.contains("# HELP early_total Said first.\n"), "{text}");
    assert!(
        text.contains("# HELP early_seconds Time of a step. (seconds)\n"),
        "{text}"
    );
    assert!(
        text.contains("late_total{n=\"1\"} 3.0\nlate_total{n=\"2\"} 1.0\n"),
        "{text}"
    );
}

#[test]
fn threads_that_use_the_same_metrics_lose_nothing() {
    const THREADS: u64 = 8;
    const ROUNDS: u64 = 5_000;
    let registry = Registry::in_memory();
    let recorder = Recorder::new(registry.clone());
    let start = Barrier::new(THREADS as usize);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (recorder, start) = (&recorder, &start);
            scope.spawn(move || {
                start.wait();
                with_local_recorder(recorder, || {
                    for round in 0..ROUNDS {
                        counter!("shared").increment(1);
                        counter!("by", "round" => (round % 100).to_string()).increment(2);
                        counter!("raised").absolute(thread * ROUNDS + round);
                        gauge!("level").increment(1.0);
                        histogram!("sizes").record(1.0);
                    }
                });
            });
        }
    });
    let text = samples(&registry);
    let all = THREADS * ROUNDS;
    for line in [
        format!("shared_total {all}.0"),
        format!("raised_total {}.0", all - 1),
        format!("level {all}.0"),
        format!("sizes_count {all}.0"),
        format!("sizes_sum {all}.0"),
        format!(r#"by_total{{round="99"}} {}.0"#, 2 * all / 100),
    ] {
        assert!(text.contains(&line), "{line} in {text:#?}");
    }
}

#[test]
fn recorders_do_not_find_each_others_handles() {
    let count = || counter!("c").increment(1);
    let [first, second] = [(); 2].map(|()| Registry::in_memory());
    let [one, two] = [&first, &second].map(|registry| Recorder::new(registry.clone()));
    for recorder in [&one, &two, &one] {
        with_local_recorder(recorder, count);
    }
    assert_eq!(samples(&first), ["c_total 2.0"]);
    assert_eq!(samples(&second), ["c_total 1.0"]);
}

#[test]
fn more_keys_than_a_thread_remembers_are_all_recorded() {
    let registry = recorded(Recorder::new, || {
        for _ in 0..2 {
            for n in 0..9_500 {
                counter!("wide", "n" => n.to_string()).increment(1);
            }
        }
    });
    let text = samples(&registry);
    assert_eq!(text.len(), 9_500);
    assert!(text.iter().all(|line| line.ends_with(" 2.0")));
}

/// The keys of all shards.
fn keys(directory: &Path) -> Vec<String> {
    let mut keys = Vec::new();
    for file in std::fs::read_dir(directory).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "db") {
            let bytes = std::fs::read(&path).unwrap();
            let parsed = parse_from(&bytes, HEADER_LEN_BYTES);
            let of_file = parsed.entries.iter();
            keys.extend(of_file.map(|entry| String::from_utf8_lossy(entry.key).into_owned()));
        }
    }
    keys
}
