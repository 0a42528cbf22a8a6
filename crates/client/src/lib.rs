//! Metrics that outlive the process that records them: counters, gauges and histograms over typed label sets.
//!
//! ```
//! use metricsd_client::{GaugeMode, Registry, label_set, label_value};
//!
//! label_value! { pub enum Side { Buy = "buy", Sell = "sell" } }
//! label_set! { pub struct FillLabels { side: Side } }
//!
//! let registry = Registry::in_memory(); // a program says Registry::from_env("shadow-session")
//! let fills = registry.counter_family::<FillLabels>("fills_total", "Fills by side.");
//! let equity = registry.gauge("equity_ratio", "Equity to its start.", GaugeMode::LiveMax);
//! let step = registry.histogram("step_duration_seconds", "Time of one step.", &[0.01, 0.1]);
//!
//! fills.with(&FillLabels { side: Side::Buy }).inc();
//! equity.set(1.25);
//! step.observe(0.05);
//!
//! let text = registry.render(); // what a scrape shows
//! assert_eq!(
//!     text.lines().collect::<Vec<_>>(),
//!     [
//!         r#"# HELP equity_ratio Equity to its start."#,
//!         r#"# TYPE equity_ratio gauge"#,
//!         r#"equity_ratio 1.25"#,
//!         r#"# HELP fills_total Fills by side."#,
//!         r#"# TYPE fills_total counter"#,
//!         r#"fills_total{side="buy"} 1.0"#,
//!         r#"fills_total{side="sell"} 0.0"#,
//!         r#"# HELP step_duration_seconds Time of one step."#,
//!         r#"# TYPE step_duration_seconds histogram"#,
//!         r#"step_duration_seconds_sum 0.05"#,
//!         r#"step_duration_seconds_bucket{le="0.01"} 0.0"#,
//!         r#"step_duration_seconds_bucket{le="0.1"} 1.0"#,
//!         r#"step_duration_seconds_bucket{le="+Inf"} 1.0"#,
//!         r#"step_duration_seconds_count 1.0"#,
//!     ]
//! );
//! ```
//!
//! # Two modes
//! In **Mode B** the process writes *shards*: small mapped files in a directory, byte-compatible with the multiprocess mode of
//! Python's `prometheus_client`. It opens no port; `metricsd` merges the shards of all processes and serves them. What a call
//! recorded is in the file when the call returns, so it survives `kill -9`. In **Mode A** the process serves its own metrics
//! over HTTP, and they end with it.
//!
//! | setting | environment (wins) | file key | default |
//! |---|---|---|---|
//! | mode | `PEAKTRADE_METRICS_MODE` = `A` or `B`, in any case | `mode` | B if any directory variable or key is set, else A |
//! | directory (B) | `PEAKTRADE_METRICS_MULTIPROC_DIR`, `PROMETHEUS_MULTIPROC_DIR` | `multiproc_dir` | `.ops_local/prom_multiproc` |
//! | address (A) | `PEAK_TRADE_METRICSD_PORT`, on loopback | `listen` | `127.0.0.1:9111` |
//!
//! [`Registry::from_env`] never fails; a bad port variable costs Mode B a warning only. A program that wants to end on a bad variable calls [`Settings::resolve`] or
//! [`Settings::from_env`], which give a typed [`SettingsError`], and then [`Registry::start`]. Both log the mode and the
//! absolute directory (or the address) once.
//!
//! # Glossary
//! - *family*: all series of one metric name; *series*: one label set of it; *sample*: one line of the exposition.
//! - *registration*: naming a family, with its help and type. The same registration twice gives the same cells.
//! - *handle*: [`Counter`], [`Gauge`], [`Histogram`]. `Send + Sync + Clone`; clones record into the same series.
//! - *cell*: the eight bytes that a handle's value lives in, in a shard or in memory.
//! - *label set*: the labels of one series, a [`label_set!`] struct whose fields are [`label_value!`] enums or [`label_text!`]
//!   types. How many series a family can have is therefore known at compile time, and bounded by [`COMBINATIONS_MAX`].
//! - *finite*: a label set of enums only. Its counters and histograms exist at zero from registration, so that `rate` sees the
//!   first increment. Gauges never do: a zero that nobody set would be a claim.
//! - *mode of a gauge*: how `metricsd` merges it over processes ([`GaugeMode`]).
//! - *degraded*: recording into memory because the directory (or the port) cannot be used; [`Registry::status`] says so.
//!
//! # What a call costs
//! | call | cost |
//! |---|---|
//! | `inc`, `add`, `set` on a handle | one atomic operation; no lock, allocation or system call |
//! | `observe` | a look into a table, one comparison, and two atomic additions; a few comparisons more where bounds are close |
//! | `set` on a most-recent gauge | as `set`, reading the clock, and a lock of that one cell |
//! | `family.with(&labels)` | index arithmetic and one load |
//! | `inc`, `add` on a family of counters over enums | index arithmetic, and what `inc` costs on a handle |
//! | the first `with` of a label set with text, the first `set` of a gauge | a lock, and writing the series' keys |
//! | making a [`label_text!`] value | a look into a table of this thread for text of at most 32 bytes that it knows; else sanitising, an allocation and a look-up, and a lock if the value is new |
//! | a call that is refused | a few atomic operations; the first of its kind of a family also wakes the thread that logs it |
//! | the same of an [`OpenFamily`], whose labels are known at run time only | a lock and a search, each time: keep the handle |
//! | registration | a lock; every series of a finite family is made at once |
//! | [`Registry::render`] | reads every cell; holds up nobody who records through a handle |
//!
//! # What is refused
//! No call fails. One that makes no sense changes nothing and is counted by [`Defect`], published as
//! `<program>_telemetry_defects_total{defect}` (with `program_` before it where the program's name would make it one of the
//! daemon's own, such as `metricsd-probe`): a counter that would fall (`negative`), NaN, an infinite amount or one beyond
//! [`AMOUNT_MAX`], by which a sum could become infinite (`not_finite`), arithmetic on a most-recent gauge (`gauge_mode`), a
//! registration that contradicts an earlier one, has an illegal name, help or buckets, or comes after 10,000 families
//! (`registration`; its handles work on memory that nobody reads, and after 1,000 such registrations on memory that they
//! share), a text label whose domain is full (`label_overflow`; recorded under `other`).
//!
//! Each is logged once per family, a refused registration by the thread that registers, a refused call never by the thread
//! that records: a thread of the registry does it, because a subscriber may hold a lock that the caller needs, or wait for a
//! full pipe. [`Registry::in_memory`] and a forked child have no such thread; there the next registration or
//! [`Registry::status`] logs.
//!
//! # One registry per process
//! Start one and clone it. In Mode B each one keeps its descriptors, mappings and files until the process ends, also after it
//! was dropped, because handles and shards outlive it; each one has a thread that logs. A second one of the same program
//! over the same directory is warned of.
//!
//! # Never truncate a live shard
//! Shards are mapped. If anything cuts one to less than its process has in use (`truncate`, `> file.db`, `cp` over it, a
//! backup that is restored in place), the next call that records into the part that is gone raises SIGBUS. A handler, installed
//! before the first shard is mapped, puts private memory in its place, so that the call and the process go on; within a second
//! the process is in a new shard, and counts from zero there. Lost is what had been recorded into the part that was cut off, as
//! far as `metricsd` had not read it; what is recorded into the missing part after the cut is carried over, and nothing is counted
//! twice. Of the one entry at which the file now ends, what came between the cut and its notice is lost too. A gauge whose value
//! is gone shows none until it is set again. What cannot be noticed: a file that is cut within the last 16 bytes in use and made
//! long again, or overwritten by an older copy of itself of the same length, within a second.
//!
//! Every other SIGBUS goes to the handler that was there before. The guard is gone for a program that installs a handler of
//! its own later and does not call the one that it replaces, and for a thread that blocks SIGBUS; so never write to the files of a
//! live process all the same, and keep others from it by the directory's permissions. To delete a file (`rm`) is safe.
//!
//! In Mode B `<program>_telemetry_degraded_seconds_total` counts how long metrics went into memory, and the log says at the end of
//! each such time when it began and how long it was.
//!
//! # Fork and signals
//! In Mode B a forked child goes on with the same handles and writes shards of its own, from zero, from its first touch on;
//! what the parent counted stays the parent's. In Mode A the child has a copy of the values, and the endpoint stays with the
//! parent. Handles that exist, label sets that were used, and text values that are known need no lock, so they work in every
//! child. A lock that another thread held in the instant of the fork stays taken in the child for ever, and the call that
//! needs it never returns there. There are three:
//! - the catalogue: another thread was registering a family of this registry, or its own thread was about to log; in the
//!   child every registration waits;
//! - a text domain: another thread was making a value that was new to its [`label_text!`] type; in the child making any other
//!   new value of that type waits, and so does any value at all if it was the first of the process;
//! - the place of one label set: another thread was using it for the first time (or registering its family); in the child the
//!   first use of that label set waits. The place is taken for the few instructions that store the handle.
//!
//! To be safe, register, make the text values, and use each label set once before the first thread starts or the process
//! forks. Raw `clone` and `fork` system calls are not supported: they bypass the handler that detaches the child, and counts
//! are lost. No call is async-signal-safe.
#![forbid(unsafe_code)]

