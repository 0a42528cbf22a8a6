//! The registry: one per program, owner of all its families.
//! Invariant: nothing here fails or panics at run time; what cannot be done is logged once, counted, and answered with handles
//! that work on memory.
//! It must not know what any metric of a program means.

use std::any::Any;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use metricsd_exporter::{Family, write_text};
use metricsd_shard::{Create, FileKind, GaugeMode, ProcessInfo, Writer, WriterStatus};
use tracing::{error, info, warn};

use crate::catalogue::{Catalogue, Found, Labels, Make};
use crate::counter::Counter;
use crate::counter_family::CounterFamily;
use crate::declaration::Declaration;
use crate::defects::{Defect, Defects, degraded_seconds_schema};
use crate::family::{GaugeFamily, Handle, HistogramFamily, Table};
use crate::gather::gather;
use crate::gauge::Gauge;
use crate::histogram::Histogram;
use crate::journal::{self, Journal};
use crate::labels::LabelSet;
use crate::open::{OpenFamily, OpenTable};
use crate::schema::{Refusal, Schema, Shape, histogram_bounds};
use crate::settings::{FileSettings, Settings, SettingsError, Target};
use crate::status::Status;

/// All metrics of one program. Clones are the same registry. Handles outlive it, and so do a Mode A endpoint and the shards.
#[derive(Clone, Debug)]
pub struct Registry(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    writer: Writer,
    outcome: Outcome,
    defects: Arc<Defects>,
    /// Locked on registration only, never by a handle.
    catalogue: Mutex<Catalogue>,
}

/// What became of the settings at start.
#[derive(Debug)]
enum Outcome {
    Shards,
    Endpoint(SocketAddr),
    Memory,
    /// Nobody can see what is recorded.
    Unseen {
        since: SystemTime,
        reason: String,
    },
}

impl Registry {
    /// Start by the environment alone; see [`Settings::resolve`]. Never fails: a variable that cannot be used is logged once
    /// and the registry records into memory, which [`status`](Self::status) says; but Mode B has no port, so there a port
    /// variable that cannot be used costs a warning and nothing else. Install the program's `tracing` subscriber before.
    pub fn from_env(program: &str) -> Registry {
        let env = |name: &str| std::env::var_os(name);
        match Settings::resolve_leniently(program, &FileSettings::default(), &env) {
            Ok(settings) => Registry::start(settings),
            Err(err) => Registry::unusable(program, &err),
        }
    }

    /// Start on settings. Never fails: a directory that cannot be written is retried in the background while everything is
    /// recorded into memory, and a busy port means no endpoint. Logs mode and absolute directory (or address) once.
    ///
    /// Start one registry per process, and clone it: its files, mappings and threads stay until the process ends, even when
    /// it is dropped. A second Mode B registry of the same program over the same directory works, and is warned of.
    pub fn start(settings: Settings) -> Registry {
        let program = settings.program.clone();
        for warning in &settings.warnings {
            warn!(program, "{warning}");
        }
        match settings.target.clone() {
            Target::Shards { directory } => {
                let shown = directory.display();
                if is_repeated(&directory, &program) {
                    warn!(
                        program, directory = %shown,
                        "this process has started a registry here before; each one keeps its files and descriptors until the \
                         process ends, also when it is dropped: start one and clone it"
                    );
                }
                info!(program, mode = "B", directory = %shown, "telemetry goes into shards for metricsd; no port is opened");
                let info = ProcessInfo {
                    program: settings.program,
                    version: settings.version,
                    mode: settings.runs_as,
                    labels: settings.labels,
                };
                let registry =
                    Registry::new(Some(&program), Writer::open(&directory, info), |_| {
                        Outcome::Shards
                    });
                registry.publish_degraded_seconds(&program);
                registry
            }
            Target::Endpoint { listen } => {
                Registry::new(Some(&program), Writer::in_memory(), |writer| {
                    start_endpoint(&settings, listen, writer)
                })
            }
        }
    }

    /// As [`start`](Self::start) for a program that serves Mode A itself, because it has more to show than metrics or wants to
    /// act before a scrape: nothing is bound and the status is [`Status::Memory`]; whoever serves takes
    /// [`families`](Self::families). Mode B is as ever.
    pub fn start_unserved(settings: Settings) -> Registry {
        match settings.target {
            Target::Shards { .. } => Registry::start(settings),
            Target::Endpoint { .. } => {
                for warning in &settings.warnings {
                    warn!(program = settings.program, "{warning}");
                }
                Registry::new(Some(&settings.program), Writer::in_memory(), |_| {
                    Outcome::Memory
                })
            }
        }
    }

    /// A registry of no program, for tests and examples: no files, no port, no families of its own.
    pub fn in_memory() -> Registry {
        Registry::new(None, Writer::in_memory(), |_| Outcome::Memory)
    }

    fn unusable(program: &str, err: &SettingsError) -> Registry {
        let reason = whole_reason(err);
        error!(
            program, error = %reason,
            "telemetry is recorded into memory only and nobody can see it; correct the variable and restart"
        );
        Registry::new(Some(program), Writer::in_memory(), |_| Outcome::Unseen {
            since: SystemTime::now(),
            reason,
        })
    }

