//! The latest answer about each shard that is followed, and since when nobody has been seen writing it.
//!
//! Invariant: a shard counts as idle since a moment only if every answer since then was idle and no writer was seen closing it.
//! Must not touch: files, the clock.

use std::collections::HashMap;
use std::time::Instant;

use metricsd_shard::{Identity, Liveness};

use super::Answer;

/// Answers by file identity.
#[derive(Debug, Clone, Default)]
pub struct Answers {
    by_identity: HashMap<Identity, Known>,
}

#[derive(Debug, Clone, Copy)]
struct Known {
    answer: Answer,
    idle_since: Option<Instant>,
}

/// Something new about a shard.
#[derive(Debug, Clone, Copy)]
pub(super) struct News {
    pub(super) answer: Answer,
    /// A writer has closed it since the answer before.
    pub(super) was_closed: bool,
}

impl Answers {
    /// Nothing is known.
    pub fn new() -> Answers {
        Answers::default()
    }

    /// The latest answer; none if the shard was not asked about yet.
    pub fn get(&self, identity: &Identity) -> Option<&Answer> {
        self.by_identity.get(identity).map(|known| &known.answer)
    }

    /// When it was first found idle, if nothing else has been seen of it since; none while it is not idle.
    pub fn idle_since(&self, identity: &Identity) -> Option<Instant> {
        self.by_identity.get(identity)?.idle_since
    }

    /// Takes an answer over, which is later than those before it.
    pub(super) fn take(&mut self, identity: Identity, news: News) {
        let before = self
            .by_identity
            .get(&identity)
            .filter(|_| !news.was_closed)
            .and_then(|known| known.idle_since);
        let idle_since = match news.answer.liveness {
            Liveness::Idle => before.or(Some(news.answer.answered_at)),
            // What cannot be asked may have a writer.
            Liveness::Busy | Liveness::Unknown(_) => None,
        };
        let known = Known {
            answer: news.answer,
            idle_since,
        };
        self.by_identity.insert(identity, known);
    }

    /// Forgets all others.
    pub(super) fn retain(&mut self, is_followed: impl Fn(&Identity) -> bool) {
        self.by_identity.retain(|identity, _| is_followed(identity));
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use metricsd_shard::UnknownReason;

    use super::*;

    const IDENTITY: Identity = Identity {
        file_system: 1,
        inode: 2,
        birth: None,
        generation: None,
        instance: None,
    };

    #[test]
    fn idle_since_is_the_first_of_the_idle_answers_in_a_row() {
        let start = Instant::now();
        let at = |second: u64| start + Duration::from_secs(second);
        let unknown = Liveness::Unknown(UnknownReason::NotAsked);
        let mut answers = Answers::new();
        assert_eq!(answers.idle_since(&IDENTITY), None);
        for (second, liveness, was_closed, expected) in [
            (1, Liveness::Busy, false, None),
            (2, Liveness::Idle, false, Some(2)),
            (3, Liveness::Idle, false, Some(2)),
            (4, Liveness::Idle, true, Some(4)),
            (5, Liveness::Idle, false, Some(4)),
            (6, unknown, false, None),
            (7, Liveness::Idle, false, Some(7)),
            (8, Liveness::Busy, true, None),
            (9, Liveness::Idle, false, Some(9)),
        ] {
            let answer = Answer {
                liveness,
                asked_at: SystemTime::UNIX_EPOCH,
                answered_at: at(second),
                times: None,
            };
            answers.take(IDENTITY, News { answer, was_closed });
            assert_eq!(
                answers.idle_since(&IDENTITY),
                expected.map(at),
                "second {second}"
            );
            assert_eq!(answers.get(&IDENTITY), Some(&answer));
        }
        answers.retain(|_| false);
        assert_eq!(answers.get(&IDENTITY), None);
    }
}
