//! The identifiers of all checks: what scripts look for, the same in every release. `docs/verification.md` has a row for each.

use crate::verify::verification::VERDICT;

/// Variables and directories agree.
pub(super) const ENVIRONMENT: &str = "environment";
/// Who listens on the port.
pub(super) const PORT_OWNER: &str = "port_owner";
/// The page is served.
pub(super) const HTTP_OK: &str = "http_ok";
/// As what it is declared.
pub(super) const CONTENT_TYPE: &str = "content_type";
/// `/-/healthy`.
pub(super) const HEALTHY: &str = "healthy";
/// `/-/ready`.
pub(super) const READY: &str = "ready";
/// The session of `--run-session` writes.
pub(super) const SESSION_STARTED: &str = "session_started";
/// There are shards.
pub(super) const SHARDS_PRESENT: &str = "shards_present";
/// No session owns a port.
pub(super) const SESSIONS_LISTEN_ON_NOTHING: &str = "sessions_listen_on_nothing";
/// The port is still the daemon's.
pub(super) const PORT_OWNER_UNCHANGED: &str = "port_owner_unchanged";
/// Somebody writes.
pub(super) const SHARDS_LIVE: &str = "shards_live";
/// Families have samples.
pub(super) const FAMILIES_PRESENT: &str = "families_present";
/// The page is text 0.0.4.
pub(super) const EXPOSITION_VALID: &str = "exposition_valid";
/// A counter moves.
pub(super) const VALUES_MOVED: &str = "values_moved";
/// The session of `--run-session` ended well.
pub(super) const SESSION_ENDED: &str = "session_ended";
/// Series outlive their session.
pub(super) const STILL_THERE_AFTER_END: &str = "still_there_after_end";
/// The port is the daemon's to the end.
pub(super) const PORT_OWNER_AT_END: &str = "port_owner_at_end";
/// `up` was 1 the whole time.
pub(super) const UP_STABLE: &str = "up_stable";
/// Totals recomputed.
pub(super) const TOTALS_PROVEN: &str = "totals_proven";
/// All checks of a running daemon, in their order.
pub const CHECKS: [&str; 20] = [
    ENVIRONMENT,
    PORT_OWNER,
    HTTP_OK,
    CONTENT_TYPE,
    HEALTHY,
    READY,
    SESSION_STARTED,
    SESSIONS_LISTEN_ON_NOTHING,
    PORT_OWNER_UNCHANGED,
    SHARDS_PRESENT,
    SHARDS_LIVE,
    FAMILIES_PRESENT,
    EXPOSITION_VALID,
    VALUES_MOVED,
    SESSION_ENDED,
    STILL_THERE_AFTER_END,
    PORT_OWNER_AT_END,
    UP_STABLE,
    TOTALS_PROVEN,
    VERDICT,
];

/// A second daemon on the directory.
pub(super) const DRILL_SECOND_DAEMON: &str = "drill_second_daemon";
/// `kill -9` of a session.
pub(super) const DRILL_SESSION_KILLED: &str = "drill_session_killed";
/// `kill -9` of the daemon.
pub(super) const DRILL_DAEMON_KILLED: &str = "drill_daemon_killed";
/// A full disk.
pub(super) const DRILL_FULL_DISK: &str = "drill_full_disk";
/// `rm -rf` of the shard directory.
pub(super) const DRILL_DIRECTORY_WIPED: &str = "drill_directory_wiped";

/// All drills, in their order.
pub const DRILLS: [&str; 5] = [
    DRILL_SECOND_DAEMON,
    DRILL_SESSION_KILLED,
    DRILL_DAEMON_KILLED,
    DRILL_FULL_DISK,
    DRILL_DIRECTORY_WIPED,
];
