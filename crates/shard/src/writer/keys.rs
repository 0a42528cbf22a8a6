//! The keys of a writer's items: what the keys of one family have in common is kept once, and of each key only the values of its labels.
//!
//! Invariant: two items never have the same kind and key, and a key is here for as long as its item: it has to be, since whoever cuts a shard short
//! takes the keys along. Must not know of files, cells or slots.

use std::hash::{BuildHasher, Hash, RandomState};

use hashbrown::HashTable;

use crate::key::{Key, encode_parts};
use crate::name::FileKind;

/// Of so many keys one has its place in a list; the others are found by going on from there.
const STRIDE: usize = 8;

/// The keys of one writer, by the places of its items.
#[derive(Debug, Default)]
pub(super) struct Keys {
    shapes: Vec<Shape>,
    by_shape: HashTable<u32>,
    /// What each key has of its own, one behind the other: its length, then the number of its shape and the values of its labels, each behind its
    /// length.
    owns: Vec<u8>,
    /// Where every [`STRIDE`]th of them begins.
    begins: Vec<usize>,
    len: usize,
    by_own: HashTable<u32>,
    hasher: RandomState,
    /// Where a key is spelled before it is looked up.
    spelled: Vec<u8>,
}

/// What the keys of a family have in common, with the kind of their values. Names are in order.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Shape {
    kind: FileKind,
    family: Box<str>,
    sample: Box<str>,
    names: Box<[Box<str>]>,
    help: Box<str>,
}

impl Keys {
    /// The place of this key, which is the next one if nobody had it before.
    pub(super) fn find_or_add(&mut self, kind: FileKind, mut key: Key) -> usize {
        // As a key is written.
        key.labels.sort_by(|a, b| a.0.cmp(&b.0));
        let shape = self.shape_of(kind, &key);
        self.spelled.clear();
        push_number(&mut self.spelled, shape);
        for (_, value) in &key.labels {
            push_number(&mut self.spelled, value.len());
            self.spelled.extend(value.as_bytes());
        }
        let hash = self.hasher.hash_one(self.spelled.as_slice());
        let (owns, begins) = (&self.owns, &self.begins);
        let is_it = |&place: &u32| own_at(owns, begins, place as usize) == self.spelled;
        if let Some(&place) = self.by_own.find(hash, is_it) {
            return place as usize;
        }
        let place = self.len;
        self.by_own.insert_unique(hash, as_u32(place), |&place| {
            self.hasher.hash_one(own_at(owns, begins, place as usize))
        });
        if place.is_multiple_of(STRIDE) {
            make_room(&mut self.begins, 1);
            self.begins.push(self.owns.len());
        }
        // Of a number there are ten bytes at most.
        make_room(&mut self.owns, self.spelled.len() + 10);
        push_number(&mut self.owns, self.spelled.len());
        self.owns.extend(&self.spelled);
        self.len += 1;
        place
    }

    pub(super) fn kind(&self, place: usize) -> FileKind {
        self.parts(place).0.kind
    }

    /// The key as it stands in a shard.
    pub(super) fn text(&self, place: usize) -> String {
        let (shape, values) = self.parts(place);
        let names = shape.names.iter().map(|name| &**name);
        encode_parts(&shape.family, &shape.sample, names.zip(values), &shape.help)
    }

    /// The key as a reader of the shard has it; what no reader accepts as it came.
    pub(super) fn key(&self, place: usize) -> Key {
        Key::parse(self.text(place).as_bytes()).unwrap_or_else(|_| {
            let (shape, values) = self.parts(place);
            let names = shape.names.iter().map(|name| String::from(&**name));
            Key {
                family: String::from(&*shape.family),
                sample: String::from(&*shape.sample),
                labels: names.zip(values.map(str::to_owned)).collect(),
                help: String::from(&*shape.help),
            }
        })
    }

    /// What it has in common with others, and the values of its labels.
    fn parts(&self, place: usize) -> (&Shape, impl Iterator<Item = &str>) {
        let mut own = own_at(&self.owns, &self.begins, place);
        let shape = &self.shapes[take_number(&mut own)];
        let values = std::iter::from_fn(move || {
            let len = (!own.is_empty()).then(|| take_number(&mut own))?;
            let (value, rest) = own.split_at(len);
            own = rest;
            Some(std::str::from_utf8(value).expect("it was a text when it came"))
        });
        (shape, values)
    }

    fn shape_of(&mut self, kind: FileKind, key: &Key) -> usize {
        let shape = Shape {
            kind,
            family: key.family.as_str().into(),
            sample: key.sample.as_str().into(),
            names: key
                .labels
                .iter()
                .map(|(name, _)| name.as_str().into())
                .collect(),
            help: key.help.as_str().into(),
        };
        // The next series is of the same family most often.
        if self.shapes.last() == Some(&shape) {
            return self.shapes.len() - 1;
        }
        let hash = self.hasher.hash_one(&shape);
        let shapes = &self.shapes;
        let is_it = |&number: &u32| shapes[number as usize] == shape;
        if let Some(&number) = self.by_shape.find(hash, is_it) {
            return number as usize;
        }
        let number = shapes.len();
        self.by_shape
            .insert_unique(hash, as_u32(number), |&number| {
                self.hasher.hash_one(&shapes[number as usize])
            });
        self.shapes.push(shape);
        number
    }
}

/// Makes room for `more` elements, and for an eighth of what is there, not for as much again: these lists are most of what a series costs.
pub(super) fn make_room<T>(list: &mut Vec<T>, more: usize) {
    if list.capacity() - list.len() < more {
        list.reserve_exact(more.max(list.len() / 8).max(32));
    }
}

fn own_at<'a>(owns: &'a [u8], begins: &[usize], place: usize) -> &'a [u8] {
    let mut rest = &owns[begins[place / STRIDE]..];
    for _ in 0..place % STRIDE {
        let len = take_number(&mut rest);
        rest = &rest[len..];
    }
    let len = take_number(&mut rest);
    &rest[..len]
}

/// Seven bits a byte, the lowest first.
fn push_number(bytes: &mut Vec<u8>, mut number: usize) {
    while number >= 0x80 {
        bytes.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn take_number(bytes: &mut &[u8]) -> usize {
    let mut number = 0;
    for shift in (0..usize::BITS).step_by(7) {
        let Some((&byte, rest)) = bytes.split_first() else {
            break;
        };
        *bytes = rest;
        number |= usize::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            break;
        }
    }
    number
}

/// More are never made: the numbers of slots end before.
fn as_u32(place: usize) -> u32 {
    u32::try_from(place).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
