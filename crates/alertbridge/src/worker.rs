//! One target's thread: waits until something may be sent, makes a message of what waits, sends it, decides what comes next.
//!
//! Invariant: alerts leave the queue only when the target took a message about them. Every attempt costs a token of the lane, so that
//! no number of retries exceeds the rate. A fault is logged when it begins, changes or ends, not at each attempt.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::{error, info, warn};

use crate::bridge::{Bridge, unix_now};
use crate::config::{Config, Kind, Target};
use crate::lane::{self, Lane};
use crate::message::{self, Context, Level, Message};
use crate::payload::Labels;
use crate::queue::Waiting;
use crate::send::{Outcome, Sender};

/// Most alerts that a message is made of; one of the longest holds fewer.
const LOOK_MAX: usize = 4_000;

/// Alerts of one message to a target that has no length.
const UNBOUNDED_COUNT: usize = 500;

/// Without any change a worker looks after itself this often.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// A running worker.
#[derive(Debug, Default)]
pub struct Handle {
    ended: AtomicBool,
    refuses: AtomicBool,
}

impl Handle {
    /// Ask it to end; it does after the message that it is about to send.
    pub fn end(&self) {
        self.ended.store(true, Ordering::Release);
    }

    /// Whether its target refuses what it is sent.
    pub fn refuses(&self) -> bool {
        self.refuses.load(Ordering::Acquire)
    }
}

/// What the last attempts came to.
#[derive(Debug)]
struct Trouble {
    /// Nothing is sent before.
    until: Instant,
    failures: u32,
    /// The text of the fault that was logged last.
    logged: Option<String>,
    level: Level,
}

/// A worker before it runs.
#[derive(Debug)]
pub struct Worker {
    bridge: Bridge,
    config: Arc<Config>,
    target: Arc<Target>,
    handle: Arc<Handle>,
    sender: Sender,
    lane: lane::Shared,
    trouble: Trouble,
}

impl Worker {
    /// A worker for a target of this configuration, to be made when the one before it has ended.
    pub fn new(
        bridge: Bridge,
        config: Arc<Config>,
        target: Arc<Target>,
        handle: Arc<Handle>,
        lane: lane::Shared,
    ) -> Worker {
        Worker {
            lane,
            handle,
            sender: Sender::new(),
            trouble: Trouble {
                until: Instant::now(),
                failures: 0,
                logged: None,
                level: Level::Full,
            },
            bridge,
            config,
            target,
        }
    }

    /// Works until it is asked to end.
    pub fn run(mut self) {
        let queue = self.bridge.queue().clone();
        let is_robot = matches!(self.target.kind, Kind::DingTalk(_));
        let shared = Arc::clone(&self.lane);
        loop {
            let version = queue.version();
            if self.handle.ended.load(Ordering::Acquire) {
                return;
            }
            let now = Instant::now();
            let blocked = self.trouble.until.saturating_duration_since(now);
            if !blocked.is_zero() {
                queue.wait(version, blocked.min(LOOK_EVERY));
                continue;
            }
            let (waiting, total) = queue.waiting(&self.target.name, LOOK_MAX);
            if waiting.is_empty() {
                queue.wait(version, LOOK_EVERY);
                continue;
            }
            // Held until the answer is there: whoever shares the robot waits for its turn.
            let mut lane = hold(&shared);
            let now = Instant::now();
            let limited = match self.target.kind {
                Kind::Log(_) => Duration::ZERO,
                _ => lane.until_free(now),
            };
            if !limited.is_zero() {
                drop(lane);
                queue.wait(version, limited.min(LOOK_EVERY));
                continue;
            }
            let may_send = lane.available(now);
            let message = match is_robot {
                true => self.message(&waiting, total, may_send),
                false => bundle(&waiting, self.trouble.level),
            };
            self.deliver(&mut lane, &message, &waiting);
        }
    }

    fn message(&self, waiting: &[Waiting], total: usize, may_send: usize) -> Message {
        let silence_link = |labels: &Labels| self.bridge.silence_link(&self.config, labels);
        let context = Context {
            target: &self.target,
            external_url: &self.config.external_url,
            time_zone: &self.config.time_zone,
            silence_link: &silence_link,
        };
        message::next(context, waiting, total, may_send, self.trouble.level)
    }

    fn deliver(&mut self, lane: &mut Lane, message: &Message, waiting: &[Waiting]) {
        let about = &waiting[..message.count.min(waiting.len())];
        let Some(last) = about.last() else { return };
        let queue = self.bridge.queue();
        let name = &self.target.name;
        let kind = self.target.kind.label();
        if !matches!(self.target.kind, Kind::Log(_)) {
            lane.take(Instant::now());
            queue.attempted(&lane.key, unix_now());
        }
        let begin = Instant::now();
        let outcome = self.sender.send(&self.target, message, about);
        let telemetry = self.bridge.telemetry();
        telemetry.record_attempt(kind, outcome.attempt(), begin.elapsed());
        if outcome == Outcome::Sent {
            queue.delivered(name, last.id);
            let now = unix_now();
            let delays: Vec<f64> = about
                .iter()
                .map(|one| (now - one.batch.at).max(0.0))
                .collect();
            telemetry.record_delivered(kind, &delays, message.is_digest);
        }
        self.decide(lane, &outcome);
    }

