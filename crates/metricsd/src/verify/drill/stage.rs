//! The stage of a drill: a scratch directory, daemons and sessions on it, and what their page says.
//!
//! Invariant: whatever is started here ends with it.

use std::cell::Cell;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use tempfile::TempDir;

use super::{PATIENCE, below};
use crate::verify::child::{Running, SessionPlan, own_program};
use crate::verify::http::Client;
use crate::verify::page::{Page, losses};
use crate::verify::record::{Probe, Stop};
use program::sentence;

/// What a session counts with every candle.
pub(super) const STEPS: &str = "shadow_session_steps_total";

/// Before the address in the daemon's log.
const ADDRESS_MARK: &str = "serving /metrics address=";

/// Variables that would lead our daemons elsewhere.
const VARIABLES: [&str; 7] = [
    "STATE_DIRECTORY",
    "PEAKTRADE_METRICS_MULTIPROC_DIR",
    "PROMETHEUS_MULTIPROC_DIR",
    "prometheus_multiproc_dir",
    "PEAK_TRADE_METRICSD_PORT",
    "PEAKTRADE_METRICS_PORT",
    "NOTIFY_SOCKET",
];

/// The scratch directory of one drill.
#[derive(Debug)]
pub(super) struct Stage {
    folder: TempDir,
    /// Where the shards go.
    pub(super) shards: PathBuf,
    /// Where the daemon's state goes.
    pub(super) state: PathBuf,
    metricsd: PathBuf,
    session: PathBuf,
    /// Whether somebody wants it to end.
    pub(super) stop: Stop,
    client: Client,
    started: Cell<u32>,
}

/// A daemon of a drill.
#[derive(Debug)]
pub(super) struct Daemon {
    /// The process.
    pub(super) running: Running,
    url: String,
}

impl Stage {
    /// A new one in the temporary directory.
    pub(super) fn new(session: PathBuf, stop: Stop) -> Result<Stage, String> {
        let folder = tempfile::Builder::new()
            .prefix("metricsd-drill-")
            .tempdir()
            .map_err(|err| format!("no temporary directory: {err}"))?;
        Ok(Stage {
            shards: below(folder.path(), "prom_multiproc"),
            state: below(folder.path(), "state"),
            metricsd: own_program().map_err(|err| sentence(&err))?,
            session,
            stop,
            client: Client::default(),
            started: Cell::new(0),
            folder,
        })
    }

    /// The scratch directory.
    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Our own program.
    pub(super) fn metricsd(&self) -> &Path {
        &self.metricsd
    }

    /// The session's program.
    pub(super) fn session_program(&self) -> &Path {
        &self.session
    }

    /// Starts a daemon; it need not get ready.
    pub(super) fn start_daemon(
        &self,
        flags: &[&str],
        probe: &mut Probe,
    ) -> Result<Running, String> {
        let mut arguments: Vec<OsString> = [
            "serve",
            "--web.listen-address",
            "127.0.0.1:0",
            "--multiproc-dir",
        ]
        .map(OsString::from)
        .to_vec();
        arguments.push(self.shards.clone().into());
        arguments.push("--state-dir".into());
        arguments.push(self.state.clone().into());
        arguments.extend(flags.iter().map(OsString::from));
        let variables = VARIABLES.map(|name| (name, None));
        let log = self.new_log("metricsd");
        let running = Running::start(&self.metricsd, &arguments, &variables, log)
            .map_err(|err| sentence(&err))?;
        probe.ask(running.command(), || format!("pid {}", running.id()));
        Ok(running)
    }

    /// Starts a daemon and waits until it serves.
    pub(super) fn daemon(&self, flags: &[&str], probe: &mut Probe) -> Result<Daemon, String> {
        let mut running = self.start_daemon(flags, probe)?;
        let mut address = None;
        self.stop.wait(PATIENCE, || {
            let output = running.output();
            address = output.lines().find_map(|line| {
                let (_, rest) = line.split_once(ADDRESS_MARK)?;
                Some(rest.trim().to_owned())
            });
            address.is_some() || running.ended().is_some()
        });
        match address {
            Some(address) => Ok(Daemon {
                running,
                url: format!("http://{address}/metrics"),
            }),
            None => Err(format!(
                "the daemon does not serve; it said: {}",
                running.output()
            )),
        }
    }

    /// Starts a session on the stage's directory.
    pub(super) fn session(
        &self,
        speed: u32,
        time: Duration,
        probe: &mut Probe,
    ) -> Result<Running, String> {
        let folder = below(self.folder(), &format!("session-{}", self.next()));
        fs::create_dir(&folder).map_err(|err| format!("{}: {err}", folder.display()))?;
        let plan = SessionPlan {
            program: &self.session,
            shards: &self.shards,
            config: None,
            speed,
            time,
        };
        let running = plan.start(&folder).map_err(|err| sentence(&err))?;
        probe.ask(running.command(), || format!("pid {}", running.id()));
        Ok(running)
    }

