//! A writer in a process of its own: this test program, started again as one test that obeys commands.
//!
//! Each test file that uses it has a test called `child` which calls [`obey`].

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use metricsd_shard::{Create, FileKind, GaugeMode, ProcessInfo, Writer};

use super::shards::{counter, key};

/// Directory that the child writes into.
const DIRECTORY_VARIABLE: &str = "METRICSD_TEST_CHILD_DIRECTORY";
/// Name that the child's program has.
const PROGRAM_VARIABLE: &str = "METRICSD_TEST_CHILD_PROGRAM";
/// Begins each line of an answer; the test harness prints lines of its own.
const ANSWER: &str = "answer ";

/// In the child: does what standard input says until it ends. In any other process: nothing.
pub fn obey() {
    let Some(directory) = std::env::var_os(DIRECTORY_VARIABLE) else {
        return;
    };
    let program = std::env::var(PROGRAM_VARIABLE).expect("set together with the directory");
    let info = ProcessInfo {
        program,
        version: "1".into(),
        mode: "paper".into(),
        ..ProcessInfo::default()
    };
    let writer = Writer::open(Path::new(&directory), info);
    let counted = writer.series(
        FileKind::Counter,
        vec![counter("child_events")],
        Create::AtZero,
    );
    let gauge = writer.series(
        FileKind::Gauge(GaugeMode::LiveMax),
        vec![key("child_level", "child_level", &[])],
        Create::OnFirstTouch,
    );
    let mut output = std::io::stdout().lock();
    writeln!(output, "\n{ANSWER}ready").expect("the parent reads");
    for line in std::io::stdin().lock().lines() {
        let line = line.expect("the parent writes text");
        let (command, number) = line.split_once(' ').expect("a command and a number");
        let number: f64 = number.parse().expect("a number");
        match command {
            // In two threads, so that its key stands in the file twice.
            "add" => {
                counted.add(0, number / 2.0);
                in_another_thread(|| counted.add(0, number / 2.0));
            }
            "set" => gauge.set(0, number),
            "new" => {
                let series = key(
                    "child_new",
                    "child_new_total",
                    &[("number", &number.to_string())],
                );
                writer
                    .series(FileKind::Counter, vec![series], Create::AtZero)
                    .add(0, 1.0);
            }
            "everything" => record_everything(writer, number),
            _ => panic!("unknown command {command}"),
        }
        writeln!(output, "{ANSWER}{line}").expect("the parent reads");
    }
}

/// One series of each kind and gauge mode, under the same names in every child.
fn record_everything(writer: Writer, number: f64) {
    let labels = [(
        "side",
        if number % 2.0 == 0.0 {
            "buy"
        } else {
            "sell ü\n\""
        },
    )];
    for mode in GaugeMode::ALL {
        let name = format!("every_gauge_{mode}");
        let gauge = writer.series(
            FileKind::Gauge(mode),
            vec![key(&name, &name, &labels)],
            Create::OnFirstTouch,
        );
        match mode {
            GaugeMode::MostRecent | GaugeMode::LiveMostRecent => {
                gauge.set_with_timestamp(0, number, 1e9 + number)
            }
            _ => gauge.set(0, number - 2.0),
        }
    }
    let name = "every_seconds";
    let mut keys = vec![key(name, "every_seconds_sum", &labels)];
    for bound in ["0.5", "1.0", "+Inf"] {
        keys.push(key(
            name,
            "every_seconds_bucket",
            &[labels[0], ("le", bound)],
        ));
    }
    let histogram = writer.series(FileKind::Histogram, keys, Create::AtZero);
    histogram.add(0, number);
    in_another_thread(|| histogram.add(1 + (number as usize % 3), 1.0));
    let keys = ["_count", "_sum"]
        .map(|suffix| key("every_bytes", &format!("every_bytes{suffix}"), &[]))
        .to_vec();
    let summary = writer.series(FileKind::Summary, keys, Create::AtZero);
    summary.add(0, 1.0);
    in_another_thread(|| summary.add(1, number));
}

/// While this one lives.
fn in_another_thread(work: impl FnOnce() + Send) {
    std::thread::scope(|scope| scope.spawn(work).join()).expect("a call cannot fail");
}

/// The child, as its parent sees it; killed when dropped.
#[derive(Debug)]
pub struct WriterChild {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl WriterChild {
    /// Starts it; it has made its series when this returns.
    pub fn start(directory: &Path, program: &str) -> WriterChild {
        let mut child =
            Command::new(std::env::current_exe().expect("a running program has a path"))
                .args(["child", "--exact", "--nocapture"])
                .env(DIRECTORY_VARIABLE, directory)
                .env(PROGRAM_VARIABLE, program)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .expect("this program starts again");
        let input = child.stdin.take().expect("piped");
        let output = BufReader::new(child.stdout.take().expect("piped"));
        let mut child = WriterChild {
            child,
            input,
            output,
        };
        child.expect("ready");
        child
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Has it do something; it is done when this returns.
    pub fn tell(&mut self, command: &str) {
        writeln!(self.input, "{command}").expect("the child reads");
        self.expect(command);
    }

    /// `kill -9`.
    pub fn kill(mut self) {
        self.child.kill().expect("a child that runs");
        self.child.wait().expect("a child that was started");
    }

    fn expect(&mut self, words: &str) {
        loop {
            let mut line = String::new();
            let length = self
                .output
                .read_line(&mut line)
                .expect("the child writes text");
            assert_ne!(length, 0, "the child ended before it said {words:?}");
            if let Some(answer) = line.trim_end().strip_prefix(ANSWER) {
                assert_eq!(answer, words);
                return;
            }
        }
    }
}

impl Drop for WriterChild {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
