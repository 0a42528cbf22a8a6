//! What was recorded wrongly, or not at all, because of a mistake in the program that records.
//! Invariant: every refused call is counted by exactly one [`Defect`]; a call never fails because of it.
//! It must not touch the cells of the program's own families.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use metricsd_shard::{Create, FileKind, Series, Writer};
use tracing::warn;

use crate::schema::{Schema, Shape};

crate::label_value! {
    /// Why a call was refused or recorded under another label value. Label `defect` of `<program>_telemetry_defects_total`.
    pub enum Defect {
        /// A counter was to go down. The counter stays.
        Negative = "negative",
        /// NaN, or an infinite value where it could never be taken back. The cell stays.
        NotFinite = "not_finite",
        /// `inc`, `dec`, `add` or `sub` on a most-recent gauge, which only has `set`. The gauge stays.
        GaugeMode = "gauge_mode",
        /// A registration that cannot stand. Its handles record into memory that nobody reads.
        Registration = "registration",
        /// A text label whose domain was full. Recorded under `other`; counted at each look-up.
        LabelOverflow = "label_overflow",
    }
}

const DEFECT_COUNT: usize = Defect::ALL.len();

/// The counts of one registry: published in a series where it belongs to a program, else only counted.
#[derive(Debug)]
pub(crate) enum Defects {
    Published(Series),
    Counted([AtomicU64; DEFECT_COUNT]),
}

impl Defects {
    /// The family in which a program publishes them.
    pub(crate) fn schema(program: &str) -> Schema {
        let name = format!("{}_telemetry_defects_total", metric_prefix(program));
        let help = "Calls that telemetry refused or recorded under another label value, by defect.";
        Schema::new(&name, help, Shape::Counter).0
    }

    /// Published through `writer`, all of them at zero at once.
    pub(crate) fn published(writer: Writer, schema: &Schema) -> Defects {
        let keys = Defect::ALL
            .iter()
            .flat_map(|defect| schema.keys(&["defect"], &[defect.as_str()]));
        Defects::Published(writer.series(FileKind::Counter, keys.collect(), Create::AtZero))
    }

    pub(crate) fn counted() -> Defects {
        Defects::Counted([const { AtomicU64::new(0) }; DEFECT_COUNT])
    }

    pub(crate) fn count(&self, defect: Defect) {
        match self {
            Defects::Published(series) => series.add(defect as usize, 1.0),
            Defects::Counted(counts) => {
                counts[defect as usize].fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    pub(crate) fn get(&self, defect: Defect) -> u64 {
        match self {
            Defects::Published(series) => series.get(defect as usize) as u64,
            Defects::Counted(counts) => counts[defect as usize].load(Ordering::Relaxed),
        }
    }
}

/// What the handles of one family share when something is wrong with a call.
#[derive(Debug)]
pub(crate) struct Complaints {
    family: String,
    defects: Arc<Defects>,
    /// One bit for each defect that was logged for this family.
    logged: AtomicU8,
}

const _: () = assert!(DEFECT_COUNT <= u8::BITS as usize, "one bit for each defect");

impl Complaints {
    pub(crate) fn new(family: &str, defects: Arc<Defects>) -> Complaints {
        Complaints {
            family: family.to_owned(),
            defects,
            logged: AtomicU8::new(0),
        }
    }

    /// Count; log the first one of a family, so that a mistake in a loop is one line.
    #[cold]
    pub(crate) fn refuse(&self, defect: Defect) {
        self.defects.count(defect);
        let bit = 1 << defect as u8;
        if self.logged.fetch_or(bit, Ordering::Relaxed) & bit == 0 {
            let family = self.family.as_str();
            warn!(family, %defect, "telemetry call refused; later ones of this kind are only counted");
        }
    }
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
