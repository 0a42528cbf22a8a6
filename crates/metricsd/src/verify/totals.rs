//! `metricsd verify totals`: what the daemon serves against what the files say.
//!
//! Files, scrape, files again: what only grows must lie between the two readings, what holds still must be the same. The readings
//! are made without the daemon's merge (see `naive`). Invariant: what cannot be compared is counted and named, never
//! passed over. Must not open anything for writing.

use std::path::Path;

use metricsd_exporter::Family;
use serde::Serialize;

use super::compare::{Chance, Comparison, Counts, Difference, DifferenceKind, compare, samples_of};
use super::naive::{Model, recompute};
use super::reading::{Reading, ReadingError, read};
use super::scrape::{Page, ScrapeUrl, scrape};
use super::sources::{known_keys, sources};
use crate::report::Check;
use crate::settings::{MergeSettings, StateSource};

/// Differences that are listed; all are counted.
const DIFFERENCES_LISTED: usize = 50;

/// Damaged files that are named; all are counted.
const DAMAGED_LISTED: usize = 20;

/// How often it is compared again, where the archive moved between the readings or a writer set something back.
const ROUNDS_MAX: usize = 5;

/// How often where only such values differ that move both ways: a sum of gains and losses is below or above both readings by chance
/// in one round of four.
const CHANCE_ROUNDS_MAX: usize = 12;

/// What was found.
#[derive(Debug, Clone)]
pub struct TotalsReport {
    /// One for each claim.
    pub checks: Vec<Check>,
    /// Beyond the checks.
    pub details: Details,
}

/// Counts, and the first differences.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Details {
    /// The scraped address; none without a scrape.
    pub url: Option<String>,
    /// The shard directory that was read.
    pub shard_directory: String,
    /// The state directory that was read.
    pub state_directory: String,
    /// The shard directory as the daemon calls it.
    pub daemon_shard_directory: Option<String>,
    /// Shards that were read.
    pub shards: usize,
    /// Entries in them.
    pub entries: usize,
    /// Number of the archive's last record; none without an archive.
    pub archive_sequence: Option<u64>,
    /// Samples that were recomputed.
    pub recomputed: usize,
    /// Entries that the policy refuses.
    pub refused_entries: usize,
    /// Entries that lost a conflict to an older shard.
    pub conflicting_entries: usize,
    /// What was compared, and what was not.
    pub counts: Counts,
    /// How often it was compared.
    pub rounds: usize,
    /// How many samples differ.
    pub difference_count: usize,
    /// The first of them.
    pub differences: Vec<Difference>,
}

impl TotalsReport {
    /// The details as lines.
    pub fn lines(&self) -> Vec<String> {
        let show = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
        let listed = self.details.differences.iter().map(|it| {
            let kind = match it.kind {
                DifferenceKind::Value => "value",
                DifferenceKind::Missing => "missing",
                DifferenceKind::Unaccounted => "unaccounted",
            };
            let [before, scraped, after] = [&it.before, &it.scraped, &it.after].map(show);
            format!(
                "DIFF|{kind}|{}|before {before}, scraped {scraped}, after {after}",
                it.series
            )
        });
        let mut lines: Vec<String> = listed.collect();
        let left_out = self.details.difference_count - lines.len();
        if left_out > 0 {
            lines.push(format!("DIFF|more|{left_out} further samples differ"));
        }
        lines
    }
}

