//! Fault drills: what the daemon promises, shown by breaking things, in a scratch directory with daemons and sessions of its own.
//!
//! Invariant: nothing outside the scratch directory is touched, ports are free ones that the system chose, every process is ended and the
//! directory removed, also on Ctrl-C. A drill that cannot be had here is said to be skipped.

pub mod full_disk;
mod full_disk_outside;
mod kills;
mod second_daemon;
mod stage;
mod wiped;

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::child::session_program;
use super::evidence::Finding;
use super::mode_b::cli::ModeBArgs;
use super::record::{Book, Probe, Stop};
use crate::settings::Environment;
use crate::verify::mode_b::DRILLS;
use program::sentence;

use stage::Stage;

/// How long something may take that a drill waits for.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a failed drill asks for.
const REPORT: &str = "unless the session's program is at fault (--session-bin), keep the evidence, and report it as a defect of metricsd: this promise does not hold here";

/// What a drill shows: the promise in numbers, or why it does not hold.
type Drilled = Result<String, String>;

/// One drill.
type Act = fn(&Stage, &mut Probe) -> Drilled;

/// Makes every drill.
pub fn run(args: &ModeBArgs, env: &Environment<'_>, book: &mut Book<'_>) {
    let session = session_program(args.session_bin.as_deref(), env).map_err(|err| sentence(&err));
    let acts: [(&str, Act); 5] = [
        (
            "A second daemon on the directory is refused and touches nothing",
            second_daemon::act,
        ),
        (
            "kill -9 of a session: what it counted stays, to the last count",
            kills::session,
        ),
        (
            "kill -9 of the daemon and a restart: nothing is lost, nothing goes back",
            kills::daemon,
        ),
        (
            "A full disk: the session goes on, and its counts appear when there is room",
            full_disk_outside::act,
        ),
        (
            "rm -rf of the directory under a live session: totals stay, and it goes on in new files",
            wiped::act,
        ),
    ];
    for (id, (title, act)) in DRILLS.into_iter().zip(acts) {
        let stop = book.stop().clone();
        book.step(id, title, |probe| match &session {
            Ok(session) => one(act, session, stop, probe),
            Err(err) => Finding::fail(err, "build shadow-session, or name it with --session-bin"),
        });
    }
}

fn one(act: Act, session: &Path, stop: Stop, probe: &mut Probe) -> Finding {
    let stage = match Stage::new(session.to_owned(), stop) {
        Ok(stage) => stage,
        Err(err) => {
            return Finding::fail(err, "make room in the temporary directory, or set TMPDIR");
        }
    };
    match act(&stage, probe) {
        Ok(text) => Finding::pass(text),
        // What it waited for was broken off, which says nothing of the promise.
        Err(_) if stage.stop.is_asked() => {
            Finding::skip("interrupted before it was done", "run it again")
        }
        Err(text) => match text.strip_prefix(full_disk::NOT_POSSIBLE) {
            Some(why) => Finding::skip(
                why.trim(),
                "run it where user namespaces are allowed, or as root",
            ),
            None => Finding::fail(text, REPORT),
        },
    }
}

/// A claim of a drill.
fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise()) }
}

/// A scratch directory's part.
fn below(folder: &Path, name: &str) -> PathBuf {
    folder.join(name)
}
