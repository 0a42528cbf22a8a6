//! What stands in the shards of a directory, read by this crate's own reader.
#![allow(dead_code, reason = "not every test binary uses all of it")]

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::Path;

use metricsd_shard::{
    FileKind, HEADER_LEN_BYTES, Key, ShardName, parse_from, process_file_id, read_value,
};

/// One entry: value and timestamp.
pub(crate) type Value = (f64, f64);

/// A shard, read whole.
#[derive(Debug)]
pub(crate) struct Shard {
    pub(crate) kind: FileKind,
    pub(crate) id: String,
    /// By sample name and labels; of what adds up the sum over all entries of that key.
    pub(crate) values: BTreeMap<(String, Vec<(String, String)>), Value>,
}

impl Shard {
    /// The value of the sample without labels; none if there is no such entry.
    pub(crate) fn get(&self, sample: &str) -> Option<f64> {
        let key = (sample.to_owned(), Vec::new());
        self.values.get(&key).map(|(value, _)| *value)
    }
}

/// All shards of a directory. Every file that readers list must be whole.
pub(crate) fn read_all(dir: &Path) -> Vec<Shard> {
    let mut shards = Vec::new();
    for file in std::fs::read_dir(dir).unwrap() {
        let file = file.unwrap();
        let name = file.file_name().into_string().unwrap();
        if let Ok(name) = ShardName::parse(&name) {
            let bytes = std::fs::read(file.path()).unwrap();
            shards.push(parse(name, &bytes));
        }
    }
    shards.sort_by(|a, b| (a.kind, &a.id).cmp(&(b.kind, &b.id)));
    shards
}

pub(crate) fn parse(name: ShardName, bytes: &[u8]) -> Shard {
    let parsed = parse_from(bytes, HEADER_LEN_BYTES);
    assert_eq!(parsed.damage, None, "{}", name.file_name());
    let mut values = BTreeMap::new();
    for entry in parsed.entries {
        let key = Key::parse(entry.key).unwrap();
        assert_eq!(
            key.encode().as_bytes(),
            entry.key,
            "spelled as Python spells it"
        );
        let read = read_value(bytes, entry.value_offset);
        match values.entry((key.sample, key.labels)) {
            Entry::Vacant(place) => {
                place.insert(read);
            }
            // One for each thread that recorded.
            Entry::Occupied(mut place) => {
                assert!(adds_up(name.kind), "{}: one entry a key", name.file_name());
                place.get_mut().0 += read.0;
            }
        }
    }
    Shard {
        kind: name.kind,
        id: name.id,
        values,
    }
}

fn adds_up(kind: FileKind) -> bool {
    use FileKind::{Counter, Histogram, Summary};
    matches!(kind, Counter | Histogram | Summary)
}

/// The value of a sample without labels, added up over all shards of the directory.
pub(crate) fn total(dir: &Path, sample: &str) -> f64 {
    read_all(dir)
        .iter()
        .filter_map(|shard| shard.get(sample))
        .sum()
}

/// The IDs of the sidecars.
pub(crate) fn sidecar_ids(dir: &Path) -> Vec<String> {
    let mut ids: Vec<String> = std::fs::read_dir(dir)
        .unwrap()
        .filter_map(|file| {
            let name = file.unwrap().file_name().into_string().unwrap();
            process_file_id(&name).map(str::to_owned)
        })
        .collect();
    ids.sort();
    ids
}
