//! A running daemon and a directory that changes under it: shards that come, grow, go, are replaced; the directory itself; the daemon
//! killed and started again. After each change the next scrape must show it.

mod common;

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use common::child::WriterChild;
use common::shards::{counter, key, shard_bytes, write_shard};
use common::{Daemon, eventually, expect_value, value_of};

#[test]
fn child() {
    common::child::obey();
}

#[test]
fn each_change_of_a_shard_is_in_the_next_scrape() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(folder.path());
    assert_eq!(value_of(&daemon.scrape(), "a_total"), None);

    let path = write_shard(folder.path(), "counter_1.db", &[(counter("a"), 1.0)]);
    assert_eq!(expect_value(&daemon.scrape(), "a_total"), 1.0, "appeared");

    let rewrite = |bytes: &[u8]| {
        let mut file = OpenOptions::new().write(true).open(&path).unwrap();
        file.write_all(bytes).unwrap();
    };
    rewrite(&shard_bytes(&[(counter("a"), 5.0)]));
    assert_eq!(
        expect_value(&daemon.scrape(), "a_total"),
        5.0,
        "a value was stored"
    );

    rewrite(&shard_bytes(&[(counter("a"), 5.0), (counter("b"), 2.0)]));
    assert_eq!(expect_value(&daemon.scrape(), "b_total"), 2.0, "grew");

    rewrite(&shard_bytes(&[
        (counter("other_name"), 7.0),
        (counter("b"), 3.0),
    ]));
    let page = daemon.scrape();
    assert_eq!(value_of(&page, "a_total"), None, "rewritten in place");
    assert_eq!(
        (
            expect_value(&page, "other_name_total"),
            expect_value(&page, "b_total")
        ),
        (7.0, 3.0)
    );

    rewrite(&shard_bytes(&[(counter("b"), 3.0)]));
    let page = daemon.scrape();
    assert_eq!(
        value_of(&page, "other_name_total"),
        None,
        "the used length shrank"
    );
    assert_eq!(expect_value(&page, "b_total"), 3.0);

    let whole = shard_bytes(&[(counter("b"), 3.0), (counter("c"), 4.0)]);
    rewrite(&whole);
    assert_eq!(expect_value(&daemon.scrape(), "c_total"), 4.0);
    OpenOptions::new()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(60)
        .unwrap();
    let page = daemon.scrape();
    assert_eq!(
        expect_value(&page, "b_total"),
        3.0,
        "truncated behind the first entry"
    );
    assert_eq!(value_of(&page, "c_total"), None);
    assert_eq!(
        expect_value(&page, "metricsd_unreadable_shards{reason=\"truncated\"}"),
        1.0
    );

    let other = write_shard(folder.path(), "new_file", &[(counter("b"), 100.0)]);
    fs::rename(other, &path).unwrap();
    let page = daemon.scrape();
    assert_eq!(
        expect_value(&page, "b_total"),
        103.0,
        "replaced under the same name: another file, and what the first one held stays counted"
    );
    common::eventually(
        "what could be read of the deleted file is kept",
        || match expect_value(
            &daemon.scrape(),
            "metricsd_unreadable_shards{reason=\"truncated\"}",
        ) {
            0.0 => Ok(()),
            count => Err(format!("{count} truncated")),
        },
    );

    fs::rename(&path, folder.path().join("counter_2.db")).unwrap();
    assert_eq!(expect_value(&daemon.scrape(), "b_total"), 103.0, "renamed");
    fs::hard_link(
        folder.path().join("counter_2.db"),
        folder.path().join("counter_3.db"),
    )
    .unwrap();
    assert_eq!(
        expect_value(&daemon.scrape(), "b_total"),
        103.0,
        "a second name counts once"
    );
    fs::remove_file(folder.path().join("counter_2.db")).unwrap();
    assert_eq!(
        expect_value(&daemon.scrape(), "b_total"),
        103.0,
        "its other name is left"
    );
    fs::remove_file(folder.path().join("counter_3.db")).unwrap();
    assert_eq!(
        expect_value(&daemon.scrape(), "b_total"),
        103.0,
        "deleting a file takes nothing away that was counted"
    );
}

