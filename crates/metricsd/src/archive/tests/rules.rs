//! The rules of the archive against a naive count: shards on one file system, the archive on another, both losing power.
//!
//! A small world of writers adds fractions to shards and knows what it added. While no power is lost and nothing is wiped,
//! what is exposed is that sum exactly, through retirement, late writers and the daemon's death at every step. After a power
//! cut or a wipe it lies between what was durable when it was last recorded and what was added: nothing shown and recorded is
//! lost, nothing counts twice.

use std::cmp::Ordering;

use proptest::prelude::*;

use super::crash::SETTINGS;
use super::workload::{identity, origin, raw_key};
use crate::archive::exact::Exact;
use crate::archive::known::Phase;
use crate::archive::model::{IdentityKey, KeyId, SeriesKey, SeriesKind};
use crate::archive::record::{Entry, Record};
use crate::archive::testing::{Dice, Simulated};
use crate::archive::{Archive, OpenReport};

const KEY_COUNT: usize = 3;

#[derive(Debug, Clone)]
struct Shard {
    identity: IdentityKey,
    /// What it holds, lane by lane: two entries for each key.
    live: [f64; 2 * KEY_COUNT],
    /// What of it is on the medium.
    durable: [f64; 2 * KEY_COUNT],
    exists: Existence,
    has_writer: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Existence {
    There,
    /// Unlinked, and the directory is not synced: a power cut may bring it back.
    Unlinked,
    Gone,
}

impl Shard {
    fn entries(&self) -> Vec<Entry> {
        let entry = |(lane, value): (usize, &f64)| Entry {
            key: KeyId((lane / 2) as u32),
            value: *value,
            timestamp: 0.0,
        };
        self.live.iter().enumerate().map(entry).collect()
    }

    fn holds(&self, key: usize) -> Exact {
        self.live[2 * key..2 * key + 2].iter().copied().collect()
    }
}

struct World {
    dice: Dice,
    state_dir: Simulated,
    archive: Archive<Simulated>,
    life: usize,
    shards: Vec<Shard>,
    /// What was added and not declared lost.
    added: Vec<Exact>,
    /// What was exposed when everything was last recorded.
    recorded: Vec<Exact>,
    log: Vec<String>,
}

impl World {
    fn new(seed: u64) -> World {
        let state_dir = Simulated::new();
        let (mut archive, _) = open(&state_dir, 0);
        for number in 0..KEY_COUNT {
            let series = SeriesKey {
                kind: SeriesKind::Counter,
                raw: raw_key(number),
            };
            archive
                .append(Record::KeyDefined {
                    key: KeyId(number as u32),
                    series,
                })
                .unwrap();
        }
        archive.sync().unwrap();
        World {
            dice: Dice(seed),
            state_dir,
            archive,
            life: 0,
            shards: Vec::new(),
            added: vec![Exact::default(); KEY_COUNT],
            recorded: vec![Exact::default(); KEY_COUNT],
            log: Vec::new(),
        }
    }

    fn say(&mut self, what: String) {
        self.log.push(what);
    }

    fn pick(&mut self, which: impl Fn(&Shard) -> bool) -> Option<usize> {
        let found: Vec<usize> = (0..self.shards.len())
            .filter(|at| which(&self.shards[*at]))
            .collect();
        (!found.is_empty()).then(|| found[self.dice.below(found.len())])
    }

    fn exposed(&self, key: usize) -> Exact {
        let there = self
            .shards
            .iter()
            .filter(|shard| shard.exists == Existence::There);
        let files = there.map(|shard| (&shard.identity, shard.holds(key)));
        self.archive.state().exposed(KeyId(key as u32), files)
    }

    fn record(&mut self, record: Record) {
        self.archive.append(record).unwrap();
        self.archive.sync().unwrap();
    }

    fn step(&mut self) {
        match self.dice.below(17) {
            0 | 1 => self.is_born(),
            2..=5 => self.adds(),
            6 => self.dies(),
            7 => self.is_written_back(),
            8 | 9 => self.is_recorded(),
            10..=12 => self.retires(),
            13 => self.daemon_dies(),
            14 => drop(self.archive.checkpoint(0.0)),
            15 if self.dice.below(4) == 0 => self.loses_power(),
            16 if self.dice.below(4) == 0 => self.is_wiped(),
            _ => self.comes_late(),
        }
    }

