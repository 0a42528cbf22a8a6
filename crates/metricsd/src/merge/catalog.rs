//! What the keys in the shards mean: each distinct key is parsed, judged and taken apart once, whoever writes it and however
//! often.
//!
//! Invariant: equal bytes have one [`KeyId`], and everything the merge asks about a key is found by index. Names are held as
//! they will be exposed: a character that text 0.0.4 has no place for is `_`, as Python's renderer writes it. Must not
//! touch: I/O, the clock, logging.

use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use metricsd_shard::Key;

use super::bound::parse_bound;
use crate::policy::{Policy, Refusal};

/// Label names and values, sorted by name.
pub type Labels = [(String, String)];

/// A key that the catalog knows. Valid until the next [`Catalog::compact`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(u32);

impl KeyId {
    /// For tables that are indexed by keys: from 0, dense.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// The bucket bound that a key's labels name.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Bound {
    /// No label `le`.
    None,
    /// A number, never -0.0 and never NaN.
    At(f64),
    /// A label `le` that is no number: nothing that a histogram could be served with.
    NotANumber,
}

/// What is known of one key. Numbers of texts and label sets are those of the catalog.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    pub(super) family: u32,
    /// The family's name as the key spells it, before escaping; two spellings must not become one family unseen.
    pub(super) family_spelling: u32,
    pub(super) sample: u32,
    pub(super) help: u32,
    /// All labels.
    pub(super) labels: u32,
    /// The labels without `pid`: those of an aggregated gauge, and of any gauge before its own `pid` is added.
    pub(super) labels_without_pid: u32,
    /// The labels without `le`: those of a histogram.
    pub(super) labels_without_le: u32,
    pub(super) bound: Bound,
    /// Set if the series is served under no circumstances.
    pub(super) refusal: Option<Box<Refusal>>,
}

/// All keys in use.
#[derive(Debug, Default)]
pub struct Catalog {
    ids: HashMap<Arc<[u8]>, KeyId>,
    spellings: Vec<Arc<[u8]>>,
    facts: Vec<Facts>,
    texts: Interner<str>,
    label_sets: Interner<Labels>,
}

impl Catalog {
    /// The number of a key, which is parsed and judged when it is new.
    pub fn intern(&mut self, key: &[u8], policy: &Policy) -> KeyId {
        if let Some(&id) = self.ids.get(key) {
            return id;
        }
        let facts = self.examine(key, policy);
        let id = KeyId(
            u32::try_from(self.facts.len())
                .expect("keys are longer than a byte and memory is finite"),
        );
        let key: Arc<[u8]> = key.into();
        self.ids.insert(Arc::clone(&key), id);
        self.spellings.push(key);
        self.facts.push(facts);
        id
    }

    /// The bytes of a key as they stand in the shard.
    pub fn spelling(&self, key: KeyId) -> &[u8] {
        &self.spellings[key.index()]
    }

    /// The family that a key belongs to, as exposed.
    pub fn family(&self, key: KeyId) -> &str {
        self.text(self.facts(key).family)
    }

    /// Why a key is never served, if it is not.
    pub fn refusal(&self, key: KeyId) -> Option<&Refusal> {
        self.facts(key).refusal.as_deref()
    }

    /// Distinct keys.
    pub fn len(&self) -> usize {
        self.facts.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.facts.is_empty()
    }

