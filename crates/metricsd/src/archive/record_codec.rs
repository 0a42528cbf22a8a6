//! Records as bytes. `docs/archive-format.md` has the tables.
//!
//! Invariant: [`decode`] gives back what [`encode`] was given, bit for bit, and an error for anything else; it never panics.
//! Pure.

use super::codec::{DecodeError, Reader, put_bytes, put_f64, put_varint, put_zigzag};
use super::exact::{Exact, SWALLOWS_ONE_FROM};
use super::model::{IdentityKey, KeyId, SeriesKey, SeriesKind};
use super::record::{Entry, Origin, Record, Shortfall};

/// First byte of each record.
pub(super) mod tag {
    pub(crate) const KEY_DEFINED: u8 = 1;
    pub(crate) const ABSORBED: u8 = 2;
    pub(crate) const UNLINK_DURABLE: u8 = 3;
    pub(crate) const HIGH_WATER: u8 = 4;
    pub(crate) const REBASED: u8 = 5;
    pub(crate) const MISSING: u8 = 6;
    pub(crate) const RETURNED: u8 = 7;
    pub(crate) const GAUGE_DISCARDED: u8 = 8;
    pub(crate) const GAUGE_EXPIRED: u8 = 9;
    pub(crate) const START_TIMESTAMP: u8 = 10;
    pub(crate) const RESET_DECLARED: u8 = 11;
    pub(crate) const STARTED: u8 = 12;
    pub(crate) const CLEAN_STOP: u8 = 13;
    pub(crate) const TOTALS_RESET: u8 = 14;
}

/// Forms of an entry's number, in the lowest bits of its first varint.
mod form {
    /// The rest of the varint is the value, as a zigzag; no timestamp.
    pub(super) const WHOLE: u64 = 0;
    /// The value's eight bytes follow; no timestamp.
    pub(super) const VALUE: u64 = 1;
    /// Eight bytes of the value and eight of the timestamp follow.
    pub(super) const VALUE_AND_TIMESTAMP: u64 = 2;
    pub(super) const BITS: u32 = 2;
}

/// Appends the record.
pub(super) fn encode(record: &Record, out: &mut Vec<u8>) {
    match record {
        Record::KeyDefined { key, series } => {
            out.push(tag::KEY_DEFINED);
            put_varint(out, key.0.into());
            out.push(series.kind.code());
            put_bytes(out, &series.raw);
        }
        Record::Absorbed {
            identity,
            origin,
            at_unix_seconds,
            entries,
        } => {
            put_identity(out, tag::ABSORBED, identity);
            put_origin(out, origin);
            put_f64(out, *at_unix_seconds);
            put_entries(out, entries);
        }
        Record::UnlinkDurable { identity } => put_identity(out, tag::UNLINK_DURABLE, identity),
        Record::HighWater {
            identity,
            origin,
            entries,
        } => {
            put_identity(out, tag::HIGH_WATER, identity);
            out.push(origin.is_some().into());
            origin.iter().for_each(|origin| put_origin(out, origin));
            put_entries(out, entries);
        }
        Record::Rebased {
            identity,
            shortfalls,
        } => {
            put_identity(out, tag::REBASED, identity);
            put_shortfalls(out, shortfalls);
        }
        Record::Missing {
            identity,
            at_unix_seconds,
        } => {
            put_identity(out, tag::MISSING, identity);
            put_f64(out, *at_unix_seconds);
        }
        Record::Returned {
            identity,
            shortfalls,
        } => {
            put_identity(out, tag::RETURNED, identity);
            put_shortfalls(out, shortfalls);
        }
        Record::GaugeDiscarded { identity, keys } => {
            put_identity(out, tag::GAUGE_DISCARDED, identity);
            put_keys(out, keys);
        }
        Record::GaugeExpired {
            ended_until_unix_seconds,
        } => {
            put_time(out, tag::GAUGE_EXPIRED, *ended_until_unix_seconds);
        }
        Record::StartTimestamp { keys, unix_seconds } => {
            put_time(out, tag::START_TIMESTAMP, *unix_seconds);
            put_keys(out, keys);
        }
        Record::ResetDeclared { keys, unix_seconds } => {
            put_time(out, tag::RESET_DECLARED, *unix_seconds);
            put_keys(out, keys);
        }
        Record::Started {
            boot_id,
            at_unix_seconds,
        } => {
            put_time(out, tag::STARTED, *at_unix_seconds);
            put_bytes(out, boot_id.as_bytes());
        }
        Record::CleanStop { at_unix_seconds } => put_time(out, tag::CLEAN_STOP, *at_unix_seconds),
        Record::TotalsReset {
            at_unix_seconds,
            dropped,
        } => {
            put_time(out, tag::TOTALS_RESET, *at_unix_seconds);
            put_named_sums(out, dropped);
        }
    }
}