    fn is_born(&mut self) {
        let identity = identity(self.shards.len());
        self.say(format!("{identity:?} is born"));
        self.shards.push(Shard {
            identity,
            live: [0.0; 2 * KEY_COUNT],
            durable: [0.0; 2 * KEY_COUNT],
            exists: Existence::There,
            has_writer: true,
        });
    }

    fn adds(&mut self) {
        let Some(at) = self.pick(|shard| shard.has_writer && shard.exists == Existence::There)
        else {
            return;
        };
        let lane = self.dice.below(2 * KEY_COUNT);
        let amount = self.dice.below(1000) as f64 / [1.0, 7.0, 1e3][self.dice.below(3)];
        // What a cell swallows was never counted by it.
        let before = self.shards[at].live[lane];
        self.shards[at].live[lane] = before + amount;
        self.added[lane / 2].add(before + amount);
        self.added[lane / 2].subtract(before);
        self.say(format!("{at} adds {amount} to lane {lane}"));
    }

    fn dies(&mut self) {
        if let Some(at) = self.pick(|shard| shard.has_writer) {
            self.shards[at].has_writer = false;
            self.say(format!("{at} dies"));
        }
    }

    fn comes_late(&mut self) {
        if let Some(at) = self.pick(|shard| shard.exists == Existence::There) {
            self.shards[at].has_writer = true;
            self.say(format!("{at} has a late writer"));
        }
    }

    fn is_written_back(&mut self) {
        if let Some(at) = self.pick(|_| true) {
            self.shards[at].durable = self.shards[at].live;
        }
    }

    /// High-water records of everything, and what is exposed now is what must not be lost.
    fn is_recorded(&mut self) {
        for at in 0..self.shards.len() {
            if self.shards[at].exists != Existence::There {
                continue;
            }
            let (identity, entries) = (self.shards[at].identity.clone(), self.shards[at].entries());
            self.archive
                .append(Record::HighWater {
                    identity,
                    origin: None,
                    entries,
                })
                .unwrap();
        }
        self.archive.sync().unwrap();
        self.recorded = (0..KEY_COUNT).map(|key| self.exposed(key)).collect();
        self.say("recorded".to_owned());
    }

    /// Absorb, unlink, sync the directory, forget; the daemon may die and the power fail between any two.
    fn retires(&mut self) {
        let Some(at) = self.pick(|shard| !shard.has_writer && shard.exists == Existence::There)
        else {
            return;
        };
        let (identity, entries) = (self.shards[at].identity.clone(), self.shards[at].entries());
        let origin = origin(at, SeriesKind::Counter);
        self.say(format!("{at} is absorbed"));
        self.record(Record::Absorbed {
            identity: identity.clone(),
            origin,
            at_unix_seconds: 1.0,
            entries,
        });
        self.check(&format!("absorbing {at}"));
        match self.dice.below(6) {
            0 => return self.comes_late_to(at),
            1 => return self.daemon_dies(),
            2 => return self.loses_power(),
            _ => {}
        }
        self.shards[at].exists = Existence::Unlinked;
        self.check("an unlink");
        match self.dice.below(5) {
            0 => return self.daemon_dies(),
            1 => return self.loses_power(),
            _ => {}
        }
        self.shards[at].exists = Existence::Gone;
        match self.dice.below(5) {
            0 => self.daemon_dies(),
            1 => self.loses_power(),
            _ => self.record(Record::UnlinkDurable { identity }),
        }
    }

    fn comes_late_to(&mut self, at: usize) {
        self.shards[at].has_writer = true;
        self.say(format!("{at} has a late writer after it was absorbed"));
    }

    fn daemon_dies(&mut self) {
        self.say("the daemon dies".to_owned());
        self.reopen(self.state_dir.process_death());
        // Same boot: shards are what they were. A retirement that was under way is finished.
        self.finish_retirements();
        self.check("the daemon's death");
    }

    fn finish_retirements(&mut self) {
        for at in 0..self.shards.len() {
            let identity = self.shards[at].identity.clone();
            let phase = self
                .archive
                .state()
                .shard(&identity)
                .map(|known| known.phase());
            if phase == Some(Phase::Absorbed) && self.shards[at].exists != Existence::There {
                self.shards[at].exists = Existence::Gone;
                self.record(Record::UnlinkDurable { identity });
            }
        }
    }

