//! Ids that are used once, for ever. Invariant: no two are the same, in this process or any other. Must not touch: what they are for.

use std::hash::{BuildHasher, RandomState};

use super::MessageId;

/// Ids of one kind: `KIND-RANDOM-COUNT`, where RANDOM is of this process and COUNT counts from 1, both hexadecimal.
#[derive(Debug)]
pub struct MessageIds {
    stem: String,
    count: u64,
}

impl MessageIds {
    /// Ids that begin with two letters.
    pub fn new(kind: [char; 2]) -> MessageIds {
        // 64 bits that the operating system has drawn; a peer forgets ids of messages that execute nothing after a minute.
        let random = RandomState::new().hash_one(std::process::id());
        let kind = kind.map(|letter| {
            if letter.is_ascii_alphanumeric() {
                letter
            } else {
                'x'
            }
        });
        MessageIds {
            stem: format!("{}{}-{random:016x}-", kind[0], kind[1]),
            count: 0,
        }
    }

    /// One that was never given out.
    pub fn fresh(&mut self) -> MessageId {
        self.count += 1;
        MessageId::new(&format!("{}{:x}", self.stem, self.count)).expect(
            "20 plain characters leave 11 digits, and 2^44 ids are more than a process sends",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_different_and_fit_also_after_years_of_a_thousand_a_second() {
        let (mut a, mut b) = (MessageIds::new(['h', 'b']), MessageIds::new(['h', 'b']));
        let mut all: Vec<_> = (0..100).flat_map(|_| [a.fresh(), b.fresh()]).collect();
        all.sort_by(|a, b| a.as_str().cmp(b.as_str()));
        all.dedup();
        assert_eq!(all.len(), 200);
        a.count = 1_000 * 86_400 * 365 * 500;
        assert!(a.fresh().as_str().len() <= 31);
    }
}
