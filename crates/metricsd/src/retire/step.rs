//! The steps of retirement, by name, so that a test can stop the process after any of them.
//!
//! Invariant: the order of [`Step::ALL`] is the order in which a shard goes through them. Pure.

use std::fmt;

/// What was just done, for all shards of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Step {
    /// Each carries its retiring name.
    Renamed,
    /// And these names are durable.
    DirectorySynced,
    /// The kernel was asked again who writes them.
    AskedAgain,
    /// A shard was read; this happens once for each.
    Read,
    /// What they held is in the journal, in memory.
    Appended,
    /// And durable; it counts.
    Absorbed,
    /// The kernel was asked for the last time before they are deleted.
    AskedLast,
    /// They are deleted.
    Unlinked,
    /// And that is durable.
    UnlinkSynced,
    /// Nobody came back to them: the archive does not tell them apart any more.
    Forgotten,
}

impl Step {
    /// All steps, in order.
    pub const ALL: [Step; 10] = [
        Step::Renamed,
        Step::DirectorySynced,
        Step::AskedAgain,
        Step::Read,
        Step::Appended,
        Step::Absorbed,
        Step::AskedLast,
        Step::Unlinked,
        Step::UnlinkSynced,
        Step::Forgotten,
    ];

    /// The name of the point, for tests that name it from outside.
    pub const fn as_str(self) -> &'static str {
        match self {
            Step::Renamed => "retire.renamed",
            Step::DirectorySynced => "retire.directory_synced",
            Step::AskedAgain => "retire.asked_again",
            Step::Read => "retire.read",
            Step::Appended => "retire.appended",
            Step::Absorbed => "retire.absorbed",
            Step::AskedLast => "retire.asked_last",
            Step::Unlinked => "retire.unlinked",
            Step::UnlinkSynced => "retire.unlink_synced",
            Step::Forgotten => "retire.forgotten",
        }
    }

    /// The step that is called so.
    pub fn from_name(name: &str) -> Option<Step> {
        Step::ALL.into_iter().find(|step| step.as_str() == name)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
