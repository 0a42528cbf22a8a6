//! A state directory: its files, what they come to, and the records of the journal in their order.
//!
//! Invariant: what is lost is listed, never left out by the limit.

use std::path::Path;

use serde::Serialize;

use super::archive_file::FrameLine;
use super::table::{aligned, left_out, row, series, time};
use super::{InspectError, Limit, Page, STATE_FILE_LEN_MAX_BYTES};
use crate::archive::{self, Disk, FileView, KeyId, Phase, State, Storage, is_archive_file};

/// A state directory.
#[derive(Debug, Serialize)]
pub(super) struct StatePage {
    what: &'static str,
    series_count: usize,
    shards_known: usize,
    shards_seen: usize,
    shards_absorbed: usize,
    shards_missing: usize,
    gauges_of_ended: usize,
    last_sequence: u64,
    checkpoint_sequence: Option<u64>,
    last_run: Option<String>,
    losses: Vec<String>,
    damaged_files: Vec<String>,
    odd_records: usize,
    files: Vec<FileLine>,
    shards: Vec<KnownLine>,
    shards_left_out: usize,
    totals: Vec<TotalLine>,
    totals_left_out: usize,
    records: Vec<FrameLine>,
    records_left_out: usize,
}

#[derive(Debug, Serialize)]
struct FileLine {
    name: String,
    len_bytes: u64,
}

/// A shard that may still exist.
#[derive(Debug, Serialize)]
struct KnownLine {
    phase: &'static str,
    file: String,
    program: String,
    series: usize,
    ended: Option<String>,
}

/// What was absorbed of a series.
#[derive(Debug, Serialize)]
struct TotalLine {
    number: u32,
    kind: &'static str,
    series: String,
    absorbed: String,
    since: Option<String>,
}

/// Reads it.
pub(super) fn look(path: &Path, disk: &Disk, limit: Limit) -> Result<StatePage, InspectError> {
    let failed = |source| InspectError::Read {
        path: path.to_owned(),
        source,
    };
    let (state, report) = archive::load(disk).map_err(|source| InspectError::State {
        path: path.to_owned(),
        source,
    })?;
    let mut names = disk.list().map_err(failed)?;
    names.sort();
    let mut files = Vec::new();
    let (mut records, mut records_left_out) = (Vec::new(), 0);
    for name in names {
        let len_bytes = std::fs::symlink_metadata(path.join(&name)).map_or(0, |it| it.len());
        let is_segment = is_archive_file(&name) && name.ends_with(".log");
        files.push(FileLine {
            name: name.clone(),
            len_bytes,
        });
        if !is_segment {
            continue;
        }
        // One that went since, or cannot be read, is among the losses if it matters.
        let Ok(bytes) = disk.read(&name, STATE_FILE_LEN_MAX_BYTES) else {
            continue;
        };
        let view = FileView::of(&bytes);
        let room = limit.of(usize::MAX) - records.len().min(limit.of(usize::MAX));
        let shown = view.frame_count().min(room);
        records.extend(view.frames().take(shown).map(|frame| FrameLine::of(&frame)));
        records_left_out += view.frame_count() - shown;
    }
    let phase_count = |phase| state.shards().filter(|(_, it)| it.phase() == phase).count();
    let (shards, totals) = (known(&state, limit), absorbed(&state, limit));
    let key_count = totals_of(&state).count();
    let run = state
        .last_run()
        .map(|run| match run.stopped_at_unix_seconds {
            Some(stopped) => format!(
                "from {} to {}",
                time(run.started_at_unix_seconds),
                time(stopped)
            ),
            None => format!(
                "since {}, running or killed",
                time(run.started_at_unix_seconds)
            ),
        });
    let mut losses: Vec<String> = report.losses.iter().map(ToString::to_string).collect();
    if report.earlier_totals_lost {
        losses.push("totals before the first record are lost".to_owned());
    }
    let damaged = report.damaged.iter();
    Ok(StatePage {
        what: "state directory",
        series_count: state.keys().defined_count(),
        shards_known: state.shards().count(),
        shards_seen: phase_count(Phase::Seen),
        shards_absorbed: phase_count(Phase::Absorbed),
        shards_missing: phase_count(Phase::Missing),
        gauges_of_ended: state.ended_gauges().iter().count(),
        last_sequence: report.last_sequence,
        checkpoint_sequence: report.checkpoint_sequence,
        last_run: run,
        losses,
        damaged_files: damaged
            .map(|it| format!("{}: {}", it.name, it.defect))
            .collect(),
        odd_records: report.oddities.len(),
        files,
        shards_left_out: state.shards().count() - shards.len(),
        totals_left_out: key_count - totals.len(),
        shards,
        totals,
        records,
        records_left_out,
    })
}

