//! Records for tests: plausible ones in a plausible order, and any at all.

use crate::archive::exact::Exact;
use crate::archive::model::{IdentityKey, KeyId, SeriesKey, SeriesKind};
use crate::archive::record::{Entry, Origin, Record, Shortfall};
use crate::archive::testing::Dice;

/// The identity of shard `number`.
pub(super) fn identity(number: usize) -> IdentityKey {
    IdentityKey::new(format!("fs-1/inode-{number}/born-{}", number * 7).as_bytes()).unwrap()
}

/// What is known of shard `number`.
pub(super) fn origin(number: usize, kind: SeriesKind) -> Origin {
    Origin {
        file_name: format!("{}_{number}.db", kind.as_str()).into(),
        writer: number.to_string().into(),
        program: "shadow-session".into(),
        kind,
    }
}

/// A key as Python spells it.
pub(super) fn raw_key(number: usize) -> Box<[u8]> {
    let text = format!(
        r#"["peaktrade_orders", "peaktrade_orders_total", {{"result": "r{number}", "side": "buy"}}, "Orders by result."]"#
    );
    text.into_bytes().into()
}

/// A value as counters, timers and gauges have it.
pub(super) fn value(dice: &mut Dice) -> f64 {
    match dice.below(6) {
        0 => dice.below(100_000) as f64 / 1e4,
        1 => f64::from_bits(dice.below(1 << 32) as u64 | 0x3f00_0000_0000_0000),
        _ => dice.below(1000) as f64,
    }
}

fn entries(dice: &mut Dice, keys: &[KeyId]) -> Vec<Entry> {
    let count = dice.below(6);
    let timestamp = |dice: &mut Dice| {
        if dice.below(4) == 0 {
            dice.below(1 << 31) as f64
        } else {
            0.0
        }
    };
    (0..count)
        .map(|_| Entry {
            key: keys[dice.below(keys.len())],
            value: value(dice),
            timestamp: timestamp(dice),
        })
        .collect()
}

fn keys(dice: &mut Dice, all: &[KeyId]) -> Vec<KeyId> {
    (0..1 + dice.below(3))
        .map(|_| all[dice.below(all.len())])
        .collect()
}

fn shortfalls(dice: &mut Dice, all: &[KeyId]) -> Vec<Shortfall> {
    keys(dice, all)
        .into_iter()
        .map(|key| Shortfall {
            key,
            file: Exact::from(value(dice)),
            missing: [value(dice), 0.1].into_iter().collect(),
        })
        .collect()
}

/// Records as a daemon may write them, each of which changes something.
pub(super) fn workload(dice: &mut Dice, count: usize) -> Vec<Record> {
    let mut records = Vec::new();
    let mut defined = Vec::new();
    for number in 0..count {
        let record = if defined.len() < 3 || dice.below(5) == 0 {
            let key = KeyId(defined.len() as u32);
            defined.push(key);
            let kind = SeriesKind::ALL[dice.below(SeriesKind::ALL.len())];
            Record::KeyDefined {
                key,
                series: SeriesKey {
                    kind,
                    raw: raw_key(key.index()),
                },
            }
        } else {
            any_record(dice, &defined, number)
        };
        records.push(record);
    }
    records
}

/// Any record that names one of a few shards and some of these series.
pub(super) fn any_record(dice: &mut Dice, all: &[KeyId], number: usize) -> Record {
    let shard = dice.below(6);
    let identity = identity(shard);
    let kind = SeriesKind::ALL[dice.below(SeriesKind::ALL.len())];
    let unix_seconds = 1.7e9 + number as f64;
    match dice.below(14) {
        0..=2 => Record::Absorbed {
            identity,
            origin: origin(shard, kind),
            at_unix_seconds: unix_seconds,
            entries: entries(dice, all),
        },
        3..=5 => Record::HighWater {
            identity,
            origin: (dice.below(2) == 0).then(|| origin(shard, kind)),
            entries: entries(dice, all),
        },
        6 => Record::UnlinkDurable { identity },
        7 => Record::Rebased {
            identity,
            shortfalls: shortfalls(dice, all),
        },
        8 => match dice.below(2) {
            0 => Record::Missing {
                identity,
                at_unix_seconds: unix_seconds,
            },
            _ => Record::Returned {
                identity,
                shortfalls: shortfalls(dice, all),
            },
        },
        9 => Record::GaugeDiscarded {
            identity,
            keys: keys(dice, all),
        },
        10 => Record::GaugeExpired {
            ended_until_unix_seconds: unix_seconds - 30.0,
        },
        11 if dice.below(2) == 0 => Record::TotalsReset {
            at_unix_seconds: unix_seconds,
            dropped: vec![("peaktrade_orders_total".into(), Exact::from(value(dice)))],
        },
        11 | 12 => Record::ResetDeclared {
            keys: keys(dice, all),
            unix_seconds,
        },
        _ => Record::StartTimestamp {
            keys: keys(dice, all),
            unix_seconds,
        },
    }
}
