//! The ledger for people: aligned columns.
//!
//! Invariant: the amounts under a total add up to it. Pure.

use std::fmt::Write as _;

use program::terminal::printable;

use super::View;
use super::account::{Source, Total};
use super::selection::Selection;
use super::shown::{number, table, time};
use crate::archive::{Absorption, Cause, Exact, Origin};

/// A row of a total's parts.
const HEAD: [&str; 6] = ["AMOUNT", "WHAT", "WHEN", "PROGRAM", "PROCESS", "SHARD"];
const HEAD_RIGHT: [bool; 6] = [true, false, false, false, false, false];

/// Everything that is asked for.
pub(super) fn show(view: &View<'_>) -> String {
    let mut out = String::new();
    // Nothing is written to a string that cannot be.
    let _ = writeln!(
        out,
        "state   {}{}",
        printable(&view.state_directory.display().to_string()),
        view.sequence
            .map_or_else(|| " (none)".to_owned(), |last| format!(" (record {last})"))
    );
    let _ = writeln!(
        out,
        "shards  {}",
        printable(&view.shard_directory.display().to_string())
    );
    let _ = writeln!(
        out,
        "at      {}, {} series that add up{}\n",
        time(view.taken_at_unix_seconds),
        view.account.series_count,
        view.account
            .since_unix_seconds
            .map_or_else(String::new, |since| format!(", since {}", time(since)))
    );
    match view.query.selection {
        Selection::Everything => {
            show_totals(view, &mut out);
            show_absorptions(view, &mut out);
        }
        _ => {
            for position in 0..view.account.totals.len() {
                show_parts(view, position, &mut out);
            }
        }
    }
    show_resets(view, &mut out);
    out
}

/// All totals, and how much of each is where.
fn show_totals(view: &View<'_>, out: &mut String) {
    let account = &view.account;
    let mut sums = vec![[(); 3].map(|()| Exact::default()); account.totals.len()];
    let mut shard_count = 0;
    for part in &account.parts {
        let place = match part.source {
            Source::Shard(_) => 0,
            Source::Absorbed(_) => 1,
            Source::Earlier(_) => 2,
        };
        shard_count += usize::from(place == 0);
        for (total, sum) in &part.amounts {
            sums[*total][place].merge(sum);
        }
    }
    let head = ["TOTAL", "IN SHARDS", "ABSORBED", "EARLIER", "NAME", ""];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    let mut order: Vec<usize> = (0..account.totals.len()).collect();
    order.sort_by_key(|at| &account.totals[*at].name);
    for at in order {
        let total = &account.totals[at];
        let mut row = vec![number(total.sum.value())];
        row.extend(sums[at].iter().map(|sum| number(sum.value())));
        row.extend([printable(&total.name), verdict(total)]);
        rows.push(row);
    }
    if rows.len() > 1 {
        out.push_str(&table(&rows, &[true, true, true, true, false, false]));
        out.push('\n');
    }
    let _ = writeln!(
        out,
        "{shard_count} shards with something that adds up are there"
    );
}

fn verdict(total: &Total) -> String {
    match total.shown {
        Some(_) if total.adds_up => String::new(),
        Some(shown) => format!("a scrape shows {}", number(shown)),
        None => "not served".to_owned(),
    }
}

/// The newest absorptions, each with what it added.
fn show_absorptions(view: &View<'_>, out: &mut String) {
    let ledger = view.state.map(|state| state.ledger());
    let count = ledger.map_or(0, |ledger| ledger.absorbed_count());
    let since = ledger.and_then(|ledger| ledger.resets().last());
    let since = since.map_or_else(String::new, |reset| {
        format!(" since the reset of {}", time(reset.at_unix_seconds))
    });
    let _ = writeln!(out, "{count} shards were absorbed{since}");
    if let Some(earlier) = ledger.and_then(|ledger| ledger.earlier()) {
        let _ = writeln!(
            out,
            "{} of them, from {} to {}, are kept as one sum (EARLIER)",
            earlier.count,
            time(earlier.first_unix_seconds),
            time(earlier.last_unix_seconds)
        );
    }
    if !view.listed.is_empty() {
        let _ = writeln!(
            out,
            "the newest {} of them, oldest first:",
            view.listed.len()
        );
    }
    // Shards of gauges add up to nothing, and there may be ten of a process: a line each.
    let mut is_apart = true;
    for part in view.listed.iter().map(|at| &view.account.parts[*at]) {
        let Source::Absorbed(absorption) = part.source else {
            continue;
        };
        if is_apart {
            out.push('\n');
        }
        let [program, process, shard] = texts(absorption.origin.as_ref());
        let _ = writeln!(
            out,
            "{}  {}  {program}  {process}  {shard}  {} series",
            time(absorption.at_unix_seconds),
            word(absorption),
            absorption.series_count
        );
        let amount = |(total, sum): (&usize, &Exact)| {
            let name = printable(&view.account.totals[*total].name);
            vec![format!("    {name}"), number(sum.value())]
        };
        let added = part.amounts.iter().filter(|(_, sum)| !sum.is_zero());
        let mut rows: Vec<Vec<String>> = added.map(amount).collect();
        rows.sort();
        is_apart = !rows.is_empty();
        out.push_str(&table(&rows, &[false, true]));
    }
}