    fn reopen(&mut self, state_dir: Simulated) {
        self.life += 1;
        let (archive, report) = open(&state_dir, self.life);
        assert!(
            report.losses.is_empty() && report.oddities.is_empty(),
            "{report:?} {:#?}",
            self.log
        );
        (self.archive, self.state_dir) = (archive, state_dir);
    }

    fn loses_power(&mut self) {
        self.say("the power fails".to_owned());
        let state_dir = self.state_dir.power_cut(self.dice.below(1 << 20) as u64);
        for at in 0..self.shards.len() {
            let (dice, shard) = (&mut self.dice, &mut self.shards[at]);
            shard.has_writer = false;
            for lane in 0..2 * KEY_COUNT {
                // Any page may have been written back, or not.
                if dice.below(2) == 0 {
                    shard.live[lane] = shard.durable[lane];
                }
            }
            if shard.exists == Existence::Unlinked {
                shard.exists = [Existence::There, Existence::Gone][dice.below(2)];
            }
        }
        self.reopen(state_dir);
        self.mend();
    }

    fn is_wiped(&mut self) {
        self.say("the directory is wiped while no daemon runs".to_owned());
        let added = self.added.clone();
        let survivor = self.pick(|_| true);
        let mut saved = None;
        for at in 0..self.shards.len() {
            let shard = &mut self.shards[at];
            if shard.exists == Existence::There {
                if Some(at) == survivor {
                    saved = Some(at);
                }
                shard.exists = Existence::Gone;
            }
            shard.has_writer = false;
        }
        self.reopen(self.state_dir.process_death());
        self.mend();
        // One that was absorbed is forgotten by now: a copy of it would count anew, and nothing can tell.
        let saved = saved.filter(|at| {
            self.archive
                .state()
                .shard(&self.shards[*at].identity)
                .is_some()
        });
        if let (Some(at), true) = (saved, self.dice.below(2) == 0) {
            // An operator brings a file back, as it was or older.
            if self.dice.below(2) == 0 {
                self.shards[at].live = self.shards[at].durable;
            }
            // What the wipe took may be there again.
            self.added = added;
            self.returns(at);
        }
    }

    fn returns(&mut self, at: usize) {
        self.say(format!("{at} is back"));
        let identity = self.shards[at].identity.clone();
        let entries = self.shards[at].entries();
        let known = self.archive.state().shard(&identity).cloned();
        self.shards[at].exists = Existence::There;
        if let Some(known) = known {
            let values = entries.iter().map(|entry| (entry.key, entry.value));
            let shortfalls = known.shortfalls(values);
            match known.phase() {
                Phase::Missing => self.record(Record::Returned {
                    identity,
                    shortfalls,
                }),
                _ => self.record(Record::Rebased {
                    identity,
                    shortfalls,
                }),
            }
        }
        self.settle("a return");
    }

    /// What a start after a loss does before anything is shown.
    fn mend(&mut self) {
        self.finish_retirements();
        for at in 0..self.shards.len() {
            let identity = self.shards[at].identity.clone();
            let Some(known) = self.archive.state().shard(&identity).cloned() else {
                continue;
            };
            let record = if self.shards[at].exists == Existence::There {
                let values = self.shards[at]
                    .entries()
                    .into_iter()
                    .map(|it| (it.key, it.value));
                let shortfalls = known.shortfalls(values);
                if shortfalls.is_empty() {
                    continue;
                }
                Record::Rebased {
                    identity,
                    shortfalls,
                }
            } else if known.phase() == Phase::Seen {
                Record::Missing {
                    identity,
                    at_unix_seconds: 2.0,
                }
            } else {
                continue;
            };
            self.archive.append(record).unwrap();
        }
        self.archive.sync().unwrap();
        self.settle("a loss");
        if self.dice.below(3) == 0 {
            // A second start at once finds nothing new to mend.
            self.reopen(self.state_dir.power_cut(0));
            let before: Vec<Exact> = self.added.clone();
            for at in 0..self.shards.len() {
                if self.shards[at].exists != Existence::There {
                    continue;
                }
                let values = self.shards[at]
                    .entries()
                    .into_iter()
                    .map(|it| (it.key, it.value));
                let state = self.archive.state();
                let known = state.shard(&self.shards[at].identity);
                let again = known
                    .map(|known| known.shortfalls(values))
                    .unwrap_or_default();
                assert!(again.is_empty(), "{again:?} {:#?}", self.log);
            }
            assert_eq!(before, self.added);
        }
    }