#[test]
fn a_directory_that_is_removed_and_made_again_is_served_again() {
    let folder = tempfile::tempdir().unwrap();
    let shards = folder.path().join("shards");
    let daemon = Daemon::start(&shards);
    write_shard(&shards, "counter_1.db", &[(counter("a"), 1.0)]);
    assert_eq!(expect_value(&daemon.scrape(), "a_total"), 1.0);
    assert_eq!(daemon.get("/-/ready").status, 200);

    fs::remove_dir_all(&shards).unwrap();
    let page = daemon.scrape();
    assert_eq!(
        expect_value(&page, "a_total"),
        1.0,
        "a total stays, whatever becomes of the files"
    );
    assert_eq!(expect_value(&page, "metricsd_series"), 1.0);
    assert_eq!(expect_value(&page, "metricsd_ready"), 0.0);
    let ready = daemon.get("/-/ready");
    assert_eq!(ready.status, 503);
    assert!(ready.body.contains("does not exist"), "{ready:?}");

    fs::create_dir(&shards).unwrap();
    write_shard(&shards, "counter_1.db", &[(counter("a"), 2.0)]);
    let page = daemon.scrape();
    assert_eq!(expect_value(&page, "a_total"), 3.0);
    assert_eq!(expect_value(&page, "metricsd_ready"), 1.0);
    assert_eq!(daemon.get("/-/ready").status, 200);

    // Another directory under the same path, which the daemon has to lock anew.
    let other = folder.path().join("other");
    fs::create_dir(&other).unwrap();
    write_shard(&other, "counter_9.db", &[(counter("a"), 9.0)]);
    fs::rename(&shards, folder.path().join("old")).unwrap();
    fs::rename(&other, &shards).unwrap();
    assert_eq!(expect_value(&daemon.scrape(), "a_total"), 12.0);
    let second = common::run(&mut common::metricsd(&[
        "--multiproc-dir",
        shards.to_str().unwrap(),
        "--web.listen-address",
        "127.0.0.1:0",
    ]));
    assert_eq!(
        second.status.code(),
        Some(1),
        "the new directory is locked: {second:?}"
    );
}

#[test]
fn totals_survive_kill_9_of_the_daemon_and_of_the_writers() {
    let folder = tempfile::tempdir().unwrap();
    let mut daemon = Daemon::start(folder.path());
    let mut writers: Vec<WriterChild> = (0..3)
        .map(|_| WriterChild::start(folder.path(), "restarted"))
        .collect();
    let mut total = 0.0;
    for round in 1..=6 {
        for (index, writer) in writers.iter_mut().enumerate() {
            let number = f64::from(round) * 10.0 + index as f64;
            writer.tell(&format!("add {number}"));
            total += number;
        }
        assert_eq!(
            expect_value(&daemon.scrape(), "child_events_total"),
            total,
            "round {round}"
        );
        match round {
            2 | 4 => {
                daemon.kill();
                // While no daemon runs the writers go on.
                writers[0].tell("add 1000");
                total += 1000.0;
                daemon = Daemon::start(folder.path());
            }
            3 => writers.remove(1).kill(),
            _ => {}
        }
        assert_eq!(
            expect_value(&daemon.scrape(), "child_events_total"),
            total,
            "after round {round}"
        );
    }
    drop(writers);
    assert_eq!(
        expect_value(&daemon.scrape(), "child_events_total"),
        total,
        "all writers are dead"
    );
}

/// Files that are being created, entries that are being appended and processes that are being killed, while the page is read: no
/// total may fall, and every page must be one that a parser takes.
#[test]
fn totals_never_fall_while_writers_come_and_go() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(folder.path());
    let writing = std::sync::atomic::AtomicBool::new(true);
    let mut highest = 0.0;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0..12 {
                let mut writer = WriterChild::start(folder.path(), "passing");
                for number in 0..20 {
                    writer.tell("add 1");
                    writer.tell(&format!("new {number}"));
                }
                writer.tell(&format!("everything {round}"));
                writer.kill();
            }
            writing.store(false, std::sync::atomic::Ordering::Release);
        });
        while writing.load(std::sync::atomic::Ordering::Acquire) {
            let page = daemon.scrape();
            metricsd_exporter::parse_text(page.as_bytes()).expect("a page that a parser takes");
            let total = value_of(&page, "child_events_total").unwrap_or(0.0);
            assert!(total >= highest, "{total} after {highest}");
            highest = total;
        }
    });
    let page = daemon.scrape();
    assert_eq!(expect_value(&page, "child_events_total"), 240.0);
    assert_eq!(expect_value(&page, "child_new_total{number=\"7\"}"), 12.0);
    assert_eq!(
        expect_value(&page, "metricsd_shards{state=\"unreadable\"}"),
        0.0
    );
}