/// Reads a record; all bytes belong to it.
pub(super) fn decode(bytes: &[u8]) -> Result<Record, DecodeError> {
    let mut reader = Reader::new(bytes);
    let record = match reader.u8()? {
        tag::KEY_DEFINED => Record::KeyDefined {
            key: key(&mut reader)?,
            series: SeriesKey {
                kind: kind(&mut reader)?,
                raw: reader.bytes()?.into(),
            },
        },
        tag::ABSORBED => Record::Absorbed {
            identity: identity(&mut reader)?,
            origin: origin(&mut reader)?,
            at_unix_seconds: reader.f64()?,
            entries: entries(&mut reader)?,
        },
        tag::UNLINK_DURABLE => Record::UnlinkDurable {
            identity: identity(&mut reader)?,
        },
        tag::HIGH_WATER => Record::HighWater {
            identity: identity(&mut reader)?,
            origin: optional_origin(&mut reader)?,
            entries: entries(&mut reader)?,
        },
        tag::REBASED => Record::Rebased {
            identity: identity(&mut reader)?,
            shortfalls: shortfalls(&mut reader)?,
        },
        tag::MISSING => Record::Missing {
            identity: identity(&mut reader)?,
            at_unix_seconds: reader.f64()?,
        },
        tag::RETURNED => Record::Returned {
            identity: identity(&mut reader)?,
            shortfalls: shortfalls(&mut reader)?,
        },
        tag::GAUGE_DISCARDED => Record::GaugeDiscarded {
            identity: identity(&mut reader)?,
            keys: keys(&mut reader)?,
        },
        tag::GAUGE_EXPIRED => Record::GaugeExpired {
            ended_until_unix_seconds: reader.f64()?,
        },
        tag::START_TIMESTAMP => Record::StartTimestamp {
            unix_seconds: reader.f64()?,
            keys: keys(&mut reader)?,
        },
        tag::RESET_DECLARED => Record::ResetDeclared {
            unix_seconds: reader.f64()?,
            keys: keys(&mut reader)?,
        },
        tag::STARTED => Record::Started {
            at_unix_seconds: reader.f64()?,
            boot_id: reader.text("boot id")?.into(),
        },
        tag::CLEAN_STOP => Record::CleanStop {
            at_unix_seconds: reader.f64()?,
        },
        tag::TOTALS_RESET => Record::TotalsReset {
            at_unix_seconds: reader.f64()?,
            dropped: named_sums(&mut reader)?,
        },
        found => {
            return Err(DecodeError::Tag {
                what: "kind of record",
                found,
            });
        }
    };
    reader.finish()?;
    Ok(record)
}

fn put_time(out: &mut Vec<u8>, tag: u8, unix_seconds: f64) {
    out.push(tag);
    put_f64(out, unix_seconds);
}

fn put_identity(out: &mut Vec<u8>, tag: u8, identity: &IdentityKey) {
    out.push(tag);
    put_bytes(out, identity.as_bytes());
}

/// Reads an identity.
pub(super) fn identity(reader: &mut Reader<'_>) -> Result<IdentityKey, DecodeError> {
    let limit = super::model::IDENTITY_LEN_MAX_BYTES;
    IdentityKey::new(reader.bytes()?).map_err(|_| DecodeError::TooLarge {
        what: "bytes of an identity, or none",
        limit,
    })
}

/// Appends what is known of a file.
pub(super) fn put_origin(out: &mut Vec<u8>, origin: &Origin) {
    out.push(origin.kind.code());
    put_bytes(out, origin.file_name.as_bytes());
    put_bytes(out, origin.writer.as_bytes());
    put_bytes(out, origin.program.as_bytes());
}

/// Reads what [`put_origin`] wrote.
pub(super) fn origin(reader: &mut Reader<'_>) -> Result<Origin, DecodeError> {
    Ok(Origin {
        kind: kind(reader)?,
        file_name: reader.text("file name")?.into(),
        writer: reader.text("writer")?.into(),
        program: reader.text("program")?.into(),
    })
}

/// Reads a byte that says whether there is an origin, and the origin.
pub(super) fn optional_origin(reader: &mut Reader<'_>) -> Result<Option<Origin>, DecodeError> {
    match reader.u8()? {
        0 => Ok(None),
        1 => origin(reader).map(Some),
        found => Err(DecodeError::Tag {
            what: "whether an origin follows",
            found,
        }),
    }
}

/// Reads the code of a kind.
pub(super) fn kind(reader: &mut Reader<'_>) -> Result<SeriesKind, DecodeError> {
    let code = reader.u8()?;
    SeriesKind::from_code(code).ok_or(DecodeError::Tag {
        what: "kind of series",
        found: code,
    })
}

/// Reads a series' number.
pub(super) fn key(reader: &mut Reader<'_>) -> Result<KeyId, DecodeError> {
    reader.u32("number of a series").map(KeyId)
}