mod buckets;
mod catalogue;
mod counter;
mod counter_family;
mod declaration;
mod defects;
#[cfg(feature = "serve")]
mod endpoint;
mod family;
mod gather;
mod gauge;
mod histogram;
mod journal;
mod labels;
mod open;
mod registry;
mod schema;
mod settings;
mod status;
mod text;

pub use counter::{AMOUNT_MAX, Counter};
pub use counter_family::CounterFamily;
pub use declaration::Declaration;
pub use defects::Defect;
pub use family::{GaugeFamily, HistogramFamily};
pub use gauge::Gauge;
pub use histogram::Histogram;
pub use labels::{COMBINATIONS_MAX, LabelSet, LabelValue, VALUE_LEN_MAX_BYTES};
pub use metricsd_shard::GaugeMode;
pub use open::OpenFamily;
pub use registry::Registry;
pub use settings::{
    FileSettings, LEGACY_PORT_VARIABLE, LISTEN_DEFAULT, MODE_VARIABLE, Mode, ModeError,
    PORT_VARIABLE, Settings, SettingsError, Target,
};
pub use status::Status;
pub use text::{CurrencyCode, OTHER, Spelling, Text, TextDomain};

/// What the macros expand to; no part of the interface.
#[doc(hidden)]
pub mod __private {
    pub use crate::labels::{assert_label_name, assert_label_values, label_name};
}
