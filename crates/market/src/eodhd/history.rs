//! The newest closed bars of a live feed, kept over many overlapping responses.
//!
//! Invariant: the bars are closed, usable, strictly ascending and on the grid of their interval, and each fault of the feed is counted once,
//! however often the row that shows it comes again.
//!
//! What is decided here, where a feed leaves a choice:
//!
//! * The bar that is still forming stands at the end of nearly every response. It is no defect and is not used. One that is not over
//!   although a later one (not of the future) is there is an [`BarDefect::UnclosedBar`].
//! * The first version of a bar stands. Another one with other prices in a later response is a [`BarDefect::Duplicate`]: what was decided
//!   on is not changed afterwards. Two versions in one response contradict each other, and neither is used until one comes alone. A volume that changed alone is not counted, because this vendor revises volumes of the newest bar as a rule.
//! * A hole is one [`BarDefect::Gap`], and the bars at both sides are used as neighbours, as a paper session does. The hole is asked for
//!   again with [`FETCHES_OF_A_HOLE`] fetches in all; bars that come late are filled in, and so is a bar that was unusable before, since
//!   nothing was decided on it. A row that is there but unusable is a defect of its own and not missing as well.
//! * A hole as wide as the whole history makes what lies before it useless: the history begins anew behind it, and is short until the
//!   whole lookback was fetched.

use std::collections::BTreeSet;

use super::defect::{BarDefect, DefectCounts};
use super::parse::RawBar;
use crate::bar::Bar;
use crate::calendar::Calendar;
use crate::timeframe::Timeframe;

/// How far in the future a bar may open before it is a defect, in seconds: the clocks of two machines differ.
pub const FUTURE_TOLERANCE_SECONDS: i64 = 60;

/// How many responses may leave a hole open before it is taken for one that the feed cannot fill.
const FETCHES_OF_A_HOLE: u32 = 3;

/// Most faults that are remembered so as not to be counted twice. A feed that invents more times than this is counted again for the oldest.
const REMEMBERED_FAULTS: usize = 8_192;

/// What became of the rows of one response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Admitted {
    /// Bars that are newer than all before.
    pub new_closed: usize,
    /// Bars that were missing among the older ones. The newest bar is the same, but what was computed from the bars in order is not.
    pub filled: usize,
    /// Faults that were not counted before.
    pub defects: DefectCounts,
}

/// Expected bars that are missing between two usable ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Hole {
    /// Opening time of the bar before it.
    after: i64,
    /// Opening time of the bar behind it.
    before: i64,
    /// How many responses reached over it and did not fill it.
    fetches: u32,
}

/// The newest closed bars.
#[derive(Debug, Clone)]
pub struct History {
    timeframe: Timeframe,
    calendar: Calendar,
    capacity: usize,
    bars: Vec<Bar>,
    /// Opening times of closed rows that are there and cannot be used.
    unusable: BTreeSet<i64>,
    holes: Vec<Hole>,
    /// Faults of bars before this time were counted while those bars were kept, or with the hole that the history began anew behind. It may
    /// have to go back behind that, to fill up again.
    counted_before: i64,
    reported: BTreeSet<(i64, BarDefect)>,
}

impl History {
    /// Nothing seen yet; keeps the newest `capacity` bars, at least one.
    pub fn new(timeframe: Timeframe, calendar: Calendar, capacity: usize) -> History {
        History {
            timeframe,
            calendar,
            capacity: capacity.max(1),
            bars: Vec::new(),
            unusable: BTreeSet::new(),
            holes: Vec::new(),
            counted_before: i64::MIN,
            reported: BTreeSet::new(),
        }
    }

    /// The bars, oldest first.
    pub fn bars(&self) -> &[Bar] {
        &self.bars
    }

    /// Opening time of the newest bar in Unix seconds.
    pub fn newest_open_time(&self) -> Option<i64> {
        self.bars.last().map(|bar| bar.open_time)
    }

    /// From what Unix time on bars are to be asked for: the newest known one, which comes again so that a restatement is seen; the one
    /// before a hole that may still be filled; or the whole lookback while the history is short or too old.
    pub fn fetch_from(&self, now: i64) -> i64 {
        let lookback = self
            .calendar
            .lookback_start(now, self.capacity, self.timeframe);
        match self.newest_open_time() {
            Some(newest) if self.bars.len() == self.capacity && newest > lookback => self
                .holes
                .iter()
                .filter(|hole| hole.fetches < FETCHES_OF_A_HOLE)
                .map(|hole| hole.after)
                .min()
                .unwrap_or(newest),
            _ => lookback,
        }
    }

