//! One value and its timestamp: 16 bytes in a shard, or in memory while there is no shard.
//!
//! Invariant: no addition and no set is lost or counted twice, whatever runs beside it, the move of a value from memory into a
//! shard included. A cell in memory that has been moved is *sealed*: it refuses every later addition, whose caller then finds the new
//! cell. Only memory cells are sealed (those of a deleted shard once its mapping is private); no file ever holds the seal. No unsafe
//! code, no I/O, no clock.
//!
//! A gauge is set by a plain store, which overwrites a seal. What stands in a sealed cell's place then came late: whoever moved the value
//! missed it, and [`CellSlot`](super::slot::CellSlot) says who brings it to the new cell.
//!
//! A cell of a *lane* is stored into by one thread at a time, its owner's, with plain loads and stores ([`Cell::add_alone`]), and is never
//! sealed. While it is in memory it only goes on: what was carried over out of it into a shard stands in its second word, and what it
//! has beyond that is not in any shard yet ([`Cell::uncarried`]). In a shard that word is the timestamp 0.

use crate::loom::{AtomicU64, Ordering, store_among_exchanges};

/// What a sealed cell holds: a NaN with a payload that nothing else makes, because arguments that are NaN are replaced by the
/// canonical one before they are stored or added, and sums keep its payload.
const SEAL_BITS: u64 = 0x7ff8_0000_5ea1_ed00;

/// One value and its timestamp, as they stand in a shard.
#[derive(Debug)]
#[repr(C)]
pub struct Cell {
    /// Bits of an f64.
    value: AtomicU64,
    /// Bits of an f64: unix seconds of the last set in the mostrecent modes, else 0.
    timestamp: AtomicU64,
}

// loom's atomics are larger than the words they stand for.
#[cfg(not(loom))]
const _: () = assert!(
    size_of::<Cell>() == crate::layout::VALUE_LEN_BYTES + crate::layout::TIMESTAMP_LEN_BYTES
        && align_of::<Cell>() == 8,
    "a cell is the last 16 bytes of an entry"
);

impl Cell {
    /// A cell in memory.
    pub fn new(value: f64, timestamp: f64) -> Cell {
        Cell {
            value: AtomicU64::new(Self::canonical(value).to_bits()),
            timestamp: AtomicU64::new(timestamp.to_bits()),
        }
    }

    /// Adds `v`; false if the cell is sealed and nothing was added.
    #[inline]
    #[must_use]
    pub fn add(&self, v: f64) -> bool {
        let v = Self::canonical(v);
        self.replace(|bits| (f64::from_bits(bits) + v).to_bits())
    }

    /// Adds `v` to a cell that no other thread stores into: load, add, store.
    #[inline]
    pub fn add_alone(&self, v: f64) {
        // Relaxed: as in `replace`. Who takes over a lane sees the last store of the owner before by the lane's hand-over.
        let value = f64::from_bits(self.value.load(Ordering::Relaxed)) + v;
        self.value.store(value.to_bits(), Ordering::Relaxed);
    }

    /// What a lane's cell has beyond what was carried over out of it.
    pub fn uncarried(&self) -> f64 {
        self.beyond_carried(self.value.load(Ordering::Relaxed))
    }

    /// Carries over what a lane's memory cell has beyond what was carried over before: it is the caller's to put elsewhere, once. The
    /// caller holds the writers' lock; the owner may add at the same time, and what he adds is uncarried.
    pub fn carry(&self) -> f64 {
        let bits = self.value.load(Ordering::Relaxed);
        let amount = self.beyond_carried(bits);
        self.timestamp.store(bits, Ordering::Relaxed);
        amount
    }

    fn beyond_carried(&self, bits: u64) -> f64 {
        let carried = self.timestamp.load(Ordering::Relaxed);
        if bits == carried {
            // Infinite or no number, too.
            return 0.0;
        }
        Self::canonical(f64::from_bits(bits) - f64::from_bits(carried))
    }

    /// Stores `v`; false if the cell is sealed and nothing was stored.
    #[inline]
    #[must_use]
    pub fn set(&self, v: f64) -> bool {
        let bits = Self::canonical(v).to_bits();
        self.replace(|_| bits)
    }

    /// Stores `v`, over a seal too: the caller has to look whether the cell is still the current one, or holds a lock under which it is.
    #[inline]
    pub fn set_plainly(&self, v: f64) {
        // Relaxed: as in `replace`. An addition that runs beside it is in the word's order of modifications before this, and overwritten
        // by it, or behind it.
        store_among_exchanges(&self.value, Self::canonical(v).to_bits());
    }

    /// The value; none if the cell is sealed.
    #[inline]
    pub fn value(&self) -> Option<f64> {
        let bits = self.value.load(Ordering::Relaxed);
        (bits != SEAL_BITS).then(|| f64::from_bits(bits))
    }

    /// Value and timestamp; none if the cell is sealed. The value is at least as new as the timestamp.
    pub fn load(&self) -> Option<(f64, f64)> {
        // Acquire: pairs with the Release in `store`.
        let timestamp = f64::from_bits(self.timestamp.load(Ordering::Acquire));
        self.value().map(|value| (value, timestamp))
    }

    /// Overwrites both words, the value first. For a pair of value and time, under the slot's lock for pairs; for a cell that nobody else has
    /// yet; and for a shard's cell in which a stranger left the seal.
    pub fn store(&self, value: f64, timestamp: f64) {
        self.set_plainly(value);
        // Release: pairs with the Acquire in `load`, so that who sees the new time sees the new value.
        self.timestamp.store(timestamp.to_bits(), Ordering::Release);
    }

    /// Puts a value into a sealed cell. If there is one in the seal's place it was stored late, so it is newer, and stays.
    pub(super) fn unseal(&self, value: f64, timestamp: f64) {
        let _late = self.value.compare_exchange(
            SEAL_BITS,
            Self::canonical(value).to_bits(),
            Ordering::Relaxed,
            Ordering::Relaxed,
        );
        // Release: as in `store`.
        self.timestamp.store(timestamp.to_bits(), Ordering::Release);
    }

    /// Takes the value and the timestamp out for good. None if they were taken before.
    pub fn seal(&self) -> Option<(f64, f64)> {
        // Relaxed: the exchange takes exactly one value out of the word's order of modifications, so an addition is either in it
        // or finds the seal; everything else about the move is ordered by the process-wide lock and by the slot's pointer.
        let bits = self.value.swap(SEAL_BITS, Ordering::Relaxed);
        let timestamp = f64::from_bits(self.timestamp.load(Ordering::Relaxed));
        (bits != SEAL_BITS).then(|| (f64::from_bits(bits), timestamp))
    }

    /// The same value, with the one NaN that we write.
    #[inline]
    pub fn canonical(v: f64) -> f64 {
        if v.is_nan() { f64::NAN } else { v }
    }

    /// Relaxed throughout: a word is a whole value by itself, and nobody infers other memory from it.
    #[inline]
    fn replace(&self, next: impl Fn(u64) -> u64) -> bool {
        let mut bits = self.value.load(Ordering::Relaxed);
        while bits != SEAL_BITS {
            match self.value.compare_exchange_weak(
                bits,
                next(bits),
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => return true,
                Err(now) => bits = now,
            }
        }
        false
    }
}
