//! Blocks of a checkpoint back into the state.
//!
//! Invariant: reading all blocks gives the state that they were written from; any bytes end in a state or an error, never a
//! panic. Pure.

use super::layout::*;
use crate::archive::codec::{DecodeError, Reader};
use crate::archive::exact::Exact;
use crate::archive::gauges::{Ended, EndedValue};
use crate::archive::known::{GaugeCell, Moved, Phase};
use crate::archive::ledger::{Absorption, Amounts, Cause, Earlier, TotalsReset};
use crate::archive::model::{Fold, SeriesKind};
use crate::archive::record_codec;
use crate::archive::state::{NO_START, Run, State};

/// Numbers of series that a damaged block may leave out: more than any block has.
const LEAP_MAX: usize = 1 << 22;

/// Adds what a block says to `state`.
pub(super) fn read_block(payload: &[u8], state: &mut State) -> Result<(), DecodeError> {
    let mut reader = Reader::new(payload);
    match reader.u8()? {
        SERIES => read_series(&mut reader, state)?,
        GAUGES => {
            while !reader.rest().is_empty() {
                read_gauge(&mut reader, state)?;
            }
        }
        SHARDS => {
            while !reader.rest().is_empty() {
                read_piece(&mut reader, state)?;
            }
        }
        RUN => read_run(&mut reader, state)?,
        LEDGER => {
            while !reader.rest().is_empty() {
                read_ledger(&mut reader, state)?;
            }
        }
        found => {
            return Err(DecodeError::Tag {
                what: "kind of block",
                found,
            });
        }
    }
    reader.finish()
}

fn read_series(reader: &mut Reader<'_>, state: &mut State) -> Result<(), DecodeError> {
    let first = reader.count(u32::MAX as usize)?;
    let count = reader.count_of(1)?;
    let missing = first
        .checked_sub(state.keys.len())
        .filter(|missing| *missing <= LEAP_MAX);
    let what = "distance from the last number of a series";
    state.keys.skip(missing.ok_or(DecodeError::TooLarge {
        what,
        limit: LEAP_MAX,
    })?);
    state.make_room();
    let mut start_before = NO_START;
    for _ in 0..count {
        let first = reader.u8()?;
        match first & KIND_MASK {
            UNKNOWN_KIND => state.keys.skip(1),
            code => {
                let kind = SeriesKind::from_code(code).ok_or(DecodeError::Tag {
                    what: "kind of series",
                    found: code,
                })?;
                let (prefix, suffix) = (reader.varint()?, reader.varint()?);
                let [prefix, suffix] =
                    [prefix, suffix].map(|it| usize::try_from(it).unwrap_or(usize::MAX));
                if !state
                    .keys
                    .define_next(kind, prefix, reader.bytes()?, suffix)
                {
                    return Err(DecodeError::Tag {
                        what: "shared parts of a key, or a second key",
                        found: code,
                    });
                }
            }
        }
        state.totals.push(match first & HAS_TOTAL {
            0 => Exact::default(),
            _ => Exact::decode(reader)?,
        });
        start_before = match first & START_MASK {
            0 => NO_START,
            START_SAME => start_before,
            START_HERE => reader.u64_le()?,
            found => {
                return Err(DecodeError::Tag {
                    what: "form of a start",
                    found,
                });
            }
        };
        state.starts.push(start_before);
    }
    Ok(())
}

fn read_gauge(reader: &mut Reader<'_>, state: &mut State) -> Result<(), DecodeError> {
    let key = record_codec::key(reader)?;
    let tag = reader.u8()?;
    let ended = match tag {
        _ if tag == Fold::Min as u8 => Ended::Min(reader.f64()?),
        _ if tag == Fold::Max as u8 => Ended::Max(reader.f64()?),
        _ if tag == Fold::Sum as u8 => Ended::Sum(Exact::decode(reader)?),
        _ if tag == Fold::MostRecent as u8 => Ended::MostRecent {
            value: reader.f64()?,
            timestamp: reader.f64()?,
        },
        _ if tag == Fold::Each as u8 => {
            let value = EndedValue {
                identity: record_codec::identity(reader)?,
                writer: reader.text("writer")?.into(),
                value: reader.f64()?,
                timestamp: reader.f64()?,
                ended_at_unix_seconds: reader.f64()?,
            };
            if let Some(Ended::Each(values)) = state.ended.by_key.get_mut(&key) {
                values.push(value);
                return Ok(());
            }
            Ended::Each(vec![value])
        }
        found => {
            return Err(DecodeError::Tag {
                what: "mode of a gauge",
                found,
            });
        }
    };
    state.ended.by_key.insert(key, ended);
    Ok(())
}

