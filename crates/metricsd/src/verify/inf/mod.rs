//! `metricsd verify inf`: does a sentinel do its work, and do its page and its health say so? Process, port, page, families, labels,
//! health and freshness, as checks that can fail.
//!
//! Invariant: each check has a fault that makes it fail, and `docs/verification-inf.md` has a row for it; what was not looked at is said and
//! is no pass. Requests and procfs only: the sentinel is never signalled, and nothing of it is written.

pub mod cli;
pub mod contract;
mod endpoint;
mod families;
mod freshness;
mod health;
mod ids;
mod labels;
mod process;
mod reading;
mod watch;
mod work;

use std::io::Write;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::evidence::{Ended, Finding, Verified};
use super::http::{Answer, Client};
use super::processes::Seen;
use super::record::{Book, Probe, Retry};
use super::subject;
use super::verification::{Plan, VerificationError, conduct};

use cli::InfArgs;
use reading::{Health, Samples, TheirTime};

pub use ids::CHECKS;

/// Attempts at least at what two answers have to agree on, which are not of the same moment.
const AGREEMENT: Retry = Retry {
    count: 4,
    interval: Duration::from_millis(200),
};

/// Verifies, tells `out` line by line or as one object at the end, and files the report.
///
/// # Errors
/// A report that cannot be filed or told. A check that fails is none.
pub fn run(args: &InfArgs, out: &mut dyn Write) -> Result<Ended, VerificationError> {
    let target = Verified {
        key: "target",
        label: "Sentinel",
        value: Some(args.target.to_string()),
    };
    let plan = Plan {
        name: "inf",
        subject: subject::describe("a sentinel", vec![target]),
        report: &args.report,
    };
    conduct(plan, out, |book| Inspection::new(args).verify(book))
}

/// The checks of a sentinel, and what they learn on the way.
struct Inspection<'a> {
    args: &'a InfArgs,
    client: Client,
    /// Less patient once patience has not helped.
    retry: Retry,
    /// Whether there was a page at all; each later request would wait as long as the first one.
    is_served: bool,
    /// Who owned the port at first.
    owner: Option<Seen>,
    /// The page at first.
    first: Option<Samples>,
}

impl<'a> Inspection<'a> {
    fn new(args: &'a InfArgs) -> Inspection<'a> {
        Inspection {
            args,
            client: Client::within(args.timeout),
            retry: args.retry.retry(),
            is_served: false,
            owner: None,
            first: None,
        }
    }

    /// The order is the operator's: what a later check needs was checked before it.
    fn verify(mut self, book: &mut Book<'_>) {
        self.port_owner(book);
        self.http_ok(book);
        self.content_type(book);
        self.exposition_valid(book);
        self.build_info(book);
        self.process_age(book);
        self.family_types(book);
        self.label_names(book);
        self.label_values(book);
        self.no_forbidden_labels(book);
        self.histogram_buckets(book);
        self.values_sane(book);
        self.states_exclusive(book);
        self.families_present(book);
        self.families_later(book);
        self.health_answers(book);
        self.health_ok(book);
        self.health_truthful(book);
        self.mode_consistent(book);
        self.clocks_agree(book);
        self.cycle_due(book);
        self.bars_fresh(book);
        self.predictions_work(book);
        self.breakers_closed(book);
        self.trading_active(book);
        self.gateway_heartbeat(book);
        self.over_time(book);
        self.port_owner_at_end(book);
    }

    /// Asks, and says what time it is there.
    fn ask(
        &self,
        url: &str,
        names: Option<&[&str]>,
        probe: &mut Probe,
    ) -> Result<(Answer, TheirTime), Finding> {
        if !self.is_served {
            return Err(Finding::fail(
                "not asked again, since the page did not come",
                "see the check http_ok",
            ));
        }
        let (asked, clock) = (Timestamp::now(), Instant::now());
        let answer = self.client.page(url, names, probe).map_err(|err| {
            // What hangs once is not waited for with each attempt.
            if clock.elapsed() >= self.args.timeout {
                probe.do_not_retry();
            }
            Finding::fail(err, "look whether the sentinel still runs, and at its log")
        })?;
        let time = TheirTime::of(answer.date, asked, clock.elapsed());
        Ok((answer, time))
    }

    /// The page as it is now; the lines of these names are written down.
    fn samples(&self, names: &[&str], probe: &mut Probe) -> Result<Samples, Finding> {
        let url = self.args.target.page();
        let (answer, time) = self.ask(&url, Some(names), probe)?;
        if answer.status != 200 {
            return Err(Finding::fail(
                format!("{url} answers with status {}, expected 200", answer.status),
                "see the check http_ok",
            ));
        }
        Samples::of(answer, time).map_err(|err| {
            Finding::fail(
                format!("the page cannot be read: {err}"),
                "see the check exposition_valid",
            )
        })
    }

    /// The health as it is now, and the status code.
    fn health(&self, probe: &mut Probe) -> Result<(Health, Answer), Finding> {
        let url = self.args.target.health();
        let (answer, _) = self.ask(&url, None, probe)?;
        match serde_json::from_slice(&answer.body) {
            Ok(health) => Ok((health, answer)),
            Err(err) => Err(Finding::fail(
                format!(
                    "{url} answers with status {} and what is no health of a sentinel: {err}",
                    answer.status
                ),
                "name the sentinel's own address with --target",
            )),
        }
    }

    /// One check of the page alone.
    fn judge(
        &self,
        book: &mut Book<'_>,
        (id, title): (&str, &str),
        names: &[&str],
        retry: Retry,
        mut judged: impl FnMut(&Samples) -> Finding,
    ) -> Ended {
        book.step_with(id, title, retry, |probe| match self.samples(names, probe) {
            Ok(samples) => judged(&samples),
            Err(finding) => finding,
        })
    }

    /// Patience that did not help once is not spent again.
    fn has_waited(&mut self, ended: Ended) {
        if ended == Ended::Fail {
            self.retry = Retry::NEVER;
        }
    }
}
