//! The ledger for programs: one JSON object.
//!
//! Invariant: everything that people are shown is in it, unrounded times to the millisecond. Numbers that JSON has no place for (NaN,
//! infinities) are text. Pure.

use serde_json::{Map, Value as Json, json};

use super::View;
use super::account::{Amounts, Source, Total};
use super::shown::{exact_time, json_number};
use crate::archive::{Cause, Exact, Origin};

/// Everything that is asked for, with a line feed behind it.
pub(super) fn show(view: &View<'_>) -> String {
    let account = &view.account;
    let (mut shards, mut absorptions) = (Vec::new(), Vec::new());
    let (mut others, mut other_count) = (Amounts::new(), 0);
    let mut earlier = Json::Null;
    for (at, part) in account.parts.iter().enumerate() {
        let amounts = amounts(view, &part.amounts);
        match &part.source {
            Source::Shard(it) => {
                shards.push(json!({ "origin": origin(Some(it)), "amounts": amounts }))
            }
            Source::Absorbed(it) if view.listed.binary_search(&at).is_ok() => {
                absorptions.push(json!({
                    "at": exact_time(it.at_unix_seconds),
                    "cause": match it.cause {
                        Cause::Absorbed => "absorbed",
                        Cause::Missing => "missing",
                    },
                    "origin": origin(it.origin.as_ref()),
                    "series": it.series_count,
                    "amounts": amounts,
                }))
            }
            Source::Absorbed(_) => {
                other_count += 1;
                for (total, sum) in &part.amounts {
                    others.entry(*total).or_default().merge(sum);
                }
            }
            Source::Earlier(known) => {
                earlier = json!({
                    "count": known.map(|it| it.count),
                    "first": known.and_then(|it| exact_time(it.first_unix_seconds)),
                    "last": known.and_then(|it| exact_time(it.last_unix_seconds)),
                    "amounts": amounts,
                });
            }
        }
    }
    let ledger = view.state.map(|state| state.ledger());
    let resets = ledger.map_or(&[][..], |ledger| ledger.resets()).iter();
    let resets: Vec<Json> = resets
        .map(|reset| {
            json!({
                "at": exact_time(reset.at_unix_seconds),
                "series": reset.series_count,
                "absorbed": reset.absorbed_count,
                "counted_since": reset.since_unix_seconds.and_then(exact_time),
                "dropped": named(reset.dropped.iter().map(|(name, sum)| (&**name, sum))),
            })
        })
        .collect();
    let shown = json!({
        "state_directory": view.state_directory.display().to_string(),
        "shard_directory": view.shard_directory.display().to_string(),
        "record": view.sequence,
        "at": exact_time(view.taken_at_unix_seconds),
        "series": account.series_count,
        "counted_since": account.since_unix_seconds.and_then(exact_time),
        "adds_up": account.adds_up(),
        "totals": account.totals.iter().map(total).collect::<Vec<_>>(),
        "shards": shards,
        "absorbed": ledger.map_or(0, |ledger| ledger.absorbed_count()),
        "absorptions": absorptions,
        "not_listed": { "count": other_count, "amounts": self::amounts(view, &others) },
        "earlier": earlier,
        "resets": resets,
    });
    format!("{shown:#}\n")
}

fn total(total: &Total) -> Json {
    json!({
        "name": total.name,
        "value": json_number(total.sum.value()),
        "shown": total.shown.map(json_number),
        "adds_up": total.adds_up,
    })
}

fn amounts(view: &View<'_>, amounts: &Amounts) -> Json {
    let added = amounts.iter().filter(|(_, sum)| !sum.is_zero());
    named(added.map(|(total, sum)| (view.account.totals[*total].name.as_str(), sum)))
}

fn named<'a>(sums: impl Iterator<Item = (&'a str, &'a Exact)>) -> Json {
    let entry = |(name, sum): (&str, &Exact)| (name.to_owned(), json_number(sum.value()));
    Json::Object(sums.map(entry).collect::<Map<_, _>>())
}

fn origin(origin: Option<&Origin>) -> Json {
    match origin {
        Some(origin) => json!({
            "shard": origin.file_name,
            "process": origin.writer,
            "program": origin.program,
            "kind": origin.kind.as_str(),
        }),
        None => Json::Null,
    }
}
