//! Codes in the blocks of a checkpoint; part of the format.
//!
//! Invariant: a code never changes its meaning. Pure.

/// First byte of each block.
pub(super) const SERIES: u8 = 1;
pub(super) const GAUGES: u8 = 2;
pub(super) const SHARDS: u8 = 3;
pub(super) const RUN: u8 = 4;
pub(super) const LEDGER: u8 = 5;

/// First byte of each part of a ledger.
pub(super) const RESET: u8 = 1;
pub(super) const EARLIER: u8 = 2;
pub(super) const ABSORPTION: u8 = 3;

/// First byte of a series: its kind, or this for a number whose series is not known.
pub(super) const KIND_MASK: u8 = 0x1f;
pub(super) const UNKNOWN_KIND: u8 = KIND_MASK;
pub(super) const HAS_TOTAL: u8 = 0x20;
/// Where the start timestamp is: nowhere, the one of the series before, here.
pub(super) const START_MASK: u8 = 0xc0;
pub(super) const START_SAME: u8 = 0x40;
pub(super) const START_HERE: u8 = 0x80;

/// What a block is called, for a person.
pub(in crate::archive) fn block_name(payload: &[u8]) -> &'static str {
    match payload.first() {
        Some(&SERIES) => "series",
        Some(&GAUGES) => "gauges of ended processes",
        Some(&SHARDS) => "shards",
        Some(&RUN) => "last run",
        _ => "unknown block",
    }
}