    /// The daemon's page, written down.
    pub(super) fn page(&self, daemon: &Daemon, probe: &mut Probe) -> Result<Page, String> {
        let answer = self.client.page(&daemon.url, Some(&[STEPS]), probe)?;
        match answer.status {
            200 => Ok(Page::read(answer.body)),
            status => Err(format!("{} answers {status}", daemon.url)),
        }
    }

    /// Looks at the page until it is as wanted, for as long as the session that is to bring it about runs. The page.
    pub(super) fn page_with(
        &self,
        daemon: &Daemon,
        session: &mut Running,
        what: &str,
        probe: &mut Probe,
        wanted: impl Fn(&Page) -> bool,
    ) -> Result<Page, String> {
        let mut last = Err("not looked".to_owned());
        self.stop.wait(PATIENCE, || {
            // Asked first: what it did before its end is on the page.
            let is_over = session.ended().is_some();
            last = self.page(daemon, &mut Probe::default());
            is_over || last.as_ref().is_ok_and(&wanted)
        });
        let page = last?;
        let steps = steps(&page);
        let asked = format!("curl -s {} | grep ^{STEPS} # until {what}", daemon.url);
        probe.ask(asked, || format!("{STEPS} {steps}"));
        if wanted(&page) {
            return Ok(page);
        }
        Err(match session.ended() {
            Some(status) => format!(
                "the session ended with {status} before it came to this: {what}; {STEPS} is {steps}: {}",
                session.output()
            ),
            None => {
                format!("within {PATIENCE:?} it did not come to this: {what}; {STEPS} is {steps}")
            }
        })
    }

    /// Waits for a session to end by itself with exit code 0. The steps that it says it made.
    pub(super) fn session_end(
        &self,
        session: &mut Running,
        probe: &mut Probe,
    ) -> Result<f64, String> {
        let status = session.wait(&self.stop, PATIENCE);
        let output = session.output();
        probe.ask(format!("wait {}", session.id()), || {
            format!("{}\n{output}", in_words(status))
        });
        match status {
            Some(status) if status.success() => crate::verify::child::steps_in(&output)
                .ok_or_else(|| format!("the session did not say how many steps it made: {output}")),
            Some(status) => Err(format!("the session ended with {status}: {output}")),
            None => Err(format!("the session still runs after {PATIENCE:?}")),
        }
    }

    fn new_log(&self, name: &str) -> PathBuf {
        below(self.folder(), &format!("{name}-{}.log", self.next()))
    }

    fn next(&self) -> u32 {
        self.started.set(self.started.get() + 1);
        self.started.get()
    }
}

/// How a child ended, as a shell would say it.
pub(super) fn in_words(status: Option<ExitStatus>) -> String {
    status.map_or_else(|| "it still runs".to_owned(), |status| status.to_string())
}

/// The steps that a page shows.
pub(super) fn steps(page: &Page) -> f64 {
    page.value(STEPS).unwrap_or(0.0)
}

/// Nothing of the first page is gone or lower on the second.
pub(super) fn nothing_lost(before: &Page, after: &Page) -> Result<usize, String> {
    let lost = losses(before, after);
    match lost.first() {
        None => Ok(before.growing().len()),
        Some(first) => Err(format!("{} counts went back or away: {first}", lost.len())),
    }
}

/// Every count of the one page is the same on the other.
pub(super) fn same_counts(before: &Page, after: &Page) -> Result<usize, String> {
    let (was, is) = (before.growing(), after.growing());
    match was
        .iter()
        .find(|(series, value)| is.get(*series) != Some(value))
    {
        None => Ok(was.len()),
        Some((series, was)) => Err(match is.get(series) {
            Some(is) => format!("{series} was {was} and is {is}"),
            None => format!("{series} was {was} and is gone"),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(text: &str) -> Page {
        Page::read(format!("# TYPE a_total counter\n{text}").into_bytes())
    }

    #[test]
    fn one_count_that_differs_or_is_gone_is_named() {
        let before = page("a_total{x=\"1\"} 5\na_total{x=\"2\"} 7\n");
        assert_eq!(same_counts(&before, &before), Ok(2));
        assert_eq!(nothing_lost(&before, &before), Ok(2));
        let more = page("a_total{x=\"1\"} 6\na_total{x=\"2\"} 7\n");
        assert_eq!(
            same_counts(&before, &more),
            Err("a_total{x=\"1\"} was 5 and is 6".to_owned())
        );
        assert_eq!(nothing_lost(&before, &more), Ok(2));
        let gone = page("a_total{x=\"2\"} 6\n");
        assert_eq!(
            same_counts(&before, &gone),
            Err("a_total{x=\"1\"} was 5 and is gone".to_owned())
        );
        let lost = nothing_lost(&before, &gone).unwrap_err();
        assert!(lost.starts_with("2 counts went back or away"), "{lost}");
    }
}
