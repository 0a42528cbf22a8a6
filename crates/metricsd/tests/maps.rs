//! Shards that the collector keeps mapped: whatever somebody does to their files, what is shown is what a collector shows that reads
//! them for the first time.

mod common;
#[path = "common/overlay.rs"]
mod overlay;
#[path = "common/watch.rs"]
mod watch;

use std::fs::{self, File, OpenOptions};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::eventually;
use common::shards::{key, shard_bytes};
use metricsd::collect::{Collector, Locking};
use metricsd::directory::ShardDirectory;
use metricsd::liveness::Answers;
use metricsd::policy::Policy;
use metricsd_exporter::{Family, Value, write_text};
use metricsd_shard::{Key, file_system_supports_leases};
use overlay::Overlay;
use tempfile::TempDir;
use watch::skip;

/// Longer than it takes until a file's times are believed, and the file is mapped.
const BELIEVED_AFTER: Duration = Duration::from_millis(500);

/// A new directory whose files are mapped: in memory if the usual place is on another file system (overlayfs in a container).
fn folder() -> TempDir {
    let usual = tempfile::tempdir().expect("a folder");
    let opened = File::open(usual.path()).expect("a folder that can be read");
    match file_system_supports_leases(opened.as_fd()) {
        Ok(_) => usual,
        Err(_) => tempfile::tempdir_in("/dev/shm").expect("a folder in memory"),
    }
}

fn collector(directory: &Path) -> Collector {
    let directory = ShardDirectory::open(directory).expect("a directory");
    Collector::new(directory, Locking::None, Policy::default(), 1000)
}

fn page(collector: &mut Collector) -> String {
    let (_, outcome) = collector.collect(&Answers::new());
    outcome.expect("a readable directory");
    let mut text = Vec::new();
    write_text(collector.families(), &mut text);
    String::from_utf8(text).expect("exposition is UTF-8")
}

/// What is wrong with each shard, by name.
fn defects(collector: &Collector) -> Vec<(String, Option<&'static str>)> {
    let shards = collector.shards().iter();
    shards
        .map(|shard| (shard.file_name().to_owned(), shard.defect_reason()))
        .collect()
}

/// How many ranges of this process are maps of files in the directory.
fn map_count(directory: &Path) -> usize {
    let maps = fs::read_to_string("/proc/self/maps").expect("procfs");
    let directory = directory.to_str().expect("a path in UTF-8");
    maps.lines().filter(|line| line.contains(directory)).count()
}

/// Collects until so many shards are mapped: not before their times are so old that a later change would leave others.
fn until_mapped(collector: &mut Collector, directory: &Path, count: usize) -> String {
    eventually("the shards to be mapped", || {
        let text = page(collector);
        match map_count(directory) {
            found if found >= count => Ok(text),
            found => Err(format!("{found} of {count}")),
        }
    })
}

fn entries(shard: usize, count: usize) -> Vec<(Key, f64)> {
    let numbered = |number: usize| {
        let labels = [
            ("shard", &*shard.to_string()),
            ("number", &*number.to_string()),
        ];
        (key("a", "a_total", &labels), 1.0 + number as f64)
    };
    (0..count).map(numbered).collect()
}

fn name(shard: usize) -> String {
    format!("counter_{}.db", 1000 + shard)
}

