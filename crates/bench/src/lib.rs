//! The benchmark driver behind `cargo xtask bench`: every comparison runs its sides in turn, in one run, on the same values and files.
//!
//! Nothing is asserted here: the report gives medians, their range and their ratios, and says of each target whether it is met.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod churn;
mod collect;
mod command_line;
mod curves;
mod dead;
mod growth;
mod hot;
mod live;
mod machine;
mod memory;
mod pace;
mod python;
mod render;
mod report;
mod restart;
mod rounds;
mod scrape;
mod sentinel;
mod sequence;
mod session;
mod session_cost;
mod shards;
mod targets;

pub use command_line::run;
pub use memory::child::{Heap, count_allocations};
