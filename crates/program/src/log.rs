//! The log on its way to standard error, through a bounded queue with a writer of its own.
//!
//! Invariant: whoever logs never waits for whoever reads, and a standard error that cannot be written is nobody's fault: lines that find
//! the queue full are counted and named in one later line; lines that cannot be written are gone.

use std::collections::VecDeque;
use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;

/// Enough for the burst of a whole year of candles at full speed; a line has about 200 bytes.
const LINES_MAX: usize = 4_096;

/// How long the end of the program waits for a standard error that is read slowly.
const DRAIN_TIME_MAX: Duration = Duration::from_millis(300);

/// There is no log: the thread that writes it cannot be started.
#[derive(Debug, thiserror::Error)]
#[error("the log cannot be started")]
pub struct LogError(#[source] io::Error);

/// The running log. Clones are the same one.
#[derive(Debug, Clone)]
pub struct Log(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Whose log it is, for its own words.
    program: &'static str,
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
    fn next(&mut self, program: &str) -> Option<Vec<u8>> {
        self.lines.pop_front().or_else(|| self.take_loss(program))
    }

    fn take_loss(&mut self, program: &str) -> Option<Vec<u8>> {
        let lost = std::mem::take(&mut self.lost);
        (lost > 0).then(|| {
            format!("{program}: {lost} log lines were lost because standard error was not read in time\n")
                .into_bytes()
        })
    }
}

impl Log {
    /// Begins to log what is at least as grave as `level`. To be called once: it is the log of the whole process.
    ///
    /// # Errors
    /// The writer's thread cannot be started.
    pub fn start(program: &'static str, level: LevelFilter) -> Result<Log, LogError> {
        let log = Log::to(program, io::stderr()).map_err(LogError)?;
        tracing_subscriber::fmt()
            .with_writer(log.clone())
            .with_max_level(level)
            .with_ansi(io::stderr().is_terminal())
            .with_target(false)
            // Otherwise the subscriber panics where it cannot write.
            .log_internal_errors(false)
            .init();
        Ok(log)
    }

    fn to(program: &'static str, mut out: impl Write + Send + 'static) -> io::Result<Log> {
        let log = Log(Arc::new(Shared {
            program,
            state: Mutex::default(),
            changed: Condvar::new(),
        }));
        let source = log.clone();
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
        Ok(log)
    }

    /// Words of the program itself, as its last ones, which find a place in a full queue too; waits as [`drain`](Self::drain) does.
    pub fn say(&self, sentence: &str) {
        let program = self.0.program;
        let mut state = self.lock();
        let loss = state.take_loss(program);
        state.lines.extend(loss);
        state
            .lines
            .push_back(format!("{program}: {sentence}\n").into_bytes());
        drop(state);
        self.0.changed.notify_all();
        self.drain();
    }

    /// One line, its end included.
    fn push(&self, line: &[u8]) {
        let mut state = self.lock();
        if state.lines.len() < LINES_MAX {
            state.lines.push_back(line.to_vec());
        } else {
            state.lost += 1;
        }
        drop(state);
        self.0.changed.notify_all();
    }

    /// Waits until everything is written, but not for a reader that does not read.
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
            if let Some(line) = state.next(self.0.program) {
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
impl Write for Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Log;

    fn make_writer(&self) -> Log {
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
        let log = Log::to("program", writer).unwrap();
        // A pipe holds 64 KiB, so that the writer is stuck early, then the queue fills, and this loop goes on all the same.
        let line = [b"x".repeat(1_023), b"\n".to_vec()].concat();
        let pushed = 2 * LINES_MAX;
        for _ in 0..pushed {
            log.push(&line);
        }
        log.drain();
        let (mut whole, mut lost) = (0, 0);
        for read in BufReader::new(reader).lines() {
            let read = read.unwrap();
            match read.strip_prefix("program: ") {
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
        let log = Log::to("program", writer).unwrap();
        for number in 0..10 {
            log.push(format!("{number}\n").as_bytes());
        }
        log.drain();
        assert!(log.lock().is_drained());
        let lines: Vec<String> = BufReader::new(reader)
            .lines()
            .take(10)
            .map(Result::unwrap)
            .collect();
        assert_eq!(lines.concat(), "0123456789");
    }

    #[test]
    fn last_words_find_a_place_in_a_full_queue_behind_the_number_of_lines_that_did_not() {
        let (reader, writer) = io::pipe().unwrap();
        let log = Log::to("program", writer).unwrap();
        let line = [b"x".repeat(1_023), b"\n".to_vec()].concat();
        for _ in 0..2 * LINES_MAX {
            log.push(&line);
        }
        log.say("it is over");
        let words: Vec<String> = BufReader::new(reader)
            .lines()
            .map(Result::unwrap)
            .filter(|line| line.starts_with("program: "))
            .take(2)
            .collect();
        assert!(words[0].contains(" log lines were lost "), "{words:?}");
        assert_eq!(words[1], "program: it is over");
    }
}