#[test]
fn what_is_done_to_a_mapped_file_shows_as_to_who_reads_it_for_the_first_time() {
    let folder = folder();
    let directory = folder.path();
    let bytes: Vec<Vec<u8>> = (0..150)
        .map(|shard| shard_bytes(&entries(shard, 60)))
        .collect();
    for (shard, bytes) in bytes.iter().enumerate() {
        fs::write(directory.join(name(shard)), bytes).unwrap();
    }
    let mut kept = collector(directory);
    let before = until_mapped(&mut kept, directory, bytes.len());
    assert!(before == page(&mut collector(directory)));
    for (shard, bytes) in bytes.iter().enumerate() {
        let path = directory.join(name(shard));
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        let cut = (shard / 5 * 311 % bytes.len()) as u64;
        match shard % 5 {
            0 => file.set_len(cut).unwrap(),
            1 => {
                file.set_len(cut).unwrap();
                file.set_len(bytes.len() as u64).unwrap();
            }
            2 => {
                file.set_len(cut).unwrap();
                file.write_all_at(bytes, 0).unwrap();
            }
            // A store, and a length that is none.
            3 => file
                .write_all_at(&42.0_f64.to_le_bytes(), cut / 8 * 8)
                .unwrap(),
            _ => file.write_all_at(&[0xff; 4], 0).unwrap(),
        }
    }
    let after = page(&mut kept);
    let mut first = collector(directory);
    let expected = page(&mut first);
    let differs = after.lines().zip(expected.lines()).find(|(a, b)| a != b);
    assert_eq!(differs, None);
    assert_eq!(after.len(), expected.len());
    assert_eq!(defects(&kept), defects(&first));
    assert!(after != before, "nothing that was done shows");
}

#[test]
fn a_file_that_differs_from_its_siblings_in_any_byte_shows_what_is_in_it() {
    let folder = folder();
    let directory = folder.path();
    let entries = entries(0, 60);
    let usual = shard_bytes(&entries);
    let used = usual.iter().rposition(|byte| *byte != 0).unwrap();
    for shard in 0..360 {
        let mut bytes = usual.clone();
        let place = shard * 331 % used;
        match shard % 6 {
            0 => bytes[place] ^= 1 << (shard / 6 % 8),
            1 => bytes.truncate(place),
            2 => bytes = shard_bytes(&entries[..place % entries.len()]),
            3 => bytes[place..place + 8].copy_from_slice(&[0; 8]),
            _ => {}
        }
        fs::write(directory.join(name(shard)), bytes).unwrap();
    }
    // Whoever may keep no file open knows of none what others have, and maps none.
    let expected = |text: &str, collector: &Collector| {
        let directory = ShardDirectory::open(directory).expect("a directory");
        let mut alone = Collector::new(directory, Locking::None, Policy::default(), 0);
        let expected = page(&mut alone);
        let differs = text.lines().zip(expected.lines()).find(|(a, b)| a != b);
        assert_eq!(differs, None);
        assert_eq!(text.len(), expected.len());
        assert_eq!(defects(collector), defects(&alone));
    };
    // At its first look, as soon as the files' times are believed, a collector has maps of those that are like others.
    let mut kept = eventually("files that are known by others", || {
        let mut first = collector(directory);
        let text = page(&mut first);
        expected(&text, &first);
        match map_count(directory) {
            count if count >= 100 => Ok(first),
            count => Err(format!("{count} maps")),
        }
    });
    for shard in 0..360 {
        let path = directory.join(name(shard));
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        let place = (used - 16) / 8 * 8;
        file.write_all_at(&(shard as f64).to_le_bytes(), place as u64)
            .unwrap();
    }
    let until = Instant::now() + BELIEVED_AFTER;
    while Instant::now() < until {
        let text = page(&mut kept);
        expected(&text, &kept);
    }
}

#[test]
fn stores_through_a_mapping_and_new_entries_show_in_the_next_collection() {
    let folder = folder();
    let directory = folder.path();
    let path = directory.join(name(0));
    let all = entries(0, 300);
    let (whole, half) = (shard_bytes(&all), shard_bytes(&all[..40]));
    // As long as it will be, so that a later entry changes its header alone.
    let mut begun = half.clone();
    begun.resize(whole.len(), 0);
    fs::write(&path, begun).unwrap();
    let mut kept = collector(directory);
    let text = until_mapped(&mut kept, directory, 1);
    assert_eq!(text.matches("a_total{").count(), 40);
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    for count in [41, 42, 300] {
        let next = shard_bytes(&all[..count]);
        // The entries before the length that counts them.
        file.write_all_at(&next[8..], 8).unwrap();
        file.write_all_at(&next[..8], 0).unwrap();
        let text = page(&mut kept);
        assert_eq!(text.matches("a_total{").count(), count);
        until_mapped(&mut kept, directory, 1);
        assert!(page(&mut kept) == page(&mut collector(directory)));
    }
}

