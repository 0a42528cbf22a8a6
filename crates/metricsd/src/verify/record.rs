//! The book that a verification is written into while it is made: one entry for each step, told to whoever waits as it ends.
//!
//! Invariant: a step has one outcome, however often it was tried; every attempt is counted, and the exchanges are those of the last
//! one. A step that begins after an interrupt is not made, but for one that ends what was begun. Must not decide anything.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::report::one_line;
use crate::verify::evidence::{Ended, Exchange, Finding, RawFile, Step};

/// How long a wait sleeps before it looks for an interrupt again.
const NAP: Duration = Duration::from_millis(20);

/// Whether somebody asked us to stop.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// From now on SIGINT and SIGTERM set this and do not end the process: what it started has to be ended first.
    pub fn on_signals() -> std::io::Result<Stop> {
        let stop = Stop::default();
        for signal in [SIGINT, SIGTERM] {
            signal_hook::flag::register(signal, Arc::clone(&stop.0))?;
        }
        Ok(stop)
    }

    /// Whether it was.
    pub fn is_asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Sleeps, less if it is asked meanwhile.
    pub fn sleep(&self, duration: Duration) {
        let deadline = Instant::now() + duration;
        while !self.is_asked() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            std::thread::sleep(left.min(NAP));
        }
    }

    /// Asks `done` until it says yes, at most for `limit`. Whether it did.
    pub fn wait(&self, limit: Duration, mut done: impl FnMut() -> bool) -> bool {
        let deadline = Instant::now() + limit;
        loop {
            if done() {
                return true;
            }
            if self.is_asked() || Instant::now() >= deadline {
                return false;
            }
            std::thread::sleep(NAP);
        }
    }
}

/// How often something is tried that races with a start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// Attempts after the first one.
    pub count: u32,
    /// Time between two.
    pub interval: Duration,
}

impl Retry {
    /// Not again.
    pub const NEVER: Retry = Retry {
        count: 0,
        interval: Duration::ZERO,
    };

    /// How long all waits between attempts take together.
    pub fn whole(self) -> Duration {
        self.interval.saturating_mul(self.count)
    }
}

/// What one attempt at a step asks; kept if it is the last one.
#[derive(Debug, Default)]
pub struct Probe {
    exchanges: Vec<Exchange>,
    raw: Vec<RawFile>,
    is_final: bool,
}

impl Probe {
    /// Another attempt would find the same.
    pub fn do_not_retry(&mut self) {
        self.is_final = true;
    }

    /// Asks something and keeps the answer.
    pub fn ask(&mut self, asked: impl Into<String>, answer: impl FnOnce() -> String) {
        let (at, clock) = (Timestamp::now(), Instant::now());
        let answer = answer();
        self.keep(Exchange::new(asked, &answer, at, clock.elapsed()));
    }

    /// Keeps what was asked and answered.
    pub fn keep(&mut self, exchange: Exchange) {
        self.exchanges.push(exchange);
    }

    /// Files the whole answer to the last exchange.
    pub fn file(&mut self, name: &str, content: &[u8]) {
        self.raw.push(RawFile {
            name: name.to_owned(),
            content: content.to_owned(),
        });
        if let Some(last) = self.exchanges.last_mut() {
            last.raw_file = Some(name.to_owned());
        }
    }
}

/// All steps so far.
pub struct Book<'a> {
    /// Where each step's lines go when it ends; none if a person does not read along.
    out: Option<&'a mut dyn Write>,
    stop: Stop,
    steps: Vec<Step>,
    raw: Vec<RawFile>,
    out_failed: bool,
}

impl std::fmt::Debug for Book<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Book")
            .field("steps", &self.steps)
            .finish_non_exhaustive()
    }
}

impl<'a> Book<'a> {
    /// An empty one.
    pub fn new(out: Option<&'a mut dyn Write>, stop: Stop) -> Book<'a> {
        Book {
            out,
            stop,
            steps: Vec::new(),
            raw: Vec::new(),
            out_failed: false,
        }
    }

    /// Whether and when to stop.
    pub fn stop(&self) -> &Stop {
        &self.stop
    }

    /// The steps so far.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Steps and raw answers.
    pub fn into_parts(self) -> (Vec<Step>, Vec<RawFile>) {
        (self.steps, self.raw)
    }

    /// Makes a step once. Gives how it ended.
    pub fn step(
        &mut self,
        id: &str,
        title: &str,
        attempt: impl FnOnce(&mut Probe) -> Finding,
    ) -> Ended {
        let mut attempt = Some(attempt);
        self.step_with(id, title, Retry::NEVER, |probe| match attempt.take() {
            Some(attempt) => attempt(probe),
            None => Finding::fail("tried twice", "report this as a defect of metricsd"),
        })
    }

    /// Makes a step, again while it fails and attempts are left. Gives how it ended.
    pub fn step_with(
        &mut self,
        id: &str,
        title: &str,
        retry: Retry,
        attempt: impl FnMut(&mut Probe) -> Finding,
    ) -> Ended {
        let stop = self.stop.clone();
        self.step_unless(&stop, id, title, retry, attempt)
    }

    /// The same, also after an interrupt: for what has to be ended before it is followed.
    pub fn step_even_if_stopped(
        &mut self,
        id: &str,
        title: &str,
        retry: Retry,
        attempt: impl FnMut(&mut Probe) -> Finding,
    ) -> Ended {
        self.step_unless(&Stop::default(), id, title, retry, attempt)
    }

    fn step_unless(
        &mut self,
        stop: &Stop,
        id: &str,
        title: &str,
        retry: Retry,
        mut attempt: impl FnMut(&mut Probe) -> Finding,
    ) -> Ended {
        let (started, clock) = (Timestamp::now(), Instant::now());
        let mut attempts = 0;
        let (finding, probe) = loop {
            if stop.is_asked() {
                let finding = Finding::skip("interrupted before it was done", "run it again");
                break (finding, Probe::default());
            }
            let mut probe = Probe::default();
            let finding = attempt(&mut probe);
            attempts += 1;
            if finding.ended != Ended::Fail || attempts > retry.count || probe.is_final {
                break (finding, probe);
            }
            stop.sleep(retry.interval);
        };
        self.raw.extend(probe.raw);
        self.push(Step {
            id: id.to_owned(),
            title: title.to_owned(),
            outcome: finding.ended,
            text: finding.text,
            next: finding.next,
            attempts,
            started,
            duration: clock.elapsed(),
            exchanges: probe.exchanges,
        });
        finding.ended
    }

    /// Files something that no step asked for.
    pub fn file(&mut self, name: &str, content: &[u8]) {
        self.raw.push(RawFile {
            name: name.to_owned(),
            content: content.to_owned(),
        });
    }

    /// Enters a step that was made elsewhere.
    pub fn push(&mut self, step: Step) {
        if let Some(out) = self.out.as_mut() {
            let written = write_step(&step, *out).and_then(|()| out.flush());
            // Whoever left does not stop the verification: what it started has to be ended, and the report is still written.
            self.out_failed |= written.is_err();
            if self.out_failed {
                self.out = None;
            }
        }
        self.steps.push(step);
    }
}

fn write_step(step: &Step, out: &mut dyn Write) -> std::io::Result<()> {
    let (word, text) = (step.outcome.word(), one_line(&step.text));
    writeln!(out, "{word}|{}|{text}", step.id)?;
    match &step.next {
        Some(next) => writeln!(out, "NEXT|{}", one_line(next)),
        None => Ok(()),
    }
}
