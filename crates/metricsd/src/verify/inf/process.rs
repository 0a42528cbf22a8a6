//! The process: a sentinel owns the port, it alone, from first to last, it runs, and the page is its own.
//!
//! Invariant: who owns a socket is what procfs says, not who answers on it. On another host nothing is said about processes.

use std::net::UdpSocket;

use procfs::Current as _;
use procfs::process::Process;
use rustix::time::{ClockId, clock_gettime};

use super::{Inspection, ids};
use crate::verify::evidence::Finding;
use crate::verify::port_owner::{Port, address_of};
use crate::verify::processes::Seen;
use crate::verify::record::{Book, Probe, Retry};

/// The file name of the sentinel's program.
const PROGRAM: &str = "sentinel";

/// The time since the start, by the program itself.
const UPTIME: &str = "sentinel_daemon_uptime_seconds";

/// A process may be this much older than its own count, which begins after its configuration was read.
const START_SECONDS_MAX: f64 = 5.0;

/// Clock ticks and rounding.
const SLACK_SECONDS: f64 = 1.0;

impl Inspection<'_> {
    pub(super) fn port_owner(&mut self, book: &mut Book<'_>) {
        let title = "The port is owned by one process, and it is a sentinel";
        let mut owner = None;
        book.step_with(ids::PORT_OWNER, title, self.retry, |probe| {
            if let Some(skip) = self.elsewhere() {
                return skip;
            }
            let found = match self.only_owner(probe) {
                Ok(found) => found,
                Err(finding) => return finding,
            };
            let text = format!(
                "port {} is owned by {found}, program {}",
                self.args.target.port,
                found.program.display()
            );
            if found.program_name() != PROGRAM {
                probe.do_not_retry();
                return Finding::fail(
                    format!("{text}, not by a sentinel"),
                    "stop that program, then start the sentinel, or name the sentinel's own address with --target",
                );
            }
            let begun = begun(&found);
            owner = Some(found);
            Finding::pass(format!("{text}, started {begun}"))
        });
        self.owner = owner;
    }

    pub(super) fn process_age(&self, book: &mut Book<'_>) {
        let title =
            "The process runs, and the page's uptime is the time for which it has been there";
        // A look into procfs and a page are not of one moment, but nearly so.
        let retry = Retry {
            count: 1,
            ..super::AGREEMENT
        };
        book.step_with(ids::PROCESS_AGE, title, retry, |probe| {
            if let Some(skip) = self.elsewhere() {
                return skip;
            }
            let Some(owner) = &self.owner else {
                return Finding::fail(
                    "no sentinel owns the port whose age could be compared",
                    "see the check port_owner",
                );
            };
            let mut look = None;
            probe.ask(
                format!("ps -o state,etimes,lstart -p {}", owner.pid),
                || {
                    look = Look::at(owner);
                    look.map_or("gone".to_owned(), |look| {
                        format!("state {}, {:.1} s old", look.state, look.age_seconds)
                    })
                },
            );
            let Some(look) = look else {
                return Finding::fail(
                    format!("{owner} is gone, or is another process by now"),
                    "find out who restarted the sentinel",
                );
            };
            if look.stands_still() {
                return Finding::fail(
                    format!("{owner} does not run: it is in state {}", look.state),
                    "continue it with kill -CONT, or find out who stopped it",
                );
            }
            match self.samples(&[UPTIME], probe) {
                Ok(samples) => match samples.value(UPTIME, &[]) {
                    Some(uptime) => judge_age(owner, look, uptime),
                    None => Finding::fail(
                        format!("{UPTIME} has no sample"),
                        "see the check families_present",
                    ),
                },
                Err(finding) => finding,
            }
        });
    }

    pub(super) fn port_owner_at_end(&self, book: &mut Book<'_>) {
        let title = "The same process owns the port at the end";
        book.step(ids::PORT_OWNER_AT_END, title, |probe| {
            if let Some(skip) = self.elsewhere() {
                return skip;
            }
            let found = match self.only_owner(probe) {
                Ok(found) => found,
                Err(finding) => return finding,
            };
            match &self.owner {
                Some(owner) if *owner == found => Finding::pass(format!(
                    "port {} is owned by {found} alone, as before",
                    self.args.target.port
                )),
                Some(owner) => Finding::fail(
                    format!(
                        "port {} went from {owner} to {found}",
                        self.args.target.port
                    ),
                    "find out who restarted the sentinel while it was verified",
                ),
                None => Finding::fail(
                    "no sentinel owned the port at first",
                    "see the check port_owner",
                ),
            }
        });
    }

    /// Why nothing can be said of the process; none if it is on this host.
    fn elsewhere(&self) -> Option<Finding> {
        let (host, port) = (&self.args.target.host, self.args.target.port);
        // Only an address of this host can be bound. One that is not known is for the check to say.
        let is_here = address_of(host, port).is_none_or(|ip| UdpSocket::bind((ip, 0)).is_ok());
        (!is_here).then(|| {
            Finding::skip(
                format!("{host} is another host, whose processes cannot be looked at from here"),
                "run it on the sentinel's host",
            )
        })
    }

    fn only_owner(&self, probe: &mut Probe) -> Result<Seen, Finding> {
        let port = Port {
            host: &self.args.target.host,
            number: self.args.target.port,
            program: PROGRAM,
            start: "the sentinel",
            flag: "--target",
        };
        port.only_owner(probe)
    }
}

