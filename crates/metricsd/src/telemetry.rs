//! The daemon's own metrics: every one of them, declared here and nowhere else.
//!
//! Invariant: names, types and labels are a contract; they do not depend on the shard directory working. Must not touch: files,
//! the clock.

mod state;

use std::collections::BTreeMap;
use std::path::Path;

use metricsd_exporter::{Family, Kind, Series, Value};
use metricsd_shard::REASONS;

use crate::collect::Collected;
use crate::merge::ConflictKind;
use crate::policy::RefusalReason;
use crate::procfs_view::OwnProcess;
use crate::sessions::ProgramTally;

pub use self::state::{LivenessMode, ObservedState, StateErrors, StateOp};
use self::state::{archive_families, retirement_families};

/// Upper bounds of `metricsd_collect_duration_seconds`: from a few quiet shards to a scrape that times out.
const COLLECT_DURATION_BOUNDS: [f64; 15] = [
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    f64::INFINITY,
];

/// Whether somebody still writes a shard, as far as it can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShardState {
    /// Somebody has it open for writing.
    Live,
    /// Nobody has.
    Ended,
    /// The kernel cannot be asked, or was not asked yet.
    Unknown,
    /// It is not served, or not to its end; whoever writes it.
    Unreadable,
}

impl ShardState {
    const ALL: [ShardState; 4] = [
        ShardState::Live,
        ShardState::Ended,
        ShardState::Unknown,
        ShardState::Unreadable,
    ];

    fn as_str(self) -> &'static str {
        match self {
            ShardState::Live => "live",
            ShardState::Ended => "ended",
            ShardState::Unknown => "unknown",
            ShardState::Unreadable => "unreadable",
        }
    }
}

/// How many shards are in which state, and why some are unreadable.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ShardTally {
    states: [u64; ShardState::ALL.len()],
    unreadable: [u64; REASONS.len()],
}

impl ShardTally {
    /// One more shard in this state.
    pub fn add(&mut self, state: ShardState) {
        self.states[state as usize] += 1;
    }

    /// One more file that is not served, or not to its end, for a reason out of [`REASONS`].
    pub fn add_unreadable(&mut self, reason: &str) {
        self.add(ShardState::Unreadable);
        if let Some(index) = REASONS.iter().position(|known| *known == reason) {
            self.unreadable[index] += 1;
        }
    }
}

/// What one collection came to, apart from the merged families.
#[derive(Debug, Clone, Default)]
pub struct Observed<'a> {
    /// Whether the directory and the state could be read: what `/-/ready` answers.
    pub is_ready: bool,
    /// Shards by state.
    pub shards: ShardTally,
    /// Sessions by program.
    pub programs: BTreeMap<&'a str, ProgramTally>,
    /// Retirement and the archive.
    pub state: ObservedState<'a>,
    /// Merged series exposed.
    pub series_count: usize,
    /// Length of the merged families as text.
    pub exposition_len_bytes: usize,
    /// The daemon's own consumption, where procfs tells.
    pub own_process: Option<OwnProcess>,
}

/// The daemon's own metrics.
#[derive(Debug)]
pub struct Telemetry {
    /// `metricsd_conflicts_total{kind}`: newly seen (shard, family, kind).
    conflicts: [u64; ConflictKind::ALL.len()],
    /// `metricsd_series_refused_total{reason}`: newly seen entries of shards that are not served.
    refused: [u64; RefusalReason::ALL.len()],
    /// `metricsd_collect_duration_seconds`: counts by bound (not cumulative) and sum.
    collect_durations: ([u64; COLLECT_DURATION_BOUNDS.len()], f64),
    /// `metricsd_session_last_change_timestamp_seconds{program}`: unix seconds.
    last_changes: BTreeMap<String, f64>,
    expected_programs: Vec<String>,
    config_info: Vec<(String, String)>,
}

impl Telemetry {
    /// Starts at zero. `policy` is `open` or `trading`.
    pub fn new(expected_programs: Vec<String>, directory: &Path, policy: &str) -> Telemetry {
        Telemetry {
            conflicts: Default::default(),
            refused: Default::default(),
            collect_durations: Default::default(),
            last_changes: BTreeMap::new(),
            expected_programs,
            config_info: labels(&[
                ("multiproc_dir", &directory.to_string_lossy()),
                ("policy", policy),
            ]),
        }
    }

    /// Adds what a collection newly found, and how many seconds it took.
    pub fn collected(&mut self, collected: &Collected, duration_seconds: f64) {
        for (total, new) in self.conflicts.iter_mut().zip(collected.conflicts) {
            *total += new;
        }
        for (total, new) in self.refused.iter_mut().zip(collected.refused) {
            *total += new;
        }
        let bucket = COLLECT_DURATION_BOUNDS
            .iter()
            .position(|bound| duration_seconds <= *bound);
        self.collect_durations.0[bucket.unwrap_or(COLLECT_DURATION_BOUNDS.len() - 1)] += 1;
        self.collect_durations.1 += duration_seconds;
    }

