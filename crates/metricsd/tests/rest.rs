//! Shards at rest are not read again; a store into one of them is in the next collection all the same. On ext4 this rests on what the
//! kernel does at a page fault, so a real mapping of another process is what stores here.

mod common;

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, SystemTime};

use common::shards::{counter, write_shard};
use metricsd::collect::{Collector, Locking};
use metricsd::directory::ShardDirectory;
use metricsd::liveness::LivenessWatch;
use metricsd::policy::Policy;
use metricsd_exporter::Value;

/// Collector and liveness thread, as the daemon has them.
struct Collecting {
    collector: Collector,
    liveness: LivenessWatch,
}

impl Collecting {
    fn start(directory: &Path) -> Collecting {
        metricsd_shard::ignore_sigio().expect("a signal that can be ignored");
        let directory = ShardDirectory::open(directory).expect("a directory");
        let collector = Collector::new(directory, Locking::None, Policy::default(), 100);
        Collecting {
            collector,
            liveness: LivenessWatch::start().expect("a thread"),
        }
    }

    /// The value of the only series, and whether its shard was spared the reading.
    fn collect(&mut self) -> (f64, bool) {
        let (collected, outcome) = self.collector.collect(&self.liveness.answers());
        outcome.expect("a readable directory");
        if collected.sources_changed {
            self.liveness
                .follow(self.collector.directory(), self.collector.shards())
                .expect("a descriptor");
            assert!(self.liveness.settle(common::DEADLINE), "the thread answers");
        }
        match self.collector.families()[0].series[0].value {
            Value::Single(value) => (value, collected.at_rest_count == 1),
            ref other => panic!("{other:?} is no counter"),
        }
    }
}

/// The other process.
struct MappedWriter {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl MappedWriter {
    fn open(python: &Path, file: &Path, offset: usize) -> MappedWriter {
        let mut child = Command::new(python)
            .arg(common::script("mapped_writer.py"))
            .arg(file)
            .arg(offset.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("Python starts");
        let output = BufReader::new(child.stdout.take().expect("piped"));
        let mut writer = MappedWriter { child, output };
        writer.expect("open");
        writer
    }

    fn tell(&mut self, command: &str) {
        writeln!(self.child.stdin.as_mut().expect("piped"), "{command}").expect("Python reads");
        self.expect(command);
    }

    fn expect(&mut self, words: &str) {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("Python answers");
        assert_eq!(line.trim(), words);
    }
}

impl Drop for MappedWriter {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A shard that was written long ago, the place of its value, and a collector that has had the time to find it at rest.
fn an_old_shard(directory: &Path) -> (std::path::PathBuf, usize, Collecting) {
    let path = write_shard(directory, "counter_1.db", &[(counter("a"), 1.0)]);
    let long_ago = SystemTime::now() - Duration::from_secs(60);
    File::options()
        .write(true)
        .open(&path)
        .and_then(|file| file.set_modified(long_ago))
        .expect("our own file");
    // The change time cannot be set; it has to grow old.
    common::eventually("an old change time", || {
        let file = std::fs::metadata(&path).expect("our own file");
        let changed =
            SystemTime::UNIX_EPOCH + Duration::new(file.ctime() as u64, file.ctime_nsec() as u32);
        match SystemTime::now().duration_since(changed) {
            Ok(age) if age > Duration::from_millis(200) => Ok(()),
            age => Err(format!("{age:?}")),
        }
    });
    let offset = 8 + metricsd_shard::value_offset_bytes(counter("a").encode().len());
    let mut collecting = Collecting::start(directory);
    for _ in 0..3 {
        assert_eq!(collecting.collect().0, 1.0);
    }
    (path, offset, collecting)
}

/// Opens, looks (which maps the page), stores, and stores again into the page that is writable by now.
fn every_store_is_seen(python: &Path, directory: &Path) {
    let (path, offset, mut collecting) = an_old_shard(directory);
    let mut writer = MappedWriter::open(python, &path, offset);
    writer.tell("look");
    collecting.collect();
    let mut value = 1.0;
    for command in ["", "", "flush", "", "flush", "look", ""] {
        value += 1.0;
        writer.tell(&format!("store {value}"));
        assert_eq!(
            collecting.collect(),
            (value, false),
            "stored while the writer lives"
        );
        if !command.is_empty() {
            writer.tell(command);
        }
        assert_eq!(collecting.collect().0, value);
    }
    writer.tell("store 99");
    writer.tell("close");
    assert_eq!(collecting.collect().0, 99.0, "stored just before the end");
    let mut second = MappedWriter::open(python, &path, offset);
    second.tell("store 100");
    assert_eq!(collecting.collect().0, 100.0, "a second writer");
}

#[test]
fn stores_into_a_shard_that_was_at_rest_are_in_the_next_collection() {
    let name = "stores_into_a_shard_that_was_at_rest_are_in_the_next_collection";
    let Some(python) = common::python(name) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    every_store_is_seen(&python, folder.path());
    // tmpfs, where a store leaves no trace in the file's times.
    if Path::new("/dev/shm").is_dir() {
        let folder = tempfile::tempdir_in("/dev/shm").unwrap();
        every_store_is_seen(&python, folder.path());
    }
}

#[test]
fn a_shard_at_rest_is_not_read_where_the_file_system_tells_of_stores() {
    let folder = tempfile::tempdir().unwrap();
    let (path, _, mut collecting) = an_old_shard(folder.path());
    let directory = File::open(folder.path()).unwrap();
    let kind = metricsd_shard::file_system_supports_leases(std::os::fd::AsFd::as_fd(&directory));
    let tells = matches!(
        kind,
        Ok(metricsd_shard::FileSystem::Ext4
            | metricsd_shard::FileSystem::Xfs
            | metricsd_shard::FileSystem::Btrfs)
    );
    assert_eq!(collecting.collect(), (1.0, tells));
    // Written in place by other means than a mapping.
    std::fs::write(&path, common::shards::shard_bytes(&[(counter("a"), 5.0)])).unwrap();
    assert_eq!(collecting.collect(), (5.0, false));
}

#[test]
fn stores_are_seen_although_somebody_puts_the_modification_time_back() {
    let name = "stores_are_seen_although_somebody_puts_the_modification_time_back";
    let Some(python) = common::python(name) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let (path, offset, mut collecting) = an_old_shard(folder.path());
    let modified = std::fs::metadata(&path).unwrap().modified().unwrap();
    let mut writer = MappedWriter::open(&python, &path, offset);
    writer.tell("store 2");
    let file = File::options().write(true).open(&path).unwrap();
    file.set_modified(modified).unwrap();
    drop(file);
    // Read until it is no longer parsed, which is when the times may be believed again.
    common::eventually("an old change time", || {
        assert_eq!(collecting.collect().0, 2.0);
        let changed = std::fs::metadata(&path).unwrap();
        let changed = SystemTime::UNIX_EPOCH
            + Duration::new(changed.ctime() as u64, changed.ctime_nsec() as u32);
        match SystemTime::now().duration_since(changed) {
            Ok(age) if age > Duration::from_millis(200) => Ok(()),
            age => Err(format!("{age:?}")),
        }
    });
    collecting.collect();
    for value in [3.0, 4.0, 5.0] {
        writer.tell(&format!("store {value}"));
        assert_eq!(collecting.collect(), (value, false));
    }
}
