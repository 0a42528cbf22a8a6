//! Which items, or entries, came into being together.
//!
//! Invariant: groups do not overlap and are in ascending order. A group of one takes no memory, and counters and gauges are such.

use std::ops::Range;

/// Groups of neighbours in a list.
#[derive(Debug, Default)]
pub(super) struct Groups {
    /// The first of each, and the one behind its last.
    bounds: Vec<(u32, u32)>,
}

impl Groups {
    /// These came together; all of them are behind those of earlier calls.
    pub(super) fn add(&mut self, together: Range<usize>) {
        if together.len() > 1 {
            let bound = |place: usize| u32::try_from(place).unwrap_or(u32::MAX);
            self.bounds
                .push((bound(together.start), bound(together.end)));
        }
    }

    /// The group of this one.
    pub(super) fn of(&self, place: usize) -> Range<usize> {
        let behind = self
            .bounds
            .partition_point(|&(begin, _)| begin as usize <= place);
        let last = behind.checked_sub(1).map(|last| self.bounds[last]);
        match last {
            Some((begin, end)) if place < end as usize => begin as usize..end as usize,
            _ => place..place + 1,
        }
    }

    pub(super) fn clear(&mut self) {
        self.bounds.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_in_its_group_or_alone() {
        let mut groups = Groups::default();
        assert_eq!(groups.of(0), 0..1);
        for together in [0..1, 1..4, 4..4, 4..6, 9..11] {
            groups.add(together);
        }
        let of: Vec<_> = (0..12).map(|place| groups.of(place)).collect();
        let (three, two, last) = (1..4, 4..6, 9..11);
        let three = || three.clone();
        let expected = [
            0..1,
            three(),
            three(),
            three(),
            two.clone(),
            two,
            6..7,
            7..8,
            8..9,
            last.clone(),
            last,
            11..12,
        ];
        assert_eq!(of, expected);
    }
}
