//! The recorder: from a key of the facade to a handle of the client.
//! Invariant: a name of the client's belongs to the one name of the facade that was used first; a family's help text is the description
//! that was known then.
//! It must not record.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use metrics::{Key, KeyName, Metadata, SetRecorderError, SharedString, Unit};
use metricsd_client::{Counter, Gauge, GaugeMode, Histogram, OpenFamily, Registry};

use crate::handles::{CounterHandle, GaugeHandle, HistogramHandle};
use crate::{names, recent};

/// Upper bounds of a histogram of which nothing else was said, in seconds: those of Python's client.
pub const BUCKETS_DEFAULT: [f64; 14] = [
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
];

/// Names of the facade that are remembered. A registry takes fewer; names made of data must not fill the memory.
const FAMILIES_MAX: usize = 20_000;

/// Which metrics are meant, by the names that the facade uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Matcher {
    /// The one of this name.
    Full(String),
    /// Those whose names begin so.
    Prefix(String),
    /// Those whose names end so.
    Suffix(String),
}

impl Matcher {
    fn matches(&self, name: &str) -> bool {
        match self {
            Matcher::Full(full) => name == full,
            Matcher::Prefix(prefix) => name.starts_with(prefix.as_str()),
            Matcher::Suffix(suffix) => name.ends_with(suffix.as_str()),
        }
    }

    /// A whole name goes before a part, and a longer part before a shorter one.
    fn rank(&self) -> (bool, usize) {
        match self {
            Matcher::Full(full) => (true, full.len()),
            Matcher::Prefix(part) | Matcher::Suffix(part) => (false, part.len()),
        }
    }
}

/// Why a recorder cannot be installed.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// There is one for the whole process already.
    #[error(
        "this process has a recorder of metrics already; it can have one, and the first one stays"
    )]
    Installed,
}

/// Takes what the macros of the [`metrics`] crate record into a registry.
#[derive(Debug)]
pub struct Recorder {
    registry: Registry,
    buckets: Vec<(Matcher, Vec<f64>)>,
    gauge_modes: Vec<(Matcher, GaugeMode)>,
    /// Which recorder of the process this is.
    number: u64,
    raising: Arc<Mutex<()>>,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// By name of the facade and type.
    families: BTreeMap<(String, Type), Family>,
    /// By name of the client's, without `_total`: the name of the facade that has it.
    owners: BTreeMap<String, String>,
    /// By name of the facade; those of families that are not in use yet.
    descriptions: BTreeMap<String, String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Type {
    Counter,
    Gauge,
    Histogram,
}

#[derive(Clone, Debug)]
enum Family {
    Counter(OpenFamily<Counter>),
    Gauge(OpenFamily<Gauge>),
    Histogram(OpenFamily<Histogram>),
}

impl Recorder {
    /// Records into `registry`.
    pub fn new(registry: Registry) -> Recorder {
        static LAST: AtomicU64 = AtomicU64::new(0);
        Recorder {
            registry,
            buckets: Vec::new(),
            gauge_modes: Vec::new(),
            number: LAST.fetch_add(1, Ordering::Relaxed),
            raising: Arc::default(),
            known: Mutex::default(),
        }
    }

    /// Upper bounds of the histograms that `which` means: finite, ascending, 1 to 200 of them; with others the histograms are
    /// refused. Of several that match the most exact stands: a whole name, then the longest part.
    #[must_use]
    pub fn buckets(mut self, which: Matcher, bounds: &[f64]) -> Recorder {
        self.buckets.push((which, bounds.to_vec()));
        self
    }

    /// How `metricsd` merges the gauges that `which` means over processes. Of several that match the most exact stands.
    #[must_use]
    pub fn gauge_mode(mut self, which: Matcher, mode: GaugeMode) -> Recorder {
        self.gauge_modes.push((which, mode));
        self
    }

    /// Make it the recorder of this process, for good.
    ///
    /// # Errors
    /// If there is one already.
    pub fn install(self) -> Result<(), InstallError> {
        metrics::set_global_recorder(self).map_err(|_: SetRecorderError<_>| InstallError::Installed)
    }

