//! The handles that this thread has used before, by the facade's key and by recorder.
//! Invariant: a handle is found for the key and recorder that it was made for, and for no other; what has no place any more is
//! forgotten and made again.
//! It must not make handles. It calls nobody else's code while it is borrowed, so nobody finds it taken.

use std::cell::RefCell;

use metrics::{Counter, Gauge, Histogram, Key};

/// Places at first, and at most; a thread with more keys in use than that looks some of them up each time.
const PLACES_MIN: usize = 64;
const PLACES_MAX: usize = 8_192;

thread_local! {
    static COUNTERS: Recent<Counter> = const { Recent::new() };
    static GAUGES: Recent<Gauge> = const { Recent::new() };
    static HISTOGRAMS: Recent<Histogram> = const { Recent::new() };
}

/// The handle of `key` and `recorder` if this thread has it; else `make`s it and keeps it.
pub(crate) fn counter(recorder: u64, key: &Key, make: impl FnOnce() -> Counter) -> Counter {
    let found = COUNTERS.try_with(|recent| recent.get(recorder, key));
    found.ok().flatten().unwrap_or_else(|| {
        let made = make();
        // A thread that is about to end has no table any more.
        let _ended = COUNTERS.try_with(|recent| recent.keep(recorder, key, made.clone()));
        made
    })
}

/// As [`counter`].
pub(crate) fn gauge(recorder: u64, key: &Key, make: impl FnOnce() -> Gauge) -> Gauge {
    let found = GAUGES.try_with(|recent| recent.get(recorder, key));
    found.ok().flatten().unwrap_or_else(|| {
        let made = make();
        let _ended = GAUGES.try_with(|recent| recent.keep(recorder, key, made.clone()));
        made
    })
}

/// As [`counter`].
pub(crate) fn histogram(recorder: u64, key: &Key, make: impl FnOnce() -> Histogram) -> Histogram {
    let found = HISTOGRAMS.try_with(|recent| recent.get(recorder, key));
    found.ok().flatten().unwrap_or_else(|| {
        let made = make();
        let _ended = HISTOGRAMS.try_with(|recent| recent.keep(recorder, key, made.clone()));
        made
    })
}

/// A table of handles of one type.
struct Recent<H>(RefCell<Vec<Option<Kept<H>>>>);

struct Kept<H> {
    recorder: u64,
    key: Key,
    handle: H,
}

impl<H: Clone> Recent<H> {
    const fn new() -> Recent<H> {
        Recent(RefCell::new(Vec::new()))
    }

    #[inline]
    fn get(&self, recorder: u64, key: &Key) -> Option<H> {
        let places = self.0.try_borrow().ok()?;
        let kept = places.get(place(key, places.len()))?.as_ref()?;
        kept.is(recorder, key).then(|| kept.handle.clone())
    }

    #[cold]
    fn keep(&self, recorder: u64, key: &Key, handle: H) {
        let Ok(mut places) = self.0.try_borrow_mut() else {
            return;
        };
        while places.len() < PLACES_MAX && is_taken(&places, recorder, key) {
            grow(&mut places);
        }
        let at = place(key, places.len());
        places[at] = Some(Kept {
            recorder,
            // The facade's key may borrow nothing, but copies of a retained one cost nothing.
            key: key.to_retained(),
            handle,
        });
    }
}

impl<H> Kept<H> {
    #[inline]
    fn is(&self, recorder: u64, key: &Key) -> bool {
        self.recorder == recorder && (is_identical(&self.key, key) || self.key == *key)
    }
}

/// Whether the keys are made of the same text in memory, as two of one macro call with literals are: quicker than to compare it.
#[inline]
fn is_identical(a: &Key, b: &Key) -> bool {
    std::ptr::eq(a.name(), b.name()) && std::ptr::eq(a.labels().as_slice(), b.labels().as_slice())
}

/// Whether there is no place for the key: no table yet, or another key in it.
fn is_taken<H>(places: &[Option<Kept<H>>], recorder: u64, key: &Key) -> bool {
    match places.get(place(key, places.len())) {
        None => true,
        Some(None) => false,
        Some(Some(kept)) => !kept.is(recorder, key),
    }
}

/// Twice as many places. Keys that collide all the same are forgotten but for one.
fn grow<H>(places: &mut Vec<Option<Kept<H>>>) {
    let count = (2 * places.len()).max(PLACES_MIN);
    let mut grown: Vec<Option<Kept<H>>> = (0..count).map(|_| None).collect();
    for kept in places.drain(..).flatten() {
        let at = place(&kept.key, count);
        grown[at] = Some(kept);
    }
    *places = grown;
}

/// `count` is a power of two, or 0: then there is no such place.
#[inline]
fn place(key: &Key, count: usize) -> usize {
    // The sum of the hashes of its parts; the product spreads what they have in common.
    let hash = key.get_hash().wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (hash >> 32) as usize & count.wrapping_sub(1)
}