#[test]
fn sessions_are_live_while_somebody_writes_and_ended_soon_after_kill_9() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("m.toml");
    fs::write(
        &config,
        "[expect]\nprograms = ['shadow-session', 'never-started']\n",
    )
    .unwrap();
    let shards = folder.path().join("shards");
    let daemon = Daemon::start_with(&shards, &["--config.file", config.to_str().unwrap()]);
    let mut first = WriterChild::start(&shards, "shadow-session");
    let second = WriterChild::start(&shards, "shadow-session");
    first.tell("add 1");
    let page = daemon.scrape();
    let sessions = |page: &str, state: &str| {
        expect_value(
            page,
            &format!("metricsd_sessions{{program=\"shadow-session\",state=\"{state}\"}}"),
        )
    };
    assert_eq!(
        (sessions(&page, "live"), sessions(&page, "ended")),
        (2.0, 0.0),
        "{page}"
    );
    assert_eq!(
        expect_value(
            &page,
            "metricsd_expected_program_live{program=\"shadow-session\"}"
        ),
        1.0
    );
    assert_eq!(
        expect_value(
            &page,
            "metricsd_expected_program_live{program=\"never-started\"}"
        ),
        0.0
    );
    assert_eq!(
        expect_value(
            &page,
            "metricsd_writers_degraded{program=\"shadow-session\"}"
        ),
        0.0
    );

    let changed = |page: &str| {
        expect_value(
            page,
            "metricsd_session_last_change_timestamp_seconds{program=\"shadow-session\"}",
        )
    };
    let before = changed(&page);
    assert_eq!(changed(&daemon.scrape()), before, "nothing moved");
    first.tell("add 1");
    assert!(changed(&daemon.scrape()) > before, "a value moved");

    second.kill();
    eventually("the killed session is ended", || {
        let page = daemon.scrape();
        let counts = (sessions(&page, "live"), sessions(&page, "ended"));
        if counts == (1.0, 1.0) {
            Ok(())
        } else {
            Err(format!("{counts:?}"))
        }
    });
    first.kill();
    let page = eventually("both sessions are ended", || {
        let page = daemon.scrape();
        if sessions(&page, "ended") == 2.0 {
            Ok(page)
        } else {
            Err(page)
        }
    });
    assert_eq!(
        expect_value(
            &page,
            "metricsd_expected_program_live{program=\"shadow-session\"}"
        ),
        0.0
    );
    assert_eq!(expect_value(&page, "metricsd_shards{state=\"live\"}"), 0.0);
    assert!(expect_value(&page, "metricsd_shards{state=\"ended\"}") >= 2.0);
    assert_eq!(
        expect_value(&page, "child_events_total"),
        2.0,
        "what they counted is still there"
    );
}

#[test]
fn a_shard_without_a_sidecar_belongs_to_python() {
    let folder = tempfile::tempdir().unwrap();
    let path = write_shard(folder.path(), "counter_4711.db", &[(counter("a"), 1.0)]);
    let held = OpenOptions::new().write(true).open(path).unwrap();
    let daemon = Daemon::start(folder.path());
    let page = daemon.scrape();
    assert_eq!(
        expect_value(
            &page,
            "metricsd_sessions{program=\"python\",state=\"live\"}"
        ),
        1.0
    );
    assert_eq!(expect_value(&page, "metricsd_shards{state=\"live\"}"), 1.0);
    drop(held);
    eventually("the session is ended", || {
        let page = daemon.scrape();
        if expect_value(
            &page,
            "metricsd_sessions{program=\"python\",state=\"ended\"}",
        ) == 1.0
        {
            Ok(())
        } else {
            Err(page)
        }
    });
}

