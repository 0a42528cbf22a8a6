//! What the keys in the shards mean: each distinct key is parsed, judged and taken apart once, whoever writes it and however
//! often.
//!
//! Invariant: equal bytes have one [`KeyId`], and everything the merge asks about a key is found by index. Names are held as
//! they will be exposed: a character that text 0.0.4 has no place for is `_`, as Python's renderer writes it. Must not
//! touch: I/O, the clock, logging.

use std::borrow::Cow;

use metricsd_shard::Key;

use super::bound::parse_bound;
use super::label_set;
use super::spelling::Plain;
use super::table::Table;
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

/// The names in a key and its help, by their numbers.
#[derive(Debug, Clone, Copy)]
struct Names {
    family: u32,
    family_spelling: u32,
    sample: u32,
    sample_spelling: u32,
    help: u32,
}

/// All keys in use.
#[derive(Debug, Default)]
pub struct Catalog {
    spellings: Table,
    facts: Vec<Facts>,
    lexicon: Lexicon,
}

/// The texts and label sets that keys are made of.
#[derive(Debug, Default)]
struct Lexicon {
    texts: Table,
    /// The texts once more; there are few.
    text_values: Vec<Box<str>>,
    /// Of the last key: the next one's are nearly always the same.
    last_names: Option<Names>,
    label_sets: Table,
    /// A label set that is being put together.
    set: Vec<u8>,
    /// Some key has the label `le`.
    has_bounds: bool,
}

impl Catalog {
    /// The number of a key, which is parsed and judged when it is new.
    pub fn intern(&mut self, key: &[u8], policy: &Policy) -> KeyId {
        let (number, is_new) = self.spellings.intern(key);
        if is_new {
            let facts = self.lexicon.examine(key, policy);
            self.facts.push(facts);
        }
        KeyId(number)
    }

    /// [`Catalog::intern`] for all keys of an archive, on two threads: one finds their numbers, the other takes them apart.
    pub fn intern_all<'a>(
        &mut self,
        keys: impl Iterator<Item = &'a [u8]> + Clone + Send,
        policy: &Policy,
    ) -> Vec<KeyId> {
        let (spellings, lexicon) = (&mut self.spellings, &mut self.lexicon);
        let to_examine = keys.clone();
        let (numbers, mut facts) = std::thread::scope(|scope| {
            let examine = move |key| lexicon.examine(key, policy);
            let examined = scope.spawn(move || to_examine.map(examine).collect::<Vec<Facts>>());
            let numbers: Vec<(u32, bool)> = keys.map(|key| spellings.intern(key)).collect();
            let facts = examined.join();
            (
                numbers,
                facts.unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            )
        });
        // What was known, or is there twice, was examined in vain.
        let mut is_new = numbers.iter().map(|(_, is_new)| *is_new);
        facts.retain(|_| is_new.next() == Some(true));
        match self.facts.is_empty() {
            true => self.facts = facts,
            false => self.facts.append(&mut facts),
        }
        numbers.iter().map(|(number, _)| KeyId(*number)).collect()
    }

    /// Makes room for so many more keys of so many bytes in all.
    pub fn reserve(&mut self, keys: usize, bytes: usize) {
        self.spellings.reserve(keys, bytes);
        self.lexicon.label_sets.reserve(keys, bytes / 2);
    }

    /// The bytes of a key as they stand in the shard.
    pub fn spelling(&self, key: KeyId) -> &[u8] {
        self.spellings.get(key.0)
    }

    /// The family that a key belongs to, as exposed.
    pub fn family(&self, key: KeyId) -> &str {
        self.text(self.facts(key).family)
    }

    /// The name of its sample, as exposed where that is the writer's.
    pub fn sample(&self, key: KeyId) -> &str {
        self.text(self.facts(key).sample)
    }

    /// Its labels, sorted by name.
    pub fn labels(&self, key: KeyId) -> Vec<(String, String)> {
        owned_labels(self.label_set(self.facts(key).labels))
    }

    /// Of a bucket: its bound, and its labels without that.
    pub fn bucket(&self, key: KeyId) -> Option<(f64, Vec<(String, String)>)> {
        let facts = self.facts(key);
        let Bound::At(bound) = facts.bound else {
            return None;
        };
        let labels = owned_labels(self.label_set(facts.labels_without_le));
        Some((bound, labels))
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
        self.lexicon.texts.len()
    }

    pub(super) fn text(&self, number: u32) -> &str {
        self.lexicon.text(number)
    }

    pub(super) fn label_set_count(&self) -> usize {
        self.lexicon.label_sets.len()
    }

    /// The labels of a set, spelled as [`label_set`] spells them.
    pub(super) fn label_set(&self, number: u32) -> &[u8] {
        self.lexicon.label_sets.get(number)
    }

    /// Whether any key has the label `le`.
    pub(super) fn has_bounds(&self) -> bool {
        self.lexicon.has_bounds
    }
}

fn owned_labels(set: &[u8]) -> Vec<(String, String)> {
    let labels = label_set::labels(set).into_iter();
    labels
        .map(|(name, value)| (name.into_owned(), value.into_owned()))
        .collect()
}

impl Lexicon {
    fn text(&self, number: u32) -> &str {
        &self.text_values[number as usize]
    }

