//! `metricsd verify mode-b`: is it wired? The operator's steps, from the environment over port, page, sessions and shards to what
//! Prometheus saw, as checks that can fail.
//!
//! Invariant: each check has a fault that makes it fail, and `docs/verification.md` has a row for it; what was not looked at is said
//! and is no pass. The verified directory is only read (a session that `--run-session` starts writes there, as any session does), and
//! whatever was started is ended, also on Ctrl-C. Must not take a lock or a lease.

pub mod cli;
mod endpoint;
pub mod http;
mod ids;
pub mod page;
mod place;
mod port;
pub mod processes;
mod prometheus;
pub mod record;
mod samples;
mod session;
mod shards;
mod subject;
mod totals;

use std::io::{self, Write};

use jiff::Timestamp;
use thiserror::Error;

use crate::settings::{Environment, SettingsError};
use crate::verify::child::ChildError;
use crate::verify::drill;
use crate::verify::evidence::{self, Ended, Evidence, EvidenceError, Finding, Folder};

use cli::{Drill, ModeBArgs, ModeBSettings};
use http::Client;
use page::Page;
use processes::Seen;
use record::{Book, Retry, Stop};
use session::RunningSession;

pub use ids::{CHECKS, DRILLS};

/// Nothing could be verified.
#[derive(Debug, Error)]
pub enum ModeBError {
    /// Settings that cannot be used. The exit code is 2.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The report cannot be filed. The exit code is 1.
    #[error(transparent)]
    Evidence(#[from] EvidenceError),
    /// A drill's inner stage could not do its part. The exit code is 1.
    #[error(transparent)]
    Stage(#[from] ChildError),
    /// Signals cannot be caught, or the result cannot be written. The exit code is 1.
    #[error("cannot {what}")]
    System {
        /// What could not be done.
        what: &'static str,
        /// The system's error.
        source: io::Error,
    },
}

/// Verifies, tells `out` line by line or as one object at the end, and files the report.
///
/// # Errors
/// Bad settings, a report that cannot be filed or told. A check that fails is none.
pub fn run(
    args: &ModeBArgs,
    env: &Environment<'_>,
    out: &mut dyn Write,
) -> Result<Ended, ModeBError> {
    let failed = |what| move |source| ModeBError::System { what, source };
    let stop = Stop::on_signals().map_err(failed("catch signals"))?;
    if let Some(scratch) = &args.full_disk_stage {
        return Ok(drill::full_disk::stage(scratch, args, &stop, out)?);
    }
    let settings = args.resolve(env)?;
    let started = Timestamp::now();
    let folder = match &args.evidence {
        Some(directory) => Some(Folder::create(directory, started)?),
        None => None,
    };
    let lines: Option<&mut dyn Write> = if args.output.json {
        None
    } else {
        Some(&mut *out)
    };
    let mut book = Book::new(lines, stop);
    if args.drill != Some(Drill::Only) {
        Wiring::new(args, &settings, env).verify(&mut book);
    }
    if args.drill.is_some() {
        drill::run(args, env, &mut book);
    }
    verdict(&mut book);
    let (steps, raw) = book.into_parts();
    let evidence = Evidence {
        subject: subject::describe(args, &settings),
        started,
        ended: Timestamp::now(),
        result: evidence::result(&steps),
        steps,
        evidence: folder
            .as_ref()
            .map(|folder| folder.path().display().to_string()),
        raw,
    };
    if let Some(folder) = &folder {
        evidence::write(folder, &evidence)?;
    }
    tell(&evidence, args.output.json, out).map_err(failed("write the result"))?;
    Ok(evidence.result)
}

/// The last lines, or the whole as one object. A reader that left is no error.
fn tell(evidence: &Evidence, is_json: bool, out: &mut dyn Write) -> io::Result<()> {
    let written = if is_json {
        serde_json::to_string_pretty(evidence)
            .map_err(io::Error::from)
            .and_then(|text| writeln!(out, "{}", program::terminal::printable_json(&text)))
    } else {
        let report = evidence.evidence.iter();
        report
            .map(|folder| format!("EVIDENCE|{folder}/report.md"))
            .chain([format!("RESULT={}", evidence.result.word())])
            .try_for_each(|line| writeln!(out, "{line}"))
    };
    match written.and_then(|()| out.flush()) {
        Err(err) if err.kind() != io::ErrorKind::BrokenPipe => Err(err),
        _ => Ok(()),
    }
}

fn verdict(book: &mut Book<'_>) {
    let of = |ended| {
        let steps = book.steps().iter().filter(|step| step.outcome == ended);
        steps.map(|step| step.id.as_str()).collect::<Vec<_>>()
    };
    let (passed, failed, skipped) = (of(Ended::Pass), of(Ended::Fail), of(Ended::Skip));
    let mut text = format!("{} passed, {} failed", passed.len(), failed.len());
    if !failed.is_empty() {
        text.push_str(&format!(" ({})", failed.join(", ")));
    }
    if !skipped.is_empty() {
        text.push_str(&format!("; not checked: {}", skipped.join(", ")));
    }
    let interrupted = book.stop().is_asked();
    let finding = if interrupted || evidence::result(book.steps()) == Ended::Fail {
        let reason = if interrupted { "interrupted; " } else { "" };
        Finding::fail(
            format!("{reason}{text}"),
            "do what the failed checks say, then verify again",
        )
    } else {
        Finding::pass(text)
    };
    let now = Timestamp::now();
    book.push(evidence::Step {
        id: ids::VERDICT.into(),
        title: "All of it together".into(),
        outcome: finding.ended,
        text: finding.text,
        next: finding.next,
        attempts: 1,
        started: now,
        duration: std::time::Duration::ZERO,
        exchanges: Vec::new(),
    });
}

/// The checks of a daemon that runs, and what they learn on the way.
struct Wiring<'a> {
    args: &'a ModeBArgs,
    settings: &'a ModeBSettings,
    env: &'a Environment<'a>,
    client: Client,
    /// Less patient once the page is known not to come.
    retry: Retry,
    started: Timestamp,
    /// Who owned the port at first.
    owner: Option<Seen>,
    /// The page before the session, the last one while it ran, and the one after its end.
    before: Page,
    during: Page,
    session: Option<RunningSession>,
    /// Whether it was seen to write here.
    session_wrote: bool,
    /// Who wrote when it was looked first.
    writers: Vec<Seen>,
}

impl<'a> Wiring<'a> {
    fn new(
        args: &'a ModeBArgs,
        settings: &'a ModeBSettings,
        env: &'a Environment<'a>,
    ) -> Wiring<'a> {
        Wiring {
            args,
            settings,
            env,
            client: Client::default(),
            retry: settings.retry,
            started: Timestamp::now(),
            owner: None,
            before: Page::default(),
            during: Page::default(),
            session: None,
            session_wrote: false,
            writers: Vec::new(),
        }
    }

    /// The order is the operator's: what a later check needs was checked before it.
    fn verify(mut self, book: &mut Book<'_>) {
        self.environment(book);
        self.port_owner(book);
        self.http_ok(book);
        self.content_type(book);
        self.healthy(book);
        self.ready(book);
        if self.args.run_session {
            self.session_started(book);
        }
        self.sessions_listen_on_nothing(book);
        self.port_owner_unchanged(book, ids::PORT_OWNER_UNCHANGED, "while sessions run");
        self.shards_present(book);
        self.shards_live(book);
        self.families_present(book);
        self.exposition_valid(book);
        self.values_moved(book);
        let ended = self.await_end(book);
        self.still_there_after_end(book, ended);
        self.port_owner_unchanged(book, ids::PORT_OWNER_AT_END, "at the end");
        self.up_stable(book, ended);
        self.totals_proven(book);
    }
}