    /// Notes which programs' values moved in the collection at `now_unix_seconds`, and forgets programs that are gone.
    pub fn moved(&mut self, programs: &BTreeMap<&str, ProgramTally>, now_unix_seconds: f64) {
        self.last_changes
            .retain(|program, _| programs.contains_key(program.as_str()));
        for (program, _) in programs.iter().filter(|(_, tally)| tally.moved) {
            self.last_changes
                .insert((*program).to_owned(), now_unix_seconds);
        }
    }

    /// All own families, sorted by name, their series by labels.
    pub fn families(&self, observed: &Observed<'_>) -> Vec<Family> {
        let mut families = Vec::with_capacity(40);
        self.shard_families(observed, &mut families);
        retirement_families(&observed.state, &mut families);
        archive_families(&observed.state, &mut families);
        self.session_families(observed, &mut families);
        self.collection_families(observed, &mut families);
        if let Some(own) = &observed.own_process {
            process_families(own, &mut families);
        }
        families.sort_by(|a, b| a.name.cmp(&b.name));
        for family in &mut families {
            family.series.sort_by(|a, b| a.labels.cmp(&b.labels));
        }
        families
    }

    fn shard_families(&self, observed: &Observed<'_>, families: &mut Vec<Family>) {
        let states = ShardState::ALL.iter().map(|state| {
            (
                [("state", state.as_str())],
                observed.shards.states[*state as usize] as f64,
            )
        });
        families.push(family(
            "metricsd_shards",
            Kind::Gauge,
            "Shard files in the directory, by whether somebody still writes them.",
            states,
        ));
        let reasons = REASONS
            .iter()
            .zip(observed.shards.unreadable)
            .map(|(reason, count)| ([("reason", *reason)], count as f64));
        families.push(family(
            "metricsd_unreadable_shards",
            Kind::Gauge,
            "Shard files that are not served, or not to their end, by the reason.",
            reasons,
        ));
        let kinds = ConflictKind::ALL
            .iter()
            .zip(self.conflicts)
            .map(|(kind, count)| ([("kind", kind.as_str())], count as f64));
        families.push(family(
            "metricsd_conflicts",
            Kind::Counter,
            "Shards that describe a family differently than an older shard, once for each shard, family and kind.",
            kinds,
        ));
        let reasons = RefusalReason::ALL
            .iter()
            .zip(self.refused)
            .map(|(reason, count)| ([("reason", reason.as_str())], count as f64));
        families.push(family(
            "metricsd_series_refused",
            Kind::Counter,
            "Entries of shards that are not served, each counted once.",
            reasons,
        ));
    }

    fn session_families(&self, observed: &Observed<'_>, families: &mut Vec<Family>) {
        let states = observed.programs.iter().flat_map(|(program, tally)| {
            [("live", tally.live), ("ended", tally.ended)]
                .map(|(state, count)| ([("program", *program), ("state", state)], count as f64))
        });
        families.push(family(
            "metricsd_sessions",
            Kind::Gauge,
            "Processes behind the shards, by program and whether they still write.",
            states,
        ));
        let times = self
            .last_changes
            .iter()
            .map(|(program, time)| ([("program", program.as_str())], *time));
        families.push(family(
            "metricsd_session_last_change_timestamp_seconds",
            Kind::Gauge,
            "Time of the last collection that saw any value of the program move.",
            times,
        ));
        let degraded = observed
            .programs
            .iter()
            .map(|(program, tally)| ([("program", *program)], tally.degraded as f64));
        families.push(family(
            "metricsd_writers_degraded",
            Kind::Gauge,
            "Live processes that record into memory because they cannot write their shards.",
            degraded,
        ));
        let expected = self.expected_programs.iter().map(|program| {
            let live = observed
                .programs
                .get(program.as_str())
                .is_some_and(|tally| tally.live > 0);
            ([("program", program.as_str())], f64::from(u8::from(live)))
        });
        families.push(family(
            "metricsd_expected_program_live",
            Kind::Gauge,
            "Whether a session of an expected program lives (1) or none (0).",
            expected,
        ));
    }

