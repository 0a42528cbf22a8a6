//! A directory full of things that are no shards, or damaged ones: each costs itself and nothing else.

mod common;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;

use common::shards::{counter, key, shard_bytes, write_shard};
use common::{Daemon, eventually, expect_value, metricsd, run, value_of};
use metricsd_shard::Key;
use rustix::fs::{CWD, FileType, Mode};

fn unreadable(page: &str, reason: &str) -> f64 {
    expect_value(
        page,
        &format!("metricsd_unreadable_shards{{reason=\"{reason}\"}}"),
    )
}

#[test]
fn garbage_of_every_kind_costs_only_itself_and_is_counted_by_its_reason() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    write_shard(folder.path(), "counter_1.db", &[(counter("good"), 1.0)]);
    // Not regular: five of them.
    fs::create_dir(at("counter_dir.db")).unwrap();
    rustix::fs::mknodat(CWD, at("counter_fifo.db"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    let _socket = UnixListener::bind(at("counter_socket.db")).unwrap();
    symlink(at("counter_1.db"), at("counter_link.db")).unwrap();
    symlink("/nonexistent", at("counter_dangling.db")).unwrap();
    // Bad type: four of them.
    for name in ["foo_1.db", "gauge_1.db", "gauge_odd_1.db"] {
        fs::write(at(name), shard_bytes(&[(counter("foreign"), 1.0)])).unwrap();
    }
    fs::write(
        folder.path().join(OsStr::from_bytes(b"counter_\xff.db")),
        shard_bytes(&[(counter("foreign"), 1.0)]),
    )
    .unwrap();
    // Damaged.
    fs::write(at("counter_empty.db"), "").unwrap();
    fs::write(at("counter_short.db"), "abc").unwrap();
    let mut truncated = shard_bytes(&[(counter("good"), 10.0), (counter("lost"), 1.0)]);
    truncated.truncate(70);
    fs::write(at("counter_truncated.db"), truncated).unwrap();
    let mut bad_key = shard_bytes(&[(counter("good"), 100.0), (counter("lost"), 1.0)]);
    let place = bad_key
        .windows(4)
        .rposition(|window| window == b"lost")
        .unwrap();
    bad_key[place] = 0xff;
    fs::write(at("counter_badkey.db"), bad_key).unwrap();
    fs::write(at("counter_zeros.db"), vec![0; 4096]).unwrap();
    // Neither shards nor strange.
    for name in [
        ".hidden.db",
        "notes.txt",
        "process_1.json",
        "process_x.json",
        "counter_1.db.tmp",
    ] {
        fs::write(at(name), "}{").unwrap();
    }
    // Strange names of good shards.
    write_shard(
        folder.path(),
        "counter_new\nline.db",
        &[(counter("good"), 1000.0)],
    );
    write_shard(
        folder.path(),
        "counter_ä b*?[x].db",
        &[(counter("good"), 10_000.0)],
    );

    let daemon = Daemon::start(folder.path());
    for _ in 0..2 {
        let page = daemon.scrape();
        assert_eq!(expect_value(&page, "good_total"), 11_111.0);
        assert_eq!(value_of(&page, "lost_total"), None);
        let found: Vec<f64> = metricsd_shard::REASONS
            .iter()
            .map(|reason| unreadable(&page, reason))
            .collect();
        let expected: Vec<f64> = metricsd_shard::REASONS
            .iter()
            .map(|reason| match *reason {
                "empty" => 2.0,
                "short" | "truncated" | "bad_key" => 1.0,
                "not_regular" => 5.0,
                "bad_type" => 4.0,
                _ => 0.0,
            })
            .collect();
        assert_eq!(
            found,
            expected,
            "{:?}\n{page}\n{}",
            metricsd_shard::REASONS,
            daemon.log()
        );
        assert_eq!(
            expect_value(&page, "metricsd_shards{state=\"unreadable\"}"),
            expected.iter().sum::<f64>()
        );
        assert_eq!(daemon.get("/-/ready").status, 200);
    }
    let log = daemon.log();
    assert_eq!(
        log.lines()
            .filter(|line| line.contains("counter_fifo.db"))
            .count(),
        1,
        "each file is named once: {log}"
    );
    assert!(
        !log.contains("new\nline"),
        "a file name must not break a line of the log: {log}"
    );
}

#[test]
fn a_shard_that_is_repaired_or_removed_is_no_longer_counted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("counter_1.db");
    fs::write(&path, "abc").unwrap();
    let daemon = Daemon::start(folder.path());
    assert_eq!(unreadable(&daemon.scrape(), "short"), 1.0);
    fs::write(&path, shard_bytes(&[(counter("a"), 1.0)])).unwrap();
    let page = daemon.scrape();
    assert_eq!(
        (unreadable(&page, "short"), expect_value(&page, "a_total")),
        (0.0, 1.0)
    );
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert_eq!(unreadable(&daemon.scrape(), "not_regular"), 1.0);
    fs::remove_dir(&path).unwrap();
    assert_eq!(unreadable(&daemon.scrape(), "not_regular"), 0.0);
}

