//! Log lines on their way to standard error, through a bounded queue with its own writer.
//!
//! Invariant: whoever logs never waits for whoever reads, and a standard error that cannot be written is nobody's fault: lines that find
//! the queue full are counted and named in one later line; lines that cannot be written are gone.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

/// Enough for the burst of a whole year of candles at full speed; a line has about 200 bytes.
const LINES_MAX: usize = 4_096;

/// How long the end of the program waits for a standard error that is read slowly.
const DRAIN_TIME_MAX: Duration = Duration::from_millis(300);

/// The queue; clones are the same one.
#[derive(Debug, Clone)]
pub struct LogQueue(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    lines: VecDeque<Vec<u8>>,
    lost: u64,
    writing: bool,
}

impl State {
    fn is_drained(&self) -> bool {
        self.lines.is_empty() && self.lost == 0 && !self.writing
    }

    /// What is to be written next: the loss behind the lines that were in time.
    fn next(&mut self) -> Option<Vec<u8>> {
        self.lines.pop_front().or_else(|| {
            let lost = std::mem::take(&mut self.lost);
            (lost > 0).then(|| {
                format!("shadow-session: {lost} log lines were lost because standard error was not read in time\n")
                    .into_bytes()
            })
        })
    }
}

impl LogQueue {
    /// Begin to write to `out`, which is standard error.
    ///
    /// # Errors
    /// The writer's thread cannot be started.
    pub fn start(mut out: impl Write + Send + 'static) -> io::Result<LogQueue> {
        let queue = LogQueue(Arc::default());
        let source = queue.clone();
        std::thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || {
                loop {
                    let line = source.take();
                    // Nobody is left to tell.
                    let _ = out.write_all(&line).and_then(|()| out.flush());
                    source.lock().writing = false;
                    source.0.changed.notify_all();
                }
            })?;
        Ok(queue)
    }

    /// One line, its end included.
    pub fn push(&self, line: &[u8]) {
        let mut state = self.lock();
        if state.lines.len() < LINES_MAX {
            state.lines.push_back(line.to_vec());
        } else {
            state.lost += 1;
        }
        drop(state);
        self.0.changed.notify_all();
    }

    /// Wait until everything is written, but not for a reader that does not read.
    pub fn drain(&self) {
        let waited = self
            .0
            .changed
            .wait_timeout_while(self.lock(), DRAIN_TIME_MAX, |state| !state.is_drained());
        drop(waited);
    }

    fn take(&self) -> Vec<u8> {
        let mut state = self.lock();
        loop {
            if let Some(line) = state.next() {
                state.writing = true;
                return line;
            }
            state = self
                .0
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The subscriber writes a whole line at once.
impl Write for LogQueue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for LogQueue {
    type Writer = LogQueue;

    fn make_writer(&self) -> LogQueue {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};

    #[test]
    fn a_reader_that_does_not_read_costs_lines_and_they_are_counted_when_it_reads_again() {
        let (reader, writer) = io::pipe().unwrap();
        let queue = LogQueue::start(writer).unwrap();
        // A pipe holds 64 KiB, so that the writer is stuck early, then the queue fills, and this loop goes on all the same.
        let line = [b"x".repeat(1_023), b"\n".to_vec()].concat();
        let pushed = 2 * LINES_MAX;
        for _ in 0..pushed {
            queue.push(&line);
        }
        queue.drain();
        let (mut whole, mut lost) = (0, 0);
        for read in BufReader::new(reader).lines() {
            let read = read.unwrap();
            match read.strip_prefix("shadow-session: ") {
                Some(sentence) => {
                    lost = sentence.split(' ').next().unwrap().parse().unwrap();
                    break;
                }
                None => whole += 1,
            }
        }
        assert!(
            lost > 0 && whole >= LINES_MAX,
            "{whole} written, {lost} lost"
        );
        assert_eq!(whole + lost, pushed);
    }

    #[test]
    fn what_was_pushed_before_the_drain_is_written_after_it() {
        let (reader, writer) = io::pipe().unwrap();
        let queue = LogQueue::start(writer).unwrap();
        for number in 0..10 {
            queue.push(format!("{number}\n").as_bytes());
        }
        queue.drain();
        assert!(queue.lock().is_drained());
        let lines: Vec<String> = BufReader::new(reader)
            .lines()
            .take(10)
            .map(Result::unwrap)
            .collect();
        assert_eq!(lines.concat(), "0123456789");
    }
}
