//! `metricsd verify mode-b`: is it wired? The operator's steps, from the environment over port, page, sessions and shards to what
//! Prometheus saw, as checks that can fail.
//!
//! Invariant: each check has a fault that makes it fail, and `docs/verification.md` has a row for it; what was not looked at is said
//! and is no pass. The verified directory is only read (a session that `--run-session` starts writes there, as any session does), and
//! whatever was started is ended, also on Ctrl-C. Must not take a lock or a lease.

pub mod cli;
mod endpoint;
mod ids;
mod place;
mod port;
mod prometheus;
mod samples;
mod session;
mod shards;
mod totals;

use std::io::Write;

use jiff::Timestamp;

use super::evidence::{Ended, Verified};
use super::http::Client;
use super::page::Page;
use super::processes::Seen;
use super::record::{Book, Retry, Stop};
use super::verification::{Plan, VerificationError, conduct};
use super::{drill, subject};
use crate::settings::Environment;

use cli::{Drill, ModeBArgs, ModeBSettings};
use session::RunningSession;

pub use ids::{CHECKS, DRILLS};

/// Verifies, tells `out` line by line or as one object at the end, and files the report.
///
/// # Errors
/// Bad settings, a report that cannot be filed or told. A check that fails is none.
pub fn run(
    args: &ModeBArgs,
    env: &Environment<'_>,
    out: &mut dyn Write,
) -> Result<Ended, VerificationError> {
    if let Some(scratch) = &args.full_disk_stage {
        let stop = Stop::on_signals().map_err(VerificationError::signals)?;
        return Ok(drill::full_disk::stage(scratch, args, &stop, out)?);
    }
    let settings = args.resolve(env)?;
    let plan = Plan {
        name: "mode-b",
        subject: subject::describe("metricsd Mode B", verified(args, &settings)),
        report: &args.report,
    };
    conduct(plan, out, |book| {
        if args.drill != Some(Drill::Only) {
            Wiring::new(args, &settings, env).verify(book);
        }
        if args.drill.is_some() {
            drill::run(args, env, book);
        }
    })
}

fn verified(args: &ModeBArgs, settings: &ModeBSettings) -> Vec<Verified> {
    let merge = &settings.merge;
    let shards = merge.directory.path.display();
    let state = merge.state.path.display();
    let rows = [
        ("url", "Page", Some(settings.url.to_string())),
        (
            "shard_directory",
            "Shard directory",
            Some(format!("{shards} (named by {})", merge.directory.source)),
        ),
        (
            "state_directory",
            "State directory",
            Some(format!("{state} (named by {})", merge.state.source)),
        ),
        ("prometheus", "Prometheus", args.prometheus.clone()),
    ];
    let each = rows.into_iter();
    each.map(|(key, label, value)| Verified { key, label, value })
        .collect()
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