#[test]
fn conflicts_cost_the_younger_shard_only_and_are_counted_and_logged_once() {
    let folder = tempfile::tempdir().unwrap();
    let labelled = |side: &str| key("a", "a_total", &[("side", side)]);
    write_shard(folder.path(), "counter_1.db", &[(labelled("buy"), 1.0)]);
    write_shard(
        folder.path(),
        "gauge_max_2.db",
        &[(key("a", "a", &[]), 50.0), (key("g", "g", &[]), 1.0)],
    );
    write_shard(
        folder.path(),
        "gauge_sum_3.db",
        &[(key("g", "g", &[]), 70.0)],
    );
    write_shard(
        folder.path(),
        "gauge_livemax_4.db",
        &[(key("g", "g", &[]), 3.0)],
    );
    let twin = key("a_total", "a_total", &[("side", "sell")]);
    write_shard(folder.path(), "gauge_min_6.db", &[(twin, 8.0)]);
    let mut other_help = labelled("buy");
    other_help.help = "another text".to_owned();
    write_shard(folder.path(), "counter_5.db", &[(other_help, 2.0)]);
    let daemon = Daemon::start(folder.path());
    for _ in 0..2 {
        let page = daemon.scrape();
        assert_eq!(
            expect_value(&page, "a_total{side=\"buy\"}"),
            3.0,
            "values with another help are merged"
        );
        assert!(page.contains("# HELP a_total h\n") && !page.contains("another text"));
        assert_eq!(
            value_of(&page, "a_total{side=\"sell\"}"),
            None,
            "a gauge whose name a counter exposes is left out"
        );
        assert_eq!(
            value_of(&page, "a"),
            None,
            "a gauge of a counter's name is left out"
        );
        assert_eq!(
            expect_value(&page, "g"),
            3.0,
            "max and livemax merge alike, sum is left out"
        );
        let conflicts = |kind: &str| {
            expect_value(
                &page,
                &format!("metricsd_conflicts_total{{kind=\"{kind}\"}}"),
            )
        };
        assert_eq!(
            (
                conflicts("type"),
                conflicts("mode"),
                conflicts("help"),
                conflicts("buckets")
            ),
            (2.0, 2.0, 1.0, 0.0)
        );
    }
    assert_eq!(
        daemon.log().matches("kind=\"type\"").count(),
        2,
        "{}",
        daemon.log()
    );
}

