//! Programs that use the macros of the [`metrics`] crate write shards for `metricsd` (Mode B), or serve themselves (Mode A), by one line.
//!
//! ```no_run
//! let registry = metricsd_recorder::install("my-program")?;
//! metrics::counter!("orders_total", "side" => "buy").increment(1);
//! # drop(registry);
//! # Ok::<(), metricsd_recorder::InstallError>(())
//! ```
//!
//! Mode, directory and address are those of [`metricsd_client::Registry::from_env`]. [`Recorder`] takes a registry that was started otherwise, and says
//! the buckets of histograms and the modes of gauges.
//!
//! # What becomes of a metric
//! - **Names.** Characters that the format does not know become `_`, in metric names and in label names, as other exporters of this facade
//!   have it; a counter's sample ends with `_total`. Two names of the facade that would become one (`a.b` and `a_b`, or `a` and `a_total`)
//!   are a mistake that would mix two metrics: the one that was used first stands, the other is refused. So are two label names of one
//!   metric, names that another type has, and what [`metricsd_client::OpenFamily::with`] refuses: label names such as `symbol` and
//!   `order_id`, long values, more than 10,000 series of a family.
//! - **What is refused** is counted in `<program>_telemetry_defects_total` as `registration` or `label_overflow`, logged once per family
//!   by a thread of its own, and records into memory that nobody reads. A name that is illegal after all (such as the empty one) is one of
//!   them. No call fails.
//! - **Descriptions.** The help text is part of a series' key in a shard, and keys are never written again. So a family has the description
//!   that was known when the program first used one of its series, or none; a later one changes nothing. Describe first, then record. A
//!   unit stands in the help text, in parentheses: as part of the name it would move the series when it comes late.
//! - **Counters** are doubles: whole numbers are exact up to 2 to the power of 53. `absolute` raises the counter of *this process* to at least
//!   the value; `metricsd` adds up processes, ended ones too, so a total that is read from elsewhere is counted again after a restart.
//! - **Gauges** appear with their first value. `metricsd` adds up those of the processes that live ([`GaugeMode::LiveSum`]) unless
//!   [`Recorder::gauge_mode`] says otherwise; in the most-recent modes only `set` is taken.
//! - **Histograms** have fixed buckets ([`BUCKETS_DEFAULT`], or those of [`Recorder::buckets`]), and no quantiles: those cannot be added up.
//!
//! # What a call costs
//! A macro asks the recorder for a handle each time. A thread finds those that it has used before without a lock or an allocation, in a
//! table of its own; the handles in it are the thread's own too, so that counting their references makes no thread wait for another. The
//! first time takes locks, and writes the series' keys. A program that keeps the handle (`let orders = counter!(…)`) pays a virtual
//! call on top of what the client's handle costs.
#![forbid(unsafe_code)]

mod handles;
mod names;
mod recent;
mod recorder;

pub use metricsd_client::{GaugeMode, Registry};
pub use recorder::{BUCKETS_DEFAULT, InstallError, Matcher, Recorder};

/// Start a registry by the environment alone ([`Registry::from_env`]) and make it the recorder of this process, for good. Install the
/// program's `tracing` subscriber before. The answer is the registry, which says where metrics go.
///
/// # Errors
/// If the process has a recorder already. The registry has been started all the same, and publishes its own families.
pub fn install(program: &str) -> Result<Registry, InstallError> {
    let registry = Registry::from_env(program);
    Recorder::new(registry.clone()).install()?;
    Ok(registry)
}