/// Numbers that lie close together are short: each is the distance from the one before.
fn put_keys(out: &mut Vec<u8>, keys: &[KeyId]) {
    put_varint(out, keys.len() as u64);
    let mut last = 0;
    for key in keys {
        put_distance(out, &mut last, *key);
    }
}

fn keys(reader: &mut Reader<'_>) -> Result<Vec<KeyId>, DecodeError> {
    let count = reader.count_of(1)?;
    let mut last = 0;
    (0..count).map(|_| distance(reader, &mut last)).collect()
}

/// Appends the distance of a number from the one before.
pub(super) fn put_distance(out: &mut Vec<u8>, last: &mut i64, key: KeyId) {
    put_zigzag(out, i64::from(key.0) - *last);
    *last = key.0.into();
}

/// Reads what [`put_distance`] wrote.
pub(super) fn distance(reader: &mut Reader<'_>, last: &mut i64) -> Result<KeyId, DecodeError> {
    let limit = u32::MAX as usize;
    let key = last
        .checked_add(reader.zigzag()?)
        .and_then(|key| u32::try_from(key).ok())
        .ok_or(DecodeError::TooLarge {
            what: "number of a series",
            limit,
        })?;
    *last = key.into();
    Ok(KeyId(key))
}

fn put_entries(out: &mut Vec<u8>, entries: &[Entry]) {
    put_varint(out, entries.len() as u64);
    let mut last = 0;
    for entry in entries {
        put_distance(out, &mut last, entry.key);
        put_number(out, entry.value, entry.timestamp);
    }
}

fn entries(reader: &mut Reader<'_>) -> Result<Vec<Entry>, DecodeError> {
    let count = reader.count_of(2)?;
    let mut last = 0;
    (0..count)
        .map(|_| {
            let key = distance(reader, &mut last)?;
            let (value, timestamp) = number(reader)?;
            Ok(Entry {
                key,
                value,
                timestamp,
            })
        })
        .collect()
}

/// Appends a value and its timestamp; short for whole numbers without one.
pub(super) fn put_number(out: &mut Vec<u8>, value: f64, timestamp: f64) {
    let whole = value as i64;
    // Bits, so that -0.0 stays what it is.
    let is_whole = (whole as f64).to_bits() == value.to_bits() && value.abs() <= SWALLOWS_ONE_FROM;
    if timestamp.to_bits() != 0 {
        put_varint(out, form::VALUE_AND_TIMESTAMP);
        put_f64(out, value);
        put_f64(out, timestamp);
    } else if is_whole {
        let zigzag = ((whole << 1) ^ (whole >> 63)).cast_unsigned();
        put_varint(out, zigzag << form::BITS | form::WHOLE);
    } else {
        put_varint(out, form::VALUE);
        put_f64(out, value);
    }
}

/// Reads what [`put_number`] wrote.
pub(super) fn number(reader: &mut Reader<'_>) -> Result<(f64, f64), DecodeError> {
    let first = reader.varint()?;
    let zigzag = first >> form::BITS;
    match first & ((1 << form::BITS) - 1) {
        form::WHOLE => {
            let whole = (zigzag >> 1).cast_signed() ^ -((zigzag & 1).cast_signed());
            Ok((whole as f64, 0.0))
        }
        form::VALUE if zigzag == 0 => Ok((reader.f64()?, 0.0)),
        form::VALUE_AND_TIMESTAMP if zigzag == 0 => Ok((reader.f64()?, reader.f64()?)),
        found => Err(DecodeError::Tag {
            what: "form of a number",
            found: found as u8,
        }),
    }
}

/// Appends sums with their names.
pub(super) fn put_named_sums(out: &mut Vec<u8>, sums: &[(Box<str>, Exact)]) {
    put_varint(out, sums.len() as u64);
    for (name, sum) in sums {
        put_bytes(out, name.as_bytes());
        sum.encode(out);
    }
}

/// Reads what [`put_named_sums`] wrote.
pub(super) fn named_sums(reader: &mut Reader<'_>) -> Result<Vec<(Box<str>, Exact)>, DecodeError> {
    let count = reader.count_of(2)?;
    (0..count)
        .map(|_| {
            Ok((
                reader.text("name of a sample")?.into(),
                Exact::decode(reader)?,
            ))
        })
        .collect()
}

fn put_shortfalls(out: &mut Vec<u8>, shortfalls: &[Shortfall]) {
    put_varint(out, shortfalls.len() as u64);
    let mut last = 0;
    for shortfall in shortfalls {
        put_distance(out, &mut last, shortfall.key);
        shortfall.file.encode(out);
        shortfall.missing.encode(out);
    }
}

fn shortfalls(reader: &mut Reader<'_>) -> Result<Vec<Shortfall>, DecodeError> {
    let count = reader.count_of(3)?;
    let mut last = 0;
    (0..count)
        .map(|_| {
            Ok(Shortfall {
                key: distance(reader, &mut last)?,
                file: Exact::decode(reader)?,
                missing: Exact::decode(reader)?,
            })
        })
        .collect()
}
