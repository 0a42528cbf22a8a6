//! Which records there are: the format's number, and what older ones said in other words.
//!
//! Invariant: every record that was ever written is read, and a log of a later program is not read at all rather than in part. Must not
//! touch: storage.
//!
//! Format 1: an outcome said `filled` or `partial` and no volume, and an order that was placed was forgotten. Format 2: with the executed
//! volume, placed orders that are followed up, own positions, and what a dry run withholds.

use serde::{Deserialize, Deserializer};

use super::record::Outcome;

/// What is written today. A file tells its format in its snapshot.
pub const FORMAT: u32 = 2;

/// The format of a snapshot that does not say.
pub(super) const fn first() -> u32 {
    1
}

/// An outcome of any format.
pub(super) fn outcome<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Outcome, D::Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Of1 {
        Filled,
        Partial,
    }
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Any {
        Of1(Of1),
        Today(Outcome),
    }
    Ok(match Any::deserialize(deserializer)? {
        Any::Of1(Of1::Filled | Of1::Partial) => Outcome::Executed,
        Any::Today(outcome) => outcome,
    })
}
