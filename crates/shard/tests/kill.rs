//! SIGKILL takes nothing that a call had recorded. Method: a child acknowledges each increment on a pipe, is killed at a random
//! moment, and the shards must show at least what was acknowledged and at most one increment more. Also killed while it creates
//! its files: what readers list is whole at every instant.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by it, its child answers on it"
)]

mod child;
mod shards;

use std::io::{BufReader, Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use child::{READY, ROLE, child_command, key, skip_to_ready};
use metricsd_shard::{Create, FileKind, GaugeMode, ProcessInfo, Writer};

/// How many children are killed.
const ROUNDS: usize = 1000;

/// What a child sends after each increment.
const ACKNOWLEDGED: u8 = b'+';

#[test]
fn of_a_thousand_killed_writers_none_loses_an_acknowledged_increment() {
    let temp = tempfile::tempdir().unwrap();
    let mut random = Random::new();
    let mut recorded = 0.0;
    for round in 0..ROUNDS {
        let dir = temp.path().join(round.to_string());
        let acknowledged = killed_child(&dir, &mut random);
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

/// Runs a child until a random number of increments are acknowledged, kills it, and gives the number of all acknowledgements it
/// had sent.
fn killed_child(dir: &Path, random: &mut Random) -> f64 {
    let executable = std::env::current_exe().unwrap();
    let mut child = child_command(&executable, "child_process", dir.to_str().unwrap())
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

/// A child: records one increment after the other and acknowledges each. Its role is its directory.
#[test]
#[ignore = "a child process of the tests in this file"]
fn child_process() {
    let Ok(dir) = std::env::var(ROLE) else { return };
    println!("{READY}");
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