    /// After a loss: between what was recorded and what was added. What is exposed now is what counts from now on.
    fn settle(&mut self, what: &str) {
        for key in 0..KEY_COUNT {
            let exposed = self.exposed(key);
            let order = |left: &Exact, right: &Exact| {
                let mut difference = left.clone();
                difference.subtract_sum(right);
                difference.sign().unwrap()
            };
            assert_ne!(
                order(&exposed, &self.recorded[key]),
                Ordering::Less,
                "{what}: lost {:#?}",
                self.log
            );
            assert_ne!(
                order(&exposed, &self.added[key]),
                Ordering::Greater,
                "{what}: twice {:#?}",
                self.log
            );
            self.added[key] = exposed;
        }
    }

    /// Without a loss: exactly what was added.
    fn check(&self, what: &str) {
        for key in 0..KEY_COUNT {
            assert_eq!(
                self.exposed(key),
                self.added[key],
                "after {what}, key {key}: {:#?}",
                self.log
            );
        }
    }
}

fn open(state_dir: &Simulated, life: usize) -> (Archive<Simulated>, OpenReport) {
    Archive::open(
        state_dir.clone(),
        SETTINGS,
        &format!("boot-{life}"),
        life as f64,
    )
    .unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(super::cases(1000)))]
    #[test]
    fn what_is_exposed_is_what_was_added(seed in any::<u64>()) {
        let mut world = World::new(seed);
        for _ in 0..70 {
            world.step();
            world.check("a step");
        }
    }
}

#[test]
fn removal_without_absorption_keeps_what_was_last_known() {
    let mut world = World::new(1);
    world.is_born();
    world.shards[0].live[0] = 2.5;
    world.is_recorded();
    world.shards[0].exists = Existence::Gone;
    world.record(Record::UnlinkDurable {
        identity: identity(0),
    });
    assert_eq!(world.exposed(0).value(), 2.5);
    assert_eq!(world.archive.take_oddities().len(), 1);
}

#[test]
fn a_missing_shard_that_is_named_again_without_a_word_lowers_nothing() {
    for absorbs in [false, true] {
        let mut world = World::new(1);
        world.is_born();
        world.shards[0].live[0] = 10.0;
        world.is_recorded();
        world.record(Record::Missing {
            identity: identity(0),
            at_unix_seconds: 1.0,
        });
        world.shards[0].live[0] = 4.0;
        let (identity, entries) = (identity(0), world.shards[0].entries());
        let origin = origin(0, SeriesKind::Counter);
        world.record(match absorbs {
            false => Record::HighWater {
                identity,
                origin: None,
                entries,
            },
            true => Record::Absorbed {
                identity,
                origin,
                at_unix_seconds: 2.0,
                entries,
            },
        });
        assert_eq!(world.exposed(0).value(), 10.0);
        assert_eq!(world.archive.take_oddities().len(), 1);
        world.shards[0].live[0] = 5.0;
        assert_eq!(world.exposed(0).value(), 11.0);
    }
}

#[test]
fn a_reset_by_the_writer_is_followed_and_no_power_cut_is_seen_in_it() {
    let mut world = World::new(1);
    world.is_born();
    world.shards[0].live[0] = 10.0;
    world.is_recorded();
    world.shards[0].live[0] = 1.0;
    world.is_recorded();
    assert_eq!(world.exposed(0).value(), 1.0);
    let known = world.archive.state().shard(&identity(0)).cloned().unwrap();
    assert!(known.shortfalls([(KeyId(0), 1.0)]).is_empty());
    // Nothing can be said of NaN, so nothing is added because of it.
    world.shards[0].live[0] = f64::NAN;
    world.is_recorded();
    let known = world.archive.state().shard(&identity(0)).cloned().unwrap();
    assert!(known.shortfalls([(KeyId(0), 1.0)]).is_empty());
}