/// A process at this moment.
#[derive(Debug, Clone, Copy)]
struct Look {
    state: char,
    age_seconds: f64,
    /// For how long the machine slept since it was booted: that long the process is there and does not count.
    slept_seconds: f64,
}

impl Look {
    fn at(seen: &Seen) -> Option<Look> {
        let stat = Process::new(seen.pid).ok()?.stat().ok()?;
        if stat.starttime != seen.start_ticks {
            return None;
        }
        let since_boot = procfs::Uptime::current().ok()?.uptime;
        let seconds = |clock| {
            let time = clock_gettime(clock);
            time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
        };
        Some(Look {
            state: stat.state,
            age_seconds: since_boot - stat.starttime as f64 / procfs::ticks_per_second() as f64,
            slept_seconds: seconds(ClockId::Boottime) - seconds(ClockId::Monotonic),
        })
    }
}

impl Look {
    /// Stopped, traced or dead.
    fn stands_still(self) -> bool {
        matches!(self.state, 'T' | 't' | 'Z' | 'X' | 'x')
    }
}

fn judge_age(owner: &Seen, look: Look, uptime: f64) -> Finding {
    let text = format!(
        "pid {} is {:.1} s old (state {}), its page says {uptime:.1} s",
        owner.pid, look.age_seconds, look.state
    );
    if uptime > look.age_seconds + SLACK_SECONDS {
        return Finding::fail(
            format!("{text}, which is longer than it has been there"),
            "the page is not this process's: ask it without anything in between",
        );
    }
    let oldest = uptime + START_SECONDS_MAX + look.slept_seconds.max(0.0);
    if look.age_seconds > oldest {
        return Finding::fail(
            format!("{text}, which is less than it has been there"),
            "the page is an old one, or not this process's: ask it without anything in between",
        );
    }
    Finding::pass(text)
}

/// When it was started, by the clock of this host.
fn begun(seen: &Seen) -> String {
    let boot = procfs::boot_time_secs().unwrap_or_default();
    let seconds = boot + seen.start_ticks / procfs::ticks_per_second().max(1);
    let time = i64::try_from(seconds)
        .ok()
        .and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    time.map_or_else(|| "at a time unknown".to_owned(), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::verify::evidence::Ended;

    #[test]
    fn an_age_that_does_not_fit_the_page_fails() {
        let owner = Seen {
            pid: 7,
            start_ticks: 1,
            program: PathBuf::from("/usr/bin/sentinel"),
            command: "sentinel".to_owned(),
        };
        let of = |age_seconds, slept_seconds, uptime| {
            let look = Look {
                state: 'S',
                age_seconds,
                slept_seconds,
            };
            assert!(!look.stands_still() && Look { state: 'T', ..look }.stands_still());
            judge_age(&owner, look, uptime)
        };
        assert_eq!(of(100.0, 0.0, 99.5).ended, Ended::Pass);
        assert_eq!(of(1000.0, 900.0, 99.5).ended, Ended::Pass);
        for (finding, word) in [
            (of(100.0, 0.0, 102.0), "longer than"),
            (of(100.0, 0.0, 12.0), "less than"),
        ] {
            assert_eq!(finding.ended, Ended::Fail, "{finding:?}");
            assert!(finding.text.contains(word), "{finding:?}");
        }
    }
}
