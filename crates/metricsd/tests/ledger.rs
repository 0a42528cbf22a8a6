//! `metricsd ledger` and `metricsd ledger reset`, with real writers, real daemons and real deaths.
//!
//! Writers are this program again; each says when it has done what it was told, so that every total is known.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;
#[path = "common/watch.rs"]
mod watch;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use common::child::WriterChild;
use common::shards::{counter, key, write_shard};
use common::{Daemon, eventually, metricsd, run, value_of};
use serde_json::Value as Json;
use watch::shard_files;

const EVENTS: &str = "child_events_total";

#[test]
fn child() {
    common::child::obey();
}

/// Shards and state of one test.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Place {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("shards")).unwrap();
        Place { folder }
    }

    fn shards(&self) -> PathBuf {
        self.folder.path().join("shards")
    }

    fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    fn daemon(&self, retire_after: &str) -> Daemon {
        let state = self.state();
        let arguments = [
            "--state-dir",
            state.to_str().unwrap(),
            "--retire-after",
            retire_after,
        ];
        Daemon::start_with(&self.shards(), &arguments)
    }

    fn writer(&self, program: &str) -> WriterChild {
        WriterChild::start(&self.shards(), program)
    }

    /// `ledger` and these words.
    fn run(&self, words: &[&str]) -> Output {
        let (shards, state) = (self.shards(), self.state());
        let mut all = vec!["ledger"];
        let (subcommand, flags) = match words.first() {
            Some(&"reset") => (&words[..1], &words[1..]),
            _ => (&[][..], words),
        };
        all.extend(subcommand);
        all.extend(["--multiproc-dir", shards.to_str().unwrap()]);
        all.extend(["--state-dir", state.to_str().unwrap()]);
        all.extend(flags);
        run(&mut metricsd(&all))
    }

    fn json(&self, words: &[&str]) -> Json {
        let output = self.run(&[words, &["--json", "--limit", "0"]].concat());
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn names(&self, suffix: &str) -> Vec<String> {
        let entries = fs::read_dir(self.state()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.ends_with(suffix)).collect()
    }

    /// Waits until the shards of this process are gone.
    fn is_retired(&self, pid: u32) {
        eventually("its shards are gone", || {
            let left = shard_files(&self.shards());
            let of_it = |path: &&PathBuf| path.to_string_lossy().contains(&format!("_{pid}-"));
            match left.iter().filter(of_it).count() {
                0 => Ok(()),
                count => Err(format!("{count} are left")),
            }
        });
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What each process contributed to the one total of this account, by its PID.
fn by_process(account: &Json) -> BTreeMap<String, f64> {
    let [total] = account["totals"].as_array().unwrap().as_slice() else {
        panic!("{account}");
    };
    let name = total["name"].as_str().unwrap();
    let mut parts = BTreeMap::new();
    for part in ["shards", "absorptions"]
        .iter()
        .flat_map(|list| account[*list].as_array().unwrap())
    {
        let process = part["origin"]["process"].as_str().unwrap();
        let pid = process.split('-').next().unwrap();
        if let Some(amount) = part["amounts"][name].as_f64() {
            *parts.entry(pid.to_owned()).or_insert(0.0) += amount;
        }
    }
    parts
}

#[track_caller]
fn expect(page: &str, series: &str, value: f64) {
    assert_eq!(value_of(page, series), Some(value), "{series} in\n{page}");
}

fn value(account: &Json) -> f64 {
    account["totals"][0]["value"].as_f64().unwrap()
}

#[test]
fn a_total_is_made_of_its_processes_through_deaths_of_everybody_and_a_checkpoint() {
    let place = Place::new();
    let mut expected = BTreeMap::new();
    let mut daemon = place.daemon("100ms");
    let mut lives = place.writer("living");
    lives.tell("add 5");
    lives.tell("everything 1");
    expected.insert(lives.id().to_string(), 5.0);
    for number in 1..=4 {
        let mut dies = place.writer("dying");
        dies.tell(&format!("add {}.25", number * 10));
        dies.tell(&format!("everything {number}"));
        let pid = dies.id();
        expected.insert(pid.to_string(), f64::from(number) * 10.0 + 0.25);
        dies.kill();
        if number == 2 {
            // Whatever of it is in the journal by now.
            daemon.kill();
            daemon = place.daemon("100ms");
        }
        place.is_retired(pid);
    }
    write_shard(
        &place.shards(),
        "counter_77.db",
        &[(counter("child_events"), 4.0)],
    );
    expected.insert("77".to_owned(), 4.0);
    let sum: f64 = expected.values().sum();
    let check = |what: &str| {
        let account = place.json(&["--series", EVENTS]);
        assert_eq!(by_process(&account), expected, "{what}");
        assert_eq!(value(&account), sum, "{what}");
        assert_eq!(account["adds_up"], true, "{what}");
        for name in [
            "every_seconds_count",
            "every_seconds_sum",
            "every_bytes_sum",
        ] {
            let account = place.json(&["--family", name]);
            let parts: f64 = by_process(&account).values().sum();
            assert_eq!(parts, value(&account), "{what}: {name}");
            assert_eq!(
                account["totals"][0]["shown"], account["totals"][0]["value"],
                "{what}"
            );
        }
        let all = place.run(&[]);
        assert_eq!(all.status.code(), Some(0), "{what}: {}", text(&all.stderr));
    };
    let scraped = eventually("the scrape has all", || {
        match value_of(&daemon.scrape(), EVENTS) {
            Some(value) if value == sum => Ok(value),
            value => Err(format!("{value:?}")),
        }
    });
    assert_eq!(scraped, sum);
    check("beside the daemon");
    let account = place.json(&["--series", EVENTS]);
    let programs = account["absorptions"].as_array().unwrap();
    assert!(
        programs.iter().any(|it| it["origin"]["program"] == "dying"),
        "{account}"
    );
    assert_eq!(account["shards"][0]["origin"]["program"], "living");
    daemon.kill();
    check("without a daemon");
    // Each start begins a segment, and too many of them are made one checkpoint, which is all that is read in the end.
    for _ in 0..20 {
        place.daemon("100ms").kill();
    }
    let daemon = place.daemon("100ms");
    eventually("a checkpoint", || match place.names(".bin").len() {
        0 => Err(format!("{:?}", place.names(""))),
        _ => Ok(()),
    });
    daemon.kill();
    check("after a checkpoint");
}

#[test]
fn the_explanation_of_one_total_is_readable_and_adds_up_when_not_all_is_listed() {
    let place = Place::new();
    let daemon = place.daemon("100ms");
    let program = "a program";
    for number in 1..=3 {
        let mut writer = place.writer(program);
        writer.tell(&format!("add {number}"));
        writer.tell("new 7");
        let pid = writer.id();
        writer.kill();
        place.is_retired(pid);
    }
    let all = place.run(&["--series", r#"child_new_total{number="7"}"#]);
    assert_eq!(all.status.code(), Some(0), "{}", text(&all.stderr));
    let shown = text(&all.stdout);
    assert!(
        shown.contains(r#"child_new_total{number="7"} = 3"#),
        "{shown}"
    );
    assert!(
        shown.contains("adds up to what a scrape shows, 3"),
        "{shown}"
    );
    assert_eq!(shown.matches("  absorbed  ").count(), 3, "{shown}");
    // Those that are not listed are one row, so that the amounts still add up.
    let few = place.run(&["--series", EVENTS, "--limit", "1"]);
    let shown = text(&few.stdout);
    let amounts: Vec<f64> = shown
        .lines()
        .filter(|line| line.contains("  absorbed  "))
        .map(|line| line.split_whitespace().next().unwrap().parse().unwrap())
        .collect();
    assert_eq!(
        amounts,
        [3.0, 3.0],
        "two not listed (1 + 2), and the newest: {shown}"
    );
    assert!(shown.contains("2 absorptions"), "{shown}");
    let old = place.json(&["--series", EVENTS, "--since", "2100-01-01T00:00:00Z"]);
    assert_eq!(old["absorptions"].as_array().unwrap().len(), 0);
    assert_eq!(old["not_listed"]["count"], 3);
    assert_eq!(old["not_listed"]["amounts"][EVENTS], 6.0);
    let new = place.json(&["--series", EVENTS, "--since", "1h"]);
    assert_eq!(new["absorptions"][0]["origin"]["program"], program);
    drop(daemon);
}

#[test]
fn names_that_others_chose_move_no_cursor() {
    let place = Place::new();
    let daemon = place.daemon("100ms");
    let name = "counter_a\u{1b}[31m\nb.db";
    write_shard(&place.shards(), name, &[(counter("child_events"), 4.0)]);
    eventually("it is retired", || {
        match shard_files(&place.shards()).len() {
            0 => Ok(()),
            count => Err(format!("{count} are left")),
        }
    });
    for words in [&[][..], &["--series", EVENTS]] {
        let shown = text(&place.run(words).stdout);
        assert!(shown.contains(r"counter_a\u{1b}[31m\nb.db"), "{shown}");
        assert!(!shown.contains('\u{1b}'), "{shown}");
        let account = place.json(words);
        assert_eq!(account["absorptions"][0]["origin"]["shard"], name);
    }
    drop(daemon);
}

#[test]
fn what_is_not_there_or_not_added_up_is_said_with_the_exit_code() {
    let place = Place::new();
    let shard = [(counter("child_events"), 4.0)];
    write_shard(&place.shards(), "counter_7.db", &shard);
    let level = [(key("level", "level", &[]), 4.0)];
    write_shard(&place.shards(), "gauge_max_7.db", &level);
    for (words, code, said) in [
        (&["--series", "no_total"][..], 1, "no_total: no such series"),
        (&["--family", "no"], 1, "no: no such family"),
        (&["--family", ""], 2, "accepted is a name without labels"),
        (
            &["--family", r#"a_total{b="c"}"#],
            2,
            "--series takes labels",
        ),
        (&["--series", "level"], 1, "level: a gauge"),
        (&["--family", "level"], 1, "level: a gauge"),
        (&["--series", "a b c"], 2, "accepted is a series"),
        (&["--since", "yesterday"], 2, "accepted is a duration"),
        (
            &["--series", "a", "--family", "b"],
            2,
            "cannot be used with",
        ),
        (&["--limit", "some"], 2, "--limit"),
    ] {
        let output = place.run(words);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{words:?}: {stderr}");
        assert!(stderr.contains(said), "{words:?}: {stderr}");
    }
    let account = place.json(&["--series", EVENTS]);
    assert_eq!((value(&account), &account["record"]), (4.0, &Json::Null));
    assert!(!place.state().exists(), "the ledger makes nothing");
}

#[test]
fn what_adds_up_and_is_shown_as_a_gauge_has_an_account() {
    let place = Place::new();
    let build = [(key("build", "build_info", &[("version", "1")]), 1.0)];
    write_shard(&place.shards(), "info_7.db", &build);
    write_shard(&place.shards(), "info_8.db", &build);
    let output = place.run(&[]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(!text(&output.stdout).contains("not served"), "{output:?}");
    let account = place.json(&["--series", r#"build_info{version="1"}"#]);
    assert_eq!(value(&account), 2.0, "{account}");
}

#[test]
fn a_total_that_is_not_what_a_scrape_shows_fails_and_is_named() {
    let place = Place::new();
    let new = |number| key("child_new", "child_new_total", &[("number", number)]);
    let shard = [
        (new("1"), 1.0),
        (new("2"), 2.0),
        (counter("child_events"), 4.0),
    ];
    write_shard(&place.shards(), "counter_7.db", &shard);
    let config = place.folder.path().join("metricsd.toml");
    fs::write(&config, "[limits]\nseries_per_family = 1\n").unwrap();
    let config = ["--config.file", config.to_str().unwrap()];
    let output = place.run(&config);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stdout));
    let shown = text(&output.stdout);
    let line = shown.lines().find(|line| line.contains("child_new_total"));
    assert!(
        line.is_some_and(|line| line.ends_with("  a scrape shows 1")),
        "{shown}"
    );
    assert!(
        text(&output.stderr).contains("1 of the totals are not"),
        "{}",
        text(&output.stderr)
    );
    let sound = place.run(&[&config[..], &["--series", EVENTS]].concat());
    assert_eq!(sound.status.code(), Some(0), "{}", text(&sound.stdout));
}

/// Everything on the page that adds up, and is not zero.
fn counted(page: &str) -> Vec<&str> {
    let is_counted = |line: &&str| {
        let (name, value) = line.rsplit_once(' ').unwrap_or_default();
        let ours = name.starts_with("child_") || name.starts_with("every_");
        let adds_up = !name.contains("gauge") && !name.starts_with("child_level");
        ours && adds_up && value != "0.0"
    };
    page.lines().filter(is_counted).collect()
}

#[test]
fn a_reset_sets_every_total_to_zero_and_writers_count_on() {
    let place = Place::new();
    let daemon = place.daemon("100ms");
    let mut lives = place.writer("living");
    lives.tell("add 5");
    lives.tell("set 3");
    lives.tell("everything 2");
    let mut retired = place.writer("retired");
    retired.tell("add 7");
    retired.tell("set 90");
    retired.tell("everything 12");
    let retired_pid = retired.id();
    retired.kill();
    place.is_retired(retired_pid);

    // Beside a daemon nothing is touched.
    let refused = place.run(&["reset", "--yes"]);
    let said = text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains(&format!("process {}", daemon.id())), "{said}");
    expect(&daemon.scrape(), EVENTS, 12.0);
    assert!(place.names(".backup").is_empty());

    // One whose shards are there, and that nobody retires any more.
    let mut dead = place.writer("dead");
    dead.tell("add 11");
    dead.tell("everything 22");
    eventually("the daemon shows it", || {
        match value_of(&daemon.scrape(), EVENTS) {
            Some(23.0) => Ok(()),
            value => Err(format!("{value:?}")),
        }
    });
    daemon.terminate();
    let dead_pid = dead.id();
    dead.kill();

    // Without --yes nothing is touched either.
    let before = place.names("");
    let refused = place.run(&["reset"]);
    let said = text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(
        said.contains("--yes is missing") && said.contains("series"),
        "{said}"
    );
    assert_eq!(place.names(""), before);
    assert_eq!(value(&place.json(&["--series", EVENTS])), 23.0);

    let start_before = place.json(&["--series", EVENTS])["counted_since"].clone();
    let done = place.run(&["reset", "--yes"]);
    let said = text(&done.stdout);
    assert_eq!(done.status.code(), Some(0), "{said}{}", text(&done.stderr));
    let [kept] = &place.names(".backup")[..] else {
        panic!("{:?}", place.names(""));
    };
    assert!(
        said.contains(&place.state().join(kept).display().to_string()),
        "{said}"
    );
    let account = place.json(&["--series", EVENTS]);
    assert_eq!(value(&account), 0.0);
    assert_ne!(account["counted_since"], start_before);
    assert_eq!(account["counted_since"], account["resets"][0]["at"]);
    assert_eq!(account["resets"][0]["dropped"][EVENTS], 23.0);
    assert_eq!(account["absorbed"], 0);

    let daemon = place.daemon("100ms");
    let page = daemon.scrape();
    assert_eq!(counted(&page), [""; 0], "{page}");
    assert!(
        value_of(&page, "metricsd_declared_resets_total").unwrap() > 5.0,
        "{page}"
    );
    // Of gauges those of the living are left.
    expect(&page, "child_level", 3.0);
    for gauge in ["every_gauge_max", "every_gauge_sum", "every_gauge_livesum"] {
        expect(&page, &format!("{gauge}{{side=\"buy\"}}"), 0.0);
    }
    let each = page
        .lines()
        .filter(|line| line.starts_with("every_gauge_all{"));
    assert_eq!(each.count(), 1, "{page}");
    lives.tell("add 3");
    lives.tell("everything 4");
    let page = daemon.scrape();
    expect(&page, EVENTS, 3.0);
    expect(&page, "every_seconds_sum{side=\"buy\"}", 4.0);
    // The dead one's shards go as usual, and add nothing.
    place.is_retired(dead_pid);
    expect(&daemon.scrape(), EVENTS, 3.0);
    let parts = by_process(&place.json(&["--series", EVENTS]));
    assert_eq!(parts, BTreeMap::from([(lives.id().to_string(), 3.0)]));
    daemon.kill();
    let daemon = place.daemon("100ms");
    expect(&daemon.scrape(), EVENTS, 3.0);
    let after = place.json(&["--series", EVENTS]);
    assert_eq!(after["counted_since"], after["resets"][0]["at"]);
    daemon.terminate();
    undo(&place, kept);
    let daemon = place.daemon("100ms");
    expect(&daemon.scrape(), EVENTS, 26.0);
}

/// As the output of the reset says.
fn undo(place: &Place, kept: &str) {
    let (state, elsewhere) = (place.state(), place.folder.path().join("elsewhere"));
    fs::create_dir(&elsewhere).unwrap();
    for name in [place.names(".bin"), place.names(".log")].concat() {
        fs::rename(state.join(&name), elsewhere.join(&name)).unwrap();
    }
    let checkpoint = kept
        .replace("before-reset-", "checkpoint-")
        .replace(".backup", ".bin");
    fs::rename(state.join(kept), state.join(checkpoint)).unwrap();
}

#[test]
fn a_reset_of_a_directory_that_no_daemon_ever_served_works_and_of_none_does_not() {
    let place = Place::new();
    write_shard(
        &place.shards(),
        "counter_7.db",
        &[(counter("child_events"), 4.0)],
    );
    let done = place.run(&["reset", "--yes"]);
    assert_eq!(done.status.code(), Some(0), "{}", text(&done.stderr));
    assert_eq!(value(&place.json(&["--series", EVENTS])), 0.0);
    let missing = Path::new("/nonexistent/shards").to_str().unwrap();
    let words = ["ledger", "reset", "--yes", "--multiproc-dir", missing];
    let refused = run(&mut metricsd(&words));
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains(missing));
}
