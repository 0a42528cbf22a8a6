//! Retirement: shards of ended processes go into the archive and their files go away, and no total notices.
//!
//! [`retire_group`] takes shards that were found idle through rename, sync, question, absorption, question, deletion, sync;
//! [`linger()`] keeps their descriptors for a while and then lets the archive forget them. [`Pace`] says how many at a time.
//! `docs/shard-format.md` has the retiring name, `docs/archive-format.md` what is kept.
//!
//! Invariant: a name is deleted only when a granted lease said that nobody writes, and the durable state says that the archive
//! holds exactly what the file holds; what the archive knows of a file is forgotten only when its deletion is durable. A stop
//! between any two steps, or a writer that comes back at any of them, changes no total: the file counts with what it holds
//! beyond what was absorbed. Must not touch: the clock (time is an argument), logging (troubles are returned).

mod content;
mod group;
mod linger;
mod outcome;
mod pace;
mod shard_shelf;
mod shelf;
mod step;
#[cfg(test)]
mod tests;

pub use group::retire_group;
pub use linger::{LINGER_AFTER_SECONDS, linger};
pub use outcome::{Candidate, GroupOutcome, LingerOutcome, Lingering, PutOff, Trouble, Why};
pub use pace::{Haste, Pace};
pub use shard_shelf::ShardShelf;
pub use shelf::{Named, Shelf, ShelfError, ShelfOperation};
pub use step::Step;