#[test]
fn many_scrapes_at_once_share_collections_and_each_shows_what_was_recorded_before_it() {
    const CLIENTS: usize = 48;
    const ROUNDS: usize = 25;
    let folder = tempfile::tempdir().unwrap();
    let path = write_shard(folder.path(), "counter_1.db", &[(counter("a"), 0.0)]);
    for id in 2..400 {
        write_shard(
            folder.path(),
            &format!("counter_{id}.db"),
            &[(counter("a"), 0.0), (counter("b"), 1.0)],
        );
    }
    let daemon = Daemon::start_with(folder.path(), &["--web.max-requests", "0"]);
    // The value stands behind length, key and padding of the first entry.
    let offset = 8 + metricsd_shard::value_offset_bytes(counter("a").encode().len()) as u64;
    let recorded = std::sync::Mutex::new((OpenOptions::new().write(true).open(path).unwrap(), 0.0));
    let record = || {
        let mut recorded = recorded.lock().unwrap();
        recorded.1 += 1.0;
        let value: f64 = recorded.1;
        recorded.0.seek(SeekFrom::Start(offset)).unwrap();
        recorded.0.write_all(&value.to_le_bytes()).unwrap();
        value
    };
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                for _ in 0..ROUNDS {
                    let before = record();
                    let shown = expect_value(&daemon.scrape(), "a_total");
                    assert!(
                        shown >= before,
                        "shows {shown}, {before} was recorded before it was asked"
                    );
                }
            });
        }
    });
    let collections = expect_value(&daemon.scrape(), "metricsd_collect_duration_seconds_count");
    let scrapes = (CLIENTS * ROUNDS) as f64;
    assert!(
        collections < scrapes,
        "{collections} collections for {scrapes} scrapes: nothing was shared"
    );
}

#[test]
fn the_http_surface_is_the_documented_one() {
    let folder = tempfile::tempdir().unwrap();
    write_shard(
        folder.path(),
        "counter_1.db",
        &[(counter("a"), 1.0), (counter("b"), 2.0)],
    );
    let daemon = Daemon::start(folder.path());
    let whole = daemon.get("/metrics");
    assert_eq!(
        whole.header("content-type"),
        Some("text/plain; version=0.0.4; charset=utf-8")
    );
    assert_eq!(
        whole.header("content-length"),
        Some(whole.body.len().to_string().as_str())
    );
    assert_eq!(daemon.get("/metrics?debug=1").status, 200);
    let head = common::request(daemon.address(), "HEAD", "/metrics");
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    let filtered = daemon
        .get("/metrics?name[]=a_total&name%5B%5D=metricsd_series")
        .body;
    let names: Vec<&str> = filtered
        .lines()
        .filter(|line| !line.starts_with('#'))
        .collect();
    assert_eq!(names, ["a_total 1.0", "metricsd_series 2.0"]);
    assert_eq!(daemon.get("/-/healthy").status, 200);
    assert_eq!(daemon.get("/-/ready").status, 200);
    assert!(daemon.get("/").body.contains("/metrics"));
    assert_eq!(daemon.get("/nowhere").status, 404);
    assert_eq!(
        common::request(daemon.address(), "POST", "/metrics").status,
        405
    );
}

#[test]
fn own_families_stand_behind_the_merged_ones_and_cannot_be_forged() {
    let folder = tempfile::tempdir().unwrap();
    let forged = key("metricsd_shards", "metricsd_shards", &[("state", "live")]);
    write_shard(
        folder.path(),
        "gauge_max_1.db",
        &[(forged, 99.0), (key("zzz", "zzz", &[]), 1.0)],
    );
    write_shard(
        folder.path(),
        "counter_1.db",
        &[(counter("process_cpu_seconds"), 99.0)],
    );
    let bucket = key("process", "innocent", &[("le", "+Inf")]);
    write_shard(folder.path(), "histogram_1.db", &[(bucket, 99.0)]);
    let daemon = Daemon::start(folder.path());
    let page = daemon.scrape();
    assert!(page.find("zzz 1.0").unwrap() < page.find("metricsd_build_info").unwrap());
    assert!(expect_value(&page, "process_cpu_seconds_total") < 99.0);
    assert_ne!(expect_value(&page, "metricsd_shards{state=\"live\"}"), 99.0);
    let refused = |page: &str| {
        expect_value(
            page,
            "metricsd_series_refused_total{reason=\"reserved_name\"}",
        )
    };
    assert_eq!(refused(&page), 3.0);
    assert!(!page.contains("process_bucket"), "{page}");
    assert_eq!(refused(&daemon.scrape()), 3.0, "each entry is counted once");
    assert!(daemon.log().contains("reserved"), "{}", daemon.log());
}

