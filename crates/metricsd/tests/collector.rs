//! The collector without a server: what it keeps between collections, and what it forgets.

mod common;

use std::fs;
use std::path::Path;

use common::shards::{key, write_shard};
use metricsd::collect::{Collector, Locking};
use metricsd::directory::ShardDirectory;
use metricsd::liveness::Answers;
use metricsd::policy::Policy;
use metricsd_exporter::write_text;

fn collector(directory: &Path, descriptor_budget: usize) -> Collector {
    let directory = ShardDirectory::open(directory).expect("a directory");
    Collector::new(
        directory,
        Locking::None,
        Policy::default(),
        descriptor_budget,
    )
}

fn page(collector: &mut Collector) -> String {
    let (_, outcome) = collector.collect(&Answers::new());
    outcome.expect("a readable directory");
    let mut text = Vec::new();
    write_text(collector.families(), &mut text);
    String::from_utf8(text).expect("exposition is UTF-8")
}

/// Sessions with own label values come and go; what is kept of their keys is given up now and then, and the keys that stay get new
/// numbers while their shards hold the old ones.
#[test]
fn series_stay_right_when_the_keys_of_vanished_shards_are_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let numbered = |number: usize| key("a", "a_total", &[("n", &number.to_string())]);
    write_shard(
        folder.path(),
        "counter_kept.db",
        &[(numbered(7), 1.0), (numbered(40_001), 5.0)],
    );
    let mut collector = collector(folder.path(), 10);
    for generation in 0..4 {
        let entries: Vec<_> = (0..9000)
            .map(|number| (numbered(generation * 9000 + number), 2.0))
            .collect();
        let bytes = common::shards::shard_bytes(&entries);
        fs::write(folder.path().join("counter_passing.db"), bytes).unwrap();
        let text = page(&mut collector);
        assert_eq!(common::expect_value(&text, "a_total{n=\"40001\"}"), 5.0);
        let in_both = if generation == 0 { 3.0 } else { 1.0 };
        assert_eq!(common::expect_value(&text, "a_total{n=\"7\"}"), in_both);
        let own = generation * 9000 + 8999;
        assert_eq!(
            common::expect_value(&text, &format!("a_total{{n=\"{own}\"}}")),
            2.0
        );
        assert_eq!(
            text.lines().count(),
            2 + 9002 - usize::from(generation == 0)
        );
        fs::remove_file(folder.path().join("counter_passing.db")).unwrap();
        assert_eq!(page(&mut collector).lines().count(), 4);
    }
}

#[test]
fn the_page_does_not_depend_on_how_many_files_are_kept_open() {
    let folder = tempfile::tempdir().unwrap();
    for id in 0..200 {
        let entries = [
            (key("a", "a_total", &[]), 0.1 * f64::from(id)),
            (key("b", "b_total", &[("id", &id.to_string())]), 1.0),
        ];
        write_shard(folder.path(), &format!("counter_{id}.db"), &entries);
    }
    let (mut all, mut some, mut none) = (
        collector(folder.path(), 1000),
        collector(folder.path(), 50),
        collector(folder.path(), 0),
    );
    for _ in 0..3 {
        let expected = page(&mut all);
        assert_eq!(page(&mut some), expected);
        assert_eq!(page(&mut none), expected);
    }
}

/// Canonical order is by birth, not by name or listing: the older shard's help stays, whatever came later.
#[test]
fn the_oldest_shard_decides_whatever_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let with_help = |help: &str| {
        let mut key = key("a", "a_total", &[]);
        key.help = help.to_owned();
        [(key, 1.0)]
    };
    write_shard(folder.path(), "counter_9.db", &with_help("older"));
    let mut collector = collector(folder.path(), 10);
    assert!(page(&mut collector).contains("# HELP a_total older\n"));
    // The clock that births are taken from ticks some hundred times a second.
    let birth = |name: &str| {
        fs::metadata(folder.path().join(name))
            .unwrap()
            .created()
            .unwrap()
    };
    common::eventually("a later birth", || {
        write_shard(folder.path(), "counter_1.db", &with_help("younger"));
        if birth("counter_1.db") > birth("counter_9.db") {
            return Ok(());
        }
        fs::remove_file(folder.path().join("counter_1.db")).unwrap();
        Err("the same tick".to_owned())
    });
    let text = page(&mut collector);
    assert!(
        text.contains("# HELP a_total older\n") && text.contains("\na_total 2.0\n"),
        "{text}"
    );
    fs::remove_file(folder.path().join("counter_9.db")).unwrap();
    assert!(page(&mut collector).contains("# HELP a_total younger\n"));
}
