//! The only module of the workspace with unsafe code: mappings, cells in them, and libc calls that no safe binding offers.
//!
//! It must not know what a series is. Each file below states the invariant that its unsafe blocks rest on.

#[allow(unreachable_pub, reason = "reachable when loom checks the types")]
pub(crate) mod cell;
#[allow(unreachable_pub, reason = "reachable when loom checks the types")]
pub(crate) mod guard;
#[allow(unreachable_pub, reason = "reachable when loom checks the types")]
pub(crate) mod lane;
pub(crate) mod lease;
#[allow(unreachable_pub, reason = "reachable when loom checks the types")]
pub(crate) mod moves;
#[allow(unreachable_pub, reason = "reachable when loom checks the types")]
pub(crate) mod pointer;
#[cfg(not(loom))]
pub(crate) mod process;
#[cfg(not(loom))]
pub(crate) mod read_only;
#[cfg(not(loom))]
pub(crate) mod segment;
#[allow(unreachable_pub, reason = "reachable when loom checks the types")]
pub(crate) mod slot;
pub(crate) mod temporary;
