//! A directory of shards: each with what can be known of it without asking the kernel, and sums.
//!
//! Invariant: every file that looks like a shard is in the list or counted as left out, the unreadable ones among them.

use std::collections::BTreeMap;
use std::os::fd::AsFd;

use metricsd_shard::{
    Damage, HEADER_LEN_BYTES, NameError, ShardFile, ShardName, original_of_retiring, parse_from,
    process_file_id,
};
use serde::Serialize;

use super::process::ProcessPage;
use super::shard::spelled;
use super::table::{aligned, left_out, row};
use super::{Limit, Page};
use crate::directory::{DirectoryError, ShardDirectory};
use program::sentence;

/// A shard directory.
#[derive(Debug, Serialize)]
pub(super) struct ShardDirectoryPage {
    what: &'static str,
    shard_count: usize,
    unreadable_count: usize,
    entry_count: usize,
    len_bytes: u64,
    by_kind: BTreeMap<&'static str, usize>,
    shards: Vec<ShardLine>,
    shards_left_out: usize,
    processes: BTreeMap<String, ProcessPage>,
    processes_left_out: usize,
    other_files: usize,
}

/// A shard in it.
#[derive(Debug, Serialize)]
struct ShardLine {
    file: String,
    kind: Option<&'static str>,
    program: Option<String>,
    state: String,
    len_bytes: u64,
    entries: usize,
    damage: Option<String>,
}

/// Lists and reads it.
pub(super) fn look(
    directory: &ShardDirectory,
    limit: Limit,
) -> Result<ShardDirectoryPage, DirectoryError> {
    let (mut shards, mut processes) = (Vec::new(), BTreeMap::new());
    let mut other_files = 0;
    let mut buffer = Vec::new();
    for listed in directory.list()? {
        let name = listed.name.to_string_lossy().into_owned();
        if let Some(process) = process_file_id(&name)
            .and_then(|id| Some((id.to_owned(), ProcessPage::beside(directory.as_fd(), id)?)))
        {
            processes.insert(process.0, process.1);
            continue;
        }
        match ShardName::parse(original_of_retiring(&name).unwrap_or(&name)) {
            Err(NameError::NotAShard) => other_files += 1,
            parsed => shards.push(line(directory, name, parsed, &mut buffer)),
        }
    }
    for shard in &mut shards {
        shard.follow(&processes);
    }
    let mut by_kind = BTreeMap::new();
    for kind in shards.iter().filter_map(|shard| shard.kind) {
        *by_kind.entry(kind).or_insert(0) += 1;
    }
    let mut page = ShardDirectoryPage {
        what: "shard directory",
        shard_count: shards.len(),
        unreadable_count: shards.iter().filter(|it| it.damage.is_some()).count(),
        entry_count: shards.iter().map(|it| it.entries).sum(),
        len_bytes: shards.iter().map(|it| it.len_bytes).sum(),
        by_kind,
        shards_left_out: shards.len() - limit.of(shards.len()),
        processes_left_out: processes.len() - limit.of(processes.len()),
        shards,
        processes,
        other_files,
    };
    page.shards.truncate(limit.of(page.shard_count));
    let shown = limit.of(page.processes.len());
    page.processes = page.processes.into_iter().take(shown).collect();
    Ok(page)
}

fn line(
    directory: &ShardDirectory,
    file: String,
    parsed: Result<ShardName, NameError>,
    buffer: &mut Vec<u8>,
) -> ShardLine {
    let mut line = ShardLine {
        file,
        kind: parsed.as_ref().ok().map(|name| spelled(name.kind)),
        program: None,
        state: String::new(),
        len_bytes: 0,
        entries: 0,
        damage: parsed.err().map(|err| err.to_string()),
    };
    match ShardFile::open_at(directory.as_fd(), &line.file) {
        Ok(opened) => {
            line.len_bytes = opened.stat().map_or(0, |stat| stat.len_bytes);
            match opened.read_used(buffer) {
                Ok(()) => {
                    let parsed = parse_from(buffer, HEADER_LEN_BYTES);
                    line.entries = parsed.entries.len();
                    match parsed.damage {
                        None => {}
                        Some(Damage::Empty) => line.state = "empty".to_owned(),
                        Some(damage) => drop(line.damage.get_or_insert(damage.to_string())),
                    }
                }
                Err(err) => line.damage = Some(sentence(&err)),
            }
        }
        Err(err) => line.damage = Some(sentence(&err)),
    }
    line
}

impl ShardLine {
    /// Takes over what its process says.
    fn follow(&mut self, processes: &BTreeMap<String, ProcessPage>) {
        let name = original_of_retiring(&self.file).unwrap_or(&self.file);
        let process = ShardName::parse(name)
            .ok()
            .and_then(|name| processes.get(&name.id));
        self.program = process.map(|process| process.program().to_owned());
        let mut states = Vec::new();
        if original_of_retiring(&self.file).is_some() {
            states.push("being retired");
        }
        if !self.state.is_empty() {
            states.push(&self.state);
        }
        states.push(match process.map(ProcessPage::state) {
            Some("runs") => "its process runs",
            Some("ended") => "its process has ended",
            _ => "process not known",
        });
        self.state = states.join(", ");
    }
}

impl Page for ShardDirectoryPage {
    fn lines(&self) -> Vec<String> {
        let kinds: Vec<String> = self
            .by_kind
            .iter()
            .map(|(kind, count)| format!("{count} {kind}"))
            .collect();
        let shards = match kinds.is_empty() {
            true => self.shard_count.to_string(),
            false => format!("{} ({})", self.shard_count, kinds.join(", ")),
        };
        let mut lines = aligned(&[
            row(["what", "shard directory"]),
            row(["shards", &shards]),
            row(["unreadable", &self.unreadable_count.to_string()]),
            row(["entries", &self.entry_count.to_string()]),
            row(["bytes", &self.len_bytes.to_string()]),
            row(["other files", &self.other_files.to_string()]),
        ]);
        if !self.shards.is_empty() {
            let mut rows = vec![row([
                "SHARD", "KIND", "BYTES", "ENTRIES", "PROGRAM", "STATE", "DAMAGE",
            ])];
            rows.extend(self.shards.iter().map(|shard| {
                row([
                    &shard.file,
                    shard.kind.unwrap_or("-"),
                    &shard.len_bytes.to_string(),
                    &shard.entries.to_string(),
                    shard.program.as_deref().unwrap_or("-"),
                    &shard.state,
                    shard.damage.as_deref().unwrap_or("none"),
                ])
            }));
            lines.extend(aligned(&rows));
            lines.extend(left_out(self.shards_left_out, "shards"));
        }
        if !self.processes.is_empty() {
            let mut rows = vec![row(["WRITER", "PROCESS"])];
            let processes = self.processes.iter();
            rows.extend(processes.map(|(id, process)| row([id, &process.summary()])));
            lines.extend(aligned(&rows));
            lines.extend(left_out(self.processes_left_out, "processes"));
        }
        lines
    }
}
