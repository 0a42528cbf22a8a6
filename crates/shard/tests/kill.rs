//! SIGKILL takes nothing that a call had recorded. Method: a child acknowledges each increment on a pipe, is killed at a random
//! moment, and the shards must show at least what was acknowledged and at most one increment more, for each of its threads. Also killed
//! while it creates its files: what readers list is whole at every instant, and of what adds up nobody ever reads less than before.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by it, its child answers on it"
)]

mod child;
mod shards;

use std::io::{BufReader, Read, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use child::{READY, ROLE, child_command, key, skip_to_ready};
use metricsd_shard::{Create, FileKind, GaugeMode, ProcessInfo, Writer};

/// How many children are killed.
const ROUNDS: usize = 1000;

/// How many children with threads are killed.
const ROUNDS_OF_THREADS: usize = 100;

/// Threads of each at a time: more than there are lanes.
const THREADS: usize = 20;

/// What a child sends after each increment.
const ACKNOWLEDGED: u8 = b'+';

#[test]
fn of_a_thousand_killed_writers_none_loses_an_acknowledged_increment() {
    let temp = tempfile::tempdir().unwrap();
    let mut random = Random::new();
    let mut recorded = 0.0;
    for round in 0..ROUNDS {
        let dir = temp.path().join(round.to_string());
        let acknowledged = killed_child(&format!("alone {}", dir.display()), &mut random);
        let shards = shards_of(&dir);
        for sample in ["hits_total", "seconds_sum", "level"] {
            let value: f64 = shards.iter().filter_map(|shard| shard.get(sample)).sum();
            assert!(
                value >= acknowledged && value <= acknowledged + 1.0,
                "round {round}: {sample} is {value}, {acknowledged} were acknowledged; seed {}",
                random.seed
            );
        }
        recorded += acknowledged;
        if dir.exists() {
            std::fs::remove_dir_all(&dir).unwrap();
        }
    }
    assert!(recorded > ROUNDS as f64, "the children did work");
}

#[test]
fn of_a_hundred_killed_writers_of_many_threads_none_loses_an_acknowledged_increment() {
    let temp = tempfile::tempdir().unwrap();
    let mut random = Random::new();
    let mut recorded = 0.0;
    for round in 0..ROUNDS_OF_THREADS {
        let dir = temp.path().join(round.to_string());
        let is_over = Arc::new(AtomicBool::new(false));
        let scraper = {
            let (dir, is_over) = (dir.clone(), Arc::clone(&is_over));
            thread::spawn(move || {
                let mut last = 0.0;
                while !is_over.load(Ordering::Relaxed) {
                    let now: f64 = shards_of(&dir).iter().filter_map(hits_of).sum();
                    assert!(now >= last, "{now} after {last}");
                    last = now;
                }
            })
        };
        let acknowledged = killed_child(&format!("threads {}", dir.display()), &mut random);
        is_over.store(true, Ordering::Relaxed);
        scraper.join().unwrap();
        let shards = shards_of(&dir);
        for sample in ["hits_total", "seconds_sum", "seconds_bucket"] {
            let value: f64 = shards.iter().filter_map(|shard| shard.get(sample)).sum();
            assert!(
                value >= acknowledged && value <= acknowledged + THREADS as f64,
                "round {round}: {sample} is {value}, {acknowledged} were acknowledged; seed {}",
                random.seed
            );
        }
        recorded += acknowledged;
        if dir.exists() {
            std::fs::remove_dir_all(&dir).unwrap();
        }
    }
    assert!(recorded > ROUNDS_OF_THREADS as f64, "the children did work");
}

fn hits_of(shard: &shards::Shard) -> Option<f64> {
    shard.get("hits_total")
}

/// Runs a child until a random number of increments are acknowledged, kills it, and gives the number of all acknowledgements it
/// had sent.
fn killed_child(role: &str, random: &mut Random) -> f64 {
    let executable = std::env::current_exe().unwrap();
    let mut child = child_command(&executable, "child_process", role)
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    skip_to_ready(&mut output);
    let mut acknowledged = 0;
    if random.below(4) == 0 {
        // While it opens its writer and makes its files.
        let moment = Instant::now() + Duration::from_micros(random.below(400));
        while Instant::now() < moment {
            std::hint::spin_loop();
        }
    } else {
        let enough = 1 + random.below(200);
        let mut byte = [0];
        while acknowledged < enough {
            output.read_exact(&mut byte).unwrap();
            acknowledged += 1;
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let mut rest = Vec::new();
    output.read_to_end(&mut rest).unwrap();
    (acknowledged + rest.len() as u64) as f64
}

fn shards_of(dir: &Path) -> Vec<shards::Shard> {
    if dir.exists() {
        shards::read_all(dir)
    } else {
        Vec::new()
    }
}

/// A child: records one increment after the other and acknowledges each. Its role is a word and its directory.
#[test]
#[ignore = "a child process of the tests in this file"]
fn child_process() {
    let Ok(role) = std::env::var(ROLE) else {
        return;
    };
    let (role, dir) = role.split_once(' ').unwrap();
    println!("{READY}");
    if role == "threads" {
        return record_in_threads(Path::new(dir));
    }
    let writer = Writer::open(Path::new(&dir), ProcessInfo::default());
    let counter = writer.series(FileKind::Counter, vec![key("hits_total")], Create::AtZero);
    let histogram = writer.series(
        FileKind::Histogram,
        vec![key("seconds_sum"), key("seconds_bucket")],
        Create::AtZero,
    );
    let gauge = writer.series(
        FileKind::Gauge(GaugeMode::LiveMax),
        vec![key("level")],
        Create::OnFirstTouch,
    );
    let mut output = std::io::stdout().lock();
    for step in 1.. {
        counter.add(0, 1.0);
        histogram.add(1, 1.0);
        histogram.add(0, 1.0);
        gauge.set(0, f64::from(step));
        // The harness's stdout is line-buffered.
        output.write_all(&[ACKNOWLEDGED]).unwrap();
        output.flush().unwrap();
    }
}

/// Twenty threads at a time, of which each makes fifty increments and is followed by another.
fn record_in_threads(dir: &Path) {
    let writer = Writer::open(dir, ProcessInfo::default());
    let hits = writer.series(FileKind::Counter, vec![key("hits_total")], Create::AtZero);
    let seconds = writer.series(
        FileKind::Histogram,
        vec![key("seconds_sum"), key("seconds_bucket")],
        Create::AtZero,
    );
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let (hits, seconds) = (hits.clone(), seconds.clone());
                    let recording = thread::spawn(move || {
                        for _ in 0..50 {
                            hits.add(0, 1.0);
                            seconds.add(1, 1.0);
                            seconds.add(0, 1.0);
                            // Past the buffer, whose lock a thread would hold while it waits for the pipe.
                            rustix::io::write(std::io::stdout().as_fd(), &[ACKNOWLEDGED]).unwrap();
                        }
                    });
                    recording.join().unwrap();
                }
            });
        }
    });
}

/// Xorshift: a few random moments, repeatable by their seed.
struct Random {
    seed: u64,
    state: u64,
}

impl Random {
    fn new() -> Random {
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap();
        let seed = u64::from(now.subsec_nanos()) | 1;
        Random { seed, state: seed }
    }

    fn below(&mut self, end: u64) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state % end
    }
}
