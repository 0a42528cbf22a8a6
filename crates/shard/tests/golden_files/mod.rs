//! The golden shards under `fixtures/` and what Python's own reader reads from them. See `fixtures/README.md`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use metricsd_shard::Key;
use serde::Deserialize;

/// Releases whose files are served.
pub(crate) const CURRENT: [&str; 9] = [
    "0.18.0", "0.19.0", "0.20.0", "0.21.1", "0.22.0", "0.23.1", "0.24.0", "0.25.0", "0.26.0",
];

/// Releases whose files are refused.
pub(crate) const OLD: [&str; 8] = [
    "0.0.16", "0.2.0", "0.4.0", "0.8.0", "0.12.0", "0.15.0", "0.16.0", "0.17.0",
];

/// One golden shard.
pub(crate) struct Golden {
    pub(crate) path: PathBuf,
    pub(crate) bytes: Vec<u8>,
    /// In file order; empty for old releases.
    pub(crate) expected: Vec<Expected>,
}

/// One entry as Python reads it.
#[derive(Clone, Deserialize)]
pub(crate) struct Expected {
    pub(crate) key: String,
    family: String,
    sample: String,
    labels: Vec<(String, String)>,
    help: String,
    value_bits: String,
    timestamp_bits: String,
    pub(crate) value_offset: usize,
}

impl Expected {
    /// The key as Python's `json.loads` takes it apart.
    pub(crate) fn parsed_key(&self) -> Key {
        let Expected {
            family,
            sample,
            labels,
            help,
            ..
        } = self.clone();
        Key {
            family,
            sample,
            labels,
            help,
        }
    }

    /// Bits of value and timestamp.
    pub(crate) fn bits(&self) -> (u64, u64) {
        (
            self.value_bits.parse().unwrap(),
            self.timestamp_bits.parse().unwrap(),
        )
    }

    /// Where the entry begins and ends in the file.
    pub(crate) fn range(&self) -> std::ops::Range<usize> {
        let end = self.value_offset + 16;
        end - metricsd_shard::entry_len_bytes(self.key.len())..end
    }
}

/// All golden shards of these releases.
pub(crate) fn of(versions: &[&str]) -> Vec<Golden> {
    versions
        .iter()
        .flat_map(|version| of_version(version))
        .collect()
}

/// Those that differ in their bytes: releases from 0.18 to 0.26 write the same.
pub(crate) fn distinct(versions: &[&str]) -> Vec<Golden> {
    let mut seen = std::collections::HashSet::new();
    of(versions)
        .into_iter()
        .filter(|golden| seen.insert(golden.bytes.clone()))
        .collect()
}

fn of_version(version: &str) -> Vec<Golden> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(version);
    let mut expected: BTreeMap<String, Vec<Expected>> = match fs::read(dir.join("expected.json")) {
        Ok(text) => serde_json::from_slice(&text).unwrap(),
        Err(_) => BTreeMap::new(),
    };
    let mut paths: Vec<PathBuf> = fs::read_dir(&dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "db"));
    paths.sort();
    assert!(paths.len() >= 9, "{} has too few shards", dir.display());
    paths
        .into_iter()
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap();
            Golden {
                bytes: fs::read(&path).unwrap(),
                expected: expected.remove(name).unwrap_or_default(),
                path,
            }
        })
        .collect()
}

/// What the header says.
pub(crate) fn used_len(bytes: &[u8]) -> usize {
    i32::from_le_bytes(bytes[..4].try_into().unwrap())
        .try_into()
        .unwrap()
}