/// Cut at whole pages, where a load faults, while collections run. A value that stood in the page may be missing afterwards; it must
/// never be the zero that took its place.
#[test]
fn no_value_of_a_page_that_was_cut_away_is_ever_shown() {
    const SHARDS: usize = 24;
    let folder = folder();
    let directory = folder.path();
    let bytes: Vec<Vec<u8>> = (0..SHARDS)
        .map(|shard| shard_bytes(&entries(shard, 400)))
        .collect();
    let files: Vec<File> = (0..SHARDS)
        .map(|shard| {
            fs::write(directory.join(name(shard)), &bytes[shard]).unwrap();
            let path = directory.join(name(shard));
            OpenOptions::new().write(true).open(path).unwrap()
        })
        .collect();
    let mut kept = collector(directory);
    let shown = |family: &Family| {
        let values = family.series.iter().map(|series| match series.value {
            Value::Single(value) => value,
            _ => f64::NAN,
        });
        values.collect::<Vec<f64>>()
    };
    for round in 0..12 {
        until_mapped(&mut kept, directory, SHARDS);
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for (file, bytes) in files.iter().zip(&bytes) {
                    let cut = (round % 4 + 1) * rustix::param::page_size();
                    file.set_len(cut as u64).unwrap();
                    std::thread::sleep(Duration::from_micros(50 * (round as u64 % 3)));
                    // In pieces, each of which makes the file longer when it is there.
                    file.write_all_at(&bytes[cut..], cut as u64).unwrap();
                }
                is_over.store(true, Ordering::Release);
            });
            while !is_over.load(Ordering::Acquire) {
                page(&mut kept);
                for value in kept.families().iter().flat_map(shown) {
                    assert!(value >= 1.0, "round {round}: {value}");
                }
            }
        });
    }
    let text = page(&mut kept);
    assert_eq!(text.matches("a_total{").count(), SHARDS * 400);
}

#[test]
fn a_file_that_was_emptied_and_written_again_is_mapped_again() {
    let folder = folder();
    let directory = folder.path();
    let path = directory.join(name(0));
    let bytes = shard_bytes(&entries(0, 60));
    fs::write(&path, &bytes).unwrap();
    let mut kept = collector(directory);
    let before = until_mapped(&mut kept, directory, 1);
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(0).unwrap();
    assert_eq!(page(&mut kept).matches("a_total{").count(), 0);
    file.write_all_at(&bytes, 0).unwrap();
    assert!(until_mapped(&mut kept, directory, 1) == before);
}

/// On overlayfs the first writer of a file from a lower layer makes an upper one. Who has the lower one open reads the upper one from then
/// on, and maps the lower one.
#[test]
fn what_a_writer_stores_into_a_file_of_a_lower_layer_shows() {
    let folder = folder();
    let overlay = Overlay::mount(folder.path(), |lower| {
        fs::write(lower.join(name(0)), shard_bytes(&entries(0, 2))).unwrap();
    });
    let overlay = match overlay {
        Ok(overlay) => overlay,
        Err(why) => {
            return skip(
                "what_a_writer_stores_into_a_file_of_a_lower_layer_shows",
                &why,
            );
        }
    };
    let mut kept = collector(overlay.path());
    let mut shows = |expected: &str| {
        let since = Instant::now();
        while since.elapsed() < BELIEVED_AFTER {
            let text = page(&mut kept);
            let first = text.lines().find(|line| line.contains("number=\"0\""));
            let value = first.and_then(|line| line.rsplit(' ').next());
            assert_eq!(value, Some(expected), "after {:?}", since.elapsed());
        }
    };
    shows("1.0");
    let mut stored = entries(0, 2);
    stored[0].1 = 200.0;
    let path = overlay.path().join(name(0));
    let file = OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(&shard_bytes(&stored), 0).unwrap();
    shows("200.0");
}