    fn collection_families(&self, observed: &Observed<'_>, families: &mut Vec<Family>) {
        families.push(plain(
            "metricsd_ready",
            "Whether this collection could read the shard directory and the state (1) or serves what was known (0).",
            f64::from(u8::from(observed.is_ready)),
        ));
        families.push(plain(
            "metricsd_series",
            "Merged series in this exposition, without the daemon's own.",
            observed.series_count as f64,
        ));
        families.push(plain(
            "metricsd_exposition_bytes",
            "Length of the merged families in this exposition, without the daemon's own.",
            observed.exposition_len_bytes as f64,
        ));
        let (counts, sum) = &self.collect_durations;
        let mut cumulative = 0;
        let buckets = COLLECT_DURATION_BOUNDS
            .iter()
            .zip(counts)
            .map(|(bound, count)| {
                cumulative += count;
                (*bound, cumulative as f64)
            });
        let value = Value::Histogram {
            buckets: buckets.collect(),
            sum: *sum,
        };
        families.push(Family {
            name: "metricsd_collect_duration_seconds".to_owned(),
            help: "Time from the begin of a collection to its merged families.".to_owned(),
            kind: Kind::Histogram,
            series: vec![Series {
                labels: Vec::new(),
                start_unix_seconds: None,
                value,
            }],
        });
        families.push(info(
            "metricsd_build_info",
            "What is running.",
            labels(&[("version", env!("CARGO_PKG_VERSION"))]),
        ));
        families.push(info(
            "metricsd_config_info",
            "What it runs on.",
            self.config_info.clone(),
        ));
    }
}

fn process_families(own: &OwnProcess, families: &mut Vec<Family>) {
    let cpu = [([], own.cpu_seconds)];
    families.push(family::<0>(
        "process_cpu_seconds",
        Kind::Counter,
        "User and system time of the daemon.",
        cpu,
    ));
    families.push(plain(
        "process_open_fds",
        "Open file descriptors of the daemon.",
        own.open_fd_count as f64,
    ));
    families.push(plain(
        "process_max_fds",
        "File descriptors that the daemon may have open.",
        own.max_fd_count as f64,
    ));
    families.push(plain(
        "process_virtual_memory_bytes",
        "Address space of the daemon.",
        own.virtual_memory_bytes as f64,
    ));
    families.push(plain(
        "process_resident_memory_bytes",
        "Memory of the daemon in RAM.",
        own.resident_memory_bytes as f64,
    ));
    families.push(plain(
        "process_threads",
        "Threads of the daemon.",
        own.thread_count as f64,
    ));
    families.push(plain(
        "process_start_time_seconds",
        "Start of the daemon, in seconds since the Unix epoch.",
        own.started_at_unix_seconds,
    ));
}

fn plain(name: &str, help: &str, value: f64) -> Family {
    family::<0>(name, Kind::Gauge, help, [([], value)])
}

fn count(name: &str, help: &str, total: u64) -> Family {
    family::<0>(name, Kind::Counter, help, [([], total as f64)])
}

fn info(name: &str, help: &str, labels: Vec<(String, String)>) -> Family {
    let series = vec![Series {
        labels,
        start_unix_seconds: None,
        value: Value::Single(1.0),
    }];
    Family {
        name: name.to_owned(),
        help: help.to_owned(),
        kind: Kind::Gauge,
        series,
    }
}

/// Label names must come sorted.
fn family<'a, const N: usize>(
    name: &str,
    kind: Kind,
    help: &str,
    series: impl IntoIterator<Item = ([(&'a str, &'a str); N], f64)>,
) -> Family {
    let series = series.into_iter().map(|(pairs, value)| Series {
        labels: labels(&pairs),
        start_unix_seconds: None,
        value: Value::Single(value),
    });
    Family {
        name: name.to_owned(),
        help: help.to_owned(),
        kind,
        series: series.collect(),
    }
}

