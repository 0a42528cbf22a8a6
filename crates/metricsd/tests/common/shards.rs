//! Shard files made by hand, byte by byte as the format has them.

use std::fs;
use std::path::{Path, PathBuf};

use metricsd_shard::{Key, encode_entry, encode_header};

/// A key with labels given as pairs.
pub fn key(family: &str, sample: &str, labels: &[(&str, &str)]) -> Key {
    let mut labels: Vec<(String, String)> = labels
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    labels.sort();
    Key {
        family: family.to_owned(),
        sample: sample.to_owned(),
        labels,
        help: "h".to_owned(),
    }
}

/// The key of a counter without labels.
pub fn counter(name: &str) -> Key {
    key(name, &format!("{name}_total"), &[])
}

/// The bytes of a file with these entries, and room for more.
pub fn shard_bytes(entries: &[(Key, f64)]) -> Vec<u8> {
    let body: Vec<u8> = entries
        .iter()
        .flat_map(|(key, value)| encode_entry(key.encode().as_bytes(), *value, 0.0))
        .collect();
    let mut bytes = encode_header(8 + body.len()).to_vec();
    bytes.extend(body);
    bytes.resize(bytes.len().max(4096), 0);
    bytes
}

/// Writes a shard that nobody has open afterwards.
pub fn write_shard(directory: &Path, name: &str, entries: &[(Key, f64)]) -> PathBuf {
    let path = directory.join(name);
    fs::write(&path, shard_bytes(entries)).expect("a writable directory");
    path
}
