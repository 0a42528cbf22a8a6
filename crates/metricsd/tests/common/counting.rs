//! Writers that count and acknowledge: each call is followed by one byte on a pipe, so that after `kill -9` it is known what must be
//! in the totals (all that was acknowledged) and what may be (one call more).
//!
//! The Rust writer is this test program again, as its test `counting_child`; the Python one is `count_and_acknowledge.py`. The Rust one makes
//! its calls in [`THREADS`] threads in turn, so that each of its keys stands in the file many times.
#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "each test file uses its own part"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::ops::AddAssign;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::channel;

use metricsd_shard::{Create, FileKind, ProcessInfo, Writer};

use super::common::shards::{counter, key};

/// Directory that the child counts into; set in the child only.
const DIRECTORY_VARIABLE: &str = "METRICSD_TEST_COUNT_INTO";
/// Label value of one of its counters.
const LANE_VARIABLE: &str = "METRICSD_TEST_COUNT_LANE";
/// How many calls it makes before it only waits; not set = without end.
const LIMIT_VARIABLE: &str = "METRICSD_TEST_COUNT_LIMIT";

/// What a writer sends after each call.
const ACKNOWLEDGED: u8 = b'+';
/// The line that a writer sends before it opens its first shard.
const READY: &str = "ready";

/// Threads of the Rust writer: four more than have cells of their own.
const THREADS: u64 = 20;
/// Entries of one key, if all of them count: one each for sixteen threads, and one for all others.
const CELLS: usize = 17;

/// How many values the lane label has.
pub const LANES: u64 = 3;
/// What is observed, in turn.
const OBSERVED: [f64; 3] = [0.3, 0.7, 2.5];
/// One unit of [`Totals`]: each cell here is a whole number of them, since none is below 0.1, whose last bit is 2^-56.
const UNITS_PER_ONE: f64 = (1_u64 << 60) as f64;

/// In the child: counts. In any other process: nothing.
pub fn count_as_child() {
    let Some(directory) = std::env::var_os(DIRECTORY_VARIABLE) else {
        return;
    };
    let lane = std::env::var(LANE_VARIABLE).expect("set together with the directory");
    let limit: Option<u64> = std::env::var(LIMIT_VARIABLE)
        .ok()
        .map(|limit| limit.parse().expect("a number"));
    let mut output = std::io::stdout().lock();
    write!(output, "\n{READY}\n").expect("the parent reads");
    let info = ProcessInfo {
        program: "storm".into(),
        version: "1".into(),
        mode: "paper".into(),
        ..ProcessInfo::default()
    };
    let writer = Writer::open(Path::new(&directory), info);
    let counted = |keys| writer.series(FileKind::Counter, keys, Create::AtZero);
    let events = counted(vec![counter("storm_events")]);
    let by_lane = counted(vec![key(
        "storm_lane_events",
        "storm_lane_events_total",
        &[("lane", &lane)],
    )]);
    let amount = counted(vec![counter("storm_amount")]);
    let mut keys = vec![key("storm_seconds", "storm_seconds_sum", &[])];
    keys.extend(
        ["0.5", "1.0", "+Inf"]
            .map(|bound| key("storm_seconds", "storm_seconds_bucket", &[("le", bound)])),
    );
    let seconds = writer.series(FileKind::Histogram, keys, Create::AtZero);
    let count = |call: u64| match call % 3 {
        0 => {
            events.add(0, 1.0);
            by_lane.add(0, 1.0);
        }
        1 => amount.add(0, 0.1),
        _ => {
            let turn = (call / 3 % 3) as usize;
            seconds.add(1 + turn, 1.0);
            seconds.add(0, OBSERVED[turn]);
        }
    };
    std::thread::scope(|scope| {
        let (done, returned) = channel();
        let threads: Vec<_> = (0..THREADS)
            .map(|_| {
                let (order, orders) = channel();
                let (done, count) = (done.clone(), &count);
                scope.spawn(move || {
                    for call in orders {
                        count(call);
                        done.send(()).expect("the main thread waits");
                    }
                });
                order
            })
            .collect();
        for call in 0..limit.unwrap_or(u64::MAX) {
            let thread = &threads[thread_of(call, THREADS) as usize];
            thread.send(call).expect("the thread waits");
            returned.recv().expect("the thread answers");
            output.write_all(&[ACKNOWLEDGED]).expect("the parent reads");
            output.flush().expect("the parent reads");
        }
    });
    std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink()).expect("a pipe");
}

