//! What the machine needs at least: one 8-byte cell for each thread, which nobody else writes.
//!
//! Invariant: relaxed load, add, relaxed store of a float, as in a shard, but in private memory and with nothing to look up. Cells lie
//! 128 bytes apart, as entries of a shard do.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::body;
use crate::rounds::{Case, THREADS_MAX};
use crate::sequence::{label_positions, latencies_seconds};

use super::labels::{METHODS, PATHS};
use super::{
    ADD, BOUNDS_11, ENUMS, FRACTION, INC, LIMIT, LIMIT_IN_TURN, OBSERVE_11, OBSERVE_20, SET,
    STRINGS, bounds_20,
};

/// A cell with the room of an entry.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Cell(AtomicU64);

impl Cell {
    /// What a single writer does.
    #[inline(always)]
    pub(crate) fn add(&self, amount: f64) {
        let before = f64::from_bits(self.0.load(Ordering::Relaxed));
        self.0.store((before + amount).to_bits(), Ordering::Relaxed);
    }

    #[inline(always)]
    fn set(&self, value: f64) {
        self.0.store(value.to_bits(), Ordering::Relaxed);
    }
}

/// So many cells for each thread.
fn cells<const COUNT: usize>() -> &'static [[Cell; COUNT]; THREADS_MAX] {
    Box::leak(Box::new(std::array::from_fn(|_| {
        std::array::from_fn(|_| Cell::default())
    })))
}

/// All limits.
pub(crate) fn cases() -> Vec<Case> {
    let (one, many) = (cells::<1>(), cells::<64>());
    let add = |group, amount: f64| {
        [
            Case::new(
                group,
                LIMIT,
                body!(|place| &one[place.thread][0]; |cell, _call| cell.add(amount)),
            ),
            Case::new(
                group,
                LIMIT_IN_TURN,
                body!(|place| &many[place.thread]; |cells, call| cells[call as usize & 63].add(amount)),
            ),
        ]
    };
    let mut cases: Vec<Case> = [add(INC, 1.0), add(ADD, FRACTION)]
        .into_iter()
        .flatten()
        .collect();
    cases.push(Case::new(
        SET,
        LIMIT,
        body!(|place| &one[place.thread][0]; |cell, call| cell.set(call as f64)),
    ));
    cases.push(observe::<13>(OBSERVE_11, &BOUNDS_11));
    cases.push(observe::<22>(OBSERVE_20, &bounds_20()));
    cases.push(enums());
    cases.push(strings());
    cases
}

/// The bucket is known: two additions. `CELLS` is one for each bucket, one beyond them, and the sum.
fn observe<const CELLS: usize>(group: &'static str, bounds: &[f64]) -> Case {
    let values = latencies_seconds();
    let mut call = 0;
    let buckets = crate::sequence::Sequence::new(|| {
        let value = values.at(call);
        call += 1;
        bounds.partition_point(|bound| *bound < value) as u8
    });
    let cells = cells::<CELLS>();
    Case::new(
        group,
        LIMIT,
        body!(|place| &cells[place.thread]; |cells, call| {
            cells[usize::from(buckets.at(call)).min(CELLS - 2)].add(1.0);
            cells[CELLS - 1].add(values.at(call));
        }),
    )
}

/// Two small numbers make an index.
fn enums() -> Case {
    let (cells, positions) = (cells::<24>(), label_positions());
    Case::shared(
        ENUMS,
        LIMIT,
        body!(|place| &cells[place.thread]; |cells, call| {
            let (method, path) = positions.at(call);
            cells[(usize::from(method) * PATHS.len() + usize::from(path)).min(23)].add(1.0);
        }),
    )
}

/// Strings that are known by where they lie, so that nobody reads them: what a look-up costs at least.
fn strings() -> Case {
    const PLACES: usize = 1024;
    let (cells, positions) = (cells::<24>(), label_positions());
    let place_of = |method: &str, path: &str| {
        let mixed = (method.as_ptr() as usize as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15)
            ^ (path.as_ptr() as usize as u64).wrapping_mul(0xA076_1D64_78BD_642F);
        (mixed >> 40) as usize & (PLACES - 1)
    };
    // Behind a black box, so that where they lie and how long they are is not known to the compiler.
    let methods: &'static [&'static str; 3] = std::hint::black_box(&METHODS);
    let paths: &'static [&'static str; 8] = std::hint::black_box(&PATHS);
    let mut table = vec![(0_usize, 0_usize, 0_usize); PLACES];
    for (index, (method, path)) in methods
        .iter()
        .flat_map(|method| paths.iter().map(move |path| (method, path)))
        .enumerate()
    {
        table[place_of(method, path)] = (method.as_ptr() as usize, path.as_ptr() as usize, index);
    }
    Case::shared(
        STRINGS,
        LIMIT,
        body!(|place| &cells[place.thread]; |cells, call| {
            let (method, path) = positions.at(call);
            let (method, path) = (methods[usize::from(method).min(2)], paths[usize::from(path) & 7]);
            let known = table[place_of(method, path)];
            let index = if (known.0, known.1) == (method.as_ptr() as usize, path.as_ptr() as usize) { known.2 } else { 0 };
            cells[index.min(23)].add(1.0);
        }),
    )
}