    /// Judges the rows of one response; `now` is Unix seconds.
    pub fn admit(&mut self, rows: &[RawBar], now: i64) -> Admitted {
        let newest_before = self.newest_open_time();
        // What is older than a full history was judged when it was in it.
        let floor = match self.bars.first() {
            Some(oldest) if self.bars.len() == self.capacity => oldest.open_time,
            _ => i64::MIN,
        };
        let horizon = now.saturating_add(FUTURE_TOLERANCE_SECONDS);
        let latest = rows
            .iter()
            .map(|row| row.open_time)
            .filter(|open_time| *open_time <= horizon)
            .max();

        let mut defects = DefectCounts::default();
        let mut in_response = BTreeSet::new();
        let mut highest = i64::MIN;
        let mut added = Vec::new();
        for row in rows.iter().filter(|row| row.open_time >= floor) {
            let open_time = row.open_time;
            let is_closed = open_time.saturating_add(self.timeframe.seconds()) <= now;
            let fault = if open_time > horizon {
                Some(BarDefect::FutureBar)
            } else if !in_response.insert(open_time) {
                self.withdraw_if_contradicted(row, &mut added);
                Some(BarDefect::Duplicate)
            } else if open_time < highest || !self.is_on_grid(open_time) {
                Some(BarDefect::OutOfOrder)
            } else if !is_closed {
                (Some(open_time) < latest).then_some(BarDefect::UnclosedBar)
            } else {
                row.bar.err().map(BarDefect::of_row)
            };
            if open_time <= horizon {
                highest = highest.max(open_time);
            }
            match fault {
                Some(kind) => {
                    self.report(kind, open_time, &mut defects);
                    if is_closed && self.is_on_grid(open_time) && self.position(open_time).is_err()
                    {
                        self.unusable.insert(open_time);
                    }
                }
                None if !is_closed => {}
                None => {
                    if let Ok(bar) = row.bar {
                        self.take(bar, &mut added, &mut defects);
                    }
                }
            }
        }
        if !added.is_empty() || !self.holes.is_empty() {
            self.find_holes(rows, &mut defects);
        }
        self.forget_the_oldest();
        let oldest = self.bars.first().map_or(i64::MAX, |bar| bar.open_time);
        let kept = added.into_iter().filter(|open_time| *open_time >= oldest);
        let (new, filled): (Vec<i64>, Vec<i64>) =
            kept.partition(|open_time| newest_before.is_none_or(|newest| *open_time > newest));
        Admitted {
            new_closed: new.len(),
            filled: filled.len(),
            defects,
        }
    }

    /// Puts a closed usable bar in its place, if that is free.
    fn take(&mut self, bar: Bar, added: &mut Vec<i64>, defects: &mut DefectCounts) {
        match self.position(bar.open_time) {
            Ok(at) => {
                if self.bars[at].prices() != bar.prices() {
                    self.report(BarDefect::Duplicate, bar.open_time, defects);
                }
            }
            Err(at) => {
                self.bars.insert(at, bar);
                self.unusable.remove(&bar.open_time);
                added.push(bar.open_time);
            }
        }
    }

    /// Takes out a bar that came with this very response, where another row of it says other prices: which of them is meant cannot be known.
    fn withdraw_if_contradicted(&mut self, row: &RawBar, added: &mut Vec<i64>) {
        let (Ok(bar), Ok(at)) = (row.bar, self.position(row.open_time)) else {
            return;
        };
        let Some(index) = added.iter().position(|time| *time == row.open_time) else {
            return;
        };
        if self.bars[at].prices() != bar.prices() {
            self.bars.remove(at);
            added.swap_remove(index);
        }
    }

    /// Lists the holes as they are now, counts those that no known one covers, and begins anew behind one that is as wide as the history.
    fn find_holes(&mut self, rows: &[RawBar], defects: &mut DefectCounts) {
        let first = rows.iter().map(|row| row.open_time).min();
        let last = rows.iter().map(|row| row.open_time).max();
        let mut holes = Vec::new();
        let mut begin = 0;
        for (index, pair) in self.bars.windows(2).enumerate() {
            let (after, before) = (pair[0].open_time, pair[1].open_time);
            let missing = self.calendar.missing_bars(after, before, self.timeframe);
            if missing == 0 {
                continue;
            }
            let known = self
                .holes
                .iter()
                .find(|hole| hole.after <= after && before <= hole.before);
            let was_counted = known.is_some() || before <= self.counted_before;
            let there_but_unusable = self
                .unusable
                .range(after + 1..before)
                .filter(|open_time| self.calendar.expects_bar(**open_time, self.timeframe))
                .count() as u64;
            if !was_counted && missing > there_but_unusable {
                defects.add(BarDefect::Gap);
            }
            let was_asked_for = first <= Some(after) && last >= Some(before);
            holes.push(Hole {
                after,
                before,
                fetches: known.map_or(0, |hole| hole.fetches) + u32::from(was_asked_for),
            });
            if missing >= self.capacity as u64 {
                begin = index + 1;
            }
        }
        if begin > 0 {
            self.counted_before = self.counted_before.max(self.bars[begin].open_time);
            holes.retain(|hole| hole.before > self.counted_before);
        }
        self.holes = holes;
        self.bars.drain(..begin);
    }

    fn forget_the_oldest(&mut self) {
        let surplus = self.bars.len().saturating_sub(self.capacity);
        self.bars.drain(..surplus);
        if self.bars.len() == self.capacity {
            let oldest = self.bars[0].open_time;
            self.counted_before = self.counted_before.max(oldest);
            self.unusable = self.unusable.split_off(&oldest);
            self.reported = self.reported.split_off(&(oldest, BarDefect::Gap));
            self.holes.retain(|hole| hole.before > oldest);
        }
        while self.reported.len() > REMEMBERED_FAULTS {
            self.reported.pop_first();
        }
        while self.unusable.len() > REMEMBERED_FAULTS {
            self.unusable.pop_first();
        }
    }

    fn report(&mut self, kind: BarDefect, open_time: i64, defects: &mut DefectCounts) {
        if open_time >= self.counted_before && self.reported.insert((open_time, kind)) {
            defects.add(kind);
        }
    }

    /// Where the bar of that time is, or would be put.
    fn position(&self, open_time: i64) -> Result<usize, usize> {
        self.bars
            .binary_search_by_key(&open_time, |bar| bar.open_time)
    }

    /// Bars of up to a day open at multiples of their length; a vendor may begin its weeks on any day.
    fn is_on_grid(&self, open_time: i64) -> bool {
        self.timeframe == Timeframe::W1 || open_time % self.timeframe.seconds() == 0
    }
}

#[cfg(test)]
#[path = "history_tests.rs"]
mod tests;
