//! The part of the benchmark that counts allocations, in a program of its own: a counting allocator costs time, and the other parts measure
//! time.
#![forbid(unsafe_code)]
#![allow(clippy::print_stderr)]

use std::alloc::System;
use std::process::ExitCode;

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn main() -> ExitCode {
    let heap = || {
        let stats = INSTRUMENTED_SYSTEM.stats();
        bench::Heap {
            calls: stats.allocations + stats.reallocations,
            live: stats.allocations as i64 - stats.deallocations as i64,
            live_bytes: stats.bytes_allocated as i64 - stats.bytes_deallocated as i64,
        }
    };
    match bench::count_allocations(&heap) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-memory: {error:#}");
            ExitCode::FAILURE
        }
    }
}
