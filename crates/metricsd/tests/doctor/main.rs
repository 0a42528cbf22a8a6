//! `metricsd doctor`: a healthy place passes every check; each fault, caused for real, is found and named with what to do, and
//! nothing else is found because of it.
//!
//! Each test runs in namespaces of its own (mounts and process IDs), so that neither other tests' processes nor this machine's rules
//! are found. Where that is not allowed the tests are skipped.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/full.rs"]
mod full;
#[path = "../common/outsider.rs"]
mod outsider;

mod directories;
mod healthy;
mod place;
mod programs;
mod shards;
mod state;

#[test]
fn child() {
    common::child::obey();
}
