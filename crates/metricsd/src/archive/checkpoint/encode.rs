//! The state as blocks of a checkpoint: series, gauges of the ended, shards that may still exist, the ledger, the last run.
//!
//! Invariant: a block can be read without any other one. Of keys that follow each other, only what differs in the middle is
//! stored. Pure.

use super::layout::*;
use crate::archive::codec::{put_bytes, put_f64, put_varint};
use crate::archive::exact::Exact;
use crate::archive::gauges::{Ended, EndedValue};
use crate::archive::known::{GaugeCell, Known, Moved};
use crate::archive::ledger::{Absorption, TotalsReset};
use crate::archive::model::{Fold, IdentityKey, KeyId};
use crate::archive::record::Origin;
use crate::archive::record_codec::{put_named_sums, put_origin};
use crate::archive::state::{NO_START, State};
use crate::archive::storage::StorageError;

/// Cells of a shard in one piece: a shard with more is stored in several, so that no block outgrows a frame.
const CELLS_PER_PIECE: usize = 4096;

/// Takes a finished block.
type Take<'a> = &'a mut dyn FnMut(&[u8]) -> Result<(), StorageError>;

/// Writes all series: keys, totals, starts.
pub(super) fn put_series(
    state: &State,
    block_len: usize,
    take: Take<'_>,
) -> Result<(), StorageError> {
    let mut next = 0;
    let mut entries = Vec::new();
    let (mut before, mut raw) = (Vec::new(), Vec::new());
    while next < state.keys.len() {
        let first = next;
        let mut start_before = NO_START;
        before.clear();
        entries.clear();
        while next < state.keys.len() && entries.len() < block_len {
            let key = KeyId(next as u32);
            let (total, start) = (&state.totals[next], state.starts[next]);
            let kind = state.keys.kind(key);
            let kind = kind.map_or(UNKNOWN_KIND, |kind| kind.code());
            state.keys.read(key, &mut raw);
            let has_total = !total.is_zero();
            let start_form = match start {
                NO_START => 0,
                _ if start == start_before => START_SAME,
                _ => START_HERE,
            };
            entries.push(kind | if has_total { HAS_TOTAL } else { 0 } | start_form);
            if kind != UNKNOWN_KIND {
                put_middle(&mut entries, &before, &raw);
            }
            std::mem::swap(&mut before, &mut raw);

            if has_total {
                total.encode(&mut entries);
            }
            if start_form == START_HERE {
                entries.extend_from_slice(&start.to_le_bytes());
            }
            start_before = start;
            next += 1;
        }
        let mut block = vec![SERIES];
        put_varint(&mut block, first as u64);
        put_varint(&mut block, (next - first) as u64);
        block.extend_from_slice(&entries);
        take(&block)?;
    }
    Ok(())
}

/// What is left of `raw` without the beginning and the end that it shares with the key before it.
fn put_middle(out: &mut Vec<u8>, before: &[u8], raw: &[u8]) {
    let shared = |left: &mut dyn Iterator<Item = (&u8, &u8)>| {
        left.take_while(|(left, right)| left == right).count()
    };
    let prefix = shared(&mut before.iter().zip(raw));
    let suffix = shared(
        &mut before[prefix..]
            .iter()
            .rev()
            .zip(raw[prefix..].iter().rev()),
    );
    put_varint(out, prefix as u64);
    put_varint(out, suffix as u64);
    put_bytes(out, &raw[prefix..raw.len() - suffix]);
}

/// Writes the gauges of ended processes.
pub(super) fn put_gauges(
    state: &State,
    block_len: usize,
    take: Take<'_>,
) -> Result<(), StorageError> {
    let mut block = vec![GAUGES];
    for (key, ended) in state.ended.iter() {
        let values: &[EndedValue] = match ended {
            Ended::Each(values) => values,
            _ => &[],
        };
        let folded = (values.is_empty()).then_some(None);
        for each in folded.into_iter().chain(values.iter().map(Some)) {
            put_varint(&mut block, key.0.into());
            put_gauge(&mut block, ended, each);
            if block.len() >= block_len {
                take(&block)?;
                block.truncate(1);
            }
        }
    }
    if block.len() > 1 {
        take(&block)
    } else {
        Ok(())
    }
}

fn put_gauge(out: &mut Vec<u8>, ended: &Ended, each: Option<&EndedValue>) {
    let tag = match ended {
        Ended::Min(_) => Fold::Min,
        Ended::Max(_) => Fold::Max,
        Ended::Sum(_) => Fold::Sum,
        Ended::MostRecent { .. } => Fold::MostRecent,
        Ended::Each(_) => Fold::Each,
    };
    out.push(tag as u8);
    match ended {
        Ended::Min(value) | Ended::Max(value) => put_f64(out, *value),
        Ended::Sum(sum) => sum.encode(out),
        Ended::MostRecent { value, timestamp } => {
            put_f64(out, *value);
            put_f64(out, *timestamp);
        }
        Ended::Each(_) => {
            if let Some(value) = each {
                put_bytes(out, value.identity.as_bytes());
                put_bytes(out, value.writer.as_bytes());
                put_f64(out, value.value);
                put_f64(out, value.timestamp);
                put_f64(out, value.ended_at_unix_seconds);
            }
        }
    }
}

