//! What the keys in the shards mean: each distinct key is parsed, judged and taken apart once, whoever writes it and however
//! often.
//!
//! Invariant: equal bytes have one [`KeyId`], and everything the merge asks about a key is found by index. Names are held as
//! they will be exposed: a character that text 0.0.4 has no place for is `_`, as Python's renderer writes it. Must not
//! touch: I/O, the clock, logging.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;

use metricsd_shard::Key;

use super::bound::parse_bound;
use super::label_set;
use super::spelling::Plain;
use super::table::Table;
use crate::pieces::Pieces;
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
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts<'a> {
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
    pub(super) refusal: Option<&'a Refusal>,
}

/// What is kept of one key: there are millions.
#[derive(Debug, Clone, Copy)]
struct Kept {
    /// The names in it and its help, by the number of all of them.
    names: u32,
    labels: u32,
    /// The number of what is not as usual; [`USUAL`]: nothing.
    unusual: u32,
}

/// No key has that number of what is not as usual.
const USUAL: u32 = u32::MAX;

/// Of a key that has the label `pid` or `le`, or is refused.
#[derive(Debug)]
struct Unusual {
    labels_without_pid: u32,
    labels_without_le: u32,
    bound: Bound,
    refusal: Option<Refusal>,
}

/// What was found out of a key.
#[derive(Debug)]
struct Examined {
    names: u32,
    labels: u32,
    unusual: Option<Unusual>,
}

/// The names in a key and its help, by their numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
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
    kept: Vec<Kept>,
    unusual: Vec<Unusual>,
    lexicon: Lexicon,
}

