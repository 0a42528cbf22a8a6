//! What was recorded wrongly, or not at all, because of a mistake in the program that records.
//! Invariant: every refused call is counted by exactly one [`Defect`]; a call never fails because of it, never waits, and
//! never logs: the journal does, on a thread of its own.
//! It must not touch the cells of the program's own families.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use metricsd_shard::{Create, FileKind, Series, Writer};

use crate::journal::Journal;
use crate::schema::{Refusal, Schema, Shape};

crate::label_value! {
    /// Why a call was refused or recorded under another label value. Label `defect` of `<program>_telemetry_defects_total`.
    pub enum Defect {
        /// A counter was to go down. The counter stays.
        Negative = "negative",
        /// NaN, or an amount so large (infinity, or beyond [`AMOUNT_MAX`](crate::AMOUNT_MAX)) that it could never be taken back.
        /// The cell stays.
        NotFinite = "not_finite",
        /// `inc`, `dec`, `add` or `sub` on a most-recent gauge, which only has `set`. The gauge stays.
        GaugeMode = "gauge_mode",
        /// A registration that cannot stand, or a label set of an [`OpenFamily`](crate::OpenFamily) that cannot. Its handles record into
        /// memory that nobody reads.
        Registration = "registration",
        /// A text label whose domain was full: recorded under `other`, and counted at each look-up. Or a label set too many of an
        /// [`OpenFamily`](crate::OpenFamily), recorded nowhere.
        LabelOverflow = "label_overflow",
    }
}

const DEFECT_COUNT: usize = Defect::ALL.len();

/// The defects of one registry.
#[derive(Debug)]
pub(crate) struct Defects {
    counts: Counts,
    journal: Journal,
}

/// Published in a series where the registry belongs to a program, else only counted.
#[derive(Debug)]
enum Counts {
    Published(Series),
    Private([AtomicU64; DEFECT_COUNT]),
}

impl Defects {
    /// The family in which a program publishes them. A program whose name would make it one of the daemon's families, or no
    /// legal name, has `program_` before it, and one whose name is too long just that.
    pub(crate) fn schema(program: &str) -> Schema {
        let help = "Calls that telemetry refused or recorded under another label value, by defect.";
        schema_of_program(program, "telemetry_defects_total", help)
    }

    /// Published through `writer`, all of them at zero at once.
    pub(crate) fn published(writer: Writer, schema: &Schema, journal: Journal) -> Defects {
        let keys = Defect::ALL
            .iter()
            .flat_map(|defect| schema.keys(&["defect"], &[defect.as_str()]));
        let series = writer.series(FileKind::Counter, keys.collect(), Create::AtZero);
        Defects {
            counts: Counts::Published(series),
            journal,
        }
    }

    pub(crate) fn private(journal: Journal) -> Defects {
        Defects {
            counts: Counts::Private([const { AtomicU64::new(0) }; DEFECT_COUNT]),
            journal,
        }
    }

    pub(crate) fn count(&self, defect: Defect) {
        match &self.counts {
            Counts::Published(series) => series.add(defect as usize, 1.0),
            Counts::Private(counts) => {
                counts[defect as usize].fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    pub(crate) fn get(&self, defect: Defect) -> u64 {
        match &self.counts {
            Counts::Published(series) => series.get(defect as usize) as u64,
            Counts::Private(counts) => counts[defect as usize].load(Ordering::Relaxed),
        }
    }

    pub(crate) fn journal(&self) -> &Journal {
        &self.journal
    }
}

/// What the handles of one family share when something is wrong with a call.
#[derive(Debug)]
pub(crate) struct Complaints {
    family: String,
    defects: Arc<Defects>,
    /// One bit for each defect that this family met.
    met: AtomicU8,
    /// One bit for each defect that was logged for this family.
    logged: AtomicU8,
}

const _: () = assert!(DEFECT_COUNT <= u8::BITS as usize, "one bit for each defect");

impl Complaints {
    /// They are known to the journal from now on.
    pub(crate) fn new(family: &str, defects: Arc<Defects>) -> Arc<Complaints> {
        let complaints = Arc::new(Complaints {
            family: family.to_owned(),
            defects: defects.clone(),
            met: AtomicU8::new(0),
            logged: AtomicU8::new(0),
        });
        defects.journal.follow(&complaints);
        complaints
    }

    /// Count, and have the first one of a family logged, so that a mistake in a loop is one line. Takes no lock and does not
    /// log: this is the thread that trades, and a subscriber may hold a lock that it needs, or wait for a full pipe.
    #[cold]
    pub(crate) fn refuse(&self, defect: Defect) {
        self.defects.count(defect);
        let bit = 1 << defect as u8;
        if self.met.fetch_or(bit, Ordering::AcqRel) & bit == 0 {
            self.defects.journal.wake();
        }
    }

    pub(crate) fn family(&self) -> &str {
        &self.family
    }

    /// The defects that were met and never logged; they are the caller's to log now.
    pub(crate) fn take(&self) -> impl Iterator<Item = Defect> + use<> {
        let met = self.met.load(Ordering::Acquire);
        let new = met & !self.logged.fetch_or(met, Ordering::AcqRel);
        let all = Defect::ALL.iter().copied();
        all.filter(move |&defect| new & (1 << defect as u8) != 0)
    }
}

/// The counter in which a program publishes how long its metrics went into memory; named as its defects are.
pub(crate) fn degraded_seconds_schema(program: &str) -> Schema {
    let help =
        "Time in which what was recorded went into memory, because shards could not be written.";
    schema_of_program(program, "telemetry_degraded_seconds_total", help)
}

fn schema_of_program(program: &str, name: &str, help: &str) -> Schema {
    let prefix = metric_prefix(program);
    let candidates = [&prefix, &format!("program_{prefix}"), "program"]
        .map(|prefix| Schema::new(&format!("{prefix}_{name}"), help, Shape::Counter));
    let legal = |(schema, refusal): (Schema, Option<Refusal>)| refusal.is_none().then_some(schema);
    candidates
        .into_iter()
        .find_map(legal)
        .expect("the last prefix makes a legal name")
}

/// A program's name as the beginning of a metric name: `shadow-session` is `shadow_session`.
fn metric_prefix(program: &str) -> String {
    let mut prefix: String = program
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_lowercase()
            } else {
                '_'
            }
        })
        .collect();
    if !prefix.starts_with(|c: char| c.is_ascii_alphabetic()) {
        prefix.insert_str(0, "program_");
    }
    prefix
}