#[test]
fn more_shards_than_descriptors_are_all_served() {
    let folder = tempfile::tempdir().unwrap();
    for id in 0..300 {
        write_shard(
            folder.path(),
            &format!("counter_{id}.db"),
            &[(counter("a"), 1.0)],
        );
    }
    let program = env!("CARGO_BIN_EXE_metricsd");
    let directory = folder.path().to_str().unwrap();
    let line = format!(
        "ulimit -n 90; exec {program} --multiproc-dir {directory} --web.listen-address 127.0.0.1:0"
    );
    let mut command = std::process::Command::new("sh");
    command
        .args(["-c", &line])
        .stderr(std::process::Stdio::piped());
    let daemon = Daemon::spawn(&mut command);
    for round in 0..3 {
        let page = daemon.scrape();
        assert_eq!(expect_value(&page, "a_total"), 300.0, "round {round}");
        assert_eq!(
            expect_value(&page, "metricsd_shards{state=\"ended\"}"),
            300.0
        );
        assert_eq!(
            expect_value(&page, "metricsd_shards{state=\"unreadable\"}"),
            0.0
        );
    }
    // A file that is not kept open is replaced: another inode under the same name.
    for id in 0..300 {
        let new = write_shard(folder.path(), "new", &[(counter("a"), 2.0)]);
        fs::rename(new, folder.path().join(format!("counter_{id}.db"))).unwrap();
    }
    // What the first ones held is known from the last reading, and stays counted.
    assert_eq!(expect_value(&daemon.scrape(), "a_total"), 900.0);
}

/// Name, inode, length and content of everything in the directory.
fn inventory(directory: &Path) -> BTreeMap<String, (u64, u64, Vec<u8>)> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(directory).expect("a directory") {
        let entry = entry.expect("an entry");
        let metadata = entry.metadata().expect("an entry that stays");
        let content = match metadata.is_file() {
            true => fs::read(entry.path()).expect("a readable file"),
            false => Vec::new(),
        };
        let name = entry.file_name().to_string_lossy().into_owned();
        found.insert(name, (metadata.ino(), metadata.len(), content));
    }
    found
}

#[test]
fn nothing_in_the_directory_is_changed_without_retirement() {
    let folder = tempfile::tempdir().unwrap();
    WriterChild::start(folder.path(), "over").kill();
    write_shard(folder.path(), "counter_1.db", &[(counter("a"), 1.0)]);
    fs::write(folder.path().join("counter_2.db"), "garbage").unwrap();
    fs::write(folder.path().join("notes.txt"), "not a shard").unwrap();
    fs::create_dir(folder.path().join("counter_3.db")).unwrap();
    let before = inventory(folder.path());
    let off = ["--retire-after", "off"];
    let daemon = Daemon::start_with(folder.path(), &off);
    for _ in 0..3 {
        daemon.scrape();
    }
    daemon.kill();
    let daemon = Daemon::start_with(folder.path(), &off);
    daemon.scrape();
    assert!(daemon.terminate().success());
    assert_eq!(inventory(folder.path()), before);
}

#[test]
fn a_directory_that_was_moved_away_and_back_is_served_again_and_its_lock_is_held_once() {
    let folder = tempfile::tempdir().unwrap();
    let (shards, elsewhere) = (folder.path().join("shards"), folder.path().join("away"));
    fs::create_dir(&shards).unwrap();
    write_shard(&shards, "counter_1.db", &[(counter("a"), 5.0)]);
    let daemon = Daemon::start(&shards);
    for _ in 0..3 {
        assert_eq!(expect_value(&daemon.scrape(), "a_total"), 5.0);
        fs::rename(&shards, &elsewhere).unwrap();
        assert_eq!(expect_value(&daemon.scrape(), "a_total"), 5.0);
        assert_eq!(daemon.get("/-/ready").status, 503);
        fs::rename(&elsewhere, &shards).unwrap();
    }
    assert_eq!(expect_value(&daemon.scrape(), "a_total"), 5.0);
    assert_eq!(daemon.get("/-/ready").status, 200);
    // Another directory in its place frees the first one, although the thread that asks for leases had it open.
    fs::rename(&shards, &elsewhere).unwrap();
    fs::create_dir(&shards).unwrap();
    daemon.scrape();
    let second = Daemon::start(&elsewhere);
    assert_eq!(expect_value(&second.scrape(), "a_total"), 5.0);
}