/// Which thread makes this call: each makes calls of all sorts.
fn thread_of(call: u64, threads: u64) -> u64 {
    call / 9 % threads
}

/// What some writers have counted, exactly: sums of what their cells hold, in units that make each cell a whole number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    events: i128,
    lanes: [i128; LANES as usize],
    amount: i128,
    seconds: i128,
    buckets: [i128; 3],
}

impl Totals {
    /// The cells of one writer after so many calls in so many threads. Within one cell the writer rounds at each addition; between
    /// cells nothing may round.
    pub fn after(calls: u64, lane: u64, threads: u64) -> Totals {
        let (mut amount, mut seconds) = ([0.0; CELLS], [0.0; CELLS]);
        let mut totals = Totals::default();
        for call in 0..calls {
            let cell = (thread_of(call, threads) as usize).min(CELLS - 1);
            match call % 3 {
                0 => totals.events += 1,
                1 => amount[cell] += 0.1,
                _ => {
                    let turn = (call / 3 % 3) as usize;
                    totals.buckets[turn] += 1;
                    seconds[cell] += OBSERVED[turn];
                }
            }
        }
        totals.lanes[lane as usize] = totals.events;
        totals.amount = amount.map(in_units).iter().sum();
        totals.seconds = seconds.map(in_units).iter().sum();
        totals
    }

    /// Each exposed series with its value, rounded once.
    pub fn series(&self) -> Vec<(String, f64)> {
        let [first, second, third] = self.buckets;
        let whole = [
            ("storm_events_total".to_owned(), self.events),
            ("storm_seconds_bucket{le=\"0.5\"}".to_owned(), first),
            (
                "storm_seconds_bucket{le=\"1.0\"}".to_owned(),
                first + second,
            ),
            (
                "storm_seconds_bucket{le=\"+Inf\"}".to_owned(),
                first + second + third,
            ),
            ("storm_seconds_count".to_owned(), first + second + third),
        ];
        let lanes = self.lanes.iter().enumerate().map(|(lane, &count)| {
            let series = format!("storm_lane_events_total{{lane=\"{lane}\"}}");
            (series, count)
        });
        let exact = [
            ("storm_amount_total".to_owned(), self.amount),
            ("storm_seconds_sum".to_owned(), self.seconds),
        ];
        whole
            .into_iter()
            .chain(lanes)
            .map(|(series, count)| (series, count as f64))
            .chain(exact.map(|(series, units)| (series, units as f64 / UNITS_PER_ONE)))
            .collect()
    }
}

impl AddAssign for Totals {
    fn add_assign(&mut self, other: Totals) {
        self.events += other.events;
        self.amount += other.amount;
        self.seconds += other.seconds;
        for (mine, theirs) in self.lanes.iter_mut().zip(other.lanes) {
            *mine += theirs;
        }
        for (mine, theirs) in self.buckets.iter_mut().zip(other.buckets) {
            *mine += theirs;
        }
    }
}

fn in_units(value: f64) -> i128 {
    let units = value * UNITS_PER_ONE;
    assert_eq!(units.fract(), 0.0, "{value} is no whole number of units");
    units as i128
}

/// What writers have counted, as far as it can be known: all acknowledged calls, and at most one more of each that was killed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Bounds {
    pub least: Totals,
    pub most: Totals,
}

impl Bounds {
    /// One writer that was killed after so many acknowledgements.
    pub fn of_killed(acknowledged: u64, lane: u64, threads: u64) -> Bounds {
        Bounds {
            least: Totals::after(acknowledged, lane, threads),
            most: Totals::after(acknowledged + 1, lane, threads),
        }
    }

    /// One writer whose last call has returned.
    pub fn of_resting(acknowledged: u64, lane: u64, threads: u64) -> Bounds {
        let totals = Totals::after(acknowledged, lane, threads);
        Bounds {
            least: totals,
            most: totals,
        }
    }

