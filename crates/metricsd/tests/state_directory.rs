//! The state directory on real file systems: how it is made, where it may be, and its lock against another process.

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use metricsd::archive::Storage;
use metricsd::directory::ShardDirectory;
use metricsd::state_directory::{Durability, NotDurableReason, StateDirectory};

/// In a child of these tests: the directory to lock.
const LOCK_VARIABLE: &str = "METRICSD_TEST_LOCK_DIRECTORY";

/// A file system in memory, on every Linux.
const IN_MEMORY: &str = "/dev/shm";

/// A shard directory, and the place for state beside it.
struct Place {
    folder: tempfile::TempDir,
    shards: ShardDirectory,
}

impl Place {
    fn new() -> Place {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let shards =
            ShardDirectory::create(&folder.path().join("shards")).expect("a shard directory");
        Place { folder, shards }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn create(&self, name: &str) -> Result<StateDirectory, String> {
        StateDirectory::create(&self.path(name), &self.shards).map_err(|err| err.to_string())
    }

    fn open(&self, name: &str) -> Result<StateDirectory, String> {
        StateDirectory::open(&self.path(name), &self.shards).map_err(|err| err.to_string())
    }
}

#[test]
fn it_is_made_with_its_parents_for_the_owner_and_the_group() {
    let place = Place::new();
    let state = place.create("a/b/state").unwrap();
    assert_eq!(state.path(), place.path("a/b/state"));
    for made in ["a", "a/b", "a/b/state"] {
        let mode = fs::metadata(place.path(made)).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777 & !0o750, 0, "{made}: {mode:o}");
        assert_eq!(mode & 0o700, 0o700, "{made}: {mode:o}");
    }
    // What is there stays as it is.
    let open = fs::Permissions::from_mode(0o755);
    fs::set_permissions(place.path("a/b/state"), open).unwrap();
    fs::write(place.path("a/b/state/kept"), "kept").unwrap();
    place.create("a/b/state").unwrap();
    let metadata = fs::metadata(place.path("a/b/state")).unwrap();
    assert_eq!(metadata.permissions().mode() & 0o777, 0o755);
    assert_eq!(fs::read(place.path("a/b/state/kept")).unwrap(), b"kept");
}

#[test]
fn what_cannot_be_the_state_directory_is_one_sentence_and_nothing_is_made() {
    let place = Place::new();
    fs::write(place.path("file"), "x").unwrap();
    for name in ["file", "file/below"] {
        let sentence = format!(
            "{}: not a directory; name the state directory with --state-dir",
            place.path(name).display()
        );
        assert_eq!(place.create(name).unwrap_err(), sentence);
        assert_eq!(place.open(name).unwrap_err(), sentence);
    }
    assert_eq!(
        place.open("missing").unwrap_err(),
        format!(
            "{}: the state directory does not exist; start `metricsd serve`, or name another one with --state-dir",
            place.path("missing").display()
        )
    );
    assert!(!place.path("missing").exists(), "a reader makes nothing");
    symlink("/nonexistent/target", place.path("dangling")).unwrap();
    let refused = place.create("dangling").unwrap_err();
    assert!(
        refused.contains("cannot create the state directory"),
        "{refused}"
    );
    assert!(refused.contains("--state-dir"), "{refused}");
}

#[test]
fn the_shard_directory_itself_is_refused_by_whatever_path() {
    let place = Place::new();
    symlink("shards", place.path("link")).unwrap();
    for name in ["shards", "link", "shards/../link/."] {
        let sentence = format!(
            "{}: the shard directory itself, in which the state would be lost with the shards; name another directory with --state-dir",
            place.path(name).display()
        );
        assert_eq!(place.create(name).unwrap_err(), sentence);
        assert_eq!(place.open(name).unwrap_err(), sentence);
    }
    assert_eq!(place.shards.list().unwrap(), []);
    // A shard directory that is replaced by the state directory is noticed when it is asked again.
    let state = place.create("state").unwrap();
    assert!(state.check_apart_from(&place.shards).is_ok());
    let replaced = ShardDirectory::open(&place.path("state")).unwrap();
    assert!(state.check_apart_from(&replaced).is_err());
}

#[test]
fn state_inside_the_shard_directory_is_not_durable() {
    let place = Place::new();
    let inside = Durability::NotDurable {
        reason: NotDurableReason::InsideShardDirectory,
    };
    symlink("shards", place.path("link")).unwrap();
    for name in ["shards/state", "shards/a/b/state", "link/other"] {
        let state = place.create(name).unwrap();
        assert_eq!(state.durability(&place.shards), inside, "{name}");
    }
    let beside = place.create("shards.state").unwrap();
    assert_ne!(beside.durability(&place.shards), inside);
    // It is judged by where it is, not by where it was.
    let state = place.create("state").unwrap();
    assert_ne!(state.durability(&place.shards), inside);
    fs::rename(place.path("state"), place.path("shards/moved")).unwrap();
    assert_eq!(state.durability(&place.shards), inside);
    // Shards inside the state directory take nothing along.
    let shards = ShardDirectory::create(&place.path("outer/shards")).unwrap();
    let outer = StateDirectory::open(&place.path("outer"), &shards).unwrap();
    assert_ne!(outer.durability(&shards), inside);
}

