//! The session of `--run-session`: started in the verified directory, watched, and always ended.
//!
//! Invariant: it has a time after which it ends by itself, also if we are killed; it is asked and then made to end if it does not.

use std::process::ExitStatus;
use std::time::Duration;

use jiff::Timestamp;
use procfs::process::Process;
use tempfile::TempDir;

use super::{Wiring, ids};
use crate::verify::child::{Running, SESSION_CONFIG, SessionPlan, session_program, steps_in};
use crate::verify::evidence::{Ended, Finding};
use crate::verify::processes::{Seen, look_into, writers_of};
use crate::verify::record::{Book, Probe};
use program::sentence;

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
        // Its start takes as long where the page does not come.
        let retry = self.settings.retry;
        let ended = book.step_with(ids::SESSION_STARTED, title, retry, |probe| {
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
        if session.is_some() && self.args.session_config.is_none() {
            book.file("shadow-session.toml", SESSION_CONFIG.as_bytes());
        }
        self.session = session;
        self.session_wrote = ended == Ended::Pass;
    }

    fn start_session(&self, probe: &mut Probe) -> Result<RunningSession, String> {
        let program = session_program(self.args.session_bin.as_deref(), self.env)
            .map_err(|err| sentence(&err))?;
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
        let running = plan.start(folder.path()).map_err(|err| sentence(&err))?;
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
        let command = session.running.command();
        probe.ask(
            format!("{command} & {}", writers_of(directory)),
            || match look_into(directory) {
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
            },
        );
        if is_writer {
            return Finding::pass(format!(
                "pid {pid} writes shards into {}",
                directory.display()
            ));
        }
        match session.running.ended() {
            Some(status) => {
                probe.do_not_retry();
                Finding::fail(
                    format!(
                        "it ended with {status}: {}",
                        last_lines(&session.running.output())
                    ),
                    "do what its last lines say, or name another program with --session-bin, another configuration with --session-config",
                )
            }
            None => Finding::fail(
                format!(
                    "pid {pid} runs and writes no shard into {}",
                    directory.display()
                ),
                "run it in Mode B: telemetry.mode = \"B\", PEAKTRADE_METRICS_MODE=B",
            ),
        }
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
            probe.ask(format!("wait {}", running.id()), || {
                let ended = status.map_or_else(String::new, |status| format!("{status}\n"));
                format!("{ended}{output}")
            });
            probe.file("session.log", output.as_bytes());
            if !by_itself && stop.is_asked() {
                return Finding::skip("interrupted before its end", "run it again");
            }
            how_it_ended(running.id(), status.filter(|_| by_itself), &output)
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

/// Judges a session's end; no status is that of one that had to be made to.
fn how_it_ended(pid: u32, status: Option<ExitStatus>, output: &str) -> Finding {
    let Some(status) = status else {
        return Finding::fail(
            format!(
                "pid {pid} did not end within --session-time and {GRACE:?} more, and was made to: {}",
                last_lines(output)
            ),
            "look why it goes on (session.log); --session-time is given to it as --duration",
        );
    };
    if !status.success() {
        return Finding::fail(
            format!("pid {pid} ended with {status}: {}", last_lines(output)),
            "read what it says in session.log",
        );
    }
    let steps = steps_in(output).map_or(String::new(), |steps| format!(", {steps} steps"));
    Finding::pass(format!("pid {pid} ended with exit code 0{steps}"))
}

fn last_lines(output: &str) -> String {
    let lines: Vec<&str> = output.lines().collect();
    if lines.is_empty() {
        return "it printed nothing".to_owned();
    }
    lines[lines.len().saturating_sub(LAST_LINES)..].join(" / ")
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    #[test]
    fn only_an_end_of_its_own_with_exit_code_0_passes() {
        let of = |status| how_it_ended(7, status, "begun\nSteps: 12\n");
        let fine = of(Some(ExitStatus::from_raw(0)));
        assert_eq!(
            fine,
            Finding::pass("pid 7 ended with exit code 0, 12 steps")
        );
        for (status, word) in [
            (Some(ExitStatus::from_raw(3 << 8)), "exit status: 3"),
            (Some(ExitStatus::from_raw(9)), "signal: 9"),
            (None, "was made to"),
        ] {
            let finding = of(status);
            assert_eq!(finding.ended, Ended::Fail, "{finding:?}");
            assert!(finding.text.contains(word), "{finding:?}");
            assert!(finding.text.contains("Steps: 12"), "{finding:?}");
        }
    }
}
