//! The way to one robot, which several targets may share: its rate, and whether it wants to be left alone.
//!
//! Invariant: whoever sends to a robot holds its lane, so that messages arrive in the order and at the pace in which the bucket gave them,
//! whichever target they are for.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};

use crate::bucket::Bucket;
use crate::config::{Config, Kind, Rate, Target};

/// The way to one robot.
#[derive(Debug)]
pub struct Lane {
    /// Stands for the robot in the journal; no secret can be told from it.
    pub key: String,
    bucket: Bucket,
    muted_until: Instant,
}

/// A lane that targets share.
pub type Shared = Arc<Mutex<Lane>>;

impl Lane {
    /// A lane on which messages were sent that many seconds ago, oldest first.
    pub fn new(key: String, rate: Rate, now: Instant, ages: &[f64]) -> Lane {
        Lane {
            key,
            bucket: Bucket::new(rate, now, ages),
            muted_until: now,
        }
    }

    /// How long until a message may be sent.
    pub fn until_free(&mut self, now: Instant) -> Duration {
        let muted = self.muted_until.saturating_duration_since(now);
        muted.max(self.bucket.until_available(now))
    }

    /// How many messages may be sent now.
    pub fn available(&mut self, now: Instant) -> usize {
        self.bucket.available(now)
    }

    /// One is sent.
    pub fn take(&mut self, now: Instant) {
        self.bucket.take(now);
    }

    /// Nothing is sent for that long.
    pub fn mute(&mut self, now: Instant, time: Duration) {
        self.muted_until = self.muted_until.max(now + time);
    }
}

/// What stands for the robot of a target: two targets with one access token have one robot.
pub fn key(target: &Target) -> String {
    match &target.kind {
        Kind::DingTalk(robot) => {
            let hash = Sha256::digest(format!("robot {}", robot.token.expose()));
            let digits: String = hash[..8].iter().map(|byte| format!("{byte:02x}")).collect();
            format!("robot:{digits}")
        }
        Kind::Webhook(_) | Kind::Log(_) => format!("target:{}", target.name),
    }
}

/// The lanes of a configuration by key, each with the lowest rate of the targets that share it. `attempts` says how many seconds ago messages were
/// sent on a lane.
pub fn lanes(
    config: &Config,
    now: Instant,
    attempts: impl Fn(&str) -> Vec<f64>,
) -> BTreeMap<String, Shared> {
    let mut rates: BTreeMap<String, Rate> = BTreeMap::new();
    for target in config.targets.values() {
        let pace = |rate: Rate| f64::from(rate.messages) / rate.per.as_secs_f64();
        let rate = rates.entry(key(target)).or_insert(target.rate);
        if pace(target.rate) < pace(*rate) {
            *rate = target.rate;
        }
    }
    let lanes = rates.into_iter().map(|(key, rate)| {
        let ages = attempts(&key);
        let lane = Lane::new(key.clone(), rate, now, &ages);
        (key, Arc::new(Mutex::new(lane)))
    });
    lanes.collect()
}
