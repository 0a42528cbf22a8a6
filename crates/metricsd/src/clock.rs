//! The wall clock, in the unit that the archive and the exposition count in.
//!
//! Invariant: always a number, whatever the clock says.

use std::time::SystemTime;

/// Unix seconds; 0 for a clock before 1970.
pub(crate) fn unix_now() -> f64 {
    unix_seconds(SystemTime::now())
}

/// A time in unix seconds; 0 for one before 1970.
pub(crate) fn unix_seconds(time: SystemTime) -> f64 {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64())
}
