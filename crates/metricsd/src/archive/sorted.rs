//! Figures by number of the series, in two lists: there are as many as live entries, and a tree of so small ones is half empty.
//!
//! Invariant: the keys ascend and each has one figure. Many new keys are put in with one pass ([`Sorted::make_places`]); one by one, each
//! that is not the greatest moves all behind it. Pure.

use super::model::KeyId;

/// Figures by series.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sorted<V> {
    keys: Vec<KeyId>,
    values: Vec<V>,
}

impl<V> Default for Sorted<V> {
    fn default() -> Sorted<V> {
        Sorted {
            keys: Vec::new(),
            values: Vec::new(),
        }
    }
}

impl<V: Default> Sorted<V> {
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    pub(super) fn get(&self, key: KeyId) -> Option<&V> {
        let place = self.place(key).ok()?;
        self.values.get(place)
    }

    /// The figure of a series, which is made if there is none.
    pub(super) fn entry(&mut self, key: KeyId) -> &mut V {
        let place = self.place(key).unwrap_or_else(|place| {
            self.keys.insert(place, key);
            self.values.insert(place, V::default());
            place
        });
        &mut self.values[place]
    }

    /// Figures of keys that ascend and are greater than all that are there.
    pub(super) fn extend(&mut self, figures: impl Iterator<Item = (KeyId, V)>) {
        for (key, value) in figures {
            debug_assert!(self.place(key) == Err(self.len()));
            self.keys.push(key);
            self.values.push(value);
        }
        self.shrink();
    }

    pub(super) fn shrink(&mut self) {
        self.keys.shrink_to_fit();
        self.values.shrink_to_fit();
    }

    /// Makes figures for those of the keys (ascending, each once) that have none.
    pub(super) fn make_places(&mut self, keys: impl Iterator<Item = KeyId> + Clone) {
        let missing = keys.clone().filter(|key| self.place(*key).is_err()).count();
        if missing == 0 {
            return;
        }
        let count = self.len() + missing;
        let is_behind = |key: KeyId| self.keys.last().is_none_or(|last| *last < key);
        if keys.clone().next().is_some_and(is_behind) {
            self.keys.reserve_exact(missing);
            self.values.reserve_exact(missing);
            self.keys.extend(keys);
            self.values.resize_with(count, V::default);
            return;
        }
        let old_keys = std::mem::replace(&mut self.keys, Vec::with_capacity(count));
        let old_values = std::mem::replace(&mut self.values, Vec::with_capacity(count));
        let mut new = keys.peekable();
        for (key, value) in old_keys.into_iter().zip(old_values) {
            while let Some(smaller) = new.next_if(|new| *new < key) {
                self.push_new(smaller);
            }
            new.next_if_eq(&key);
            self.keys.push(key);
            self.values.push(value);
        }
        new.for_each(|key| self.push_new(key));
    }

    fn push_new(&mut self, key: KeyId) {
        self.keys.push(key);
        self.values.push(V::default());
    }

    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = (KeyId, &V)> {
        self.keys.iter().copied().zip(&self.values)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (KeyId, &mut V)> {
        self.keys.iter().copied().zip(&mut self.values)
    }

    fn place(&self, key: KeyId) -> Result<usize, usize> {
        // Nearly all come in order.
        match self.keys.last() {
            Some(last) if *last < key => Err(self.keys.len()),
            _ => self.keys.binary_search(&key),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Step {
        Add(u32),
        Places(BTreeSet<u32>),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..40_u32).prop_map(Step::Add),
            prop::collection::btree_set(0..60_u32, 0..12).prop_map(Step::Places),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn lists_hold_what_a_tree_holds(steps in prop::collection::vec(step(), 0..40)) {
            let mut sorted: Sorted<u64> = Sorted::default();
            let mut tree: BTreeMap<KeyId, u64> = BTreeMap::new();
            for step in steps {
                match step {
                    Step::Add(key) => {
                        *sorted.entry(KeyId(key)) += 1;
                        *tree.entry(KeyId(key)).or_default() += 1;
                    }
                    Step::Places(keys) => {
                        sorted.make_places(keys.iter().map(|key| KeyId(*key)));
                        keys.iter().for_each(|key| {
                            tree.entry(KeyId(*key)).or_default();
                        });
                    }
                }
                let listed: Vec<(KeyId, u64)> = sorted.iter().map(|(key, value)| (key, *value)).collect();
                prop_assert_eq!(&listed, &tree.iter().map(|(key, value)| (*key, *value)).collect::<Vec<_>>());
                for key in (0..61).map(KeyId) {
                    prop_assert_eq!(sorted.get(key), tree.get(&key));
                }
            }
        }
    }
}