/// What `inspect` says of a directory.
fn inspect(directory: &Path) -> String {
    let directory = directory.to_str().expect("a temporary path in UTF-8");
    let output = run(&mut metricsd(&["inspect", directory]));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Keeps a shard open for writing, as a process that lives does.
fn hold(path: &Path) -> fs::File {
    let file = fs::OpenOptions::new().write(true).open(path);
    file.expect("a shard that was just written")
}

#[test]
fn who_was_known_first_wins_although_the_younger_one_was_noted_and_retired() {
    let folder = tempfile::tempdir().unwrap();
    let state = tempfile::tempdir().unwrap();
    let bucket = |le: &str| key("seconds", "seconds_bucket", &[("le", le)]);
    let elder = [
        write_shard(
            folder.path(),
            "histogram_1.db",
            &[
                (key("seconds", "seconds_sum", &[]), 0.5),
                (bucket("+Inf"), 7.0),
            ],
        ),
        write_shard(
            folder.path(),
            "gauge_max_1.db",
            &[
                (key("open", "open", &[]), 5.0),
                (key("late", "late", &[]), 6.0),
            ],
        ),
    ];
    let live: Vec<fs::File> = elder.iter().map(|path| hold(path)).collect();
    let arguments = [
        "--retire-after",
        "1s",
        "--state-dir",
        state.path().to_str().unwrap(),
    ];
    let found = |page: &str| {
        let series = [
            "seconds_count",
            "open",
            "late",
            "seconds_total",
            "open_total",
        ];
        series.map(|series| value_of(page, series))
    };
    let check = |daemon: &Daemon| {
        let page = daemon.scrape();
        let elder = [Some(7.0), Some(5.0), Some(6.0), None, None];
        assert_eq!(found(&page), elder, "{page}");
        page
    };
    let retired = |daemon: &Daemon, check: &dyn Fn(&Daemon) -> String| {
        eventually("a retirement", || {
            let found = expect_value(&check(daemon), "metricsd_retired_shards_total");
            (found == 2.0).then_some(()).ok_or(format!("{found}"))
        });
    };
    let daemon = Daemon::start_with(folder.path(), &arguments);
    check(&daemon);
    eventually("the elder's shards are noted", || {
        let found = inspect(state.path());
        found.contains("gauge_max").then_some(()).ok_or(found)
    });
    // Types that the archive lists before those of the elder, and a mode that merges differently.
    let younger = [
        write_shard(
            folder.path(),
            "counter_2.db",
            &[
                (key("seconds", "seconds_total", &[]), 100.0),
                (key("open", "open_total", &[]), 100.0),
            ],
        ),
        write_shard(
            folder.path(),
            "gauge_sum_2.db",
            &[(key("late", "late", &[]), 100.0)],
        ),
    ];
    let young: Vec<fs::File> = younger.iter().map(|path| hold(path)).collect();
    eventually("the younger shards are noted", || {
        check(&daemon);
        let found = inspect(state.path());
        found.contains("gauge_sum").then_some(()).ok_or(found)
    });
    check(&daemon);
    drop(young);
    retired(&daemon, &check);
    daemon.kill();
    let daemon = Daemon::start_with(folder.path(), &arguments);
    check(&daemon);
    drop(live);
    retired(&daemon, &|daemon| daemon.scrape());
    // A gauge that only the archive has stands back; what adds up, and one gauge before another, keep their places.
    let page = daemon.scrape();
    let ended = [Some(7.0), None, Some(6.0), None, Some(100.0)];
    assert_eq!(found(&page), ended, "{page}");
}

#[test]
fn a_gauge_that_only_the_archive_has_gives_way_although_the_younger_counter_was_scraped_before_it_was_noted()
 {
    let folder = tempfile::tempdir().unwrap();
    let state = tempfile::tempdir().unwrap();
    let arguments = [
        "--retire-after",
        "1s",
        "--state-dir",
        state.path().to_str().unwrap(),
    ];
    let open = key("open", "open", &[]);
    write_shard(folder.path(), "gauge_max_1.db", &[(open, 5.0)]);
    let daemon = Daemon::start_with(folder.path(), &arguments);
    eventually("the gauge is retired", || {
        let found = expect_value(&daemon.scrape(), "metricsd_retired_shards_total");
        (found == 1.0).then_some(()).ok_or(format!("{found}"))
    });
    let younger = [(key("open", "open_total", &[]), 100.0)];
    let _live = hold(&write_shard(folder.path(), "counter_2.db", &younger));
    eventually("the counter is served", || {
        let page = daemon.scrape();
        let found = ["open", "open_total"].map(|series| value_of(&page, series));
        (found == [None, Some(100.0)]).then_some(()).ok_or(page)
    });
}

#[test]
fn a_younger_process_with_too_many_series_costs_an_older_one_none_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let state = tempfile::tempdir().unwrap();
    let config = state.path().join("m.toml");
    fs::write(&config, "[limits]\nseries = 5\n").unwrap();
    let elder = [
        write_shard(
            folder.path(),
            "gauge_max_1.db",
            &[
                (key("open", "open", &[("side", "buy")]), 5.0),
                (key("open", "open", &[("side", "sell")]), 6.0),
            ],
        ),
        write_shard(
            folder.path(),
            "summary_1.db",
            &[
                (key("size", "size_count", &[]), 3.0),
                (key("size", "size_sum", &[]), 9.0),
            ],
        ),
    ];
    let live: Vec<fs::File> = elder.iter().map(|path| hold(path)).collect();
    let arguments = [
        "--retire-after",
        "1s",
        "--state-dir",
        state.path().to_str().unwrap(),
        "--config.file",
        config.to_str().unwrap(),
    ];
    let check = |daemon: &Daemon| {
        let page = daemon.scrape();
        let series = [
            "open{side=\"buy\"}",
            "open{side=\"sell\"}",
            "size_count",
            "size_sum",
        ];
        let found = series.map(|series| value_of(&page, series));
        assert_eq!(
            found,
            [Some(5.0), Some(6.0), Some(3.0), Some(9.0)],
            "{page}"
        );
        page
    };
    let noted = |daemon: &Daemon, shard: &str| {
        eventually("a shard is noted", || {
            check(daemon);
            let found = inspect(state.path());
            found.contains(shard).then_some(()).ok_or(found)
        });
    };
    let daemon = Daemon::start_with(folder.path(), &arguments);
    noted(&daemon, "gauge_max_1.db");
    noted(&daemon, "summary_1.db");
    let orders: Vec<(Key, f64)> = (0..20)
        .map(|id| {
            let label = id.to_string();
            (key("orders", "orders_total", &[("id", &label)]), 1.0)
        })
        .collect();
    let young = hold(&write_shard(folder.path(), "counter_2.db", &orders));
    noted(&daemon, "counter_2.db");
    let page = check(&daemon);
    assert_eq!(page.matches("\norders_total{").count(), 1, "{page}");
    drop(young);
    eventually("the younger one is retired", || {
        let found = expect_value(&check(&daemon), "metricsd_retired_shards_total");
        (found == 1.0).then_some(()).ok_or(format!("{found}"))
    });
    daemon.kill();
    let daemon = Daemon::start_with(folder.path(), &arguments);
    let page = check(&daemon);
    assert_eq!(page.matches("\norders_total{").count(), 1, "{page}");
    drop(live);
}

