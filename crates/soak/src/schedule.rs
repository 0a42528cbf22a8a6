//! What goes wrong at which bar: dealt from a deck of all troubles, shuffled by the seed.
//!
//! Invariant: the same seed, length and deck give the same schedule; every trouble comes once before any comes again, and nothing is wrong in
//! the calm at the end. Must not touch: time, sockets.

mod trouble;

use serde::{Deserialize, Serialize};

use crate::random::Random;
pub use trouble::{PERSON_BARS, Trouble, deck};

/// Bars at the end without trouble, in which everything has to come in order.
pub const CALM_BARS: usize = 8;
/// Bars at the beginning without trouble.
const QUIET_START_BARS: usize = 3;

/// One bar.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Planned {
    /// What goes wrong.
    pub troubles: Vec<Trouble>,
}

/// The whole run, a bar at a time. `has_order` says whether the model asks for an order at a bar: what needs one to meet waits for it.
pub fn plan(
    seed: u64,
    bars: usize,
    steps: &[&str],
    has_order: impl Fn(usize) -> bool,
) -> Vec<Planned> {
    let mut random = Random::of(seed, "schedule");
    let mut planned = vec![Planned::default(); bars];
    let mut hand: Vec<Trouble> = Vec::new();
    let mut quiet_until = QUIET_START_BARS;
    let troubled = planned.iter_mut().take(bars.saturating_sub(CALM_BARS));
    for (bar, planned) in troubled.enumerate() {
        if bar < quiet_until || random.percent(10) {
            continue;
        }
        let count = if random.percent(10) { 2 } else { 1 };
        for _ in 0..count {
            if hand.is_empty() {
                hand = deck(steps, &mut random);
                random.shuffle(&mut hand);
                bring_forward(&mut hand, &mut random);
            }
            let fits = |trouble: &Trouble| !trouble.needs_order() || has_order(bar);
            let Some(index) = hand.iter().position(fits) else {
                break;
            };
            let trouble = hand.remove(index);
            quiet_until = bar + 1 + trouble.pause_after();
            planned.troubles.push(trouble);
            if quiet_until > bar + 1 {
                break;
            }
        }
    }
    planned
}

/// What a run is for comes in the first half of the deck, so that there is time to try it again.
fn bring_forward(hand: &mut [Trouble], random: &mut Random) {
    let is_first = |trouble: &Trouble| {
        matches!(
            trouble,
            Trouble::DieAt(_)
                | Trouble::KillFile
                | Trouble::KillSignal
                | Trouble::FeedStale
                | Trouble::Silence
        )
    };
    let half = hand.len() / 2;
    for late in half..hand.len() {
        while is_first(&hand[late]) {
            hand.swap(late, random.below(half));
        }
    }
}

/// How often each trouble is planned, by its name.
pub fn counts(planned: &[Planned]) -> Counts {
    let mut counts = Counts::default();
    for trouble in planned.iter().flat_map(|bar| &bar.troubles) {
        *counts.0.entry(trouble.name()).or_default() += 1;
    }
    counts
}

/// Numbers by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts(pub std::collections::BTreeMap<String, u64>);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_trouble_comes_in_a_short_run_and_the_end_is_calm() {
        let bars = crate::run::SHORT_BARS;
        let steps = &crate::child::STEPS;
        let of = |seed| plan(seed, bars, steps, |bar| bar % 5 != 0);
        let planned = of(1);
        assert_eq!(planned, of(1));
        assert_ne!(planned, of(2));
        let all = deck(steps, &mut Random::new(0));
        let found = counts(&planned);
        for trouble in all {
            assert!(found.0.contains_key(&trouble.name()), "{}", trouble.name());
        }
        let calm = &planned[bars - CALM_BARS..];
        assert!(calm.iter().all(|bar| bar.troubles.is_empty()));
        for (bar, planned) in planned.iter().enumerate() {
            let needs = planned.troubles.iter().any(Trouble::needs_order);
            assert!(!needs || bar % 5 != 0);
        }
    }
}
