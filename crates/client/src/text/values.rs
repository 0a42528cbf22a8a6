//! The values that a text domain has had, by their texts and by their numbers.
//! Invariant: a value that is there is found without a lock, and stays where it is. Whoever adds one holds the domain's lock.
//! It must not know how a value is spelled.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, Ordering};

/// Values for which room is made at a time: a domain may have thousands, and most have few.
const BLOCK_LEN: usize = 64;

type Block = Box<[OnceLock<&'static str>]>;

/// The values of one domain.
#[derive(Debug)]
pub(super) struct Values {
    /// The number of a value plus one, or 0, by open addressing from the value's hash on; a place is filled once, and the first free one ends a
    /// search. At most half of them are ever filled.
    places: Box<[AtomicU16]>,
    /// By number.
    blocks: Box<[OnceLock<Block>]>,
}

impl Values {
    /// Room for so many.
    pub(super) fn new(count_max: u16) -> Values {
        let count_max = usize::from(count_max);
        let places = (2 * count_max).next_power_of_two();
        Values {
            places: (0..places).map(|_| AtomicU16::new(0)).collect(),
            blocks: (0..count_max.div_ceil(BLOCK_LEN))
                .map(|_| OnceLock::new())
                .collect(),
        }
    }

    /// A value that is there, with its number. Takes no lock.
    pub(super) fn find(&'static self, value: &str) -> Option<(&'static &'static str, u16)> {
        self.from(value).find_map(|place| {
            // Acquire: pairs with the Release in `insert`, so that the value is seen.
            let index = place.load(Ordering::Acquire).checked_sub(1)?;
            let known = self.value(index)?;
            (*known == value).then_some((known, index))
        })
    }

    /// Adds a value that is not there under the next number, below what there is room for. Leaked on purpose: it makes a label value `Copy` and
    /// free to read.
    pub(super) fn insert(&'static self, index: u16, value: String) -> &'static &'static str {
        let value: &'static str = Box::leak(value.into_boxed_str());
        let (block, place) = block_and_place(index);
        let block =
            self.blocks[block].get_or_init(|| (0..BLOCK_LEN).map(|_| OnceLock::new()).collect());
        let known = block[place].get_or_init(|| value);
        // Only those that are in front of the first free place are searched.
        if let Some(free) = self.from(value).last() {
            free.store(index + 1, Ordering::Release);
        }
        known
    }

    fn value(&'static self, index: u16) -> Option<&'static &'static str> {
        let (block, place) = block_and_place(index);
        self.blocks.get(block)?.get()?.get(place)?.get()
    }

    /// The places in which a value may be, up to the first free one.
    fn from(&'static self, value: &str) -> impl Iterator<Item = &'static AtomicU16> {
        let mut hasher = DefaultHasher::new();
        value.hash(&mut hasher);
        let start = hasher.finish() as usize & (self.places.len() - 1);
        let (before, from) = self.places.split_at(start);
        let mut is_over = false;
        from.iter().chain(before).take_while(move |place| {
            // The free one is the last.
            !std::mem::replace(&mut is_over, place.load(Ordering::Relaxed) == 0)
        })
    }
}

fn block_and_place(index: u16) -> (usize, usize) {
    let index = usize::from(index);
    (index / BLOCK_LEN, index % BLOCK_LEN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_as_there_is_room_for_are_found_each_under_its_number() {
        for count in [1, 2, 63, 64, 65, 9_999] {
            let values: &'static Values = Box::leak(Box::new(Values::new(count)));
            for index in 0..count {
                let value = format!("v{index}");
                assert_eq!(values.find(&value), None);
                assert_eq!(*values.insert(index, value.clone()), value);
            }
            for index in 0..count {
                let value = format!("v{index}");
                let (known, number) = values.find(&value).unwrap();
                assert_eq!((*known, number), (value.as_str(), index));
            }
            assert_eq!(values.find("none"), None);
        }
    }
}
