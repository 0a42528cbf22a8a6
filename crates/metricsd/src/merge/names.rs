//! Which names a family takes up in the text: those of its samples and that of its TYPE line.
//!
//! Invariant: what is listed here is what the text writer writes. Must not touch: I/O, the clock, logging.

use metricsd_exporter::Kind;
use metricsd_shard::FileKind;

/// The kind under which text 0.0.4 knows a family, and the name it is exposed by (a counter's still without `_total`).
pub(super) fn exposed(kind: FileKind, family: &str) -> (Kind, String) {
    match kind {
        FileKind::Counter => (Kind::Counter, family.to_owned()),
        FileKind::Gauge(_) | FileKind::StateSet => (Kind::Gauge, family.to_owned()),
        FileKind::Info => (Kind::Gauge, format!("{family}_info")),
        FileKind::Histogram | FileKind::GaugeHistogram => (Kind::Histogram, family.to_owned()),
        FileKind::Summary => (Kind::Summary, family.to_owned()),
        FileKind::Untyped => (Kind::Untyped, family.to_owned()),
    }
}

/// The name of the TYPE line, and the sample names that a writer of this kind uses.
pub(super) fn exposed_names(kind: FileKind, family: &str) -> Vec<String> {
    let suffixes: &[&str] = match kind {
        FileKind::Counter => &["_total"],
        FileKind::Info => &["_info"],
        FileKind::Gauge(_) | FileKind::StateSet | FileKind::Untyped => &[""],
        FileKind::Histogram => &["", "_bucket", "_sum", "_count"],
        FileKind::GaugeHistogram => &["", "_bucket"],
        FileKind::Summary => &["", "_sum", "_count"],
    };
    suffixes
        .iter()
        .map(|suffix| format!("{family}{suffix}"))
        .collect()
}
