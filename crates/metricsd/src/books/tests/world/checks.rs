//! What the books say, beside what the model says.

use super::{KEYS, KINDS, Kept, World, identity};
use crate::archive::{Ended, Exact, IdentityKey, KeyId, Phase, State};
use crate::books::tests::model::{FIRST_GAUGE, File, KEY_COUNT, Step, Sums};

impl World {
    pub(super) fn state<R>(&self, look: impl FnOnce(&State) -> R) -> R {
        look(&self.books.shared_state().read().unwrap())
    }

    pub(super) fn key(state: &State, key: usize) -> Option<KeyId> {
        state.keys().find(KINDS[key], KEYS[key].as_bytes())
    }

    pub(super) fn start(&self, key: usize) -> Option<f64> {
        self.state(|state| state.start_unix_seconds(World::key(state, key)?))
    }

    pub(super) fn exposed(&self, key: usize) -> Exact {
        let served = self.files.iter().enumerate().filter(|it| it.1.is_served);
        let files: Vec<(IdentityKey, Exact)> = served
            .map(|(at, file)| (identity(at), file.held()[key].clone()))
            .collect();
        self.state(|state| match World::key(state, key) {
            Some(key) => state.exposed(key, files.iter().map(|it| (&it.0, it.1.clone()))),
            None => files.iter().fold(Exact::default(), |mut sum, file| {
                sum.merge(&file.1);
                sum
            }),
        })
    }

    /// What is exposed is what was counted, and what is kept of gauges is what was set.
    pub(in crate::books::tests) fn check(&self, what: &str) {
        let mut counted: Sums = vec![Exact::default(); KEY_COUNT];
        for file in &self.files {
            let sums = counted.iter_mut().zip(&file.counted);
            sums.for_each(|(sum, part)| sum.merge(part));
        }
        for (key, expected) in counted.iter().enumerate().take(FIRST_GAUGE) {
            let exposed = self.exposed(key);
            assert!(
                exposed == *expected,
                "after {what}, {}: {} is exposed, {} was counted: {:#?}",
                KEYS[key],
                exposed.value(),
                expected.value(),
                self.log
            );
        }
        self.check_gauges(what);
    }

    pub(super) fn check_gauges(&self, what: &str) {
        let mut kept: Vec<(usize, Kept)> = Vec::new();
        self.state(|state| {
            for (_, ended) in state.ended_gauges().iter() {
                let Ended::Each(values) = ended else {
                    panic!("{ended:?}")
                };
                kept.extend(values.iter().map(|it| {
                    let (value, ended_at) = (it.value, it.ended_at_unix_seconds);
                    (
                        usize::from(it.identity.as_bytes()[1]),
                        Kept { value, ended_at },
                    )
                }));
            }
            for (at, file) in self.files.iter().enumerate() {
                self.check_known(state, at, file, what);
            }
        });
        let mut expected = self.kept_synced.clone();
        expected.sort_by_key(|it| it.0);
        kept.sort_by_key(|it| it.0);
        assert_eq!(kept, expected, "after {what}: {:#?}", self.log);
    }

    pub(super) fn check_known(&self, state: &State, at: usize, file: &File, what: &str) {
        let known = state.shard(&identity(at));
        let step = match known.map(|known| known.phase()) {
            None => None,
            Some(Phase::Seen) => Some(Step::Seen),
            Some(Phase::Absorbed) => Some(Step::Absorbed),
            Some(Phase::Missing) => Some(Step::Missing),
        };
        let written = file.synced.as_ref();
        let expected = written
            .map(|it| it.step)
            .filter(|it| *it != Step::Forgotten);
        assert_eq!(step, expected, "after {what}, {at}: {:#?}", self.log);
        let (Some(known), Some(written)) = (known, written) else {
            return;
        };
        let gauge = known.gauges().map(|it| it.1).next();
        let expected = written.gauge.filter(|_| !written.is_hidden);
        assert_eq!(gauge, expected, "after {what}, {at}: {:#?}", self.log);
        let is_plain = known.corrections().next().is_none();
        assert_eq!(known.revision() == 0, is_plain, "{:#?}", self.log);
    }
}
