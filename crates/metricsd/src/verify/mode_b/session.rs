//! The session of `--run-session`: started in the verified directory, watched, and always ended.
//!
//! Invariant: it has a time after which it ends by itself, also if we are killed; it is asked and then made to end if it does not.

use std::time::Duration;

use jiff::Timestamp;
use procfs::process::Process;
use tempfile::TempDir;

use super::processes::{Seen, look_into};
use super::record::{Book, Probe};
use super::{Wiring, ids};
use crate::sentence::one_sentence;
use crate::verify::child::{Running, SessionPlan, session_program, steps_in};
use crate::verify::evidence::Finding;

/// What a session may take longer than its time: it loads, and machines are busy.
const GRACE: Duration = Duration::from_secs(20);

/// How often the page is looked at while the session runs.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// Lines of its output that are shown.
const LAST_LINES: usize = 12;

/// The session of `--run-session`.
#[derive(Debug)]
pub(super) struct RunningSession {
    running: Running,
    /// Its configuration and log; removed with it.
    _folder: TempDir,
}

impl RunningSession {
    /// As procfs shows it; none when it has ended.
    pub(super) fn seen(&self) -> Option<Seen> {
        let pid = i32::try_from(self.running.id()).ok()?;
        Seen::of(&Process::new(pid).ok()?)
    }
}

impl Wiring<'_> {
    pub(super) fn session_started(&mut self, book: &mut Book<'_>) {
        let title = "A paper session starts and writes shards into the verified directory";
        let mut session = None;
        // A session is started once; it is what it does that is waited for.
        let mut start = Some(|probe: &mut Probe| self.start_session(probe));
        book.step_with(ids::SESSION_STARTED, title, self.retry, |probe| {
            if let Some(start) = start.take() {
                match start(probe) {
                    Ok(started) => session = Some(started),
                    Err(err) => {
                        probe.do_not_retry();
                        return Finding::fail(err, "name a session's program with --session-bin");
                    }
                }
            }
            let Some(session) = session.as_mut() else {
                return Finding::fail("it was not started", "see above");
            };
            self.writes(session, probe)
        });
        self.session = session;
    }

    fn start_session(&self, probe: &mut Probe) -> Result<RunningSession, String> {
        let program = session_program(self.args.session_bin.as_deref(), self.env)
            .map_err(|err| one_sentence(&err))?;
        let folder = tempfile::Builder::new()
            .prefix("metricsd-verify-")
            .tempdir()
            .map_err(|err| format!("no temporary directory: {err}"))?;
        let plan = SessionPlan {
            program: &program,
            shards: &self.settings.merge.directory.path,
            config: self.args.session_config.as_deref(),
            speed: self.args.session_speed,
            time: self.args.session_time,
        };
        let running = plan
            .start(folder.path())
            .map_err(|err| one_sentence(&err))?;
        probe.ask(running.command(), || format!("pid {}", running.id()));
        Ok(RunningSession {
            running,
            _folder: folder,
        })
    }

    fn writes(&self, session: &mut RunningSession, probe: &mut Probe) -> Finding {
        let directory = &self.settings.merge.directory.path;
        let pid = session.running.id();
        let mut is_writer = false;
        let asked = format!(
            "{} (PEAKTRADE_METRICS_MULTIPROC_DIR={}); /proc/{pid}/maps",
            session.running.command(),
            directory.display()
        );
        probe.ask(asked, || match look_into(directory) {
            Ok(look) => {
                is_writer = look
                    .writers
                    .iter()
                    .any(|writer| i64::from(writer.pid) == i64::from(pid));
                let verb = if is_writer { "has" } else { "has not" };
                format!(
                    "pid {pid} {verb} mapped shards of {} for writing",
                    directory.display()
                )
            }
            Err(err) => err.to_string(),
        });
        if is_writer {
            return Finding::pass(format!(
                "pid {pid} writes shards into {}",
                directory.display()
            ));
        }
        let ended = match session.running.ended() {
            Some(status) => {
                probe.do_not_retry();
                format!(
                    "it ended with {status}: {}",
                    last_lines(&session.running.output())
                )
            }
            None => format!(
                "pid {pid} runs and writes no shard into {}",
                directory.display()
            ),
        };
        Finding::fail(
            ended,
            "run it in Mode B: telemetry.mode = \"B\", PEAKTRADE_METRICS_MODE=B",
        )
    }

    /// Follows the page until the session has ended. When that was; none if none ended.
    pub(super) fn await_end(&mut self, book: &mut Book<'_>) -> Option<Timestamp> {
        let Some(mut session) = self.session.take() else {
            return self.writers_that_ended();
        };
        let title = "The session ends by itself, with exit code 0";
        let mut during = None;
        let mut ended_at = None;
        let stop = book.stop().clone();
        book.step(ids::SESSION_ENDED, title, |probe| {
            let running = &mut session.running;
            let deadline = std::time::Instant::now() + self.args.session_time + GRACE;
            let mut status = running.ended();
            while status.is_none() && std::time::Instant::now() < deadline && !stop.is_asked() {
                if let Ok(page) = self.page(&mut Probe::default()) {
                    during = Some(page);
                }
                std::thread::sleep(LOOK_INTERVAL);
                status = running.ended();
            }
            let by_itself = status.is_some();
            let status = status.or_else(|| running.end());
            ended_at = Some(Timestamp::now());
            let output = running.output();
            probe.ask(format!("wait for pid {}", running.id()), || output.clone());
            probe.file("session.log", output.as_bytes());
            let steps = steps_in(&output).map_or(String::new(), |steps| format!(", {steps} steps"));
            match status {
                Some(status) if status.success() && by_itself => Finding::pass(format!(
                    "pid {} ended with exit code 0{steps}",
                    running.id()
                )),
                Some(status) if by_itself => Finding::fail(
                    format!(
                        "pid {} ended with {status}: {}",
                        running.id(),
                        last_lines(&output)
                    ),
                    "read what it says in session.log",
                ),
                _ => Finding::fail(
                    format!("pid {} did not end in time and was made to", running.id()),
                    "make --session-time longer than the session needs",
                ),
            }
        });
        if let Some(during) = during {
            book.file("metrics-during.prom", &during.bytes);
            self.during = during;
        }
        ended_at
    }

    /// Without a session of our own: whether one that wrote at first is gone now.
    fn writers_that_ended(&self) -> Option<Timestamp> {
        let gone = self.writers.iter().any(|writer| {
            let now = Process::new(writer.pid)
                .ok()
                .and_then(|process| Seen::of(&process));
            now.is_none_or(|now| now.start_ticks != writer.start_ticks)
        });
        gone.then(Timestamp::now)
    }
}

fn last_lines(output: &str) -> String {
    let lines: Vec<&str> = output.lines().collect();
    lines[lines.len().saturating_sub(LAST_LINES)..].join(" / ")
}