    /// Forgets every key that is not among `used`, and gives those their new numbers.
    pub fn compact<'a>(&mut self, used: impl Iterator<Item = &'a mut KeyId>, policy: &Policy) {
        let old = std::mem::take(self);
        let mut renumbered: Vec<Option<KeyId>> = vec![None; old.len()];
        for key in used {
            *key = *renumbered[key.index()]
                .get_or_insert_with(|| self.intern(old.spelling(*key), policy));
        }
    }

    pub(super) fn facts(&self, key: KeyId) -> &Facts {
        &self.facts[key.index()]
    }

    pub(super) fn text_count(&self) -> usize {
        self.texts.values.len()
    }

    pub(super) fn text(&self, number: u32) -> &str {
        self.texts.get(number)
    }

    pub(super) fn label_set(&self, number: u32) -> &Labels {
        self.label_sets.get(number)
    }

    fn examine(&mut self, bytes: &[u8], policy: &Policy) -> Facts {
        let (key, unreadable) = match Key::parse(bytes) {
            Ok(key) => (key, None),
            // The reader hands out valid keys only; a disagreement costs this one entry.
            Err(err) => {
                let nameless = Key {
                    family: String::new(),
                    sample: String::new(),
                    labels: Vec::new(),
                    help: String::new(),
                };
                (
                    nameless,
                    Some(Refusal::BadName {
                        detail: err.to_string(),
                    }),
                )
            }
        };
        let family = escape(&key.family, Colon::Legal);
        let sample = escape(&key.sample, Colon::Legal);
        let mut labels: Vec<(String, String)> = key
            .labels
            .into_iter()
            .map(|(name, value)| (escape(&name, Colon::Illegal).into_owned(), value))
            .collect();
        labels.sort_by(|a, b| a.0.cmp(&b.0));
        let refusal = unreadable.or_else(|| policy.judge(&family, &sample, &labels).err());
        let bound = match labels.iter().find(|(name, _)| name == "le") {
            None => Bound::None,
            Some((_, text)) => parse_bound(text).map_or(Bound::NotANumber, Bound::At),
        };
        Facts {
            family: self.texts.intern(&family),
            family_spelling: self.texts.intern(&key.family),
            sample: self.texts.intern(&sample),
            help: self.texts.intern(&key.help),
            labels_without_pid: self.without(&labels, "pid"),
            labels_without_le: self.without(&labels, "le"),
            labels: self.label_sets.intern(&labels),
            bound,
            refusal: refusal.map(Box::new),
        }
    }

    fn without(&mut self, labels: &Labels, name: &str) -> u32 {
        if labels.iter().all(|(other, _)| other != name) {
            return self.label_sets.intern(labels);
        }
        let rest: Vec<(String, String)> = labels
            .iter()
            .filter(|(other, _)| other != name)
            .cloned()
            .collect();
        self.label_sets.intern(&rest)
    }
}

/// Values that are equal have one number.
#[derive(Debug)]
struct Interner<T: ?Sized + Hash + Eq> {
    numbers: HashMap<Arc<T>, u32>,
    values: Vec<Arc<T>>,
}

impl<T: ?Sized + Hash + Eq> Default for Interner<T> {
    fn default() -> Interner<T> {
        Interner {
            numbers: HashMap::new(),
            values: Vec::new(),
        }
    }
}

impl<T: ?Sized + Hash + Eq> Interner<T> {
    fn intern<'a>(&mut self, value: &'a T) -> u32
    where
        Arc<T>: From<&'a T>,
    {
        if let Some(&number) = self.numbers.get(value) {
            return number;
        }
        let number = u32::try_from(self.values.len())
            .expect("texts are longer than a byte and memory is finite");
        let value: Arc<T> = value.into();
        self.numbers.insert(Arc::clone(&value), number);
        self.values.push(value);
        number
    }

    fn get(&self, number: u32) -> &T {
        &self.values[number as usize]
    }
}

/// Whether a name may hold a colon: metric names may, label names may not.
#[derive(Clone, Copy, PartialEq)]
enum Colon {
    Legal,
    Illegal,
}

/// The name with `_` for every character that is not legal in text 0.0.4: Python's escaping scheme `underscores`.
fn escape(name: &str, colon: Colon) -> Cow<'_, str> {
    let legal = |index: usize, c: char| {
        c.is_ascii_alphabetic()
            || c == '_'
            || (c == ':' && colon == Colon::Legal)
            || (c.is_ascii_digit() && index > 0)
    };
    // Python counts characters here, not bytes; both agree on where the first one is.
    if name.char_indices().all(|(index, c)| legal(index, c)) {
        return Cow::Borrowed(name);
    }
    Cow::Owned(
        name.char_indices()
            .map(|(index, c)| if legal(index, c) { c } else { '_' })
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped_as_pythons_renderer_escapes_them() {
        for (name, expected) in [
            ("a.b", "a_b"),
            ("9a", "_a"),
            ("a9", "a9"),
            ("héé", "h__"),
            ("a:b", "a:b"),
            ("", ""),
        ] {
            assert_eq!(escape(name, Colon::Legal), expected);
        }
        assert_eq!(escape("a:b", Colon::Illegal), "a_b");
    }
}
