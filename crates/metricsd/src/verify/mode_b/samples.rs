//! What is on the page: families by their samples, a valid text, values that move and stay.
//!
//! Invariant: a HELP line is no evidence; a counter that stands still while a session runs is a failure; so is one that falls.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::{Wiring, ids};
use crate::verify::evidence::Finding;
use crate::verify::page::{Page, defects, losses, named};
use crate::verify::record::{Book, Probe, Retry};

/// The strategy and risk families and their types.
const FAMILIES: [(&str, &str); 6] = [
    ("peaktrade_strategy_decisions_total", "counter"),
    ("peaktrade_strategy_signals_total", "counter"),
    ("peaktrade_strategy_position_gross_exposure", "gauge"),
    ("peaktrade_risk_checks_total", "counter"),
    ("peaktrade_risk_limit_utilization", "gauge"),
    ("peaktrade_risk_blocks_total", "counter"),
];

/// What the names of strategy and risk families begin with.
const OURS: [&str; 2] = ["peaktrade_strategy_", "peaktrade_risk_"];

/// How often a value is looked at while it may move.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

impl Wiring<'_> {
    pub(super) fn families_present(&self, book: &mut Book<'_>) {
        let title = "The families have samples and the right types";
        let mut wanted: Vec<(&str, Option<&str>)> = Vec::new();
        if self.args.run_session {
            wanted.extend(FAMILIES.map(|(name, kind)| (name, Some(kind))));
        }
        let known = |name: &str| {
            FAMILIES
                .iter()
                .find(|(known, _)| *known == name)
                .map(|it| it.1)
        };
        for name in &self.args.expect {
            if !wanted.iter().any(|(known, _)| known == name) {
                wanted.push((name, known(name)));
            }
        }
        let names: Vec<&str> = wanted.iter().map(|(name, _)| *name).collect();
        let shown = Some(names.as_slice()).filter(|names| !names.is_empty());
        book.step_with(ids::FAMILIES_PRESENT, title, self.retry, |probe| {
            let page = match self.page_about(shown, probe) {
                Ok(page) => page,
                Err(finding) => return finding,
            };
            let faults: Vec<String> = wanted
                .iter()
                .filter_map(|(name, kind)| family_fault(&page, name, *kind))
                .collect();
            let families = page.merged_families();
            if families == 0 {
                return Finding::fail(
                    "not one family of a session has a sample",
                    "start a session with the daemon's directory",
                );
            }
            if !faults.is_empty() {
                return Finding::fail(
                    faults.join("; "),
                    "start a session that records them; a labelled family without a sample is absent, whatever HELP and TYPE say",
                );
            }
            Finding::pass(match wanted.len() {
                0 => format!("{families} families of sessions have samples; none was named with --expect"),
                count => format!("all {count} expected families have samples of the right type, of {families} in all"),
            })
        });
    }

    pub(super) fn exposition_valid(&self, book: &mut Book<'_>) {
        let title = "The page is text 0.0.4: every series once, comments before samples, counts that are counts";
        book.step_with(ids::EXPOSITION_VALID, title, self.retry, |probe| {
            let page = match self.page(probe) {
                Ok(page) => page,
                Err(finding) => return finding,
            };
            let found = defects(&page);
            if found.is_empty() {
                Finding::pass(format!("{} samples, no defect", page.samples.len()))
            } else {
                Finding::fail(
                    named(&found),
                    "find the program that records this; its shard is in the directory",
                )
            }
        });
    }

    pub(super) fn values_moved(&mut self, book: &mut Book<'_>) {
        let title = "At least one counter moves while it is watched";
        let before = if self.before.samples.is_empty() {
            None
        } else {
            Some(self.before.clone())
        };
        let limit = if self.args.run_session {
            self.args.session_time
        } else {
            self.args.watch
        };
        let stop = book.stop().clone();
        let mut during = None;
        book.step_with(ids::VALUES_MOVED, title, Retry::NEVER, |probe| {
            let Some(before) = &before else {
                return Finding::fail("there is no page to compare with", "see the check http_ok");
            };
            let deadline = Instant::now() + limit;
            loop {
                let mut last = Probe::default();
                let page = self.page_about(Some(&[]), &mut last);
                let moved = page
                    .as_ref()
                    .ok()
                    .and_then(|page| moved(before, page, &mut last));
                let is_over = Instant::now() >= deadline || stop.is_asked();
                if moved.is_none() && !is_over {
                    stop.sleep(LOOK_INTERVAL);
                    continue;
                }
                *probe = last;
                during = page.ok();
                return match moved {
                    Some(moved) => Finding::pass(moved),
                    None => Finding::fail(
                        format!("no counter of any session moved within {limit:?}"),
                        "make sure that a session runs and is not stuck; watch longer with --watch",
                    ),
                };
            }
        });
        if let Some(during) = during {
            self.during = during;
        }
    }

    pub(super) fn still_there_after_end(&self, book: &mut Book<'_>, ended: Option<Timestamp>) {
        let title = "After the session's end its series are still there, and nothing fell";
        let stop = book.stop().clone();
        book.step(ids::STILL_THERE_AFTER_END, title, |probe| {
            if ended.is_none() {
                return Finding::skip(
                    "no session ended while it was watched",
                    "use --run-session, or watch over a session's end with --watch",
                );
            }
            // What is there then is not its own.
            if self.args.run_session && !self.session_wrote {
                return Finding::skip(
                    "the session was not seen to write anything here that could stay",
                    "see the check session_started",
                );
            }
            let mut text = String::new();
            for (name, wait) in [
                ("metrics-after.prom", Duration::ZERO),
                ("metrics-settled.prom", self.args.settle),
            ] {
                stop.sleep(wait);
                let after = match self.page_about(Some(&OURS), probe) {
                    Ok(page) => page,
                    Err(finding) => return finding,
                };
                probe.file(name, &after.bytes);
                match self.what_is_left(&after) {
                    Ok(left) => text = left,
                    Err(finding) => return finding,
                }
            }
            Finding::pass(text)
        });
    }

    fn what_is_left(&self, after: &Page) -> Result<String, Finding> {
        let is_ours = |name: &str| OURS.iter().any(|prefix| name.starts_with(prefix));
        let mut faults = losses(&self.during, after);
        let ours = self
            .during
            .samples
            .iter()
            .filter(|sample| is_ours(&sample.name));
        let mut count = 0;
        for sample in ours {
            count += 1;
            if after.value(&sample.series).is_none() {
                faults.push(format!("{} is gone", sample.series));
            }
        }
        faults.sort();
        faults.dedup_by(|a, b| a.starts_with(b.as_str()));
        if !faults.is_empty() {
            return Err(Finding::fail(
                named(&faults),
                "find out who deleted shards or state; `metricsd doctor` looks for it",
            ));
        }
        let grown = self.during.growing().len();
        if grown == 0 || (self.args.run_session && count == 0) {
            return Err(Finding::fail(
                "there was no series while the session ran, so none can have stayed",
                "see the checks families_present and values_moved",
            ));
        }
        Ok(format!(
            "{count} strategy and risk series are still there, {grown} counts did not fall, for {:?} after the end",
            self.args.settle
        ))
    }
}