/// What `stat` calls the file system.
fn file_system_of(path: &Path) -> String {
    let mut command = Command::new("stat");
    let output = common::run(command.args(["--file-system", "--format=%T"]).arg(path));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[test]
fn memory_is_not_durable_and_a_local_disk_is() {
    let place = Place::new();
    let in_memory = tempfile::tempdir_in(IN_MEMORY).unwrap();
    assert_eq!(file_system_of(in_memory.path()), "tmpfs");
    let state = StateDirectory::create(&in_memory.path().join("state"), &place.shards).unwrap();
    assert_eq!(
        state.durability(&place.shards),
        Durability::NotDurable {
            reason: NotDurableReason::Tmpfs
        }
    );
    // Shards in memory and state on a disk are the usual case.
    let shards = ShardDirectory::create(&in_memory.path().join("shards")).unwrap();
    // The folder of build products is on whatever file system this is built on.
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let state = StateDirectory::create(&folder.path().join("state"), &shards).unwrap();
    let kind = file_system_of(folder.path());
    let is_disk = ["ext2/ext3", "xfs", "btrfs", "zfs", "f2fs"].contains(&kind.as_str());
    let is_durable = state.durability(&shards) == Durability::Durable;
    assert_eq!(is_durable, is_disk, "{kind}");
}

#[test]
fn a_directory_that_was_moved_or_replaced_is_noticed_and_still_written_to() {
    let place = Place::new();
    let state = place.create("state").unwrap();
    state.check_in_place().unwrap();
    fs::rename(place.path("state"), place.path("moved")).unwrap();
    let gone = state.check_in_place().unwrap_err().to_string();
    assert!(gone.contains("does not exist"), "{gone}");
    fs::create_dir(place.path("state")).unwrap();
    let replaced = state.check_in_place().unwrap_err().to_string();
    assert_eq!(
        replaced,
        format!(
            "{}: another directory than the one that the state is in",
            place.path("state").display()
        )
    );
    let disk = state.disk().unwrap();
    disk.create("written").unwrap();
    assert!(place.path("moved/written").exists());
    assert!(!place.path("state/written").exists());
    fs::remove_dir(place.path("state")).unwrap();
    fs::rename(place.path("moved"), place.path("state")).unwrap();
    state.check_in_place().unwrap();
}

/// In the child: locks the directory and keeps it until standard input ends. In any other process: nothing.
#[test]
fn child() {
    let Some(directory) = std::env::var_os(LOCK_VARIABLE) else {
        return;
    };
    let directory = Path::new(&directory);
    let shards = ShardDirectory::open(directory.parent().unwrap()).unwrap();
    let state = StateDirectory::open(directory, &shards).unwrap();
    let answer = match state.lock() {
        Ok(()) => "locked".to_owned(),
        Err(err) => err.to_string(),
    };
    let mut output = std::io::stdout().lock();
    writeln!(output, "\nanswer {answer}").unwrap();
    std::io::stdin()
        .lines()
        .map_while(Result::ok)
        .for_each(drop);
}

/// A process that tried to lock the directory; killed when dropped.
struct Locker {
    child: Child,
    answer: String,
}

impl Locker {
    fn start(directory: &Path) -> Locker {
        let mut child =
            Command::new(std::env::current_exe().expect("a running program has a path"))
                .args(["child", "--exact", "--nocapture"])
                .env(LOCK_VARIABLE, directory)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .expect("this program starts again");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let answer = lines.find_map(|line| {
            line.expect("text")
                .strip_prefix("answer ")
                .map(str::to_owned)
        });
        Locker {
            child,
            answer: answer.expect("the child answers"),
        }
    }
}

impl Drop for Locker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_lock_names_the_other_process_and_goes_with_it() {
    let place = Place::new();
    let state = place.create("state").unwrap();
    symlink("state", place.path("link")).unwrap();
    let other = Locker::start(&place.path("state"));
    assert_eq!(other.answer, "locked");
    // By another path to the same directory.
    for state in [&state, &place.open("link").unwrap()] {
        let sentence = state.lock().unwrap_err().to_string();
        let begin = format!(
            "{}: already in use by process {} (",
            state.path().display(),
            other.child.id()
        );
        assert!(sentence.starts_with(&begin), "{sentence}");
        let end = "); stop it first or name another state directory with --state-dir";
        assert!(sentence.ends_with(end), "{sentence}");
    }
    assert_eq!(fs::read_dir(place.path("state")).unwrap().count(), 0);
    drop(other);
    state.lock().unwrap();
    let late = Locker::start(&place.path("state"));
    let own = format!("already in use by process {} (", std::process::id());
    assert!(late.answer.contains(&own), "{}", late.answer);
}

#[test]
fn the_lock_lasts_as_long_as_the_storage_that_was_made_of_it() {
    let place = Place::new();
    let state = place.create("state").unwrap();
    state.lock().unwrap();
    let disk = state.disk().unwrap();
    drop(state);
    let refused = Locker::start(&place.path("state"));
    assert!(
        refused.answer.contains("already in use"),
        "{}",
        refused.answer
    );
    drop((refused, disk));
    assert_eq!(Locker::start(&place.path("state")).answer, "locked");
}

#[test]
fn its_descriptor_is_not_inherited() {
    let place = Place::new();
    let state = place.create("state").unwrap();
    let flags = rustix::io::fcntl_getfd(state.as_fd()).unwrap();
    assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
}