    /// The family of a name, made if this is its first use.
    fn family(&self, name: &str, of: Type) -> Family {
        let mut known = self.known();
        if let Some(family) = known.families.get(&(name.to_owned(), of)) {
            return family.clone();
        }
        let mut clean = names::metric_name(name);
        let help = known.descriptions.get(name).cloned().unwrap_or_default();
        let base = match of {
            Type::Counter => clean.strip_suffix("_total").unwrap_or(&clean).to_owned(),
            Type::Gauge | Type::Histogram => clean.clone(),
        };
        let is_full = known.families.len() >= FAMILIES_MAX;
        match known.owners.get(&base) {
            Some(owner) if owner == name => {}
            // Not a legal name: so the registry refuses it, and what it logs says why.
            Some(owner) => clean = format!("{name} ({clean} is taken by {owner})"),
            None if is_full => {}
            None => {
                known.owners.insert(base, name.to_owned());
            }
        }
        let family = match of {
            Type::Counter => Family::Counter(self.registry.open_counter_family(&clean, &help)),
            Type::Gauge => {
                let mode = best(&self.gauge_modes, name).map_or(GaugeMode::LiveSum, |mode| *mode);
                Family::Gauge(self.registry.open_gauge_family(&clean, &help, mode))
            }
            Type::Histogram => {
                let bounds = best(&self.buckets, name).map_or(&BUCKETS_DEFAULT[..], Vec::as_slice);
                Family::Histogram(self.registry.open_histogram_family(&clean, &help, bounds))
            }
        };
        if !is_full {
            known.families.insert((name.to_owned(), of), family.clone());
        }
        family
    }

    fn describe(&self, name: &KeyName, unit: Option<Unit>, description: &str) {
        let help = names::help(description, unit);
        let mut known = self.known();
        if known.descriptions.len() < FAMILIES_MAX {
            // The first one stands, as it does for a family in use.
            let name = name.as_str().to_owned();
            known.descriptions.entry(name).or_insert(help);
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the most exact of the matchers that match says.
fn best<'a, T>(rules: &'a [(Matcher, T)], name: &str) -> Option<&'a T> {
    let matching = rules.iter().filter(|(which, _)| which.matches(name));
    let best = matching.max_by_key(|(which, _)| which.rank());
    best.map(|(_, said)| said)
}

/// The handle of the key's labels.
fn with_labels<H>(key: &Key, with: impl FnOnce(&[(&str, &str)]) -> H) -> H {
    let cleaned: Vec<(String, &str)> = key
        .labels()
        .map(|label| (names::label_name(label.key()), label.value()))
        .collect();
    let labels: Vec<(&str, &str)> = cleaned
        .iter()
        .map(|(name, value)| (name.as_str(), *value))
        .collect();
    with(&labels)
}

impl metrics::Recorder for Recorder {
    fn describe_counter(&self, key: KeyName, unit: Option<Unit>, description: SharedString) {
        self.describe(&key, unit, &description);
    }

    fn describe_gauge(&self, key: KeyName, unit: Option<Unit>, description: SharedString) {
        self.describe(&key, unit, &description);
    }

    fn describe_histogram(&self, key: KeyName, unit: Option<Unit>, description: SharedString) {
        self.describe(&key, unit, &description);
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> metrics::Counter {
        recent::counter(self.number, key, || {
            match self.family(key.name(), Type::Counter) {
                Family::Counter(family) => {
                    let counter = with_labels(key, |labels| family.with(labels));
                    let raising = self.raising.clone();
                    metrics::Counter::from_arc(Arc::new(CounterHandle { counter, raising }))
                }
                Family::Gauge(_) | Family::Histogram(_) => metrics::Counter::noop(),
            }
        })
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> metrics::Gauge {
        recent::gauge(self.number, key, || {
            match self.family(key.name(), Type::Gauge) {
                Family::Gauge(family) => {
                    let gauge = with_labels(key, |labels| family.with(labels));
                    metrics::Gauge::from_arc(Arc::new(GaugeHandle(gauge)))
                }
                Family::Counter(_) | Family::Histogram(_) => metrics::Gauge::noop(),
            }
        })
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> metrics::Histogram {
        recent::histogram(self.number, key, || {
            match self.family(key.name(), Type::Histogram) {
                Family::Histogram(family) => {
                    let histogram = with_labels(key, |labels| family.with(labels));
                    metrics::Histogram::from_arc(Arc::new(HistogramHandle(histogram)))
                }
                Family::Counter(_) | Family::Gauge(_) => metrics::Histogram::noop(),
            }
        })
    }
}