#[test]
fn known_shards_are_served_while_the_path_cannot_be_resolved() {
    let folder = tempfile::tempdir().unwrap();
    let (parent, aside) = (folder.path().join("parent"), folder.path().join("aside"));
    let shards = parent.join("shards");
    fs::create_dir_all(&shards).unwrap();
    write_shard(&shards, "counter_1.db", &[(counter("a"), 5.0)]);
    let daemon = Daemon::start(&shards);
    assert_eq!(expect_value(&daemon.scrape(), "a_total"), 5.0);
    // A link to itself: an error that says nothing of the directory, and that root gets as well.
    fs::rename(&parent, &aside).unwrap();
    std::os::unix::fs::symlink(&parent, &parent).unwrap();
    assert_eq!(expect_value(&daemon.scrape(), "a_total"), 5.0);
    let ready = daemon.get("/-/ready");
    assert_eq!(ready.status, 503);
    assert!(
        ready.body.contains("cannot read the shard directory"),
        "{ready:?}"
    );
    fs::remove_file(&parent).unwrap();
    fs::rename(&aside, &parent).unwrap();
    assert_eq!(expect_value(&daemon.scrape(), "a_total"), 5.0);
    assert_eq!(daemon.get("/-/ready").status, 200);
}

#[test]
fn no_total_falls_while_a_shard_is_renamed_again_and_again() {
    const SHARDS: u32 = 500;
    let folder = tempfile::tempdir().unwrap();
    for id in 0..SHARDS {
        write_shard(
            folder.path(),
            &format!("counter_{id}.db"),
            &[(counter("a"), 1.0)],
        );
    }
    // Nobody else may rename them.
    let daemon = Daemon::start_with(folder.path(), &["--retire-after", "off"]);
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let name = folder.path().join("counter_7.db");
            for number in 0.. {
                if stop.load(std::sync::atomic::Ordering::Relaxed) {
                    return;
                }
                let other = folder.path().join(format!("counter_x{number}.db"));
                fs::rename(&name, &other).unwrap();
                fs::rename(&other, &name).unwrap();
            }
        });
        let totals: Vec<f64> = (0..200)
            .map(|_| expect_value(&daemon.scrape(), "a_total"))
            .collect();
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        // The first listings may miss a file that nobody knows yet.
        let known = totals
            .iter()
            .skip_while(|&&total| total < f64::from(SHARDS));
        assert!(
            known.clone().count() > 100 && known.clone().all(|&total| total == f64::from(SHARDS)),
            "{totals:?}"
        );
    });
    fs::rename(
        folder.path().join("counter_7.db"),
        folder.path().join("kept-aside"),
    )
    .unwrap();
    let all = f64::from(SHARDS);
    assert_eq!(
        expect_value(&daemon.scrape(), "a_total"),
        all,
        "it left, and what it held stays counted"
    );
}

#[test]
fn a_client_that_closes_its_half_is_answered() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(folder.path());
    let mut stream = std::net::TcpStream::connect(daemon.address()).unwrap();
    stream.set_read_timeout(Some(common::DEADLINE)).unwrap();
    stream
        .write_all(b"GET /metrics HTTP/1.1\r\nHost: test\r\n\r\n")
        .unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = String::new();
    std::io::Read::read_to_string(&mut stream, &mut answer).unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 200 ") && answer.contains("metricsd_build_info"),
        "{answer}"
    );
}

#[test]
fn a_state_directory_that_is_moved_away_is_told_of_until_it_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let (state, away) = (folder.path().join("state"), folder.path().join("away"));
    let shards = folder.path().join("shards");
    let daemon = Daemon::start_with(&shards, &["--state-dir", state.to_str().unwrap()]);
    let in_place = expect_value(&daemon.scrape(), "metricsd_state_durable");
    let wait_for = |wanted: f64| {
        common::eventually("the metric follows", || {
            match expect_value(&daemon.scrape(), "metricsd_state_durable") {
                found if found == wanted => Ok(()),
                found => Err(format!("{found}")),
            }
        });
    };
    fs::rename(&state, &away).unwrap();
    wait_for(0.0);
    common::eventually("the log says so", || {
        let log = daemon.log();
        let is_told = log.contains("the next start will not find it");
        is_told.then_some(()).ok_or(log)
    });
    fs::rename(&away, &state).unwrap();
    wait_for(in_place);
}