/// Makes the proof.
pub fn prove(settings: &MergeSettings, url: &ScrapeUrl) -> TotalsReport {
    let mut proof = Proof::new(settings, Some(url));
    let Some(mut before) = proof.read() else {
        return proof.report;
    };
    let mut suspects: Option<Vec<(String, Chance)>> = None;
    for round in 1..=CHANCE_ROUNDS_MAX {
        let page = match scrape(url) {
            Ok(page) => page,
            Err(err) => {
                proof.fail("scrape_answered", err.to_string(), err.hint());
                proof.judge_files(&before);
                return proof.report;
            }
        };
        let Some(after) = proof.read() else {
            return proof.report;
        };
        proof.report.details.rounds = round;
        let mut comparison = compare(&before.1, &samples_of(&page.families), &after.1);
        // What moves both ways may have done so and come back; what differs in every round did not.
        let chances: Vec<(String, Chance)> = comparison
            .differences
            .iter()
            .filter_map(|it| Some((it.series.clone(), it.chance?)))
            .collect();
        let is_firm = comparison.differences.len() > chances.len();
        let still: Vec<(String, Chance)> = match &suspects {
            None => chances,
            Some(earlier) => chances
                .into_iter()
                .filter(|it| earlier.contains(it))
                .collect(),
        };
        let before_drop = comparison.differences.len();
        comparison.differences.retain(|it| match it.chance {
            Some(chance) => still.contains(&(it.series.clone(), chance)),
            None => true,
        });
        comparison.counts.moving += before_drop - comparison.differences.len();
        suspects = Some(still);
        let has_moved = before.0.sequence() != after.0.sequence();
        let is_last = match is_firm {
            true => round >= ROUNDS_MAX || !has_moved,
            false => round == CHANCE_ROUNDS_MAX,
        };
        // What the files lost since the first reading is still on the page of a daemon that has it.
        let is_settled = comparison.counts.went_back == 0 || round >= ROUNDS_MAX;
        if (comparison.differences.is_empty() && is_settled) || is_last {
            proof.judge(&page, &after, comparison);
            return proof.report;
        }
        before = after;
    }
    proof.report
}

/// Reads and recomputes without comparing with anything: whether a copy, or a daemon that is down, has its totals whole.
pub fn prove_files(settings: &MergeSettings) -> TotalsReport {
    let mut proof = Proof::new(settings, None);
    if let Some(read) = proof.read() {
        proof.judge_files(&read);
    }
    proof.report
}

struct Proof<'a> {
    settings: &'a MergeSettings,
    report: TotalsReport,
}

