//! `kill -9` of a session and of the daemon.
//!
//! A session is stopped before it is killed, so that the last page before its end has its last count: what is shown afterwards has to
//! be the same to the last digit, and again when its shards were absorbed and removed.

use std::fs;
use std::time::Duration;

use metricsd_shard::ShardName;
use rustix::process::Signal;

use super::stage::{Stage, nothing_lost, same_counts, steps};
use super::{Drilled, PATIENCE, ensure};
use crate::verify::record::Probe;
use program::sentence;

/// Steps that a session has made before it is broken off.
const STEPS_MIN: f64 = 200.0;

pub(super) fn session(stage: &Stage, probe: &mut Probe) -> Drilled {
    let daemon = stage.daemon(&["--retire-after", "500ms"], probe)?;
    let mut session = stage.session(500, PATIENCE, probe)?;
    stage.page_with(&daemon, &mut session, "the session counts", probe, |page| {
        steps(page) >= STEPS_MIN
    })?;
    session.signal(Signal::STOP).map_err(|err| sentence(&err))?;
    let pid = session.id();
    // The state of a stopped process; only then is the page its last word.
    let is_stopped = stage.stop.wait(PATIENCE, || {
        fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") T "))
    });
    ensure(is_stopped, || format!("pid {pid} does not stop"))?;
    let last = stage.page(&daemon, probe)?;
    session.kill().map_err(|err| sentence(&err))?;
    probe.ask(format!("kill -STOP {pid}; kill -9 {pid}"), || {
        "ended".to_owned()
    });

    same_counts(&last, &stage.page(&daemon, probe)?)?;
    let is_absorbed = stage.stop.wait(PATIENCE, || {
        fs::read_dir(&stage.shards).is_ok_and(|entries| {
            !entries
                .flatten()
                .any(|entry| ShardName::parse(&entry.file_name().to_string_lossy()).is_ok())
        })
    });
    ensure(is_absorbed, || "its shards are not absorbed".to_owned())?;
    let counts = same_counts(&last, &stage.page(&daemon, probe)?)?;
    Ok(format!(
        "{counts} counts are the same to the last digit after the kill and after its shards were absorbed, {} steps among them",
        steps(&last)
    ))
}

pub(super) fn daemon(stage: &Stage, probe: &mut Probe) -> Drilled {
    const KILLS: u32 = 2;
    let mut daemon = stage.daemon(&[], probe)?;
    let mut session = stage.session(500, Duration::from_secs(5), probe)?;
    let mut counts = 0;
    for kill in 1..=KILLS {
        let wanted = STEPS_MIN * f64::from(kill);
        let before = stage.page_with(
            &daemon,
            &mut session,
            "the session has counted on",
            probe,
            |page| steps(page) >= wanted,
        )?;
        daemon.running.kill().map_err(|err| sentence(&err))?;
        probe.ask(format!("kill -9 {}", daemon.running.id()), || {
            "ended".to_owned()
        });
        daemon = stage.daemon(&[], probe)?;
        counts = nothing_lost(&before, &stage.page(&daemon, probe)?)?;
    }
    let made = stage.session_end(&mut session, probe)?;
    let shown = steps(&stage.page(&daemon, probe)?);
    ensure(shown == made, || {
        format!("the session made {made} steps, the page shows {shown}")
    })?;
    Ok(format!(
        "killed and restarted {KILLS} times under a session: none of {counts} counts fell, and all {made} steps are there"
    ))
}
