//! Where a registry's metrics go at the moment.
//! Invariant: `Degraded` means that what is recorded now cannot be seen from outside; nothing else does.
//! It must not log: the part that found the fault did.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::SystemTime;

/// Answer of [`Registry::status`](crate::Registry::status).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// Mode B, healthy.
    Shards {
        /// Absolute.
        directory: PathBuf,
        /// The part of the shards' names that is this process's own.
        writer: String,
    },
    /// Mode A, served.
    Endpoint {
        /// Where `/metrics` is.
        address: SocketAddr,
    },
    /// Into memory, because the program asked for it ([`Registry::in_memory`](crate::Registry::in_memory)).
    Memory,
    /// Into memory because of a fault. In Mode B the writer goes on trying and carries the values over.
    Degraded {
        /// When it began.
        since: SystemTime,
        /// Path, address or variable first, then what was found.
        reason: String,
    },
}

impl Status {
    /// Whether what is recorded now cannot be seen from outside: the value of a `telemetry_degraded` gauge.
    pub fn is_degraded(&self) -> bool {
        matches!(self, Status::Degraded { .. })
    }
}
