//! What is left when the soak is over, each piece from a witness of its own: the gateway's book, the sentinel's intent log and audit, the
//! metrics, and what the soak itself saw on the wire and at the remotes.

pub mod audit;
pub mod book;
pub mod diary;
pub mod intents;
pub mod page;

use std::path::PathBuf;

use crate::proxy::Seen;
use crate::remotes::Asked;
use crate::schedule::Counts;
use crate::sentinel_process::Said;

/// All of it.
#[derive(Debug, Clone)]
pub struct Evidence {
    /// The gateway's own book.
    pub book: book::Book,
    /// The sentinel's intent log, over all its lives.
    pub intents: intents::Intents,
    /// The directory of the sentinel's audit.
    pub audit: PathBuf,
    /// The metrics, merged over all lives.
    pub page: page::Page,
    /// What passed on the wire to the gateway.
    pub seen: Seen,
    /// What the model was asked.
    pub asked: Vec<Asked>,
    /// What the soak did.
    pub diary: diary::Diary,
    /// What the seed planned.
    pub planned: Counts,
    /// What the sentinel said last.
    pub last_said: Option<Said>,
    /// The seed.
    pub seed: u64,
}
