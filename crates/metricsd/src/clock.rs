//! The wall clock, in the unit that the archive and the exposition count in.
//!
//! Invariant: always a number, whatever the clock says.

use std::time::SystemTime;

/// Unix seconds; 0 for a clock before 1970.
pub(crate) fn unix_now() -> f64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0.0, |now| now.as_secs_f64())
}
