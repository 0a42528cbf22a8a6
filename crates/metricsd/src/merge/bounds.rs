//! Whether two histograms have the same bucket bounds.
//!
//! Invariant: the comparison does not depend on the order of the bounds, and a histogram that its writer is still creating is
//! never compared. Must not touch: I/O, the clock, logging.

/// A set of bucket bounds, as a checksum.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Bounds {
    mixed: u64,
    count: u32,
    has_infinity: bool,
}

impl Bounds {
    /// One more bound.
    pub(super) fn add(&mut self, bound: f64) {
        // Multiplication by an odd constant and a shift spread the few set bits of small bounds over the word.
        let spread = bound.to_bits().wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.mixed = self.mixed.wrapping_add(spread ^ (spread >> 29));
        self.count += 1;
        self.has_infinity |= bound == f64::INFINITY;
    }

    /// Has `+Inf`, which every writer writes last: it is not in the middle of creating the histogram.
    pub(super) fn is_complete(&self) -> bool {
        self.has_infinity
    }
}
