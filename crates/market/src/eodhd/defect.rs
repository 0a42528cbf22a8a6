//! What can be wrong with a bar of a live feed, and how often it was. Invariant: the kinds are finite, they are values of a label.
//!
//! Not [`crate::Defect`]: a recorded file has no future, and its kinds are label values of another program.

use crate::sequence::Defect;

/// A kind of defect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BarDefect {
    /// Bars that the calendar expects are missing between two that are there. One hole is one defect, however wide.
    Gap,
    /// A second bar of the same opening time, in one response, or with other prices in a later one. The first one stands; of two
    /// in one response with other prices none.
    Duplicate,
    /// It stands behind a later bar in its response, or opens where no bar of this length can open. Not used.
    OutOfOrder,
    /// A price or the volume is missing, null, no number or not finite. Not used.
    NonFinite,
    /// Prices contradict each other or are not positive, or the volume is negative. Not used.
    OhlcViolation,
    /// It opens in the future. Not used.
    FutureBar,
    /// It is not over although a later one is there. Not used.
    UnclosedBar,
}

impl BarDefect {
    /// All of them, in the order of [`DefectCounts`].
    pub const ALL: [BarDefect; 7] = [
        BarDefect::Gap,
        BarDefect::Duplicate,
        BarDefect::OutOfOrder,
        BarDefect::NonFinite,
        BarDefect::OhlcViolation,
        BarDefect::FutureBar,
        BarDefect::UnclosedBar,
    ];

    /// The spelling in metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            BarDefect::Gap => "gap",
            BarDefect::Duplicate => "duplicate",
            BarDefect::OutOfOrder => "out_of_order",
            BarDefect::NonFinite => "non_finite",
            BarDefect::OhlcViolation => "ohlc_violation",
            BarDefect::FutureBar => "future_bar",
            BarDefect::UnclosedBar => "unclosed_bar",
        }
    }

    /// The kind of an unusable row.
    pub(super) const fn of_row(defect: Defect) -> BarDefect {
        match defect {
            Defect::Gap => BarDefect::Gap,
            Defect::Duplicate => BarDefect::Duplicate,
            Defect::OutOfOrder => BarDefect::OutOfOrder,
            Defect::NonFinite => BarDefect::NonFinite,
            Defect::OhlcViolation => BarDefect::OhlcViolation,
            Defect::Unclosed => BarDefect::UnclosedBar,
        }
    }
}

/// How many defects of each kind were found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DefectCounts([u64; BarDefect::ALL.len()]);

impl DefectCounts {
    /// How many of one kind.
    pub const fn of(&self, kind: BarDefect) -> u64 {
        self.0[kind as usize]
    }

    /// How many of all kinds.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Each kind with its number, zeros included.
    pub fn iter(&self) -> impl Iterator<Item = (BarDefect, u64)> + '_ {
        BarDefect::ALL.into_iter().zip(self.0)
    }

    pub(super) const fn add(&mut self, kind: BarDefect) {
        self.0[kind as usize] += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_count_and_a_spelling_of_its_own() {
        let mut counts = DefectCounts::default();
        for (index, kind) in BarDefect::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, index);
            for _ in 0..=index {
                counts.add(kind);
            }
        }
        let found: Vec<u64> = counts.iter().map(|(_, count)| count).collect();
        assert_eq!(found, [1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(counts.total(), 28);
        assert_eq!(counts.of(BarDefect::NonFinite), 4);
    }
}