    fn new(
        program: Option<&str>,
        writer: Writer,
        begin: impl FnOnce(Writer) -> Outcome,
    ) -> Registry {
        let published = program.map(Defects::schema);
        let journal = Journal::default();
        let defects = Arc::new(match &published {
            Some(schema) => Defects::published(writer, schema, journal),
            None => Defects::private(journal),
        });
        if let Some(program) = program
            && let Err(error) = journal::start_thread(&defects)
        {
            warn!(program, %error, "no thread that logs refused calls; registrations and looks at the status log them");
        }
        let mut catalogue = Catalogue::new(writer, defects.clone());
        if let Some(schema) = &published {
            catalogue.claim(schema);
        }
        let outcome = begin(writer);
        Registry(Arc::new(Inner {
            writer,
            outcome,
            defects,
            catalogue: Mutex::new(catalogue),
        }))
    }

    /// A counter without labels. The name may be given with or without `_total`; the sample has it.
    pub fn counter(&self, name: &str, help: &str) -> Counter {
        self.counter_family::<()>(name, help).with(&()).clone()
    }

    /// A gauge without labels. `mode` says how `metricsd` merges it over processes; a process that serves itself shows the
    /// plain value.
    pub fn gauge(&self, name: &str, help: &str, mode: GaugeMode) -> Gauge {
        self.gauge_family::<()>(name, help, mode).with(&()).clone()
    }

    /// A histogram without labels. `buckets` are upper bounds: finite, ascending, 1 to 200 of them; `+Inf` is added.
    pub fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> Histogram {
        self.histogram_family::<()>(name, help, buckets)
            .with(&())
            .clone()
    }

    /// Counters by label set; see [`counter`](Self::counter).
    pub fn counter_family<L: LabelSet>(&self, name: &str, help: &str) -> CounterFamily<L> {
        let (schema, refusal) = Schema::new(name, help, Shape::Counter);
        CounterFamily::new(self.register::<L, Counter>(schema, refusal))
    }

    /// Gauges by label set; see [`gauge`](Self::gauge).
    pub fn gauge_family<L: LabelSet>(
        &self,
        name: &str,
        help: &str,
        mode: GaugeMode,
    ) -> GaugeFamily<L> {
        let (schema, refusal) = Schema::new(name, help, Shape::Gauge(mode));
        GaugeFamily::new(self.register::<L, Gauge>(schema, refusal))
    }

    /// Histograms by label set; see [`histogram`](Self::histogram). Label sets times buckets may come to 100,000.
    pub fn histogram_family<L: LabelSet>(
        &self,
        name: &str,
        help: &str,
        buckets: &[f64],
    ) -> HistogramFamily<L> {
        let (bounds, bad_buckets) = histogram_bounds(buckets, L::COMBINATIONS);
        let (schema, refusal) = Schema::new(name, help, Shape::Histogram(bounds));
        HistogramFamily::new(self.register::<L, Histogram>(schema, refusal.or(bad_buckets)))
    }

    /// Counters whose label names and values are known at run time only, for code that does not name its metrics itself; everything
    /// else takes [`counter_family`](Self::counter_family). Of several registrations with the same name the help text of the
    /// first one stands.
    pub fn open_counter_family(&self, name: &str, help: &str) -> OpenFamily<Counter> {
        let (schema, refusal) = Schema::new(name, help, Shape::Counter);
        self.register_open(schema, refusal)
    }

    /// Gauges, as [`open_counter_family`](Self::open_counter_family) says.
    pub fn open_gauge_family(&self, name: &str, help: &str, mode: GaugeMode) -> OpenFamily<Gauge> {
        let (schema, refusal) = Schema::new(name, help, Shape::Gauge(mode));
        self.register_open(schema, refusal)
    }

    /// Histograms, as [`open_counter_family`](Self::open_counter_family) says; series times buckets may come to 100,000.
    pub fn open_histogram_family(
        &self,
        name: &str,
        help: &str,
        buckets: &[f64],
    ) -> OpenFamily<Histogram> {
        let (bounds, bad_buckets) = histogram_bounds(buckets, 1);
        let (schema, refusal) = Schema::new(name, help, Shape::Histogram(bounds));
        self.register_open(schema, refusal.or(bad_buckets))
    }

    /// This process's own families as they would be merged if it were alone: gauges plain, buckets cumulative, families by name,
    /// series by labels.
    pub fn families(&self) -> Vec<Family> {
        gather(&self.0.writer.snapshot())
    }

    /// What was registered, by name; also families that have no series yet. Those of the registry itself
    /// (`<program>_telemetry_…`) are not in it.
    pub fn declarations(&self) -> Vec<Declaration> {
        self.0
            .catalogue
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .declarations()
    }

    /// [`families`](Self::families) as text 0.0.4.
    pub fn render(&self) -> String {
        let mut text = Vec::new();
        write_text(&self.families(), &mut text);
        String::from_utf8_lossy(&text).into_owned()
    }

