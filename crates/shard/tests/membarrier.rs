//! A process's first `membarrier` takes some ten milliseconds, and while a gauge is moved, who sets it waits for one. Method: the kernel says whether it
//! was asked before any value had to move; in a binary of its own, since that is a fact of the process.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod child;
mod python_env;

use child::{key, wait_for};
use metricsd_shard::{Create, FileKind, GaugeMode, ProcessInfo, Writer, WriterStatus};

/// `MEMBARRIER_CMD_GET_REGISTRATIONS` of Linux 6.3.
const GET_REGISTRATIONS: libc::c_int = 1 << 9;

/// What the kernel was asked for; negative where it does not say.
fn registrations() -> libc::c_long {
    // SAFETY: no pointers; the call changes nothing.
    unsafe { libc::syscall(libc::SYS_membarrier, GET_REGISTRATIONS, 0, 0) }
}

#[test]
fn the_first_membarrier_is_asked_for_before_a_gauge_moves() {
    let wanted = libc::c_long::from(libc::MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED);
    if registrations() < 0 {
        python_env::record_skip(
            "the_first_membarrier_is_asked_for_before_a_gauge_moves",
            "the kernel does not say what membarriers it was asked for",
        );
        return;
    }
    assert_eq!(registrations() & wanted, 0, "asked by nobody yet");
    let temp = tempfile::tempdir().unwrap();
    let writer = Writer::open(temp.path(), ProcessInfo::default());
    let keys = vec![key("level")];
    let kind = FileKind::Gauge(GaugeMode::LiveMax);
    let gauge = writer.series(kind, keys, Create::OnFirstTouch);
    gauge.set(0, 1.0);
    wait_for("the first membarrier", || {
        (registrations() & wanted != 0).then_some(())
    });
    let status = writer.status();
    let is_healthy = matches!(status, WriterStatus::Healthy { .. });
    assert!(is_healthy, "something moved: {status:?}");
}