/// Why a family is not there as it should be.
fn family_fault(page: &Page, name: &str, kind: Option<&str>) -> Option<String> {
    let found = page.types.get(name).map(String::as_str);
    // A histogram's samples have suffixes.
    let suffixed = |suffix: &str| page.named(&format!("{name}{suffix}")).next().is_some();
    if page.named(name).next().is_none() && !suffixed("_bucket") && !suffixed("_count") {
        return Some(match found {
            Some(_) => format!("{name} has a TYPE line and no sample"),
            None => format!("{name} is absent"),
        });
    }
    let kind = kind?;
    (found != Some(kind))
        .then(|| format!("{name} is {}, expected {kind}", found.unwrap_or("untyped")))
}

/// The counter that moved most, in words; all of them are written down.
fn moved(before: &Page, now: &Page, probe: &mut Probe) -> Option<String> {
    let rise = |series: &str, value: f64| value - before.value(series).unwrap_or(0.0);
    let (most, by) = now
        .counters()
        .map(|sample| (sample, rise(&sample.series, sample.value)))
        .max_by(|(_, a), (_, b)| a.total_cmp(b))
        .filter(|(_, by)| *by > 0.0)?;
    let risen: Vec<String> = now
        .counters()
        .filter(|sample| rise(&sample.series, sample.value) > 0.0)
        .map(|sample| {
            let was = before.value(&sample.series).unwrap_or(0.0);
            format!("{}: {was}, then {}", sample.series, sample.value)
        })
        .collect();
    let count = risen.len();
    probe.ask("compare it with metrics-before.prom", || risen.join("\n"));
    Some(format!(
        "{count} counters moved, {} by {by} to {}",
        most.series, most.value
    ))
}
