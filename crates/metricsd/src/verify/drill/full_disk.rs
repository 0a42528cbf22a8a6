//! A full disk, inside namespaces of its own: a small tmpfs is mounted, filled to the last byte, and given room again.
//!
//! Invariant: the file system is in a mount namespace that ends with this process; nothing is mounted where others see it. The result is
//! one line for whoever started it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use rustix::mount::{MountFlags, mount};

use super::stage::{Stage, in_words, steps};
use super::{Drilled, ensure};
use crate::verify::child::{ChildError, session_program};
use crate::verify::evidence::Ended;
use crate::verify::mode_b::cli::ModeBArgs;
use crate::verify::record::{Probe, Stop};

/// Begins the line of a drill that shows what it should.
pub const HELD: &str = "HELD|";
/// Of one that does not.
pub const BROKEN: &str = "BROKEN|";
/// Of one that cannot be had.
pub const NOT_POSSIBLE: &str = "NOT_POSSIBLE|";

/// What is filled.
const SIZE: &std::ffi::CStr = c"size=1m";

/// How long the session has to live on the full disk.
const FULL_TIME: Duration = Duration::from_millis(1500);

/// Makes the drill in `scratch`, in namespaces that are ours alone.
///
/// # Errors
/// There is no session's program, or the result cannot be told.
pub fn stage(
    scratch: &Path,
    args: &ModeBArgs,
    stop: &Stop,
    out: &mut dyn Write,
) -> Result<Ended, ChildError> {
    let env = |name: &str| std::env::var_os(name);
    let session = session_program(args.session_bin.as_deref(), &env)?;
    let drilled = act(scratch, session, stop);
    let (ended, line) = match drilled {
        Ok(text) => (Ended::Pass, format!("{HELD}{text}")),
        Err(text) if text.starts_with(NOT_POSSIBLE) => (Ended::Skip, text),
        Err(text) => (Ended::Fail, format!("{BROKEN}{text}")),
    };
    let line = line.replace('\n', " / ");
    writeln!(out, "{line}").map_err(|source| ChildError::System {
        what: "tell the result",
        source,
    })?;
    Ok(ended)
}

fn act(scratch: &Path, session: std::path::PathBuf, stop: &Stop) -> Drilled {
    let disk = scratch.join("small-disk");
    fs::create_dir(&disk).map_err(|err| format!("{}: {err}", disk.display()))?;
    mount(
        c"tmpfs",
        &disk,
        c"tmpfs",
        MountFlags::NODEV | MountFlags::NOSUID,
        SIZE,
    )
    .map_err(|errno| format!("{NOT_POSSIBLE} no file system can be mounted here: {errno}"))?;
    let mut stage = Stage::new(session, stop.clone())?;
    stage.shards = disk.join("prom_multiproc");
    fs::create_dir(&stage.shards).map_err(|err| format!("{}: {err}", stage.shards.display()))?;
    let filler = disk.join("filler");
    fill(&filler)?;

    let probe = &mut Probe::default();
    let daemon = stage.daemon(&[], probe)?;
    let mut session = stage.session(500, Duration::from_secs(6), probe)?;
    let ended = session.wait(&stage.stop, FULL_TIME);
    ensure(ended.is_none(), || {
        format!(
            "on the full disk the session ended, {}: {}",
            in_words(ended),
            session.output()
        )
    })?;
    ensure(is_full(&disk), || {
        "the disk is not full, so nothing was shown".to_owned()
    })?;
    let shown = steps(&stage.page(&daemon, probe)?);
    ensure(shown == 0.0, || {
        format!("{shown} steps are shown while nothing can be stored")
    })?;

    fs::remove_file(&filler).map_err(|err| format!("{}: {err}", filler.display()))?;
    stage.page_with(
        &daemon,
        &mut session,
        "the session's counts appear",
        probe,
        |page| steps(page) > 0.0,
    )?;
    let made = stage.session_end(&mut session, probe)?;
    let shown = steps(&stage.page(&daemon, probe)?);
    ensure(shown == made, || {
        format!("the session made {made} steps, the page shows {shown}")
    })?;
    Ok(format!(
        "the session ran on for {FULL_TIME:?} on a disk without a free byte; with room again all {made} of its steps are there"
    ))
}

/// Writes until not one byte more fits.
fn fill(path: &Path) -> Result<(), String> {
    let failed = |err: io::Error| format!("{}: {err}", path.display());
    let mut file = File::create(path).map_err(failed)?;
    let mut chunk_len = 1 << 16;
    while chunk_len > 0 {
        match file.write_all(&vec![b'x'; chunk_len]) {
            Ok(()) => {}
            Err(err) if err.kind() == io::ErrorKind::StorageFull => chunk_len /= 2,
            Err(err) => return Err(failed(err)),
        }
    }
    Ok(())
}

fn is_full(directory: &Path) -> bool {
    rustix::fs::statvfs(directory).is_ok_and(|left| left.f_bavail == 0)
}