fn read_piece(reader: &mut Reader<'_>, state: &mut State) -> Result<(), DecodeError> {
    let identity = record_codec::identity(reader)?;
    let phase = match reader.u8()? {
        phase if phase == Phase::Seen as u8 => Phase::Seen,
        phase if phase == Phase::Absorbed as u8 => Phase::Absorbed,
        phase if phase == Phase::Missing as u8 => Phase::Missing,
        found => {
            return Err(DecodeError::Tag {
                what: "phase of a shard",
                found,
            });
        }
    };
    let ended_at_unix_seconds = optional_time(reader)?;
    let origin = record_codec::optional_origin(reader)?;
    let known = state.known.entry(identity).or_default();
    (known.phase, known.ended_at_unix_seconds, known.origin) =
        (phase, ended_at_unix_seconds, origin);
    for _ in 0..reader.count_of(4)? {
        let key = record_codec::key(reader)?;
        let [seen, absorbed, rebase] = [
            Exact::decode(reader)?,
            Exact::decode(reader)?,
            Exact::decode(reader)?,
        ];
        known.restore(key, seen, Moved { absorbed, rebase });
    }
    for _ in 0..reader.count_of(2)? {
        let key = record_codec::key(reader)?;
        let flags = reader.u8()?;
        if flags > 3 {
            return Err(DecodeError::Tag {
                what: "flags of a gauge",
                found: flags,
            });
        }
        let set = match flags & 2 {
            0 => None,
            _ => Some((reader.f64()?, reader.f64()?)),
        };
        *known.gauges.entry(key) = GaugeCell {
            set,
            is_discarded: flags & 1 != 0,
        };
    }
    known.shrink();
    known.revise(&mut state.last_revision);
    Ok(())
}

fn read_ledger(reader: &mut Reader<'_>, state: &mut State) -> Result<(), DecodeError> {
    match reader.u8()? {
        RESET => {
            let reset = TotalsReset {
                at_unix_seconds: reader.f64()?,
                series_count: reader.varint()?,
                absorbed_count: reader.varint()?,
                since_unix_seconds: optional_time(reader)?,
                is_told: reader.u8()? != 0,
                dropped: record_codec::named_sums(reader)?,
            };
            state.ledger.resets.push(reset);
        }
        EARLIER => {
            state.ledger.earlier = Some(Earlier {
                count: reader.varint()?,
                first_unix_seconds: reader.f64()?,
                last_unix_seconds: reader.f64()?,
            });
        }
        ABSORPTION => {
            let absorption = Absorption {
                at_unix_seconds: reader.f64()?,
                cause: cause(reader)?,
                origin: record_codec::optional_origin(reader)?,
                series_count: reader.count(u32::MAX as usize)?,
                amounts: Amounts::from_bytes(reader.bytes()?),
            };
            state.ledger.push(absorption);
        }
        found => {
            return Err(DecodeError::Tag {
                what: "part of a ledger",
                found,
            });
        }
    }
    Ok(())
}

fn cause(reader: &mut Reader<'_>) -> Result<Cause, DecodeError> {
    match reader.u8()? {
        cause if cause == Cause::Absorbed as u8 => Ok(Cause::Absorbed),
        cause if cause == Cause::Missing as u8 => Ok(Cause::Missing),
        found => Err(DecodeError::Tag {
            what: "cause of an absorption",
            found,
        }),
    }
}

fn read_run(reader: &mut Reader<'_>, state: &mut State) -> Result<(), DecodeError> {
    if reader.u8()? == 0 {
        return Ok(());
    }
    state.run = Some(Run {
        boot_id: reader.text("boot id")?.into(),
        started_at_unix_seconds: reader.f64()?,
        stopped_at_unix_seconds: optional_time(reader)?,
    });
    Ok(())
}

fn optional_time(reader: &mut Reader<'_>) -> Result<Option<f64>, DecodeError> {
    match reader.u8()? {
        0 => Ok(None),
        1 => reader.f64().map(Some),
        found => Err(DecodeError::Tag {
            what: "whether a time follows",
            found,
        }),
    }
}
