//! `rm -rf` of the shard directory under a live session, the daemon running.

use std::fs;
use std::path::Path;
use std::time::Duration;

use metricsd_shard::ShardName;

use super::stage::{Stage, nothing_lost, steps};
use super::{Drilled, ensure};
use crate::verify::record::Probe;

/// Steps before the directory goes, and in the new files afterwards.
const STEPS_MIN: f64 = 200.0;

pub(super) fn act(stage: &Stage, probe: &mut Probe) -> Drilled {
    let daemon = stage.daemon(&[], probe)?;
    let mut session = stage.session(500, Duration::from_secs(8), probe)?;
    let before = stage.page_with(&daemon, &mut session, "the session counts", probe, |page| {
        steps(page) >= STEPS_MIN
    })?;
    let removed = fs::remove_dir_all(&stage.shards);
    probe.ask(
        format!("rm -rf {}", stage.shards.display()),
        || match &removed {
            Ok(()) => "removed".to_owned(),
            Err(err) => err.to_string(),
        },
    );
    removed.map_err(|err| format!("{}: {err}", stage.shards.display()))?;
    let counts = nothing_lost(&before, &stage.page(&daemon, probe)?)?;

    let mut is_over = false;
    stage.stop.wait(super::PATIENCE, || {
        is_over = session.ended().is_some();
        is_over || has_shards(&stage.shards)
    });
    let is_back = has_shards(&stage.shards);
    probe.ask(format!("ls {}", stage.shards.display()), || {
        format!("new shards: {is_back}")
    });
    ensure(is_back, || match is_over {
        true => format!(
            "the session ended and made no new shards: {}",
            session.output()
        ),
        false => "the session made no new shards".to_owned(),
    })?;
    let made = stage.session_end(&mut session, probe)?;
    let shown = steps(&stage.page(&daemon, probe)?);
    ensure(shown == made, || {
        format!("the session made {made} steps, the page shows {shown}")
    })?;
    Ok(format!(
        "none of {counts} counts fell, the session made new shards, and all {made} of its steps are there"
    ))
}

fn has_shards(directory: &Path) -> bool {
    fs::read_dir(directory).is_ok_and(|entries| {
        entries
            .flatten()
            .any(|entry| ShardName::parse(&entry.file_name().to_string_lossy()).is_ok())
    })
}
