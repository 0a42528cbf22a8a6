//! Layouts: which entries a file has, and where their values stand. Processes of one program write the same ones, so each layout is held
//! once, however many shards have it, and what is planned for it is planned once.
//!
//! Invariant: of two equal layouts of living shards there is one, so that who has the same entries has the same slice of keys. Must not
//! touch files.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::{Arc, Weak};

use metricsd_shard::{Entry, FileKind};

use super::shard::{Correction, Shard};
use crate::merge::{Catalog, KeyId};
use crate::policy::Policy;

/// Layouts beyond which those are looked for that nobody has any more.
const UNSWEPT_MIN: usize = 64;

/// Entries in file order. Both have as many.
#[derive(Debug, Default)]
pub(super) struct Layout {
    /// Where the values stand in the file, ascending.
    pub(super) offsets: Box<[u32]>,
    /// A key may be there twice.
    pub(super) keys: Box<[KeyId]>,
}

/// Every layout that a shard has.
#[derive(Debug, Default)]
pub(super) struct Layouts {
    by_hash: HashMap<u64, Vec<Weak<Layout>>>,
    count: usize,
    /// The count at which unused ones are looked for.
    sweep_at: usize,
    /// What the next file of a kind is expected to have: what the last one had.
    last: HashMap<FileKind, Arc<Layout>>,
    hasher: RandomState,
}

/// What entries are looked up in, and entered into.
#[derive(Debug)]
pub(super) struct Interner<'a> {
    pub(super) catalog: &'a mut Catalog,
    pub(super) layouts: &'a mut Layouts,
    pub(super) policy: &'a Policy,
}

impl Layout {
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    fn begins_with(&self, known: &Layout, count: usize) -> bool {
        self.len() >= count
            && self.keys[..count] == known.keys[..count]
            && self.offsets[..count] == known.offsets[..count]
    }

    /// Whether the entry at `index` is this one.
    pub(super) fn has(
        &self,
        index: usize,
        catalog: &Catalog,
        value_offset: usize,
        key: &[u8],
    ) -> bool {
        self.offsets
            .get(index)
            .is_some_and(|&offset| offset as usize == value_offset)
            && catalog.is_spelled(self.keys[index], key)
    }
}

impl Interner<'_> {
    /// The layout whose entries a file of this kind is likely to have behind the first `known` ones of `layout`.
    pub(super) fn expected(
        &self,
        kind: FileKind,
        layout: &Layout,
        known: usize,
    ) -> Option<Arc<Layout>> {
        let last = self.layouts.last.get(&kind)?;
        last.begins_with(layout, known).then(|| Arc::clone(last))
    }

    /// The layout of the first `known` entries of `layout` and of new ones behind them.
    pub(super) fn extend(
        &mut self,
        kind: FileKind,
        layout: &Layout,
        known: usize,
        new: &[Entry<'_>],
    ) -> Arc<Layout> {
        let count = known + new.len();
        let expected = self.expected(kind, layout, known);
        let has = |(index, entry): (usize, &Entry<'_>)| {
            let expected = expected.as_deref();
            expected.is_some_and(|expected| {
                expected.has(known + index, self.catalog, entry.value_offset, entry.key)
            })
        };
        let alike = new.iter().enumerate().take_while(|pair| has(*pair)).count();
        if alike == new.len()
            && let Some(expected) = expected.as_ref().filter(|it| it.len() == count)
        {
            return Arc::clone(expected);
        }
        let mut offsets = Vec::with_capacity(count);
        let mut keys = Vec::with_capacity(count);
        offsets.extend_from_slice(&layout.offsets[..known]);
        keys.extend_from_slice(&layout.keys[..known]);
        if let Some(expected) = &expected {
            offsets.extend_from_slice(&expected.offsets[known..known + alike]);
            keys.extend_from_slice(&expected.keys[known..known + alike]);
        }
        for entry in &new[alike..] {
            let offset = u32::try_from(entry.value_offset);
            offsets.push(offset.expect("at most 64 MiB of a file are read"));
            keys.push(self.catalog.intern(entry.key, self.policy));
        }
        let layout = self.layouts.intern(offsets.into(), keys.into());
        self.layouts.last.insert(kind, Arc::clone(&layout));
        layout
    }
}

impl Layouts {
    /// That of the file of this kind that was parsed last.
    pub(super) fn last(&self, kind: FileKind) -> Option<&Arc<Layout>> {
        self.last.get(&kind)
    }

    fn intern(&mut self, offsets: Box<[u32]>, keys: Box<[KeyId]>) -> Arc<Layout> {
        let hash = self.hasher.hash_one((&keys, offsets.last()));
        let same = self.by_hash.entry(hash).or_default();
        let found = same.iter().filter_map(Weak::upgrade);
        let found = found.into_iter().find(|known| {
            // Nearly always, unless two files have other text between the same keys.
            known.keys == keys && known.offsets == offsets
        });
        if let Some(known) = found {
            return known;
        }
        let layout = Arc::new(Layout { offsets, keys });
        same.push(Arc::downgrade(&layout));
        self.count += 1;
        if self.count >= self.sweep_at.max(UNSWEPT_MIN) {
            self.sweep();
        }
        layout
    }

    /// Forgets what no shard has any more.
    fn sweep(&mut self) {
        self.by_hash.retain(|_, layouts| {
            layouts.retain(|layout| layout.strong_count() > 0);
            !layouts.is_empty()
        });
        self.count = self.by_hash.values().map(Vec::len).sum();
        self.sweep_at = self.count * 2;
    }
}

/// The layouts of shards, each once, while their keys get new numbers.
#[derive(Debug)]
pub(super) struct Renumbering {
    layouts: HashMap<*const Layout, usize>,
    pub(super) keys: Vec<Vec<KeyId>>,
}

impl Renumbering {
    pub(super) fn of<'a>(shards: impl Iterator<Item = &'a Shard>) -> Renumbering {
        let mut renumbering = Renumbering {
            layouts: HashMap::new(),
            keys: Vec::new(),
        };
        for shard in shards {
            let next = renumbering.keys.len();
            let place = renumbering.layouts.entry(Arc::as_ptr(&shard.layout));
            if *place.or_insert(next) == next {
                renumbering.keys.push(shard.layout.keys.to_vec());
            }
        }
        renumbering
    }

    /// Gives the shards, which are the same as before, layouts with the new numbers. What was made of the old ones is forgotten.
    pub(super) fn finish<'a>(
        self,
        shards: impl Iterator<Item = &'a mut Shard>,
        layouts: &mut Layouts,
    ) {
        *layouts = Layouts::default();
        let mut new: Vec<Option<Arc<Layout>>> = vec![None; self.keys.len()];
        for shard in shards {
            shard.correction = Correction::default();
            shard.discarded.clear();
            let Some(&place) = self.layouts.get(&Arc::as_ptr(&shard.layout)) else {
                continue;
            };
            let renumbered = new[place].get_or_insert_with(|| {
                let offsets = shard.layout.offsets.clone();
                layouts.intern(offsets, self.keys[place].as_slice().into())
            });
            shard.layout = Arc::clone(renumbered);
        }
    }
}
