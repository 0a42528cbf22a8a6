//! Numbers by hash, with open addressing.
//!
//! Invariant: a number that was entered is found by its hash. An entry has the upper half of its hash beside the number: that says where
//! it belongs in an index of any size, and tells it from nearly all others without a look at what it stands for.

/// Marks a free place. Nothing has that number.
const FREE: u64 = u64::MAX;
/// The part of an entry that is the number.
const NUMBER_MASK: u64 = 0xffff_ffff;
/// Places of an index that is not empty.
const PLACES_MIN: usize = 16;

/// The index; at most three quarters of its places are in use.
#[derive(Debug, Clone, Default)]
pub(crate) struct Index {
    places: Vec<u64>,
    count: usize,
}

impl Index {
    /// The number with that hash of which `is_it` says yes.
    #[inline]
    pub(crate) fn find(&self, hash: u64, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        if self.places.is_empty() {
            return None;
        }
        let mut place = self.home(hash);
        loop {
            let found = self.places[place];
            if found == FREE {
                return None;
            }
            let number = (found & NUMBER_MASK) as u32;
            if (found ^ hash) & !NUMBER_MASK == 0 && is_it(number) {
                return Some(number);
            }
            place = self.next(place);
        }
    }

    /// Enters a number that is not there.
    pub(crate) fn enter(&mut self, hash: u64, number: u32) {
        if (self.count + 1) * 4 > self.places.len() * 3 {
            self.grow_to(next_size(self.places.len()));
        }
        self.count += 1;
        self.put(hash & !NUMBER_MASK | u64::from(number));
    }

    /// Makes room for so many numbers in all.
    pub(crate) fn reserve(&mut self, count: usize) {
        let mut places = self.places.len();
        while count * 4 > places * 3 {
            places = next_size(places);
        }
        if places > self.places.len() {
            self.grow_to(places);
        }
    }

    fn grow_to(&mut self, places: usize) {
        let old = std::mem::replace(&mut self.places, vec![FREE; places]);
        // Nearly in the order of their new places.
        for entry in old.into_iter().filter(|entry| *entry != FREE) {
            self.put(entry);
        }
    }

    fn put(&mut self, entry: u64) {
        let mut place = self.home(entry);
        while self.places[place] != FREE {
            place = self.next(place);
        }
        self.places[place] = entry;
    }

    /// The place that the upper half of a hash names: as far from the begin as the hash is from 0.
    #[inline]
    fn home(&self, hash: u64) -> usize {
        (((hash >> 32) * self.places.len() as u64) >> 32) as usize
    }

    #[inline]
    fn next(&self, place: usize) -> usize {
        match place + 1 {
            next if next == self.places.len() => 0,
            next => next,
        }
    }
}

/// By a half and by a third in turn: a size that is doubled is half empty too often.
fn next_size(places: usize) -> usize {
    match places {
        0 => PLACES_MIN,
        places if places.is_power_of_two() => places / 2 * 3,
        places => places / 3 * 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_found_by_its_hash_and_no_other_one() {
        // Many have the same upper half, which ends at the last place as well.
        let hash = |number: u32| {
            u64::from(number % 50).wrapping_mul(0x0537_1f63_3e72_a5b1)
                | (0xff << (56 * u64::from(number % 2)))
        };
        for reserved in [0, 700, 2000] {
            let mut index = Index::default();
            index.reserve(reserved);
            for number in 0..1000 {
                assert_eq!(index.find(hash(number), |found| found == number), None);
                index.enter(hash(number), number);
            }
            for number in 0..1000 {
                assert_eq!(
                    index.find(hash(number), |found| found == number),
                    Some(number)
                );
                assert_eq!(index.find(hash(number), |_| false), None);
            }
        }
    }
}
