//! What the measured calls are given: values and labels in an order that a branch predictor cannot learn.
//!
//! Invariant: the same numbers in every run, and [`LENGTH`] of them before they repeat. With 4,096 the predictor learns the sequence, and a
//! plain scan over bucket bounds looks four times as fast as it is.

/// How many there are before they repeat; a power of two, so that an index is masked and never checked.
pub(crate) const LENGTH: usize = 1 << 16;

/// Numbers that look random, from a seed that is not 0.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    /// A generator of its own; the same seed gives the same numbers.
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// 64 bits.
    pub(crate) fn bits(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// From 0 to below 1.
    pub(crate) fn fraction(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// A sequence that lives as long as the process, by the number of the call.
#[derive(Debug)]
pub(crate) struct Sequence<T: 'static>(&'static [T; LENGTH]);

impl<T> Clone for Sequence<T> {
    fn clone(&self) -> Sequence<T> {
        *self
    }
}

impl<T> Copy for Sequence<T> {}

impl<T: Copy> Sequence<T> {
    /// Fills a sequence.
    pub(crate) fn new(mut next: impl FnMut() -> T) -> Sequence<T> {
        let all: Box<[T]> = (0..LENGTH).map(|_| next()).collect();
        let Ok(all) = <Box<[T; LENGTH]>>::try_from(all) else {
            unreachable!("LENGTH values were collected")
        };
        Sequence(Box::leak(all))
    }

    /// What belongs to a call.
    #[inline(always)]
    pub(crate) fn at(self, call: u64) -> T {
        self.0[call as usize & (LENGTH - 1)]
    }
}

/// What a histogram of latencies is given: from 1 ms to 10 s, each power of ten as likely as any other.
pub(crate) fn latencies_seconds() -> Sequence<f64> {
    let mut random = Random::new(88_172_645_463_325_252);
    Sequence::new(|| 10_f64.powf(random.fraction() * 4.0 - 3.0))
}

/// Positions of one of three and one of eight label values.
pub(crate) fn label_positions() -> Sequence<(u8, u8)> {
    let mut random = Random::new(2_463_534_242);
    Sequence::new(|| {
        let bits = random.bits();
        ((bits % 3) as u8, ((bits >> 8) % 8) as u8)
    })
}
