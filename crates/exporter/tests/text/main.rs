//! The text format, judged by Python's `prometheus_client`, by `promtool`, and by our own parser.
//!
//! Invariant: the expectations come from a naive flattening of the values, not from the writer. Must not touch: the network.

mod flat;
mod parsing;
mod promtool;
mod python;
mod python_judge;
#[path = "../shared/skip.rs"]
mod skip;
mod writing;
