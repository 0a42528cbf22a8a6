//! Retirement on directories that lose power, fail and stop, with late writers.
//!
//! What each test compares is the invariant itself: for every series the archive, and what each file that exists holds beyond
//! it, is what was ever counted.

mod faults;
mod late_writer;
mod power;
mod shelf_double;
mod stops;
mod world;