#[test]
fn the_trading_policy_and_the_limits_refuse_series_one_by_one() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("m.toml");
    fs::write(
        &config,
        "[policy]\npreset = 'trading'\n[limits]\nseries_per_family = 3\nlabel_value_bytes = 10\n",
    )
    .unwrap();
    let shards = folder.path().join("shards");
    fs::create_dir(&shards).unwrap();
    let numbered = |number: &str| key("many", "many_total", &[("n", number)]);
    let entries = [
        (key("a", "a_total", &[("side", "buy")]), 1.0),
        (key("a", "a_total", &[("symbol", "EUR/USD")]), 2.0),
        (
            key("a", "a_total", &[("side", "far too long a value")]),
            2.0,
        ),
        (key("", "a_total", &[]), 2.0),
        (numbered("1"), 1.0),
        (numbered("2"), 1.0),
        (numbered("3"), 1.0),
        (numbered("4"), 1.0),
    ];
    write_shard(&shards, "counter_1.db", &entries);
    let daemon = Daemon::start_with(&shards, &["--config.file", config.to_str().unwrap()]);
    let page = daemon.scrape();
    let merged: Vec<&str> = page
        .lines()
        .filter(|line| line.starts_with("a_total") || line.starts_with("many_total"))
        .collect();
    assert_eq!(
        merged,
        [
            "a_total{side=\"buy\"} 1.0",
            "many_total{n=\"1\"} 1.0",
            "many_total{n=\"2\"} 1.0",
            "many_total{n=\"3\"} 1.0"
        ]
    );
    let refused = |page: &str| {
        ["label", "limit", "reserved_name", "bad_name"].map(|reason| {
            expect_value(
                page,
                &format!("metricsd_series_refused_total{{reason=\"{reason}\"}}"),
            )
        })
    };
    assert_eq!(refused(&page), [2.0, 1.0, 0.0, 1.0]);
    // A younger shard brings one known series and two new ones: only those are refused, and only once.
    write_shard(
        &shards,
        "counter_2.db",
        &[
            (numbered("1"), 5.0),
            (numbered("5"), 1.0),
            (numbered("6"), 1.0),
        ],
    );
    let page = daemon.scrape();
    assert_eq!(expect_value(&page, "many_total{n=\"1\"}"), 6.0);
    assert_eq!(refused(&page), [2.0, 3.0, 0.0, 1.0]);
    assert_eq!(refused(&daemon.scrape()), [2.0, 3.0, 0.0, 1.0]);
    assert!(
        daemon.log().contains("symbol"),
        "the refused label is named: {}",
        daemon.log()
    );
    assert!(page.contains("policy=\"trading\""), "{page}");
}