fn known(state: &State, limit: Limit) -> Vec<KnownLine> {
    let shown = limit.of(state.shards().count());
    let lines = state.shards().take(shown).map(|(_, known)| KnownLine {
        phase: match known.phase() {
            Phase::Seen => "seen",
            Phase::Absorbed => "absorbed",
            Phase::Missing => "missing",
        },
        file: known
            .origin()
            .map_or("-".into(), |it| it.file_name.to_string()),
        program: known
            .origin()
            .map_or("-".into(), |it| it.program.to_string()),
        series: known.last_known().count() + known.gauges().count(),
        ended: known.ended_at_unix_seconds().map(time),
    });
    lines.collect()
}

/// The series that add up, by number.
fn totals_of(state: &State) -> impl Iterator<Item = u32> + '_ {
    let numbers = (0..).take(state.keys().len());
    numbers.filter(|&number| {
        let kind = state.keys().kind(KeyId(number));
        kind.is_some_and(|kind| !kind.is_gauge())
    })
}

fn absorbed(state: &State, limit: Limit) -> Vec<TotalLine> {
    let line = |number: u32| {
        let key = KeyId(number);
        let (kind, raw) = state.keys().get(key)?;
        Some(TotalLine {
            number,
            kind: kind.as_str(),
            series: series(&raw),
            absorbed: super::table::number(state.total(key)?.value()),
            since: state.start_unix_seconds(key).map(time),
        })
    };
    let shown = limit.of(usize::MAX);
    totals_of(state).take(shown).filter_map(line).collect()
}

impl Page for StatePage {
    fn lines(&self) -> Vec<String> {
        let checkpoint = self
            .checkpoint_sequence
            .map_or("none".to_owned(), |sequence| {
                format!("up to record {sequence}")
            });
        let shards = format!(
            "{} known: {} seen, {} absorbed, {} missing",
            self.shards_known, self.shards_seen, self.shards_absorbed, self.shards_missing
        );
        let mut lines = aligned(&[
            row(["what", self.what]),
            row(["last record", &self.last_sequence.to_string()]),
            row(["checkpoint", &checkpoint]),
            row(["last run", self.last_run.as_deref().unwrap_or("none")]),
            row(["series", &self.series_count.to_string()]),
            row(["shards", &shards]),
            row([
                "gauges of ended",
                &format!("{} series", self.gauges_of_ended),
            ]),
            row(["odd records", &self.odd_records.to_string()]),
            row(["losses", &self.losses.len().to_string()]),
        ]);
        lines.extend(self.losses.iter().map(|loss| format!("  lost: {loss}")));
        lines.extend(
            self.damaged_files
                .iter()
                .map(|it| format!("  damaged: {it}")),
        );
        let mut rows = vec![row(["FILE", "BYTES"])];
        rows.extend(
            self.files
                .iter()
                .map(|it| row([&it.name, &it.len_bytes.to_string()])),
        );
        lines.extend(aligned(&rows));
        if !self.shards.is_empty() {
            let mut rows = vec![row(["SHARD", "PHASE", "SERIES", "PROGRAM", "ENDED"])];
            rows.extend(self.shards.iter().map(|it| {
                let ended = it.ended.as_deref().unwrap_or("-");
                row([
                    &it.file,
                    it.phase,
                    &it.series.to_string(),
                    &it.program,
                    ended,
                ])
            }));
            lines.extend(aligned(&rows));
            lines.extend(left_out(self.shards_left_out, "shards"));
        }
        if !self.totals.is_empty() {
            let mut rows = vec![row([
                "NUMBER",
                "KIND",
                "ABSORBED",
                "COUNTS SINCE",
                "SERIES",
            ])];
            rows.extend(self.totals.iter().map(|it| {
                let since = it.since.as_deref().unwrap_or("-");
                row([
                    &it.number.to_string(),
                    it.kind,
                    &it.absorbed,
                    since,
                    &it.series,
                ])
            }));
            lines.extend(aligned(&rows));
            lines.extend(left_out(self.totals_left_out, "series"));
        }
        if !self.records.is_empty() {
            lines.extend(aligned(&FrameLine::rows(self.records.iter())));
            lines.extend(left_out(self.records_left_out, "records"));
        }
        lines
    }
}