impl<'a> Proof<'a> {
    fn new(settings: &'a MergeSettings, url: Option<&ScrapeUrl>) -> Proof<'a> {
        let details = Details {
            url: url.map(ScrapeUrl::to_string),
            shard_directory: settings.directory.path.display().to_string(),
            state_directory: settings.state.path.display().to_string(),
            ..Details::default()
        };
        Proof {
            settings,
            report: TotalsReport {
                checks: Vec::new(),
                details,
            },
        }
    }

    fn pass(&mut self, id: &str, text: String) {
        self.report.checks.push(Check::pass(id, text));
    }

    fn fail(&mut self, id: &str, text: impl Into<String>, next: impl Into<String>) {
        self.report.checks.push(Check::fail(id, text, next));
    }

    fn read(&mut self) -> Option<(Reading, Model)> {
        match read(self.settings) {
            Ok(reading) => {
                let policy = &self.settings.policy;
                let (known, sources) = (known_keys(&reading), sources(&reading));
                let model = recompute(&known, &sources, policy, self.settings.dead_gauges);
                Some((reading, model))
            }
            Err(err) => {
                let hint = match &err {
                    ReadingError::Moving { .. } => "run it again",
                    _ => {
                        "name the directories that the daemon's first log lines name, and run it as a user who may read them"
                    }
                };
                let sentence = program::sentence(&err);
                self.fail("totals_recomputed", sentence, hint);
                None
            }
        }
    }

    /// What the files alone show.
    fn judge_files(&mut self, (reading, model): &(Reading, Model)) {
        let details = &mut self.report.details;
        details.shards = reading.shards.len();
        details.entries = reading.entry_count();
        details.archive_sequence = reading.sequence();
        details.recomputed = model.samples.len();
        details.refused_entries = model.refused_count;
        details.conflicting_entries = model.conflicting_count;
        let archive = match reading.sequence() {
            Some(sequence) => format!("an archive of {sequence} records"),
            None => format!("no archive ({} does not exist)", details.state_directory),
        };
        let mut text = format!(
            "{} samples from {} shards and {archive}",
            model.samples.len(),
            reading.shards.len(),
        );
        if model.refused_count + model.conflicting_count > 0 {
            text += &format!(
                "; left out by the rules of the merge: {} refused entries, {} in conflict with older shards",
                model.refused_count, model.conflicting_count
            );
        }
        self.pass("totals_recomputed", text);
        if reading.damaged.is_empty() {
            let text = format!("{} of {0}, to their ends", reading.shards.len());
            self.pass("shards_readable", text);
        } else {
            let named: Vec<&str> = reading
                .damaged
                .iter()
                .take(DAMAGED_LISTED)
                .map(String::as_str)
                .collect();
            let text = format!("{} are not: {}", reading.damaged.len(), named.join("; "));
            let next = "`metricsd inspect FILE` shows what is left of a file; what stood in the damaged part is in no total";
            self.fail("shards_readable", text, next);
        }
        self.judge_state(reading);
    }

    fn judge_state(&mut self, reading: &Reading) {
        let Some((_, report)) = &reading.archive else {
            let is_named = self.settings.state.source == StateSource::Flag;
            // With a scrape, what is missing differs from it. Without one nothing else would tell of a mistyped path.
            if is_named && self.report.details.url.is_none() {
                let text = format!("{} does not exist", self.report.details.state_directory);
                let next = "name the state directory that is to be read with --state-dir, or leave the flag out for the default";
                self.fail("state_undamaged", text, next);
            } else {
                self.pass("state_undamaged", "there is no archive".to_owned());
            }
            return;
        };
        if report.losses.is_empty() && !report.earlier_totals_lost {
            let note = match report.damaged.len() {
                0 => String::new(),
                count => format!("; {count} damaged files that cost nothing"),
            };
            let text = format!("all {} records stand{note}", report.last_sequence);
            self.pass("state_undamaged", text);
            return;
        }
        let mut losses: Vec<String> = report.losses.iter().map(ToString::to_string).collect();
        if report.earlier_totals_lost {
            losses.push("totals before the first record are lost".to_owned());
        }
        let next = "restore the state directory from a backup, or accept that what these records said is in no total";
        self.fail("state_undamaged", losses.join("; "), next);
    }

    fn judge(&mut self, page: &Page, after: &(Reading, Model), comparison: Comparison) {
        let url = self.report.details.url.clone().unwrap_or_default();
        let text = format!(
            "{url}: {} samples in {} bytes",
            comparison.counts.scraped, page.len_bytes
        );
        self.pass("scrape_answered", text);
        self.judge_files(after);
        let Comparison {
            counts,
            differences,
        } = comparison;
        let count = |kind| differences.iter().filter(|it| it.kind == kind).count();
        let [wrong, missing, unaccounted] = [
            DifferenceKind::Value,
            DifferenceKind::Missing,
            DifferenceKind::Unaccounted,
        ]
        .map(count);
        let is_same = self.judge_directory(&page.families, &counts, wrong + missing + unaccounted);
        let elsewhere = "the daemon serves another directory: look at the first lines of its log, and name that one with --multiproc-dir and its state with --state-dir";
        let compared = counts.equal + counts.between + counts.at_least;
        let not_compared = format!(
            "not compared: {} that moved both ways, {} that were set back, {} that depend on who lives or on deleted files, {} not served that need not be",
            counts.moving, counts.went_back, counts.depend_on_liveness, counts.may_be_absent
        );
        let held_open = orphaned(&page.families);
        if wrong > 0 {
            let text = format!("{wrong} samples differ, {compared} agree; {not_compared}");
            let next = match is_same {
                true if held_open > 0.0 => format!(
                    "the daemon holds {held_open} shards open that somebody deleted; when their writers have ended, run it again"
                ),
                true => {
                    "keep both directories as they are, save the scrape, and report it".to_owned()
                }
                false => elsewhere.to_owned(),
            };
            self.fail("totals_equal", text, next);
        } else if compared == 0 {
            let text = format!("no sample could be compared; {not_compared}");
            let next = match is_same {
                true => "run it again when a program has counted something".to_owned(),
                false => elsewhere.to_owned(),
            };
            self.fail("totals_equal", text, next);
        } else {
            let text = format!(
                "{} samples equal, {} between what they were before and after, {} at least what is known; {not_compared}",
                counts.equal, counts.between, counts.at_least
            );
            self.pass("totals_equal", text);
        }
        if missing > 0 {
            let text = format!("{missing} samples that the files have are not served");
            let next = match is_same {
                true => {
                    "does the daemon run on the same --config.file and --dead-gauges as this check?"
                }
                false => elsewhere,
            };
            self.fail("series_complete", text, next);
        } else {
            let text = match counts.beyond_limit {
                0 => "every sample of the files is served".to_owned(),
                count => format!(
                    "every sample of the files is served, but {count} of the {} that are more than the limits allow; which of them the limits refuse is not recomputed",
                    after.1.samples.len()
                ),
            };
            self.pass("series_complete", text);
        }
        if unaccounted > 0 {
            let text = format!("{unaccounted} samples are served that no file has");
            let next = match is_same {
                true => "is --state-dir the daemon's? its log names it at the start",
                false => elsewhere,
            };
            self.fail("nothing_unaccounted", text, next);
        } else {
            let text = "every sample served is in the files, or the daemon's own".to_owned();
            self.pass("nothing_unaccounted", text);
        }
        let details = &mut self.report.details;
        details.counts = counts;
        details.difference_count = differences.len();
        details.differences = differences.into_iter().take(DIFFERENCES_LISTED).collect();
    }

    /// Whether the daemon serves the directory that was read.
    fn judge_directory(
        &mut self,
        families: &[Family],
        counts: &Counts,
        differences: usize,
    ) -> bool {
        let ours = self.settings.directory.path.clone();
        let Some(theirs) = label_of(families, "metricsd_config_info", "multiproc_dir") else {
            let text = format!("{}: the page says nothing of a directory", ours.display());
            self.fail(
                "directory_served",
                text,
                "is it metricsd that answers there?",
            );
            return false;
        };
        self.report.details.daemon_shard_directory = Some(theirs.clone());
        if is_same_directory(&ours, Path::new(&theirs)) {
            self.pass(
                "directory_served",
                format!("{theirs} is what the daemon serves"),
            );
            return true;
        }
        // In a container it may have another name.
        if differences == 0 && counts.equal + counts.between > 0 {
            let text = format!(
                "the daemon calls it {theirs}, here it is {}; the totals are the same",
                ours.display()
            );
            self.pass("directory_served", text);
            return true;
        }
        let text = format!(
            "the daemon serves {theirs}, and {} was read",
            ours.display()
        );
        let next = format!("run it again with --multiproc-dir {theirs}");
        self.fail("directory_served", text, next);
        false
    }
}

fn is_same_directory(ours: &Path, theirs: &Path) -> bool {
    match (ours.canonicalize(), theirs.canonicalize()) {
        (Ok(ours), Ok(theirs)) => ours == theirs,
        _ => false,
    }
}

fn label_of(families: &[Family], name: &str, label: &str) -> Option<String> {
    let family = families.iter().find(|family| family.name == name)?;
    let labels = &family.series.first()?.labels;
    labels
        .iter()
        .find(|(found, _)| found == label)
        .map(|(_, value)| value.clone())
}

/// Shards that somebody deleted and that the daemon still serves.
fn orphaned(families: &[Family]) -> f64 {
    let family = families
        .iter()
        .find(|family| family.name == "metricsd_orphaned_shards");
    let value = family.and_then(|family| Some(&family.series.first()?.value));
    match value {
        Some(metricsd_exporter::Value::Single(count)) => *count,
        _ => 0.0,
    }
}
