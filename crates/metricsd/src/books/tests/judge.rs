//! The books against the model, in random worlds.
//!
//! After every step of a world what is exposed is what was counted, to the last bit before rounding: through retirement with a
//! death in every step, late writers, daemons that are killed again and again, names that are used again, files that vanish and
//! come back, storage that fails, and power cuts that leave of shards and journal what each of them had synced. What a power
//! cut takes is what was not synced, no more, and what was shown and is gone is declared by a start that moved.

use proptest::prelude::*;

use super::world::World;

/// How many worlds, sized so that the ordinary test command takes some seconds for them.
fn world_count() -> u32 {
    let is_long = std::env::var_os("METRICSD_TEST_LONG").is_some();
    if is_long { 100_000 } else { 1000 }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(world_count()))]
    #[test]
    fn what_is_exposed_is_what_was_counted(seed in any::<u64>()) {
        let mut world = World::new(seed);
        for _ in 0..80 {
            world.step();
            world.check("a step");
        }
    }
}