/// Writes the shards that may still exist.
pub(super) fn put_shards(
    state: &State,
    block_len: usize,
    take: Take<'_>,
) -> Result<(), StorageError> {
    let mut block = vec![SHARDS];
    for (identity, known) in &state.known {
        let counts: Vec<_> = known.last_known().collect();
        let gauges: Vec<_> = known.gauges.iter().collect();
        let mut counts = counts.chunks(CELLS_PER_PIECE);
        let mut gauges = gauges.chunks(CELLS_PER_PIECE);
        let pieces = counts.len().max(gauges.len()).max(1);
        for _ in 0..pieces {
            put_piece(&mut block, identity, known);
            put_counts(&mut block, known, counts.next().unwrap_or_default());
            put_gauge_cells(&mut block, gauges.next().unwrap_or_default());
            if block.len() >= block_len {
                take(&block)?;
                block.truncate(1);
            }
        }
    }
    if block.len() > 1 {
        take(&block)
    } else {
        Ok(())
    }
}

fn put_piece(out: &mut Vec<u8>, identity: &IdentityKey, known: &Known) {
    put_bytes(out, identity.as_bytes());
    out.push(known.phase as u8);
    put_optional_time(out, known.ended_at_unix_seconds);
    put_optional_origin(out, known.origin.as_ref());
}

fn put_optional_origin(out: &mut Vec<u8>, origin: Option<&Origin>) {
    out.push(origin.is_some().into());
    origin
        .into_iter()
        .for_each(|origin| put_origin(out, origin));
}

fn put_counts(out: &mut Vec<u8>, known: &Known, cells: &[(KeyId, &Exact)]) {
    put_varint(out, cells.len() as u64);
    let nothing = Moved::default();
    for (key, seen) in cells {
        put_varint(out, key.0.into());
        seen.encode(out);
        let moved = known.moved.get(*key).unwrap_or(&nothing);
        moved.absorbed.encode(out);
        moved.rebase.encode(out);
    }
}

fn put_gauge_cells(out: &mut Vec<u8>, cells: &[(KeyId, &GaugeCell)]) {
    put_varint(out, cells.len() as u64);
    for (key, cell) in cells {
        put_varint(out, key.0.into());
        out.push(u8::from(cell.is_discarded) | u8::from(cell.set.is_some()) << 1);
        if let Some((value, timestamp)) = cell.set {
            put_f64(out, value);
            put_f64(out, timestamp);
        }
    }
}

/// Writes which shards the totals are made of.
pub(super) fn put_ledger(
    state: &State,
    block_len: usize,
    take: Take<'_>,
) -> Result<(), StorageError> {
    let mut block = vec![LEDGER];
    let ledger = &state.ledger;
    for reset in &ledger.resets {
        put_reset(&mut block, reset);
    }
    if let Some(earlier) = &ledger.earlier {
        block.push(EARLIER);
        put_varint(&mut block, earlier.count);
        put_f64(&mut block, earlier.first_unix_seconds);
        put_f64(&mut block, earlier.last_unix_seconds);
    }
    for absorption in &ledger.absorptions {
        put_absorption(&mut block, absorption);
        if block.len() >= block_len {
            take(&block)?;
            block.truncate(1);
        }
    }
    if block.len() > 1 {
        take(&block)
    } else {
        Ok(())
    }
}

fn put_reset(out: &mut Vec<u8>, reset: &TotalsReset) {
    out.push(RESET);
    put_f64(out, reset.at_unix_seconds);
    put_varint(out, reset.series_count);
    put_varint(out, reset.absorbed_count);
    put_optional_time(out, reset.since_unix_seconds);
    out.push(reset.is_told.into());
    put_named_sums(out, &reset.dropped);
}

fn put_absorption(out: &mut Vec<u8>, absorption: &Absorption) {
    out.push(ABSORPTION);
    put_f64(out, absorption.at_unix_seconds);
    out.push(absorption.cause as u8);
    put_optional_origin(out, absorption.origin.as_ref());
    put_varint(out, absorption.series_count as u64);
    put_bytes(out, &absorption.amounts.bytes);
}

/// The last block: the last run.
pub(super) fn put_run(state: &State) -> Vec<u8> {
    let mut block = vec![RUN, state.run.is_some().into()];
    if let Some(run) = &state.run {
        put_bytes(&mut block, run.boot_id.as_bytes());
        put_f64(&mut block, run.started_at_unix_seconds);
        put_optional_time(&mut block, run.stopped_at_unix_seconds);
    }
    block
}

fn put_optional_time(out: &mut Vec<u8>, unix_seconds: Option<f64>) {
    out.push(unix_seconds.is_some().into());
    unix_seconds
        .into_iter()
        .for_each(|seconds| put_f64(out, seconds));
}
