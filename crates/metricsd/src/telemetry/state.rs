//! The families about retirement and the state that is kept of ended processes.
//!
//! Invariant: every name and label value of theirs is declared here. Must not touch: anything but values.

use metricsd_exporter::{Family, Kind};

use super::{count, family, info, labels, plain};
use crate::archive::Operation;
use crate::liveness;

/// What failed around the state directory: the values of the label `op` of `metricsd_state_errors_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StateOp {
    /// Storage of the archive.
    Storage(Operation),
    /// Giving a shard its retiring name.
    RetireRename,
    /// Reading a shard that is to be absorbed.
    RetireRead,
    /// Removing a shard that was absorbed.
    RetireUnlink,
    /// Making the names in the shard directory durable.
    RetireSync,
    /// Something that was durable once was found damaged or gone.
    Damage,
}

impl StateOp {
    /// Every one, in the order in which they are counted.
    pub const ALL: [StateOp; 14] = [
        StateOp::Storage(Operation::List),
        StateOp::Storage(Operation::Read),
        StateOp::Storage(Operation::Create),
        StateOp::Storage(Operation::Preallocate),
        StateOp::Storage(Operation::Append),
        StateOp::Storage(Operation::SyncFile),
        StateOp::Storage(Operation::Rename),
        StateOp::Storage(Operation::Remove),
        StateOp::Storage(Operation::SyncDir),
        StateOp::RetireRename,
        StateOp::RetireRead,
        StateOp::RetireUnlink,
        StateOp::RetireSync,
        StateOp::Damage,
    ];

    /// The label value.
    pub const fn as_str(self) -> &'static str {
        match self {
            StateOp::Storage(operation) => operation.as_str(),
            StateOp::RetireRename => "retire_rename",
            StateOp::RetireRead => "retire_read",
            StateOp::RetireUnlink => "retire_unlink",
            StateOp::RetireSync => "retire_sync",
            StateOp::Damage => "damage",
        }
    }

    /// Its place in [`StateOp::ALL`].
    const fn index(self) -> usize {
        match self {
            StateOp::Storage(operation) => match operation {
                Operation::List => 0,
                Operation::Read => 1,
                Operation::Create => 2,
                Operation::Preallocate => 3,
                Operation::Append => 4,
                Operation::SyncFile => 5,
                Operation::Rename => 6,
                Operation::Remove => 7,
                Operation::SyncDir => 8,
            },
            StateOp::RetireRename => 9,
            StateOp::RetireRead => 10,
            StateOp::RetireUnlink => 11,
            StateOp::RetireSync => 12,
            StateOp::Damage => 13,
        }
    }
}

/// How often what failed, since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StateErrors([u64; StateOp::ALL.len()]);

impl StateErrors {
    /// One more failure.
    pub fn add(&mut self, op: StateOp) {
        self.0[op.index()] += 1;
    }

    /// Failures of this kind.
    pub fn count(&self, op: StateOp) -> u64 {
        self.0[op.index()]
    }
}

/// How it is known whether somebody still writes a shard: the labels of `metricsd_liveness_mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LivenessMode<'a> {
    /// By leases; the self-test in the shard directory passed.
    Leases,
    /// Not at all: every shard counts as unknown and none is retired.
    Off {
        /// Why, as a word out of a finite set.
        reason: &'a str,
    },
}

impl Default for LivenessMode<'_> {
    fn default() -> Self {
        LivenessMode::Off { reason: "untested" }
    }
}

impl From<liveness::LivenessMode> for LivenessMode<'static> {
    fn from(mode: liveness::LivenessMode) -> Self {
        match (mode, mode.words()) {
            (liveness::LivenessMode::Leases, _) => LivenessMode::Leases,
            (liveness::LivenessMode::Off { .. }, (_, reason)) => LivenessMode::Off { reason },
        }
    }
}

