//! Maps for reading: what somebody does to a mapped file never shows as a value, and never ends the process.
#![allow(
    clippy::unwrap_used,
    reason = "a test ends at the first thing that does not hold"
)]

use std::fs::{self, File, OpenOptions};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use metricsd_shard::{
    HEADER_LEN_BYTES, Lost, ShardFile, encode_entry, encode_header, file_system_supports_leases,
    ignore_sigio, parse_from,
};
use tempfile::TempDir;

/// Entries of this many pages and a half; value number i is i + 1, its timestamp twice that.
const PAGES: usize = 3;

/// A new directory where files are mapped: in memory if the usual place is on another file system (overlayfs in a container).
fn folder() -> TempDir {
    let usual = tempfile::tempdir().unwrap();
    match file_system_supports_leases(File::open(usual.path()).unwrap().as_fd()) {
        Ok(_) => usual,
        Err(_) => tempfile::tempdir_in("/dev/shm").unwrap(),
    }
}

fn shard_bytes() -> Vec<u8> {
    let mut body = Vec::new();
    let mut number = 0.0;
    while HEADER_LEN_BYTES + body.len() < PAGES * rustix::param::page_size() - 2048 {
        number += 1.0;
        let key = format!(r#"["a", "a_total", {{"number": "{number}"}}, "h"]"#);
        body.extend(encode_entry(key.as_bytes(), number, number * 2.0));
    }
    let mut bytes = encode_header(HEADER_LEN_BYTES + body.len()).to_vec();
    bytes.extend(body);
    bytes
}

fn offsets(bytes: &[u8]) -> Vec<u32> {
    let entries = parse_from(bytes, HEADER_LEN_BYTES).entries.into_iter();
    entries
        .map(|entry| entry.value_offset.try_into().unwrap())
        .collect()
}

fn open(path: &Path) -> ShardFile {
    let directory = File::open(path.parent().unwrap()).unwrap();
    ShardFile::open_at(
        directory.as_fd(),
        path.file_name().unwrap().to_str().unwrap(),
    )
    .unwrap()
}

fn shard(folder: &TempDir, name: &str, bytes: &[u8]) -> (PathBuf, ShardFile) {
    let path = folder.path().join(name);
    fs::write(&path, bytes).unwrap();
    let file = open(&path);
    (path, file)
}

/// How many ranges of this process are maps of the folder's files.
fn map_count(folder: &TempDir) -> usize {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let folder = folder.path().to_str().unwrap();
    maps.lines().filter(|line| line.contains(folder)).count()
}

#[test]
fn a_map_shows_what_the_file_holds_now() {
    let folder = folder();
    let bytes = shard_bytes();
    let offsets = offsets(&bytes);
    let (path, file) = shard(&folder, "counter_1.db", &bytes);
    let mut map = file.map(bytes.len()).unwrap();
    assert_eq!(map.used_len_bytes(), bytes.len());
    let (mut values, mut timestamps) = (vec![0.0; offsets.len()], vec![0.0; offsets.len()]);
    assert_eq!(map.load(&offsets, &mut values), Ok(()));
    let expected: Vec<f64> = (1..=offsets.len()).map(|number| number as f64).collect();
    assert_eq!(values, expected);
    let writer = OpenOptions::new().write(true).open(&path).unwrap();
    writer
        .write_all_at(&7.5_f64.to_le_bytes(), u64::from(offsets[1]))
        .unwrap();
    writer
        .write_all_at(&8.5_f64.to_le_bytes(), u64::from(offsets[1]) + 8)
        .unwrap();
    assert_eq!(
        map.load_pairs(&offsets, &mut values, &mut timestamps),
        Ok(())
    );
    assert_eq!((values[0], values[1], values[2]), (1.0, 7.5, 3.0));
    assert_eq!(
        (timestamps[0], timestamps[1], timestamps[2]),
        (2.0, 8.5, 6.0)
    );
    assert_eq!(
        map.load(&[u32::try_from(map.len_bytes()).unwrap()], &mut [0.0]),
        Err(Lost),
        "beyond the map"
    );
    drop(map);
    assert_eq!(map_count(&folder), 0);
}

#[test]
fn keys_are_the_expected_ones_if_every_byte_that_is_no_value_is() {
    let folder = folder();
    let bytes = shard_bytes();
    let offsets = offsets(&bytes);
    let (path, file) = shard(&folder, "counter_1.db", &bytes);
    let words = |bytes: &[u8]| -> Vec<u64> {
        let chunks = bytes.chunks_exact(8);
        chunks
            .map(|chunk| u64::from_le_bytes(chunk.try_into().unwrap()))
            .collect()
    };
    let expected = words(&bytes);
    let mut map = file.map(bytes.len()).unwrap();
    assert!(map.has_keys(&offsets, &expected));
    let writer = OpenOptions::new().write(true).open(&path).unwrap();
    for place in 8..bytes.len() {
        let is_number = offsets
            .iter()
            .any(|&offset| (offset as usize..offset as usize + 16).contains(&place));
        let place = place as u64;
        writer
            .write_all_at(&[bytes[place as usize] ^ 1], place)
            .unwrap();
        assert_eq!(map.has_keys(&offsets, &expected), is_number, "at {place}");
        writer
            .write_all_at(&[bytes[place as usize]], place)
            .unwrap();
    }
    assert!(map.has_keys(&offsets, &expected));
    assert!(!map.has_keys(&offsets, &expected[..expected.len() - 4]));
    let beyond = u32::try_from(map.len_bytes()).unwrap() + 8;
    assert!(!map.has_keys(&[beyond], &vec![0; beyond as usize]));
    assert!(
        !map.has_keys(&[offsets[1], offsets[0]], &expected),
        "not ascending"
    );
    writer.set_len(offsets[1].into()).unwrap();
    assert!(!map.has_keys(&offsets, &expected), "cut");
}

#[test]
fn a_file_that_is_cut_anywhere_before_its_last_value_is_lost_to_its_map_for_good() {
    let folder = folder();
    let bytes = shard_bytes();
    let offsets = offsets(&bytes);
    let last_value = *offsets.last().unwrap() as usize;
    let (path, file) = shard(&folder, "counter_1.db", &bytes);
    let (mut values, mut timestamps) = (vec![0.0; offsets.len()], vec![0.0; offsets.len()]);
    for cut in (0..last_value).step_by(72).chain([last_value - 1]) {
        let mut maps = [
            file.map(bytes.len()).unwrap(),
            file.map(bytes.len()).unwrap(),
        ];
        let writer = OpenOptions::new().write(true).open(&path).unwrap();
        writer.set_len(cut as u64).unwrap();
        let [before, after] = &mut maps;
        assert_eq!(before.load(&offsets, &mut values), Err(Lost), "{cut}");
        writer.set_len(bytes.len() as u64).unwrap();
        // The file is as long as before; what the cut took is zeros.
        assert_eq!(
            after.load_pairs(&offsets, &mut values, &mut timestamps),
            Err(Lost),
            "{cut}, grown"
        );
        writer.write_all_at(&bytes, 0).unwrap();
        if cut % rustix::param::page_size() == 0 {
            // A page that was found missing is private zeros from then on, whatever the file has there by now.
            assert_eq!(
                before.load(&offsets, &mut values),
                Err(Lost),
                "{cut}, healed"
            );
        }
    }
    let mut map = file.map(bytes.len()).unwrap();
    assert_eq!(
        map.load(&offsets, &mut values),
        Ok(()),
        "a new map is whole"
    );
}

#[test]
fn an_empty_file_has_a_map_without_a_length() {
    let folder = folder();
    let (_, file) = shard(&folder, "counter_1.db", b"");
    let mut map = file.map(0).unwrap();
    assert_eq!(map.used_len_bytes(), 0);
    assert_eq!(map.load(&[16], &mut [0.0]), Err(Lost));
}

/// Cut ones among them, each of which is two ranges until it is given up.
#[test]
fn maps_that_are_given_up_leave_nothing_behind() {
    let folder = folder();
    let bytes = shard_bytes();
    let offsets = offsets(&bytes);
    let mut values = vec![0.0; offsets.len()];
    let (path, file) = shard(&folder, "counter_1.db", &bytes);
    let writer = OpenOptions::new().write(true).open(path).unwrap();
    for round in 0..2000 {
        let mut maps: Vec<_> = (0..10).map(|_| file.map(bytes.len()).unwrap()).collect();
        let is_cut = round % 10 == 0;
        if is_cut {
            writer.set_len(100).unwrap();
        }
        for map in &mut maps {
            assert_eq!(map.load(&offsets, &mut values).is_err(), is_cut);
        }
        // In another order than they came.
        maps.swap_remove(round % 10);
        if is_cut {
            writer.write_all_at(&bytes, 0).unwrap();
        }
        drop(maps);
    }
    assert_eq!(map_count(&folder), 0);
}

/// The lease of the liveness check is refused while anybody may write. Who only reads must not look like that, or no shard would ever be
/// retired.
#[test]
fn who_maps_for_reading_is_no_writer() {
    ignore_sigio().unwrap();
    let folder = folder();
    let bytes = shard_bytes();
    let (path, file) = shard(&folder, "counter_1.db", &bytes);
    let without = file.probe();
    let mut map = file.map(bytes.len()).unwrap();
    map.used_len_bytes();
    assert_eq!(file.probe(), without);
    // Nor is it when no descriptor is left but the map's.
    drop(file);
    assert_eq!(open(&path).probe(), without);
    assert_eq!(map.used_len_bytes(), bytes.len());
}
