//! Deaths of the daemon, power cuts, and the starts after them.
//!
//! Invariant: what the model falls back to is what the books had synced, never what they had in memory.

use super::{World, identity};
use crate::archive::testing::Simulated;
use crate::books::tests::SETTINGS;
use crate::books::tests::model::Step;
use crate::books::{Books, Reconciled, Sighting, TOMBSTONE_SECONDS};

impl World {
    pub(super) fn is_killed(&mut self) {
        self.say("the daemon is killed".to_owned());
        self.state_dir = self.state_dir.process_death();
        self.kept.clone_from(&self.kept_synced);
        for file in &mut self.files {
            let is_lost = !file.exists && file.is_served;
            let before = file.counted.clone();
            file.falls_back(false);
            // What only the daemon could still read is gone with it.
            for (key, before) in before.iter().enumerate() {
                if is_lost && file.counted[key] != *before {
                    self.shown[key] = None;
                }
            }
        }
        self.starts(false);
    }

    pub(super) fn loses_power(&mut self) {
        self.say("power fails".to_owned());
        self.cut();
        self.starts(true);
    }

    pub(super) fn cut(&mut self) {
        self.boot += 1;
        let seed = self.dice.below(1 << 20) as u64;
        self.state_dir = self.state_dir.power_cut(seed);
        self.kept.clone_from(&self.kept_synced);
        for file in &mut self.files {
            let dice = &mut self.dice;
            file.has_writer = false;
            let len = [file.durable_cells.len(), file.cells.len()][dice.below(2)];
            let kind = file.cells[0].0;
            file.cells.truncate(len);
            for cell in 0..file.cells.len() {
                if dice.below(2) == 0 {
                    file.cells[cell].1 = file.durable_cells.get(cell).map_or(0.0, |it| it.1);
                }
            }
            if dice.below(2) == 0 {
                file.exists = file.durable_exists;
            }
            if dice.below(2) == 0 {
                file.name.clone_from(&file.durable_name);
            }
            if file.cells.is_empty() {
                file.exists = false;
                file.cells = vec![(kind, 0.0)];
            }
            file.durable_cells.clone_from(&file.cells);
            file.falls_back(true);
        }
    }

    /// Everything is noted, and then the daemon ends by itself. Writers go on; power may fail meanwhile.
    pub(super) fn stops_and_starts(&mut self) {
        self.say("the daemon stops".to_owned());
        for at in 0..self.files.len() {
            if self.files[at].is_served && self.files[at].serve_after_sync.is_none() {
                self.notes(at);
            }
        }
        self.syncs();
        let other = Simulated::new();
        let (books, _) = Books::open(other, SETTINGS, "none", 0.0).unwrap();
        std::mem::replace(&mut self.books, books)
            .close(self.now)
            .unwrap();
        self.counts();
        let lost_power = self.dice.below(2) == 0;
        if lost_power {
            self.cut();
        } else {
            self.state_dir = self.state_dir.process_death();
            self.files
                .iter_mut()
                .for_each(|file| file.falls_back(false));
        }
        let found = self.starts(lost_power);
        assert_eq!(found.declared, 0, "{:#?}", self.log);
    }

    /// The next start; it may be killed before it gets anywhere, and must find the same then.
    pub(super) fn starts(&mut self, lost_power: bool) -> Reconciled {
        self.opens(lost_power);
        if self.dice.below(4) == 0 {
            self.say("the daemon is killed at its start".to_owned());
            if self.dice.below(2) == 0 {
                self.reconciles(lost_power);
            }
            self.state_dir = self.state_dir.process_death();
            self.opens(lost_power);
        }
        let found = self.reconciles(lost_power);
        self.say(format!("reconciled: {found:?}"));
        self.is_reconciled(lost_power, found);
        self.books.sync().unwrap();
        for file in &mut self.files {
            file.serve_after_sync = None;
            file.is_served = file.exists;
            // Of a writer whose file nobody can open any more nothing is ever known.
            file.has_writer &= file.exists;
        }
        self.is_synced();
        self.check("a start");
        found
    }

    pub(super) fn opens(&mut self, lost_power: bool) {
        if self.dice.below(20) == 0 {
            self.now += TOMBSTONE_SECONDS;
        }
        let boot = format!("boot-{}", self.boot);
        let opened = Books::open(self.state_dir.clone(), SETTINGS, &boot, self.now);
        let (books, report) = opened.unwrap();
        assert_eq!(
            report.may_have_lost_power(),
            lost_power,
            "{report:?} {:#?}",
            self.log
        );
        assert!(report.losses.is_empty() && report.oddities.is_empty());
        self.books = books;
        self.sync_shards();
    }

    pub(super) fn reconciles(&mut self, lost_power: bool) -> Reconciled {
        let present: Vec<usize> = (0..self.files.len())
            .filter(|at| self.files[*at].exists)
            .collect();
        let owned: Vec<_> = present
            .iter()
            .map(|at| (identity(*at), self.origin(*at), self.sighted(*at)))
            .collect();
        let sightings: Vec<Sighting<'_>> = owned
            .iter()
            .map(|(identity, origin, entries)| Sighting {
                identity,
                origin,
                birth_unix_seconds: None,
                entries,
            })
            .collect();
        self.books
            .reconcile(&sightings, lost_power, self.now)
            .unwrap()
    }

    /// The model of a start.
    pub(super) fn is_reconciled(&mut self, lost_power: bool, found: Reconciled) {
        let mut expected = Reconciled {
            declared: found.declared,
            ..Reconciled::default()
        };
        for at in 0..self.files.len() {
            let file = &self.files[at];
            let Some(written) = file.noted.clone() else {
                continue;
            };
            let resets = self.resets(at);
            match (file.exists, written.step) {
                (_, Step::Forgotten) => {}
                (true, Step::Missing) => {
                    expected.returned += 1;
                    self.is_met(at);
                }
                (true, _) if lost_power => {
                    expected.rebased += usize::from(resets > 0);
                    self.is_met(at);
                }
                (true, _) => {
                    expected.resets += resets;
                    if resets > 0 {
                        self.writes(at);
                        self.files[at].noted_cells = None;
                    }
                }
                (false, Step::Seen) => {
                    expected.missing += 1;
                    let (now, file) = (self.now, &mut self.files[at]);
                    let is_live = file.is_live_gauge();
                    let written = file.noted.as_mut().unwrap();
                    written.step = Step::Missing;
                    written.ended_at = now;
                    if is_live && written.gauge.is_some() && !written.is_hidden {
                        expected.discarded += 1;
                        written.is_hidden = true;
                    }
                }
                (false, Step::Absorbed) => {
                    expected.entombed += 1;
                    self.files[at].noted.as_mut().unwrap().step = Step::Missing;
                }
                (false, Step::Missing) => {
                    if self.now - written.ended_at >= TOMBSTONE_SECONDS {
                        expected.forgotten += 1;
                        self.forgets(at);
                    }
                }
            }
        }
        assert_eq!(found, expected, "{:#?}", self.log);
    }
}