/// One total with all its parts.
fn show_parts(view: &View<'_>, position: usize, out: &mut String) {
    let total = &view.account.totals[position];
    let _ = writeln!(
        out,
        "{} = {}",
        printable(&total.name),
        number(total.sum.value())
    );
    let mut rows = vec![HEAD.map(str::to_owned).to_vec()];
    let (mut others, mut other_count) = (Exact::default(), 0);
    let mut absorbed = Vec::new();
    for (at, part) in view.account.parts.iter().enumerate() {
        let Some(amount) = part.amounts.get(&position).filter(|sum| !sum.is_zero()) else {
            continue;
        };
        let row = |what: &str, when: String, [program, process, shard]: [String; 3]| {
            let amount = number(amount.value());
            vec![amount, what.to_owned(), when, program, process, shard]
        };
        match &part.source {
            Source::Shard(origin) => {
                rows.push(row("in its shard", String::new(), texts(Some(origin))))
            }
            Source::Absorbed(it) if view.listed.binary_search(&at).is_ok() => {
                absorbed.push(row(
                    word(it),
                    time(it.at_unix_seconds),
                    texts(it.origin.as_ref()),
                ));
            }
            Source::Absorbed(_) => {
                others.merge(amount);
                other_count += 1;
            }
            Source::Earlier(Some(earlier)) => {
                let when = format!(
                    "{} to {}",
                    time(earlier.first_unix_seconds),
                    time(earlier.last_unix_seconds)
                );
                let of = format!("{} absorptions", earlier.count);
                rows.push(row("earlier", when, [String::new(), of, String::new()]));
            }
            Source::Earlier(None) => {
                let empty = [String::new(), String::new(), String::new()];
                rows.push(row("not in the ledger", String::new(), empty));
            }
        }
    }
    if other_count > 0 {
        let cells = [
            number(others.value()),
            "absorbed".to_owned(),
            "not listed".to_owned(),
            String::new(),
            format!("{other_count} absorptions"),
            String::new(),
        ];
        rows.push(cells.to_vec());
    }
    rows.append(&mut absorbed);
    out.push_str(&table(&rows, &HEAD_RIGHT));
    let shown = match total.shown {
        Some(shown) if total.adds_up => {
            format!("adds up to what a scrape shows, {}", number(shown))
        }
        Some(shown) => format!("does not add up: a scrape shows {}", number(shown)),
        None => "not served".to_owned(),
    };
    let _ = writeln!(out, "{shown}\n");
}

fn show_resets(view: &View<'_>, out: &mut String) {
    let resets = view.state.map_or(&[][..], |state| state.ledger().resets());
    for reset in resets {
        let _ = writeln!(
            out,
            "\n{}  reset to zero by hand: {} series{} and what {} shards had added to them were dropped",
            time(reset.at_unix_seconds),
            reset.series_count,
            reset
                .since_unix_seconds
                .map_or_else(String::new, |since| format!(
                    ", counted since {},",
                    time(since)
                )),
            reset.absorbed_count
        );
        let row = |(name, sum): &(Box<str>, Exact)| {
            vec![format!("    {}", printable(name)), number(sum.value())]
        };
        let rows: Vec<Vec<String>> = reset.dropped.iter().map(row).collect();
        out.push_str(&table(&rows, &[false, true]));
    }
}

fn word(absorption: &Absorption) -> &'static str {
    match absorption.cause {
        Cause::Absorbed => "absorbed",
        Cause::Missing => "missing",
    }
}

/// Program, process and file.
fn texts(origin: Option<&Origin>) -> [String; 3] {
    match origin {
        Some(origin) => {
            [&origin.program, &origin.writer, &origin.file_name].map(|it| printable(it))
        }
        None => ["unknown", "unknown", "unknown"].map(str::to_owned),
    }
}
