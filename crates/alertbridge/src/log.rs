//! The log on its way to standard error, by a thread of its own.
//!
//! Invariant: nothing in the bridge waits for whoever reads standard error. Lines that find the queue full are dropped, and the
//! number of them is in the last line.

use std::io::{self, IsTerminal, Write};
use std::sync::mpsc::channel;
use std::time::Duration;

use tracing::level_filters::LevelFilter;
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};

/// Lines that wait; one has some 200 bytes.
const LINES_MAX: usize = 4096;

/// How long the end of the program waits for a standard error that is read slowly.
const DRAIN_TIME_MAX: Duration = Duration::from_millis(300);

/// The running log. What is still queued is written when it is closed.
#[derive(Debug)]
pub struct Log {
    guard: WorkerGuard,
    dropped: ErrorCounter,
}

impl Log {
    /// Starts to log what is at least as grave as `level`.
    pub fn start(level: LevelFilter) -> Log {
        let (out, guard) = NonBlockingBuilder::default()
            .buffered_lines_limit(LINES_MAX)
            .lossy(true)
            .thread_name("log")
            .finish(io::stderr());
        let dropped = out.error_counter();
        tracing_subscriber::fmt()
            .with_writer(out)
            .with_max_level(level)
            .with_ansi(io::stderr().is_terminal())
            .with_target(false)
            // Otherwise a log that nobody reads any more would end the thread that writes to it.
            .log_internal_errors(false)
            .init();
        Log { guard, dropped }
    }

    /// Writes what is queued, for a moment at most, and then a line of `last` words, if there are any.
    pub fn close(self, last: Option<&str>) {
        let Log { guard, dropped } = self;
        let count = dropped.dropped_lines();
        let last = last.map(str::to_owned);
        let (done, is_done) = channel();
        // A standard error that nobody reads blocks this thread and ends with the process.
        let _ = std::thread::Builder::new()
            .name("last words".into())
            .spawn(move || {
                drop(guard);
                let mut stderr = io::stderr();
                if count > 0 {
                    let _ = writeln!(
                        stderr,
                        "alertbridge: {count} log lines were lost because standard error was not read in time"
                    );
                }
                if let Some(last) = last {
                    let _ = writeln!(stderr, "{last}");
                }
                let _ = done.send(());
            });
        let _ = is_done.recv_timeout(DRAIN_TIME_MAX);
    }
}