    /// Everything that lies outside, in words.
    pub fn check(&self, page: &str, also_above: bool) -> Result<(), String> {
        let (least, most) = (self.least.series(), self.most.series());
        for ((series, least), (_, most)) in least.into_iter().zip(most) {
            let shown = super::common::value_of(page, &series).unwrap_or(0.0);
            if shown < least {
                return Err(format!(
                    "{series} is {shown:?}, {least:?} were acknowledged"
                ));
            }
            if also_above && shown > most {
                return Err(format!(
                    "{series} is {shown:?}, at most {most:?} were counted"
                ));
            }
        }
        Ok(())
    }
}

impl AddAssign for Bounds {
    fn add_assign(&mut self, other: Bounds) {
        self.least += other.least;
        self.most += other.most;
    }
}

/// A counting writer, as its parent sees it; killed when dropped.
#[derive(Debug)]
pub struct Counting {
    child: Child,
    /// Closing it is how a resting writer is told to end.
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    lane: u64,
    threads: u64,
    acknowledged: u64,
}

impl Counting {
    /// A writer of the shard crate; it is about to open its first shard when this returns.
    pub fn rust(directory: &Path, lane: u64, limit: Option<u64>) -> Counting {
        Counting::start(rust_command(directory, lane, limit), lane, THREADS)
    }

    /// The same as another user.
    pub fn rust_as(directory: &Path, lane: u64, limit: Option<u64>, user: u32) -> Counting {
        let mut command = rust_command(directory, lane, limit);
        command.uid(user).gid(user);
        Counting::start(command, lane, THREADS)
    }

    /// A writer of prometheus_client.
    pub fn python(python: &Path, directory: &Path, lane: u64, limit: Option<u64>) -> Counting {
        let mut command = Command::new(python);
        command
            .arg(super::common::script("count_and_acknowledge.py"))
            .arg(lane.to_string())
            .arg(limit.map_or("forever".to_owned(), |limit| limit.to_string()))
            .env("PROMETHEUS_MULTIPROC_DIR", directory);
        Counting::start(command, lane, 1)
    }

    fn start(mut command: Command, lane: u64, threads: u64) -> Counting {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts");
        let input = child.stdin.take();
        let mut output = BufReader::new(child.stdout.take().expect("piped"));
        let mut line = String::new();
        while line.trim_end() != READY {
            line.clear();
            let length = output.read_line(&mut line).expect("the child writes text");
            assert_ne!(length, 0, "the writer ended before it was ready");
        }
        Counting {
            child,
            input,
            output,
            lane,
            threads,
            acknowledged: 0,
        }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until so many calls are acknowledged in all.
    pub fn wait_for(&mut self, calls: u64) {
        let mut byte = [0];
        while self.acknowledged < calls {
            self.output
                .read_exact(&mut byte)
                .expect("the writer goes on");
            assert_eq!(byte, [ACKNOWLEDGED]);
            self.acknowledged += 1;
        }
    }

    /// What it has counted; only right when it has a limit that was waited for.
    pub fn resting(&self) -> Bounds {
        Bounds::of_resting(self.acknowledged, self.lane, self.threads)
    }

    /// `kill -9`, and what it had counted.
    pub fn kill(mut self) -> Bounds {
        self.child.kill().expect("a child that runs");
        self.child.wait().expect("a child that was started");
        let mut rest = Vec::new();
        self.output.read_to_end(&mut rest).expect("a pipe");
        let acknowledged = self.acknowledged + rest.len() as u64;
        Bounds::of_killed(acknowledged, self.lane, self.threads)
    }

    /// Ends a resting writer as a program ends by itself.
    pub fn end(mut self) -> Bounds {
        drop(self.input.take());
        self.child.wait().expect("a child that was started");
        self.resting()
    }
}

impl Drop for Counting {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn rust_command(directory: &Path, lane: u64, limit: Option<u64>) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("a running program has a path"));
    command
        .args([
            "counting_child",
            "--exact",
            "--ignored",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(DIRECTORY_VARIABLE, directory)
        .env(LANE_VARIABLE, lane.to_string());
    if let Some(limit) = limit {
        command.env(LIMIT_VARIABLE, limit.to_string());
    }
    command
}
