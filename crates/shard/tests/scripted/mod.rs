//! A process of its own with a writer in it, driven line by line.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use metricsd_shard::{Create, FileKind, GaugeMode, ProcessInfo, Series, Writer, WriterStatus};

use crate::child::{READY, ROLE, child_command, key, kill_after_deadline, skip_to_ready, wait_for};

/// Entries of the longest series here; a call on one that there is not is ignored.
const ENTRIES_MAX: usize = 10;

/// A running child. Killed when dropped.
pub(crate) struct Scripted {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    log: Arc<Mutex<String>>,
    /// Fills the log until the child closes it.
    listener: Option<JoinHandle<()>>,
    /// Ends a child that does not answer.
    done: Arc<AtomicBool>,
}

impl Scripted {
    pub(crate) fn start() -> Scripted {
        let executable = std::env::current_exe().unwrap();
        Scripted::from_command(child_command(
            &executable,
            "scripted::child_process",
            "script",
        ))
    }

    pub(crate) fn from_command(mut command: Command) -> Scripted {
        let mut child = command.spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let log = Arc::new(Mutex::new(String::new()));
        let heard = Arc::clone(&log);
        let mut scripted = Scripted {
            input: child.stdin.take().unwrap(),
            output: BufReader::new(child.stdout.take().unwrap()),
            log,
            listener: Some(std::thread::spawn(move || {
                for line in stderr.lines() {
                    let line = line.unwrap();
                    heard.lock().unwrap().push_str(&format!("{line}\n"));
                }
            })),
            done: Arc::new(AtomicBool::new(false)),
            child,
        };
        kill_after_deadline(&scripted.child, Arc::clone(&scripted.done));
        skip_to_ready(&mut scripted.output);
        scripted
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends one line and gives the answer.
    pub(crate) fn ask(&mut self, line: &str) -> String {
        writeln!(self.input, "{line}").unwrap();
        let mut answer = String::new();
        self.output.read_line(&mut answer).unwrap();
        if answer.is_empty() {
            let status = self.child.wait().unwrap();
            panic!("no answer to {line:?}; the child ended: {status}");
        }
        answer.trim_end().to_owned()
    }

    pub(crate) fn open(&mut self, dir: &Path) {
        assert_eq!(self.ask(&format!("open {}", dir.display())), "ok");
    }

    /// A counter that exists at zero, a gauge that does not exist yet, or another line that is answered by `ok`.
    pub(crate) fn tell(&mut self, line: &str) {
        assert_eq!(self.ask(line), "ok", "{line}");
    }

    pub(crate) fn number(&mut self, line: &str) -> f64 {
        self.ask(line).parse().unwrap()
    }

    /// The ID that a healthy writer names its files by; waits until it is one.
    pub(crate) fn wait_until_healthy(&mut self) -> String {
        wait_for("a healthy writer", || {
            self.ask("status")
                .strip_prefix("healthy ")
                .map(str::to_owned)
        })
    }

    /// The reason; waits until the writer is degraded.
    pub(crate) fn wait_until_degraded(&mut self) -> String {
        wait_for("a degraded writer", || {
            self.ask("status")
                .strip_prefix("degraded ")
                .map(str::to_owned)
        })
    }

    /// Ends the child properly and gives what it logged.
    pub(crate) fn end(mut self) -> String {
        writeln!(self.input, "end").unwrap();
        let status: ExitStatus = self.child.wait().unwrap();
        assert!(status.success(), "the child ended: {status}");
        self.listener.take().unwrap().join().unwrap();
        std::mem::take(&mut *self.log.lock().unwrap())
    }

    /// Ends the child once it has logged this. A thread that logs may not have come to it when others see what it is about.
    pub(crate) fn end_after(self, words: &str) -> String {
        wait_for("the log", || {
            self.log.lock().unwrap().contains(words).then_some(())
        });
        self.end()
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Relaxed);
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
#[ignore = "a child process of the tests in this file"]
fn child_process() {
    if std::env::var(ROLE).as_deref() == Ok("script") {
        tracing_subscriber::fmt()
            .with_writer(std::io::stderr)
            .with_ansi(false)
            .init();
        println!("{READY}");
        Script::default().run();
    }
}

/// The child's side.
#[derive(Default)]
struct Script {
    writer: Option<Writer>,
    series: HashMap<String, Series>,
    /// Threads that add 1 to a series until told to stop; they give how often they did.
    storms: Vec<JoinHandle<u64>>,
    stop: Arc<AtomicBool>,
    /// How often the threads of a storm over many series have been through all of them.
    rounds: Arc<AtomicU64>,
}

impl Script {
    fn run(mut self) {
        for line in std::io::stdin().lock().lines() {
            let line = line.unwrap();
            let words: Vec<&str> = line.split(' ').collect();
            if words == ["end"] {
                wait_for("the log to be told", || (!is_logging()).then_some(()));
                return;
            }
            let answer = self.answer(&words);
            println!("{answer}");
        }
    }

    fn answer(&mut self, words: &[&str]) -> String {
        match *words {
            ["open", dir] => {
                let info = ProcessInfo {
                    program: "scripted".to_owned(),
                    version: "1.2.3".to_owned(),
                    mode: "test".to_owned(),
                    labels: [("desk".to_owned(), "fx".to_owned())].into(),
                };
                self.writer = Some(Writer::open(&PathBuf::from(dir), info));
            }
            ["counter", name] => self.make(FileKind::Counter, name, Create::AtZero),
            ["histogram", name] => self.make(FileKind::Histogram, name, Create::AtZero),
            ["gauge", mode, name] => {
                let mode: GaugeMode = mode.parse().unwrap();
                self.make(FileKind::Gauge(mode), name, Create::OnFirstTouch);
            }
            ["counters", prefix, count] => {
                for index in 0..count.parse::<usize>().unwrap() {
                    let name = format!("{prefix}{index}_total");
                    self.make(FileKind::Counter, &name, Create::AtZero);
                }
            }
            ["add", name, v] => self.series[name].add(0, v.parse().unwrap()),
            ["set", name, v] => self.series[name].set(0, v.parse().unwrap()),
            ["setat", name, v, time] => {
                self.series[name].set_with_timestamp(0, v.parse().unwrap(), time.parse().unwrap());
            }
            ["addall", prefix, v] => {
                let v = v.parse().unwrap();
                for (name, series) in &self.series {
                    if name.starts_with(prefix) {
                        series.add(0, v);
                    }
                }
            }
            ["get", name] => return self.series[name].get(0).to_string(),
            ["status"] => {
                return match self.writer.unwrap().status() {
                    WriterStatus::Healthy { id, .. } => format!("healthy {id}"),
                    WriterStatus::Degraded { reason, .. } => format!("degraded {reason}"),
                    WriterStatus::InMemory => "in memory".to_owned(),
                };
            }
            ["storm", name, threads] => self.storm(name, threads.parse().unwrap()),
            ["churn", name, threads] => self.churn(name, threads.parse().unwrap()),
            ["stormall", prefix, threads] => self.storm_all(prefix, threads.parse().unwrap()),
            ["rounds"] => return self.rounds.load(Ordering::SeqCst).to_string(),
            ["degradedseconds", name] => {
                let series = &self.series[name];
                self.writer.unwrap().count_degraded_seconds_in(series);
            }
            ["calm"] => {
                self.stop.store(true, Ordering::Relaxed);
                let added: u64 = self.storms.drain(..).map(|s| s.join().unwrap()).sum();
                return added.to_string();
            }
            ["whole", name] => self.make_whole(name),
            ["fsize", len_bytes] => {
                let mut limit = rustix::process::getrlimit(rustix::process::Resource::Fsize);
                limit.current = len_bytes.parse().ok();
                rustix::process::setrlimit(rustix::process::Resource::Fsize, limit).unwrap();
            }
            ["nofile", count] => {
                let mut limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
                limit.current = Some(count.parse().unwrap());
                rustix::process::setrlimit(rustix::process::Resource::Nofile, limit).unwrap();
            }
            _ => panic!("{words:?}"),
        }
        "ok".to_owned()
    }

    fn make(&mut self, kind: FileKind, name: &str, create: Create) {
        let series = self.writer.unwrap().series(kind, vec![key(name)], create);
        self.series.insert(name.to_owned(), series);
    }

    /// A histogram of ten entries.
    fn make_whole(&mut self, name: &str) {
        let keys = (0..10)
            .map(|index| key(&format!("{name}_{index}")))
            .collect();
        let series = self
            .writer
            .unwrap()
            .series(FileKind::Histogram, keys, Create::AtZero);
        self.series.insert(name.to_owned(), series);
    }

    /// Each thread adds 1 to every series of this prefix, over and over, and stops at the end of a round only.
    fn storm_all(&mut self, prefix: &str, threads: usize) {
        self.stop = Arc::new(AtomicBool::new(false));
        let series: Vec<Series> = self
            .series
            .iter()
            .filter(|(name, _)| name.starts_with(prefix))
            .map(|(_, series)| series.clone())
            .collect();
        for _ in 0..threads {
            let (series, stop) = (series.clone(), Arc::clone(&self.stop));
            let rounds = Arc::clone(&self.rounds);
            self.storms.push(std::thread::spawn(move || {
                let mut added = 0;
                while !stop.load(Ordering::Relaxed) {
                    for entries in &series {
                        (0..ENTRIES_MAX).for_each(|index| entries.add(index, 1.0));
                    }
                    added += 1;
                    rounds.fetch_add(1, Ordering::SeqCst);
                }
                added
            }));
        }
    }

    /// So many threads at a time, each of which is soon followed by another.
    fn churn(&mut self, name: &str, threads: usize) {
        self.stop = Arc::new(AtomicBool::new(false));
        for _ in 0..threads {
            let series = self.series[name].clone();
            let stop = Arc::clone(&self.stop);
            self.storms.push(std::thread::spawn(move || {
                let mut added = 0;
                while !stop.load(Ordering::Relaxed) {
                    let series = series.clone();
                    let short = std::thread::spawn(move || {
                        (0..ADDS_OF_SHORT_THREAD).for_each(|_| series.add(0, 1.0));
                    });
                    short.join().unwrap();
                    added += ADDS_OF_SHORT_THREAD;
                }
                added
            }));
        }
    }

    fn storm(&mut self, name: &str, threads: usize) {
        self.stop = Arc::new(AtomicBool::new(false));
        for _ in 0..threads {
            let series = self.series[name].clone();
            let stop = Arc::clone(&self.stop);
            self.storms.push(std::thread::spawn(move || {
                let mut added = 0;
                while !stop.load(Ordering::Relaxed) {
                    series.add(0, 1.0);
                    added += 1;
                }
                added
            }));
        }
    }
}

/// Adds of a thread before it ends and another takes its place.
const ADDS_OF_SHORT_THREAD: u64 = 100;

/// Whether the thread that tells the log is at it.
fn is_logging() -> bool {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    tasks
        .flatten()
        .filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok())
        .any(|name| name.trim_end() == "metricsd-log")
}
