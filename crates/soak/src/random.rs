//! Numbers that look random and are the same for a seed, on every machine and in every release.
//!
//! Invariant: the sequence of a seed never changes; golden sets hang on it. Must not touch: anything else.

/// SplitMix64.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The sequence of a seed.
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// A sequence of its own for a part of the seed's world, so that one part can grow without changing the others.
    pub fn of(seed: u64, part: &str) -> Random {
        let mixed = part
            .bytes()
            .fold(seed, |mixed, byte| Random(mixed ^ u64::from(byte)).next());
        Random(mixed)
    }

    /// The next number.
    #[allow(
        clippy::should_implement_trait,
        reason = "an endless sequence is no iterator of interest"
    )]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From 0 to `count - 1`; 0 for a count of 0.
    pub fn below(&mut self, count: usize) -> usize {
        let count = u64::try_from(count).unwrap_or(u64::MAX).max(1);
        usize::try_from(self.next() % count).unwrap_or(0)
    }

    /// True in `percent` of 100 cases.
    pub fn percent(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// Another order of the same things.
    pub fn shuffle<T>(&mut self, things: &mut [T]) {
        for last in (1..things.len()).rev() {
            things.swap(last, self.below(last + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_the_same_sequence_for_ever() {
        let mut random = Random::new(1_234_567);
        // The reference values of the algorithm's author.
        assert_eq!(random.next(), 6_457_827_717_110_365_317);
        assert_eq!(random.next(), 3_203_168_211_198_807_973);
        let mut one = Random::of(7, "one");
        let mut other = Random::of(7, "other");
        assert_ne!(one.next(), other.next());
    }
}
