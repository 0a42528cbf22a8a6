//! Which bucket of a histogram a value belongs to, without a branch that depends on the value.
//! Invariant: the answer is that of a binary search over the bounds, for every value but NaN.
//! It must not touch cells; it is made once for a family and shared by all its histograms.
//!
//! The sign, the exponent and the first four bits of the mantissa of a double are its top 16 bits: a sixteenth of an octave. A table
//! says for each of these intervals which bound is the first that can hold a value of it; what is left is to compare the value
//! with the bounds inside the interval. With buckets as people choose them that is one bound. A branch on the value would be mispredicted
//! half of the time, and cost more than all the rest of an observation.

/// A double's bits below those that choose the interval.
const MANTISSA_REST_BITS: u32 = 48;

/// The bounds of a histogram, with the way to the right one.
#[derive(Debug)]
pub(crate) struct Buckets {
    /// Top bits of the first interval, which has all values below the second, the negative ones among them.
    lowest: i32,
    /// The intervals from there on, up to the one of the highest bound. None at all where one of them has several bounds, so that
    /// an observation asks one question only.
    intervals: Box<[Interval]>,
    /// What there is instead.
    crowded: Box<[u32]>,
    /// Bounds to compare with, in the interval that has most of them; at least 1.
    compared: usize,
    /// Upper bounds, ascending, then `+Inf` as often as `compared` can reach beyond the last.
    padded: Box<[f64]>,
    count: usize,
}

/// A sixteenth of an octave. Its bound stands here too, so that no load has to wait for another one.
#[derive(Debug, Clone, Copy)]
struct Interval {
    /// The first bound that is not below all its values.
    bound: f64,
    /// The number of that bound.
    first: u32,
}

impl Buckets {
    /// `finite` are ascending and finite, at most 200 of them; `+Inf` is added.
    pub(crate) fn new(finite: &[f64]) -> Buckets {
        let positive = || finite.iter().filter(|bound| **bound > 0.0);
        // Zero where there is none: then the first interval has the negative values, the second one the others.
        let second = positive().next().map_or(0, |bound| top_bits(*bound));
        let last = positive().next_back().map_or(0, |bound| top_bits(*bound));
        // One below the interval of the lowest positive bound, so that this one has not to be compared with the bounds below zero
        // too.
        let intervals: Vec<(usize, usize)> = (second - 1..=last)
            .map(|top| {
                let least = if top < second {
                    f64::NEG_INFINITY
                } else {
                    least_with(top)
                };
                let greatest = before(least_with(top + 1));
                (bucket_of(finite, least), bucket_of(finite, greatest))
            })
            .collect();
        let compared = intervals
            .iter()
            .map(|(first, last)| last - first)
            .max()
            .unwrap_or(0)
            .max(1);
        let padding = std::iter::repeat_n(f64::INFINITY, compared);
        let padded: Box<[f64]> = finite.iter().copied().chain(padding).collect();
        let firsts = intervals.iter().map(|(first, _)| *first);
        let interval = |first: usize| Interval {
            bound: padded[first],
            first: first as u32,
        };
        let (intervals, crowded) = match compared {
            1 => (firsts.map(interval).collect(), Box::default()),
            _ => (Box::default(), firsts.map(|first| first as u32).collect()),
        };
        Buckets {
            lowest: i32::from(second) - 1,
            intervals,
            crowded,
            compared,
            padded,
            count: finite.len() + 1,
        }
    }

    /// Upper bounds, ascending, the last one `+Inf`.
    pub(crate) fn bounds(&self) -> &[f64] {
        &self.padded[..self.count]
    }

    /// Number of the first bound that is not below `value`, which is not NaN.
    #[inline]
    pub(crate) fn of(&self, value: f64) -> usize {
        let interval = self.interval_of(value);
        match self.intervals.get(interval) {
            Some(interval) => {
                (interval.first as usize).wrapping_add(usize::from(interval.bound < value))
            }
            None => self.among(interval, value),
        }
    }

    #[inline]
    fn interval_of(&self, value: f64) -> usize {
        // Neither of two numbers of 16 bits can make it overflow.
        i32::from(top_bits(value)).wrapping_sub(self.lowest).max(0) as usize
    }

    /// Beyond the interval of the highest bound; or where bounds are so close that an interval has several: always as many comparisons as the
    /// fullest one needs.
    #[inline(never)]
    fn among(&self, interval: usize, value: f64) -> usize {
        let Some(first) = self.crowded.get(interval) else {
            return self.count - 1;
        };
        let first = *first as usize;
        let bounds = &self.padded[first..first + self.compared];
        let below = bounds.iter().map(|bound| usize::from(*bound < value));
        first + below.sum::<usize>()
    }
}

impl PartialEq for Buckets {
    fn eq(&self, other: &Buckets) -> bool {
        self.bounds() == other.bounds()
    }
}

/// As a signed number: those of negative values are negative.
#[inline]
fn top_bits(value: f64) -> i16 {
    (value.to_bits() >> MANTISSA_REST_BITS) as i16
}

/// The least value with these top bits, which are not negative.
fn least_with(top: i16) -> f64 {
    f64::from_bits((top as u64) << MANTISSA_REST_BITS)
}

/// The greatest value whose bits come before those of `value`.
fn before(value: f64) -> f64 {
    if value == 0.0 {
        -0.0
    } else {
        value.next_down()
    }
}

fn bucket_of(bounds: &[f64], value: f64) -> usize {
    bounds.partition_point(|bound| *bound < value)
}

#[cfg(test)]
mod tests;
