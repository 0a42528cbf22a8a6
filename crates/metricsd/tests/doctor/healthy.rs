//! A place where nothing is wrong, and one where nothing is ours.

use std::fs;
use std::path::Path;

use crate::common::{metricsd, run};
use crate::full::Small;
use crate::outsider::skip;
use crate::place::{Place, inside};
use metricsd::doctor::IDS;

#[test]
fn a_healthy_place_passes_every_check() {
    let test = "healthy::a_healthy_place_passes_every_check";
    if !inside(test) {
        return;
    }
    let Some(place) = Place::served(test) else {
        return;
    };
    let mut session = place.session(&place.shards);
    session.tell("add 1");
    let report = place.examine();
    assert!(report.found().is_empty(), "{:#?}", report.found());
    let ids: Vec<&str> = report.lines.iter().map(|line| line.id.as_str()).collect();
    assert_eq!(ids, IDS);
    assert_eq!(report.code, 0);
    let daemon = format!("process {} serves", place.daemon.as_ref().unwrap().id());
    report.has("PASS", "daemon", &daemon, "");
    report.has("PASS", "processes", "1 name this shard directory", "");

    let names = |directory: &Path| {
        let mut names: Vec<_> = fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        names
    };
    let before = (names(&place.shards), names(&place.state));
    let output = run(place.command().arg("--json"));
    assert_eq!(output.status.code(), Some(0));
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&document["command"], &document["outcome"]),
        (&"doctor".into(), &"pass".into())
    );
    assert_eq!(document["checks"].as_array().unwrap().len(), IDS.len());
    assert_eq!(
        (names(&place.shards), names(&place.state)),
        before,
        "nothing is made or removed"
    );
    let output = run(&mut metricsd(&["doctor", "--loud"]));
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn a_directory_of_a_hundred_thousand_strangers_is_survived() {
    let test = "healthy::a_directory_of_a_hundred_thousand_strangers_is_survived";
    if !inside(test) {
        return;
    }
    let Some(mut place) = Place::new(test) else {
        return;
    };
    let Ok(_small) = Small::mount(&place.shards, 512 << 20, 200_000) else {
        return skip(test, "nothing can be mounted");
    };
    place.serve();
    place.daemon = None;
    for number in 0..100_000 {
        fs::write(place.shards.join(format!("counter_{number}.db")), b"x").unwrap();
    }
    let report = place.examine();
    report.has("FAIL", "shard_files", "and ", "restart");
    assert_eq!(report.code, 1);
}
