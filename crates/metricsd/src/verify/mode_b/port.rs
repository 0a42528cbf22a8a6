//! The port: metricsd has it, it alone, the one that serves the verified directory, and no session has any.
//!
//! Invariant: who owns a socket is what procfs says, not who answers on it.

use std::os::unix::fs::MetadataExt;

use super::{Wiring, ids};
use crate::lock_holder::{LockHolder, find_holder};
use crate::verify::evidence::Finding;
use crate::verify::port_owner::{Port, joined, lines};
use crate::verify::processes::{Seen, listening_addresses, look_into, writers_of};
use crate::verify::record::{Book, Probe};

/// The file name of the daemon's program.
const PROGRAM: &str = "metricsd";

impl Wiring<'_> {
    pub(super) fn port_owner(&mut self, book: &mut Book<'_>) {
        let title = "The port is owned by one metricsd, the one that serves the verified directory";
        let mut owner = None;
        book.step_with(ids::PORT_OWNER, title, self.retry, |probe| {
            match self.only_owner(probe) {
                Ok(found) => {
                    let finding = self.judge_owner(&found, probe);
                    owner = Some(found);
                    finding
                }
                Err(finding) => finding,
            }
        });
        self.owner = owner;
    }

    pub(super) fn port_owner_unchanged(&self, book: &mut Book<'_>, id: &str, when: &str) {
        let title = format!("The same process owns the port {when}");
        book.step(id, &title, |probe| {
            let found = match self.only_owner(probe) {
                Ok(found) => found,
                Err(finding) => return finding,
            };
            match &self.owner {
                Some(owner) if *owner == found => Finding::pass(format!(
                    "port {} is owned by {found} alone, started at tick {}, as before",
                    self.settings.port, found.start_ticks
                )),
                Some(owner) => Finding::fail(
                    format!("port {} went from {owner} to {found}", self.settings.port),
                    "find out who restarted the daemon or took its port while sessions ran",
                ),
                None => Finding::fail(
                    "who owned the port at first is not known",
                    "see the check port_owner",
                ),
            }
        });
    }

    pub(super) fn sessions_listen_on_nothing(&mut self, book: &mut Book<'_>) {
        let title = "No session owns a listening socket";
        let mut writers: Vec<Seen> = Vec::new();
        book.step(ids::SESSIONS_LISTEN_ON_NOTHING, title, |probe| {
            let directory = &self.settings.merge.directory.path;
            let asked = writers_of(directory);
            let mut hidden = 0;
            probe.ask(asked, || match look_into(directory) {
                Ok(look) => {
                    hidden = look.hidden;
                    writers = look.writers.into_iter().collect();
                    lines(&writers)
                }
                Err(err) => err.to_string(),
            });
            let mut sessions = writers.clone();
            let own = self.session.as_ref().and_then(|session| session.seen());
            sessions.extend(own.filter(|own| !writers.contains(own)));
            if sessions.is_empty() {
                return Finding::skip(
                    format!("no session is seen here that could be looked at ({hidden} processes may not be looked at)"),
                    "run it while a session runs, or with --run-session, as the sessions' user or root",
                );
            }
            let listening: Vec<String> = sessions
                .iter()
                .filter_map(|session| listening(session, probe))
                .collect();
            if listening.is_empty() {
                let count = sessions.len();
                Finding::pass(format!("{count} sessions, none listens: {}", joined(&sessions)))
            } else {
                Finding::fail(
                    listening.join("; "),
                    "run sessions in Mode B: PEAKTRADE_METRICS_MODE=B, telemetry.mode = \"B\"",
                )
            }
        });
        self.writers = writers;
    }

    /// The one process that listens on the port of the page.
    fn only_owner(&self, probe: &mut Probe) -> Result<Seen, Finding> {
        let port = Port {
            host: &self.settings.host,
            number: self.settings.port,
            program: PROGRAM,
            start: "`metricsd serve`",
            flag: "--url",
        };
        port.only_owner(probe)
    }

    fn judge_owner(&self, owner: &Seen, probe: &mut Probe) -> Finding {
        let port = self.settings.port;
        if owner.program_name() != PROGRAM {
            return Finding::fail(
                format!(
                    "port {port} is owned by {owner}, program {}, not by metricsd",
                    owner.program.display()
                ),
                "stop that program, then start `metricsd serve`",
            );
        }
        let directory = &self.settings.merge.directory.path;
        let mut holder = LockHolder::Unknown;
        probe.ask(
            format!(
                "grep \":$(stat -c %i {}) \" /proc/locks",
                directory.display()
            ),
            || {
                if let Ok(metadata) = directory.metadata() {
                    holder = find_holder(metadata.dev(), metadata.ino());
                }
                holder.to_string()
            },
        );
        match holder {
            LockHolder::Process { pid, .. } if i64::from(pid) == i64::from(owner.pid) => {
                Finding::pass(format!(
                    "port {port} is owned by {owner} alone, program {}, which serves {}",
                    owner.program.display(),
                    directory.display()
                ))
            }
            LockHolder::Process { pid, .. } => Finding::fail(
                format!(
                    "port {port} is owned by {owner}, but {} is served by process {pid}",
                    directory.display()
                ),
                "start the daemon and the sessions with the same directory",
            ),
            LockHolder::Unknown => Finding::fail(
                format!(
                    "{owner} owns port {port}, but no process serves {}",
                    directory.display()
                ),
                "start the daemon with this directory, or name its own with --multiproc-dir",
            ),
        }
    }
}

fn listening(session: &Seen, probe: &mut Probe) -> Option<String> {
    let mut found = None;
    probe.ask(format!("ss -ltnp | grep pid={},", session.pid), || {
        match listening_addresses(session.pid) {
            Ok(addresses) if addresses.is_empty() => "none".to_owned(),
            Ok(addresses) => {
                let addresses = addresses.join(", ");
                found = Some(format!("{session} listens on {addresses}"));
                addresses
            }
            // One that ended meanwhile listens on nothing.
            Err(_) if !std::path::Path::new(&format!("/proc/{}", session.pid)).exists() => {
                "ended".to_owned()
            }
            Err(err) => {
                found = Some(format!("{session} may not be looked at: {err}"));
                err.to_string()
            }
        }
    });
    found
}