fn labels(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use metricsd_shard::SelfTestFailure;

    use super::*;
    use crate::liveness;

    #[test]
    fn every_family_of_the_contract_is_there_before_anything_happened() {
        let telemetry = Telemetry::new(vec!["shadow-session".to_owned()], Path::new("/d"), "open");
        let observed = Observed {
            own_process: Some(OwnProcess::default()),
            ..Observed::default()
        };
        let families = telemetry.families(&observed);
        let names: Vec<&str> = families.iter().map(|family| family.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "metricsd_absorbed_entries",
                "metricsd_archived_series",
                "metricsd_build_info",
                "metricsd_collect_duration_seconds",
                "metricsd_config_info",
                "metricsd_conflicts",
                "metricsd_declared_resets",
                "metricsd_expected_program_live",
                "metricsd_expired_gauges",
                "metricsd_exposition_bytes",
                "metricsd_journal_bytes",
                "metricsd_liveness_mode",
                "metricsd_orphaned_shards",
                "metricsd_ready",
                "metricsd_retired_shards",
                "metricsd_retirement_enabled",
                "metricsd_series",
                "metricsd_series_refused",
                "metricsd_session_last_change_timestamp_seconds",
                "metricsd_sessions",
                "metricsd_shards",
                "metricsd_state_durable",
                "metricsd_state_errors",
                "metricsd_swallowed_increments",
                "metricsd_unreadable_shards",
                "metricsd_writer_resets",
                "metricsd_writers_degraded",
                "process_cpu_seconds",
                "process_max_fds",
                "process_open_fds",
                "process_resident_memory_bytes",
                "process_start_time_seconds",
                "process_threads",
                "process_virtual_memory_bytes",
            ]
        );
        let values = |name: &str| {
            let family = families.iter().find(|family| family.name == name).unwrap();
            family
                .series
                .iter()
                .map(|series| series.labels[0].1.as_str())
                .collect::<Vec<_>>()
        };
        let mut reasons = REASONS;
        reasons.sort_unstable();
        assert_eq!(values("metricsd_unreadable_shards"), reasons);
        assert_eq!(
            values("metricsd_conflicts"),
            ["buckets", "help", "mode", "type"]
        );
        assert_eq!(
            values("metricsd_series_refused"),
            ["bad_name", "label", "limit", "reserved_name"]
        );
        assert_eq!(
            values("metricsd_shards"),
            ["ended", "live", "unknown", "unreadable"]
        );
        assert_eq!(
            values("metricsd_state_errors"),
            [
                "append",
                "create",
                "damage",
                "list",
                "preallocate",
                "read",
                "remove",
                "rename",
                "retire_read",
                "retire_rename",
                "retire_sync",
                "retire_unlink",
                "sync",
                "sync_directory",
            ]
        );
    }

    fn value(families: &[Family], name: &str, wanted: &[(&str, &str)]) -> f64 {
        let family = families.iter().find(|family| family.name == name).unwrap();
        let series = family.series.iter().find(|it| it.labels == labels(wanted));
        match series.map(|series| &series.value) {
            Some(Value::Single(value)) => *value,
            other => panic!("{name}{wanted:?}: {other:?} of {:?}", family.series),
        }
    }

    #[test]
    fn what_became_of_ended_shards_is_in_the_family_of_its_name() {
        let telemetry = Telemetry::new(Vec::new(), Path::new("/d"), "open");
        let mut errors = StateErrors::default();
        for (index, op) in StateOp::ALL.into_iter().enumerate() {
            (0..=index).for_each(|_| errors.add(op));
        }
        let state = ObservedState {
            is_retirement_enabled: true,
            is_durable: true,
            liveness: LivenessMode::Leases,
            retired_shards: 1,
            absorbed_entries: 2,
            expired_gauges: 3,
            writer_resets: 4,
            declared_resets: 5,
            journal_len_bytes: 6,
            archived_series: 7,
            swallowed_increments: 8,
            orphaned_shards: 9,
            errors,
        };
        let observed = Observed {
            state,
            ..Observed::default()
        };
        let families = telemetry.families(&observed);
        for (name, expected) in [
            ("metricsd_retirement_enabled", 1.0),
            ("metricsd_state_durable", 1.0),
            ("metricsd_retired_shards", 1.0),
            ("metricsd_absorbed_entries", 2.0),
            ("metricsd_expired_gauges", 3.0),
            ("metricsd_writer_resets", 4.0),
            ("metricsd_declared_resets", 5.0),
            ("metricsd_journal_bytes", 6.0),
            ("metricsd_archived_series", 7.0),
            ("metricsd_swallowed_increments", 8.0),
            ("metricsd_orphaned_shards", 9.0),
        ] {
            assert_eq!(value(&families, name, &[]), expected, "{name}");
        }
        for (index, op) in StateOp::ALL.into_iter().enumerate() {
            let found = value(&families, "metricsd_state_errors", &[("op", op.as_str())]);
            assert_eq!(found, index as f64 + 1.0, "{op:?}");
        }
        let leases = [("mode", "leases"), ("reason", "passed")];
        assert_eq!(value(&families, "metricsd_liveness_mode", &leases), 1.0);
        for mode in [
            liveness::LivenessMode::default(),
            liveness::LivenessMode::from(Ok(())),
            liveness::LivenessMode::from(Err(SelfTestFailure::MappingUnseen)),
        ] {
            let state = ObservedState {
                liveness: mode.into(),
                ..state
            };
            let observed = Observed {
                state,
                ..Observed::default()
            };
            let (word, reason) = mode.words();
            let wanted = [("mode", word), ("reason", reason)];
            let families = telemetry.families(&observed);
            assert_eq!(value(&families, "metricsd_liveness_mode", &wanted), 1.0);
        }
        let families = telemetry.families(&Observed::default());
        let off = [("mode", "off"), ("reason", "untested")];
        assert_eq!(value(&families, "metricsd_liveness_mode", &off), 1.0);
    }
}
