//! The audit by real processes: what a killed one leaves, what a full disk makes of it, and what `sentinel replay` says of files.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by it, its child answers on it"
)]

mod child;
mod made;
mod program;
mod writers;