/// What became of shards that ended, and the state that is kept of them. Totals count since the start of the daemon.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ObservedState<'a> {
    /// Whether shards are retired: the settings say so, and liveness can be known.
    pub is_retirement_enabled: bool,
    /// Whether the state directory survives a power cut.
    pub is_durable: bool,
    /// How liveness is known.
    pub liveness: LivenessMode<'a>,
    /// Shards that were absorbed and removed.
    pub retired_shards: u64,
    /// Entries that were absorbed with them.
    pub absorbed_entries: u64,
    /// Gauge values of ended processes that are not served any more, for their age.
    pub expired_gauges: u64,
    /// Values that a writer set back itself, which was followed.
    pub writer_resets: u64,
    /// Series that were declared to have begun anew, since a power cut may have taken what was shown of them, or somebody
    /// reset all totals before this start.
    pub declared_resets: u64,
    /// Length of the journal behind the last checkpoint.
    pub journal_len_bytes: u64,
    /// Series that the archive has a value of.
    pub archived_series: u64,
    /// Values at or past 2^53, where adding 1 changes nothing.
    pub swallowed_increments: u64,
    /// Shards that were deleted by somebody else and are still served.
    pub orphaned_shards: u64,
    /// What failed.
    pub errors: StateErrors,
}

pub(super) fn retirement_families(state: &ObservedState<'_>, families: &mut Vec<Family>) {
    let (mode, reason) = match state.liveness {
        LivenessMode::Leases => ("leases", "passed"),
        LivenessMode::Off { reason } => ("off", reason),
    };
    families.push(info(
        "metricsd_liveness_mode",
        "How it is known whether somebody still writes a shard, and why so.",
        labels(&[("mode", mode), ("reason", reason)]),
    ));
    families.push(plain(
        "metricsd_retirement_enabled",
        "Whether shards of ended processes are absorbed into the archive and removed (1) or stay (0).",
        f64::from(u8::from(state.is_retirement_enabled)),
    ));
    families.push(count(
        "metricsd_retired_shards",
        "Shards of ended processes that were absorbed into the archive and removed.",
        state.retired_shards,
    ));
    families.push(count(
        "metricsd_absorbed_entries",
        "Entries of shards that were absorbed into the archive.",
        state.absorbed_entries,
    ));
    families.push(count(
        "metricsd_expired_gauges",
        "Gauge values of ended processes that are not served any more, for their age.",
        state.expired_gauges,
    ));
    families.push(count(
        "metricsd_writer_resets",
        "Values that their own writer set back; the exposed total follows.",
        state.writer_resets,
    ));
    families.push(count(
        "metricsd_declared_resets",
        "Series that begin anew with a new start time, since a power cut took what was shown of them or all totals were reset by hand.",
        state.declared_resets,
    ));
    families.push(plain(
        "metricsd_orphaned_shards",
        "Shards that somebody else deleted and that are still served.",
        state.orphaned_shards as f64,
    ));
    families.push(plain(
        "metricsd_swallowed_increments",
        "Values at or past 2^53, to which their writers can no longer add 1.",
        state.swallowed_increments as f64,
    ));
}

pub(super) fn archive_families(state: &ObservedState<'_>, families: &mut Vec<Family>) {
    families.push(plain(
        "metricsd_state_durable",
        "Whether the state directory is on a local disk, apart from the shards (1), or may be lost (0).",
        f64::from(u8::from(state.is_durable)),
    ));
    let errors = StateOp::ALL
        .iter()
        .map(|op| ([("op", op.as_str())], state.errors.count(*op) as f64));
    families.push(family(
        "metricsd_state_errors",
        Kind::Counter,
        "Failures around the archive and retirement, by what was being done. Totals stay exact.",
        errors,
    ));
    families.push(plain(
        "metricsd_journal_bytes",
        "Length of the journal behind the last checkpoint.",
        state.journal_len_bytes as f64,
    ));
    families.push(plain(
        "metricsd_archived_series",
        "Series that the archive has a value of.",
        state.archived_series as f64,
    ));
}