    /// What comes next.
    fn decide(&mut self, lane: &mut Lane, outcome: &Outcome) {
        let now = Instant::now();
        let target = self.target.name.clone();
        match outcome {
            Outcome::Sent => {
                if self.trouble.logged.take().is_some() {
                    info!(target, "the target takes messages again");
                }
                self.set_refuses(None);
                self.trouble.failures = 0;
                self.trouble.level = Level::Full;
                self.trouble.until = now;
            }
            Outcome::RateLimited { text } => {
                let pause = self.target.mute_for;
                if self.is_new(text) {
                    warn!(
                        target,
                        answer = text,
                        seconds = pause.as_secs_f64(),
                        "too many messages for the target; nothing is sent for a while, then a digest"
                    );
                }
                lane.mute(now, pause);
            }
            Outcome::Refused { text } => {
                if self.is_new(text) {
                    error!(
                        target,
                        answer = text,
                        hint = hint(text),
                        "the target refuses messages; alerts wait until that is put right"
                    );
                }
                self.set_refuses(Some(text));
                self.trouble.until = now + self.config.retry.refused;
            }
            Outcome::TooLong { text } | Outcome::BadMessage { text } => {
                if self.is_new(text) {
                    warn!(
                        target,
                        answer = text,
                        "the target does not take this message"
                    );
                }
                match self.trouble.level.next() {
                    Some(level) => self.trouble.level = level,
                    None => {
                        error!(
                            target,
                            answer = text,
                            "the target takes this message in no form; it is tried again, and alerts wait"
                        );
                        // Nothing behind it arrives either, so somebody has to hear of it.
                        self.set_refuses(Some(text));
                        self.trouble.level = Level::Full;
                        self.trouble.until = now + self.config.retry.refused;
                    }
                }
            }
            Outcome::Failed { attempt, text } => {
                self.trouble.failures = self.trouble.failures.saturating_add(1);
                let pause = self.pause();
                // By its class: the texts of one fault differ.
                if self.is_new(attempt.as_str()) {
                    warn!(
                        target,
                        reason = attempt.as_str(),
                        error = text,
                        "a message could not be delivered; it is tried again until it is"
                    );
                }
                self.trouble.until = now + pause;
            }
        }
    }

    /// Doubles with each failure; some of it is chance, so that several bridges do not come back at once.
    fn pause(&self) -> Duration {
        let retry = self.config.retry;
        let doublings = self.trouble.failures.saturating_sub(1).min(16);
        let pause = retry.min.saturating_mul(1 << doublings).min(retry.max);
        let mut byte = [0];
        // Without chance the pause is as good.
        let _ = getrandom::fill(&mut byte);
        pause.mul_f64(0.75 + f64::from(byte[0]) / 1_024.0)
    }

    /// Whether a fault is another one than the last that was logged.
    fn is_new(&mut self, text: &str) -> bool {
        let is_new = self.trouble.logged.as_deref() != Some(text);
        if is_new {
            self.trouble.logged = Some(text.to_owned());
        }
        is_new
    }

    /// The fallback is told when it begins and when it ends, whichever worker or process sees the end.
    fn set_refuses(&self, text: Option<&str>) {
        if self.handle.refuses.swap(text.is_some(), Ordering::AcqRel) != text.is_some() {
            self.bridge.show_refused();
        }
        if let Some(fallback) = &self.target.fallback {
            let name = &self.target.name;
            self.bridge.tell_of_refusal(fallback, name, text);
        }
    }
}

fn hold(lane: &lane::Shared) -> MutexGuard<'_, Lane> {
    // A bucket is whole at every instant.
    lane.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a refusal usually is.
fn hint(text: &str) -> &'static str {
    for (part, hint) in [
        (
            "sign",
            "the `secret` of the target is not that of the robot",
        ),
        (
            "timestamp",
            "the clock of this machine is wrong by more than an hour",
        ),
        (
            "keyword",
            "the robot asks for a keyword that the message does not hold",
        ),
        (
            "whitelist",
            "the robot does not accept messages from this address",
        ),
        ("token", "the access token in `url` is not that of a robot"),
    ] {
        if text.contains(part) {
            return hint;
        }
    }
    "see what the target answered"
}

/// What a target gets that takes alerts as they are.
fn bundle(waiting: &[Waiting], level: Level) -> Message {
    let max = match level {
        Level::Full => UNBOUNDED_COUNT,
        Level::Half => UNBOUNDED_COUNT / 10,
        Level::Plain => 1,
    };
    let first = waiting
        .chunk_by(|a, b| Arc::ptr_eq(&a.batch, &b.batch))
        .next();
    // One notification as it came, as long as no more wait than that.
    let one = first.map_or(1, <[Waiting]>::len);
    let count = if one <= max && waiting.len() <= max {
        one
    } else {
        waiting.len().min(max)
    };
    Message {
        title: String::new(),
        text: String::new(),
        buttons: Vec::new(),
        mention: crate::config::Mention::default(),
        is_plain: false,
        count,
        is_digest: message::batches(&waiting[..count]) > 1,
    }
}
