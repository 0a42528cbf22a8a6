//! A second daemon on a served directory: refused with exit code 1, with the first one named, and nothing is touched.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use super::stage::{Stage, in_words, same_counts};
use super::{Drilled, PATIENCE, ensure};
use crate::verify::record::Probe;

pub(super) fn act(stage: &Stage, probe: &mut Probe) -> Drilled {
    // Shards stay, so that there is something that could be touched.
    let mut first = stage.daemon(&["--retire-after", "off"], probe)?;
    let mut session = stage.session(5000, Duration::from_secs(1), probe)?;
    stage.session_end(&mut session, probe)?;
    let before = stage.page(&first, probe)?;
    let files = listing(&stage.shards)?;
    ensure(!files.is_empty(), || {
        "the session left no shard to be touched".to_owned()
    })?;

    let mut second = stage.start_daemon(&[], probe)?;
    let status = second.wait(&stage.stop, PATIENCE);
    let said = second.output();
    probe.ask(format!("wait {}", second.id()), || {
        format!("{}\n{said}", in_words(status))
    });
    let code = status.and_then(|status| status.code());
    ensure(code == Some(1), || {
        format!(
            "of the second daemon: {}, expected exit code 1: {said}",
            in_words(status)
        )
    })?;
    let pid = first.running.id();
    ensure(said.contains(&format!("process {pid} ")), || {
        format!("the second daemon does not name pid {pid}: {said}")
    })?;

    ensure(first.running.ended().is_none(), || {
        "the first daemon ended".to_owned()
    })?;
    let now = listing(&stage.shards)?;
    ensure(now == files, || {
        format!("the directory was {files:?} and is {now:?}")
    })?;
    let counts = same_counts(&before, &stage.page(&first, probe)?)?;
    Ok(format!(
        "refused with exit code 1, naming pid {pid}; {} files and {counts} counts are as they were",
        files.len()
    ))
}

/// Name, inode, length and content's time of every file.
fn listing(directory: &Path) -> Result<Vec<(String, u64, u64, i64)>, String> {
    let entries =
        fs::read_dir(directory).map_err(|err| format!("{}: {err}", directory.display()))?;
    let mut files: Vec<_> = entries
        .flatten()
        .filter_map(|entry| {
            let metadata = entry.metadata().ok()?;
            let name = entry.file_name().to_string_lossy().into_owned();
            Some((name, metadata.ino(), metadata.len(), metadata.mtime()))
        })
        .collect();
    files.sort();
    Ok(files)
}
