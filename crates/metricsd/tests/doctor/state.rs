//! The clock, and the state that has to last.

use std::fs;
use std::fs::File;
use std::process::Command;

use crate::common::shards::{counter, write_shard};
use crate::common::signal;
use crate::full::Small;
use crate::outsider::skip;
use crate::place::{Place, inside};
use rustix::process::Signal;

#[test]
fn a_clock_that_jumped_is_named() {
    let test = "state::a_clock_that_jumped_is_named";
    if !inside(test) {
        return;
    }
    let Some(place) = Place::served(test) else {
        return;
    };
    let shard = write_shard(&place.shards, "counter_1.db", &[(counter("a"), 1.0)]);
    let _writer = File::options().write(true).open(&shard).unwrap();
    assert!(
        Command::new("touch")
            .args(["-d", "+2 days"])
            .arg(&shard)
            .status()
            .unwrap()
            .success()
    );
    place
        .examine()
        .only("FAIL", "clock", "counter_1.db is 172", "timedatectl");
    assert!(
        Command::new("touch")
            .arg(&shard)
            .status()
            .unwrap()
            .success()
    );
    // A writer's own word, of before the clock was set forward and of after it was set back.
    let session = place.session(&place.shards);
    let mut names = fs::read_dir(&place.shards)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let sidecar = names
        .find(|path| path.extension().is_some_and(|it| it == "json"))
        .unwrap();
    let mut said: serde_json::Value = serde_json::from_slice(&fs::read(&sidecar).unwrap()).unwrap();
    let started = said["started_at_unix_seconds"].as_f64().unwrap();
    for (change, outcome, text) in [
        (-3600.0, "WARN", "seconds before its process"),
        (7200.0, "FAIL", "the start in process_"),
    ] {
        said["started_at_unix_seconds"] = (started + change).into();
        fs::write(&sidecar, serde_json::to_vec(&said).unwrap()).unwrap();
        place.examine().only(outcome, "clock", text, "timedatectl");
    }
    said["started_at_unix_seconds"] = started.into();
    said["degraded"] = true.into();
    fs::write(&sidecar, serde_json::to_vec(&said).unwrap()).unwrap();
    place
        .examine()
        .only("FAIL", "degraded_writers", "a-session", "shard_room");
    drop(session);
}

#[test]
fn a_state_that_does_not_last_is_full_or_damaged_is_named() {
    let test = "state::a_state_that_does_not_last_is_full_or_damaged_is_named";
    if !inside(test) {
        return;
    }
    let Some(mut place) = Place::new(test) else {
        return;
    };
    let warned = place.examine();
    warned.has(
        "WARN",
        "state_directory",
        "does not exist",
        "metricsd serve",
    );
    assert_eq!(
        (warned.found().len(), warned.code),
        (2, 0),
        "no daemon, no state: {warned:#?}"
    );
    let disk = place.state.clone();
    place.state = place.shards.join("state");
    place.serve();
    place.examine().only(
        "FAIL",
        "state_durable",
        "inside the shard directory",
        "/var/lib/metricsd",
    );
    place.daemon = None;
    fs::remove_dir_all(&place.state).unwrap();
    place.state = place.shards.clone();
    place.examine().has(
        "FAIL",
        "state_directory",
        "the shard directory itself",
        "--state-dir",
    );

    place.state = place.folder.path().join("memory");
    {
        let Ok(_small) = Small::mount(&place.state, 32 << 20, 1000) else {
            return skip(test, "nothing can be mounted");
        };
        place.serve();
        place.examine().only(
            "FAIL",
            "state_durable",
            "in memory",
            "StateDirectory=metricsd",
        );
        crate::full::fill(&place.state);
        let report = place.examine();
        report.has("FAIL", "state_room", "0 bytes are free", "df -h");
        assert_eq!(report.found().len(), 2, "{report:#?}");
        place.daemon = None;
    }

    place.state = disk;
    place.serve();
    let mut session = place.session(&place.shards);
    session.tell("add 7");
    place.daemon.take().unwrap().terminate();
    let whole = place.examine();
    whole.only("WARN", "daemon", "no daemon", "metricsd serve");
    // One byte in the middle of what was durable.
    let longest = fs::read_dir(&place.state)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.file_name().unwrap() != "reserve")
        .max_by_key(|path| fs::metadata(path).unwrap().len())
        .unwrap();
    let mut bytes = fs::read(&longest).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    let at = end / 2;
    bytes[at] ^= 0xff;
    fs::write(&longest, bytes).unwrap();
    let report = place.examine();
    report.has("FAIL", "state_whole", "is damaged", "backup");
    signal(session.id(), Signal::KILL);
}