    fn examine(&mut self, bytes: &[u8], policy: &Policy) -> Facts {
        if let Some(key) = Plain::read(bytes) {
            return self.examine_parts(
                (key.family, key.sample, key.help),
                key.labels(),
                None,
                policy,
            );
        }
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
                let detail = err.to_string();
                (nameless, Some(Refusal::BadName { detail }))
            }
        };
        let escaped = key.labels.iter().map(|(name, value)| {
            let name = escape(name, Colon::Illegal);
            (name, value.as_str())
        });
        let escaped: Vec<(Cow<'_, str>, &str)> = escaped.collect();
        let mut labels: Vec<(&str, &str)> = escaped
            .iter()
            .map(|(name, value)| (&**name, *value))
            .collect();
        labels.sort_by(|a, b| a.0.cmp(b.0));
        let texts = (&*key.family, &*key.sample, &*key.help);
        self.examine_parts(texts, &labels, unreadable, policy)
    }

    /// `labels` are escaped and sorted by name.
    fn examine_parts(
        &mut self,
        texts: (&str, &str, &str),
        labels: &[(&str, &str)],
        unreadable: Option<Refusal>,
        policy: &Policy,
    ) -> Facts {
        let names = self.names(texts);
        let (family, sample) = (self.text(names.family), self.text(names.sample));
        let refusal = unreadable.or_else(|| policy.judge_pairs(family, sample, labels).err());
        let bound = match labels.iter().find(|(name, _)| *name == "le") {
            None => Bound::None,
            Some((_, text)) => parse_bound(text).map_or(Bound::NotANumber, Bound::At),
        };
        self.has_bounds |= bound != Bound::None;
        let all = self.set_without(labels, None);
        let has = |label: &str| labels.iter().any(|(name, _)| *name == label);
        let mut without = |label| match has(label) {
            true => self.set_without(labels, Some(label)),
            false => all,
        };
        let (labels_without_pid, labels_without_le) = (without("pid"), without("le"));
        Facts {
            family: names.family,
            family_spelling: names.family_spelling,
            sample: names.sample,
            help: names.help,
            labels: all,
            labels_without_pid,
            labels_without_le,
            bound,
            refusal: refusal.map(Box::new),
        }
    }

    /// The numbers of a family's name, a sample's name and a help text.
    fn names(&mut self, (family, sample, help): (&str, &str, &str)) -> Names {
        let is_last = |names: &Names| {
            self.text(names.family_spelling) == family
                && self.text(names.sample_spelling) == sample
                && self.text(names.help) == help
        };
        if let Some(names) = self.last_names.filter(is_last) {
            return names;
        }
        let names = Names {
            family: self.intern_text(&escape(family, Colon::Legal)),
            family_spelling: self.intern_text(family),
            sample: self.intern_text(&escape(sample, Colon::Legal)),
            sample_spelling: self.intern_text(sample),
            help: self.intern_text(help),
        };
        self.last_names = Some(names);
        names
    }

    fn intern_text(&mut self, text: &str) -> u32 {
        let (number, is_new) = self.texts.intern(text.as_bytes());
        if is_new {
            self.text_values.push(text.into());
        }
        number
    }

    fn set_without(&mut self, labels: &[(&str, &str)], left_out: Option<&str>) -> u32 {
        self.set.clear();
        for (name, value) in labels {
            if Some(*name) != left_out {
                label_set::push(&mut self.set, name, value);
            }
        }
        self.label_sets.intern(&self.set).0
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
    use proptest::prelude::*;

    use super::*;

    /// Few of everything, so that keys, names and label sets come again; some keys are none.
    fn key() -> impl Strategy<Value = Vec<u8>> {
        let name = prop_oneof!["[ab]", "[ab]\\.[ab]", Just("\u{e9}".to_owned())];
        let label = prop_oneof!["[ac]", Just("le".to_owned()), Just("pid".to_owned())];
        let value = prop_oneof!["[01]{0,2}", Just("+Inf".to_owned())];
        let labels = prop::collection::btree_map(label, value, 0..3);
        let proper =
            (name, "(_total)?", labels, "[hx]").prop_map(|(name, suffix, labels, help)| {
                let sample = format!("{name}{suffix}");
                serde_json::to_vec(&(name, sample, labels, help)).expect("strings only")
            });
        prop_oneof![
            6 => proper,
            1 => prop::collection::vec(any::<u8>(), 0..4),
            1 => Just(b"[\"a\", \"a\", {\"a.b\": \"1\", \"a_b\": \"2\"}, \"\"]".to_vec()),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn keys_that_come_all_at_once_are_known_as_if_they_came_one_by_one(
            known in prop::collection::vec(key(), 0..20),
            keys in prop::collection::vec(key(), 0..60),
            later in prop::collection::vec(key(), 0..20),
        ) {
            let policy = Policy::default();
            let [mut one_by_one, mut at_once] = [Catalog::default(), Catalog::default()];
            let each = |catalog: &mut Catalog, keys: &[Vec<u8>]| -> Vec<KeyId> {
                keys.iter().map(|key| catalog.intern(key, &policy)).collect()
            };
            prop_assert_eq!(each(&mut at_once, &known), each(&mut one_by_one, &known));
            let numbers = at_once.intern_all(keys.iter().map(Vec::as_slice), &policy);
            prop_assert_eq!(&numbers, &each(&mut one_by_one, &keys));
            prop_assert_eq!(each(&mut at_once, &later), each(&mut one_by_one, &later));
            prop_assert_eq!(at_once.len(), one_by_one.len());
            prop_assert_eq!(at_once.has_bounds(), one_by_one.has_bounds());
            for id in (0..at_once.len() as u32).map(KeyId) {
                prop_assert_eq!(at_once.spelling(id), one_by_one.spelling(id));
                let [ours, theirs] =
                    [&at_once, &one_by_one].map(|catalog| format!("{:?}", catalog.facts(id)));
                prop_assert_eq!(ours, theirs);
            }
        }
    }

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