/// The texts and label sets that keys are made of.
#[derive(Debug, Default)]
struct Lexicon {
    texts: Table,
    /// The texts once more; there are few.
    text_values: Vec<Box<str>>,
    names: Vec<Names>,
    name_numbers: HashMap<Names, u32>,
    /// Of the last key: the next one's are nearly always the same.
    last_names: Option<u32>,
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
            let examined = self.lexicon.examine(key, policy);
            self.keep(examined);
        }
        KeyId(number)
    }

    /// The next key is this one.
    fn keep(&mut self, examined: Examined) {
        let unusual = examined.unusual.map_or(USUAL, |unusual| {
            self.unusual.push(unusual);
            u32::try_from(self.unusual.len() - 1).expect("there are no more of them than keys")
        });
        self.kept.push(Kept {
            names: examined.names,
            labels: examined.labels,
            unusual,
        });
    }

    /// [`Catalog::intern`] for all keys of an archive, on two threads: one finds their numbers, the other takes them apart. `read` puts
    /// each into the memory that it is given, in place of what is there.
    pub fn intern_all(
        &mut self,
        keys: Range<u32>,
        read: impl Fn(u32, &mut Vec<u8>) + Sync,
        policy: &Policy,
    ) -> Vec<KeyId> {
        let (spellings, lexicon) = (&mut self.spellings, &mut self.lexicon);
        let examine = {
            let (lexicon, keys, read) = (&mut *lexicon, keys.clone(), &read);
            move || lexicon.examine_all(keys, read, policy)
        };
        let (numbers, examined) = std::thread::scope(|scope| {
            let helper = std::thread::Builder::new()
                .name("keys".into())
                .spawn_scoped(scope, examine);
            let mut key = Vec::new();
            let intern = |number| {
                read(number, &mut key);
                spellings.intern(&key)
            };
            let numbers: Vec<(u32, bool)> = keys.clone().map(intern).collect();
            let examined = helper.ok().map(|helper| helper.join());
            (
                numbers,
                examined.map(|it| it.unwrap_or_else(|panic| std::panic::resume_unwind(panic))),
            )
        });
        // A thread that the system does not give is work for this one.
        let examined = examined.unwrap_or_else(|| lexicon.examine_all(keys, &read, policy));
        // What was known, or is there twice, was examined in vain.
        for ((_, is_new), examined) in numbers.iter().zip(examined) {
            if *is_new {
                self.keep(examined);
            }
        }
        numbers.iter().map(|(number, _)| KeyId(*number)).collect()
    }

    /// Makes room for so many more keys.
    pub fn reserve(&mut self, keys: usize) {
        self.spellings.reserve(keys);
        self.kept.reserve(keys);
        self.lexicon.label_sets.reserve(keys);
    }

    /// The bytes of a key as they stand in the shard.
    pub fn spelling(&self, key: KeyId) -> Vec<u8> {
        self.spellings.pieces().get(key.0)
    }

    /// The same behind what is in `to`.
    pub fn append_spelling(&self, key: KeyId, to: &mut Vec<u8>) {
        self.spellings.pieces().append_to(key.0, to);
    }

    /// Whether a key is spelled like this.
    pub fn is_spelled(&self, key: KeyId, bytes: &[u8]) -> bool {
        self.spellings.pieces().is(key.0, bytes)
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
        owned_labels(&self.label_sets().get(self.facts(key).labels))
    }

    /// Of a bucket: its bound, and its labels without that.
    pub fn bucket(&self, key: KeyId) -> Option<(f64, Vec<(String, String)>)> {
        let facts = self.facts(key);
        let Bound::At(bound) = facts.bound else {
            return None;
        };
        let labels = owned_labels(&self.label_sets().get(facts.labels_without_le));
        Some((bound, labels))
    }

    /// Why a key is never served, if it is not.
    pub fn refusal(&self, key: KeyId) -> Option<&Refusal> {
        self.facts(key).refusal
    }

    /// Distinct keys.
    pub fn len(&self) -> usize {
        self.kept.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// Forgets every key that is not among `used`, and gives those their new numbers.
    pub fn compact<'a>(&mut self, used: impl Iterator<Item = &'a mut KeyId>, policy: &Policy) {
        let old = std::mem::take(self);
        let mut renumbered: Vec<Option<KeyId>> = vec![None; old.len()];
        let mut spelling = Vec::new();
        for key in used {
            *key = *renumbered[key.index()].get_or_insert_with(|| {
                old.spellings.pieces().read(key.0, &mut spelling);
                self.intern(&spelling, policy)
            });
        }
    }

    #[inline]
    pub(super) fn facts(&self, key: KeyId) -> Facts<'_> {
        let kept = self.kept[key.index()];
        let names = self.lexicon.names[kept.names as usize];
        let facts = Facts {
            family: names.family,
            family_spelling: names.family_spelling,
            sample: names.sample,
            help: names.help,
            labels: kept.labels,
            labels_without_pid: kept.labels,
            labels_without_le: kept.labels,
            bound: Bound::None,
            refusal: None,
        };
        match self.unusual.get(kept.unusual as usize) {
            None => facts,
            Some(unusual) => Facts {
                labels_without_pid: unusual.labels_without_pid,
                labels_without_le: unusual.labels_without_le,
                bound: unusual.bound,
                refusal: unusual.refusal.as_ref(),
                ..facts
            },
        }
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

    /// The labels of each set, spelled as [`label_set`] spells them.
    pub(super) fn label_sets(&self) -> &Pieces {
        self.lexicon.label_sets.pieces()
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

    fn examine_all(
        &mut self,
        keys: Range<u32>,
        read: &impl Fn(u32, &mut Vec<u8>),
        policy: &Policy,
    ) -> Vec<Examined> {
        let mut key = Vec::new();
        let examine = |number| {
            read(number, &mut key);
            self.examine(&key, policy)
        };
        keys.map(examine).collect()
    }

    fn examine(&mut self, bytes: &[u8], policy: &Policy) -> Examined {
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
    ) -> Examined {
        let number = self.names(texts);
        let names = self.names[number as usize];
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
        let is_usual = labels_without_pid == all
            && labels_without_le == all
            && bound == Bound::None
            && refusal.is_none();
        let unusual = (!is_usual).then_some(Unusual {
            labels_without_pid,
            labels_without_le,
            bound,
            refusal,
        });
        Examined {
            names: number,
            labels: all,
            unusual,
        }
    }

    /// The number of a family's name, a sample's name and a help text.
    fn names(&mut self, (family, sample, help): (&str, &str, &str)) -> u32 {
        let is_last = |number: &u32| {
            let names = &self.names[*number as usize];
            self.text(names.family_spelling) == family
                && self.text(names.sample_spelling) == sample
                && self.text(names.help) == help
        };
        if let Some(number) = self.last_names.filter(is_last) {
            return number;
        }
        let names = Names {
            family: self.intern_text(&escape(family, Colon::Legal)),
            family_spelling: self.intern_text(family),
            sample: self.intern_text(&escape(sample, Colon::Legal)),
            sample_spelling: self.intern_text(sample),
            help: self.intern_text(help),
        };
        let next = u32::try_from(self.names.len()).expect("there are no more of them than keys");
        let number = *self.name_numbers.entry(names).or_insert(next);
        if number == next {
            self.names.push(names);
        }
        self.last_names = Some(number);
        number
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
            let read = |number: u32, to: &mut Vec<u8>| to.clone_from(&keys[number as usize]);
            let numbers = at_once.intern_all(0..keys.len() as u32, read, &policy);
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

    /// In a process that gets no thread, because the stack that each one should have is larger than all memory.
    #[test]
    fn keys_that_come_all_at_once_are_known_without_a_second_thread_too() {
        const THIS: &str = "keys_that_come_all_at_once_are_known_as_if_they_came_one_by_one";
        let tests = std::env::current_exe().expect("this one");
        let outcome = std::process::Command::new(tests)
            // With one thread the test runs on the first one.
            .args(["--test-threads=1", THIS])
            .env("RUST_MIN_STACK", (1_u64 << 46).to_string())
            .output()
            .expect("it has just been started");
        let told = String::from_utf8_lossy(&outcome.stdout);
        assert!(
            outcome.status.success() && told.contains("1 passed"),
            "{told}"
        );
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
