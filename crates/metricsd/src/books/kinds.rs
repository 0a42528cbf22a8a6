//! Kinds of series: the archive's and the shard's words for them.
//!
//! Invariant: what a shard's name says survives the way there and back. Pure.

use metricsd_shard::{FileKind, GaugeMode};

use crate::archive::SeriesKind;

impl From<FileKind> for SeriesKind {
    fn from(kind: FileKind) -> SeriesKind {
        match kind {
            FileKind::Counter => SeriesKind::Counter,
            FileKind::Summary => SeriesKind::Summary,
            FileKind::Histogram => SeriesKind::Histogram,
            FileKind::Untyped => SeriesKind::Untyped,
            FileKind::Info => SeriesKind::Info,
            FileKind::StateSet => SeriesKind::StateSet,
            FileKind::GaugeHistogram => SeriesKind::GaugeHistogram,
            FileKind::Gauge(mode) => match mode {
                GaugeMode::All => SeriesKind::GaugeAll,
                GaugeMode::LiveAll => SeriesKind::GaugeLiveAll,
                GaugeMode::Min => SeriesKind::GaugeMin,
                GaugeMode::LiveMin => SeriesKind::GaugeLiveMin,
                GaugeMode::Max => SeriesKind::GaugeMax,
                GaugeMode::LiveMax => SeriesKind::GaugeLiveMax,
                GaugeMode::Sum => SeriesKind::GaugeSum,
                GaugeMode::LiveSum => SeriesKind::GaugeLiveSum,
                GaugeMode::MostRecent => SeriesKind::GaugeMostRecent,
                GaugeMode::LiveMostRecent => SeriesKind::GaugeLiveMostRecent,
            },
        }
    }
}

impl From<SeriesKind> for FileKind {
    fn from(kind: SeriesKind) -> FileKind {
        match kind {
            SeriesKind::Counter => FileKind::Counter,
            SeriesKind::Summary => FileKind::Summary,
            SeriesKind::Histogram => FileKind::Histogram,
            // Shards say both and mean the same.
            SeriesKind::Untyped | SeriesKind::Unknown => FileKind::Untyped,
            SeriesKind::Info => FileKind::Info,
            SeriesKind::StateSet => FileKind::StateSet,
            SeriesKind::GaugeHistogram => FileKind::GaugeHistogram,
            SeriesKind::GaugeAll => FileKind::Gauge(GaugeMode::All),
            SeriesKind::GaugeLiveAll => FileKind::Gauge(GaugeMode::LiveAll),
            SeriesKind::GaugeMin => FileKind::Gauge(GaugeMode::Min),
            SeriesKind::GaugeLiveMin => FileKind::Gauge(GaugeMode::LiveMin),
            SeriesKind::GaugeMax => FileKind::Gauge(GaugeMode::Max),
            SeriesKind::GaugeLiveMax => FileKind::Gauge(GaugeMode::LiveMax),
            SeriesKind::GaugeSum => FileKind::Gauge(GaugeMode::Sum),
            SeriesKind::GaugeLiveSum => FileKind::Gauge(GaugeMode::LiveSum),
            SeriesKind::GaugeMostRecent => FileKind::Gauge(GaugeMode::MostRecent),
            SeriesKind::GaugeLiveMostRecent => FileKind::Gauge(GaugeMode::LiveMostRecent),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_comes_back_with_the_spelling_of_file_names() {
        for kind in SeriesKind::ALL {
            let there = FileKind::from(kind);
            let back = SeriesKind::from(there);
            let expected = match kind {
                SeriesKind::Unknown => SeriesKind::Untyped,
                kind => kind,
            };
            assert_eq!(back, expected);
            let name = format!("{}_1.db", kind.as_str());
            let parsed = metricsd_shard::ShardName::parse(&name).unwrap();
            assert_eq!(parsed.kind, there, "{name}");
        }
    }
}