    /// Where the metrics go at the moment.
    pub fn status(&self) -> Status {
        self.0.defects.journal().log_unless_threaded();
        match &self.0.outcome {
            Outcome::Endpoint(address) => Status::Endpoint { address: *address },
            Outcome::Memory => Status::Memory,
            Outcome::Unseen { since, reason } => Status::Degraded {
                since: *since,
                reason: reason.clone(),
            },
            Outcome::Shards => match self.0.writer.status() {
                WriterStatus::Healthy { dir, id } => Status::Shards {
                    directory: dir,
                    writer: id.to_string(),
                },
                WriterStatus::Degraded { since, reason } => Status::Degraded { since, reason },
                WriterStatus::InMemory => Status::Memory,
            },
        }
    }

    /// How often this registry met `defect`. A registry of a program publishes the same as
    /// `<program>_telemetry_defects_total{defect}`.
    pub fn defects(&self, defect: Defect) -> u64 {
        self.0.defects.get(defect)
    }

    /// Mode B only: nothing else can be degraded and end being so.
    fn publish_degraded_seconds(&self, program: &str) {
        let schema = degraded_seconds_schema(program);
        let keys = schema.keys(&[], &[]);
        let writer = self.0.writer;
        let series = writer.series(FileKind::Counter, keys, Create::AtZero);
        writer.count_degraded_seconds_in(&series);
        self.0
            .catalogue
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .claim(&schema);
    }

    fn register<L: LabelSet, H: Handle>(
        &self,
        schema: Schema,
        refusal: Option<Refusal>,
    ) -> Arc<Table<H>> {
        let found = self.find_or_insert(&schema, Labels::of::<L>(), Table::new::<L>, refusal);
        // The writer and the log may lead to a subscriber that registers metrics of its own.
        match found.refusal {
            None => found.table.create_finite::<L>(),
            Some(refusal) => {
                self.0.defects.count(Defect::Registration);
                if found.is_new {
                    let family = schema.family.as_str();
                    warn!(family, reason = %refusal, "metric not registered; what it records is lost");
                }
            }
        }
        self.0.defects.journal().log_unless_threaded();
        found.table
    }

    fn register_open<H: Handle>(&self, schema: Schema, refusal: Option<Refusal>) -> OpenFamily<H> {
        let found = self.find_or_insert(&schema, Labels::OPEN, OpenTable::<H>::new, refusal);
        if found.refusal.is_some() {
            found.table.refuse(Defect::Registration);
        }
        OpenFamily::new(found.table)
    }

    fn find_or_insert<T: Any + Send + Sync>(
        &self,
        schema: &Schema,
        labels: Labels,
        make: Make<T>,
        refusal: Option<Refusal>,
    ) -> Found<T> {
        self.0
            .catalogue
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .find_or_insert(schema, labels, make, refusal)
    }
}

/// Whether this process has started a registry of this program over this directory before. A forked child has not.
fn is_repeated(directory: &Path, program: &str) -> bool {
    static STARTED: Mutex<Vec<(u32, PathBuf, String)>> = Mutex::new(Vec::new());
    // A fork can have left it taken, and a warning is worth no waiting.
    let Ok(mut started) = STARTED.try_lock() else {
        return false;
    };
    let this = (process::id(), directory.to_owned(), program.to_owned());
    let is_repeated = started.contains(&this);
    if !is_repeated {
        started.push(this);
    }
    is_repeated
}

/// An error with its causes, as one line.
fn whole_reason(err: &dyn std::error::Error) -> String {
    std::iter::successors(Some(err), |err| err.source())
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}

/// Mode A's endpoint. Its failure costs the endpoint, never the program.
fn start_endpoint(settings: &Settings, listen: SocketAddr, writer: Writer) -> Outcome {
    let program = settings.program.as_str();
    match endpoint_address(settings, listen, writer) {
        Ok(address) => {
            info!(program, mode = "A", %address, "telemetry is served by this process at /metrics; no shard directory is used");
            Outcome::Endpoint(address)
        }
        Err(reason) => {
            warn!(
                program, mode = "A", error = %reason,
                "no metrics endpoint, and nobody can see what is recorded; set PEAKTRADE_METRICS_MODE=B and \
                 PEAKTRADE_METRICS_MULTIPROC_DIR to metricsd's directory, so that metricsd serves this process too"
            );
            Outcome::Unseen {
                since: SystemTime::now(),
                reason,
            }
        }
    }
}

#[cfg(feature = "serve")]
fn endpoint_address(
    settings: &Settings,
    listen: SocketAddr,
    writer: Writer,
) -> Result<SocketAddr, String> {
    crate::endpoint::serve(settings, listen, writer).map_err(|err| whole_reason(&err))
}

#[cfg(not(feature = "serve"))]
fn endpoint_address(_: &Settings, listen: SocketAddr, _: Writer) -> Result<SocketAddr, String> {
    Err(format!(
        "{listen}: this program is built without an endpoint (feature serve)"
    ))
}
