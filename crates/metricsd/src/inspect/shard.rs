//! One shard: header, entries, damage, and who writes it as far as files tell.
//!
//! Invariant: what is shown is the valid prefix that the daemon would serve, and what is wrong behind it. Must not ask the kernel
//! for a lease: a writer that opens meanwhile would wait.

use std::os::fd::AsFd;
use std::path::Path;

use metricsd_shard::{
    Damage, FileKind, HEADER_LEN_BYTES, Key, ShardName, original_of_retiring, parse_from,
    read_value,
};
use rustix::fs::{Mode, OFlags};
use serde::Serialize;

use super::process::ProcessPage;
use super::table::{aligned, hex, left_out, number, row, series, time};
use super::{InspectError, Limit, Page, open_shard};
use crate::archive::SeriesKind;
use crate::books::identity_key;
use crate::clock::unix_seconds;

/// A shard.
#[derive(Debug, Serialize)]
pub(super) struct ShardPage {
    what: &'static str,
    /// As file names spell it, gauge mode included; none if the name says nothing.
    kind: Option<&'static str>,
    writer: Option<String>,
    is_retiring: bool,
    identity: String,
    len_bytes: u64,
    used_len_bytes: Option<i32>,
    modified: String,
    owner_uid: u32,
    links: u64,
    process: Option<ProcessPage>,
    entry_count: usize,
    entries: Vec<EntryLine>,
    left_out: usize,
    damage: Option<String>,
}

/// An entry.
#[derive(Debug, Serialize)]
struct EntryLine {
    offset: usize,
    #[serde(skip)]
    series: String,
    family: String,
    sample: String,
    labels: Vec<(String, String)>,
    help: String,
    value: String,
    timestamp: Option<String>,
}

/// Reads the shard at a path.
pub(super) fn look(
    path: &Path,
    folder: &Path,
    name: &str,
    limit: Limit,
) -> Result<ShardPage, InspectError> {
    let file = open_shard(path, folder, name)?;
    let failed = |source| InspectError::Read {
        path: path.to_owned(),
        source,
    };
    let stat = file.stat().map_err(failed)?;
    let mut bytes = Vec::new();
    file.read_used(&mut bytes)
        .map_err(|err| failed(err.source))?;
    let parsed = parse_from(&bytes, HEADER_LEN_BYTES);
    match &parsed.damage {
        Some(damage) if parsed.entries.is_empty() && *damage != Damage::Empty => {
            return Err(InspectError::NotOurs {
                path: path.to_owned(),
                found: format!("nothing to be read as a shard: {damage}"),
            });
        }
        _ => {}
    }
    let parsed_name = ShardName::parse(original_of_retiring(name).unwrap_or(name)).ok();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let process = rustix::fs::open(folder, flags, Mode::empty())
        .ok()
        .zip(parsed_name.as_ref())
        .and_then(|(folder, name)| ProcessPage::beside(folder.as_fd(), &name.id));
    let shown = limit.of(parsed.entries.len());
    let entries = parsed.entries.iter().take(shown).map(|entry| {
        let (value, timestamp) = read_value(&bytes, entry.value_offset);
        entry_line(entry.key, entry.value_offset, value, timestamp)
    });
    Ok(ShardPage {
        what: "shard",
        kind: parsed_name.as_ref().map(|name| spelled(name.kind)),
        writer: parsed_name.map(|name| name.id),
        is_retiring: original_of_retiring(name).is_some(),
        identity: hex(identity_key(&file.identity()).as_bytes()),
        len_bytes: stat.len_bytes,
        used_len_bytes: bytes
            .first_chunk()
            .map(|header| i32::from_le_bytes(*header)),
        modified: time(unix_seconds(stat.modified)),
        owner_uid: stat.owner_uid,
        links: stat.link_count,
        process,
        entry_count: parsed.entries.len(),
        entries: entries.collect(),
        left_out: parsed.entries.len() - shown,
        damage: parsed.damage.map(|damage| damage.to_string()),
    })
}

/// Type and mode as file names spell them.
pub(super) fn spelled(kind: FileKind) -> &'static str {
    SeriesKind::from(kind).as_str()
}

fn entry_line(key: &[u8], offset: usize, value: f64, timestamp: f64) -> EntryLine {
    // The reader gives valid keys only; another one is shown as its bytes.
    let parsed = Key::parse(key).unwrap_or_else(|_| Key {
        family: String::new(),
        sample: String::from_utf8_lossy(key).into_owned(),
        labels: Vec::new(),
        help: String::new(),
    });
    EntryLine {
        offset,
        series: series(key),
        family: parsed.family,
        sample: parsed.sample,
        labels: parsed.labels,
        help: parsed.help,
        value: number(value),
        timestamp: (timestamp != 0.0).then(|| time(timestamp)),
    }
}

impl Page for ShardPage {
    fn lines(&self) -> Vec<String> {
        let process = match &self.process {
            Some(process) => process.summary(),
            None => "no sidecar says (a writer of Python has none)".to_owned(),
        };
        let used = self
            .used_len_bytes
            .map_or("-".to_owned(), |used| used.to_string());
        let retiring = if self.is_retiring {
            ", being retired"
        } else {
            ""
        };
        let mut lines = aligned(&[
            row(["what", &format!("shard{retiring}")]),
            row(["kind", self.kind.unwrap_or("the name does not say")]),
            row(["writer", self.writer.as_deref().unwrap_or("-")]),
            row(["process", &process]),
            row(["identity", &self.identity]),
            row(["size", &format!("{} bytes, {used} in use", self.len_bytes)]),
            row(["modified", &self.modified]),
            row([
                "owner",
                &format!("uid {}, {} names", self.owner_uid, self.links),
            ]),
            row(["damage", self.damage.as_deref().unwrap_or("none")]),
            row(["entries", &self.entry_count.to_string()]),
        ]);
        if self.entries.is_empty() {
            return lines;
        }
        let mut rows = vec![row(["OFFSET", "VALUE", "SET AT", "SERIES"])];
        rows.extend(self.entries.iter().map(|entry| {
            let set_at = entry.timestamp.as_deref().unwrap_or("-");
            row([
                &entry.offset.to_string(),
                &entry.value,
                set_at,
                &entry.series,
            ])
        }));
        lines.extend(aligned(&rows));
        lines.extend(left_out(self.left_out, "entries"));
        lines
    }
}
