//! Liveness, asked of the kernel about real processes that hold a shard open, mapped, or are gone.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test ends at the first thing that does not hold"
)]

mod python_env;

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use metricsd_shard::{
    FileSystem, Liveness, SelfTestFailure, ShardFile, UnknownReason, encode_header,
    file_system_supports_leases, ignore_sigio, self_test,
};
use rustix::process::{Signal, geteuid, getpid, kill_process};
use tempfile::TempDir;

/// Holds the file open for writing, without a mapping.
const DESCRIPTOR_WRITER: &str = r#"exec 3<>"$1"; echo ready; read -r line"#;

/// Maps the file for writing and closes every descriptor of it, the one that the mapping object keeps among them.
const MAP_ONLY_WRITER: &str = r#"
import mmap, os, sys
path = os.path.realpath(sys.argv[1])
descriptor = os.open(path, os.O_RDWR)
mapping = mmap.mmap(descriptor, 0)
for number in os.listdir("/proc/self/fd"):
    try:
        if os.readlink("/proc/self/fd/" + number) == path:
            os.close(int(number))
    except OSError:
        pass
assert path in open("/proc/self/maps").read()
print("ready", flush=True)
sys.stdin.readline()
"#;

/// A directory on a file system where leases tell; none, after the skip was recorded, where there is none.
fn directory(test: &str) -> Option<TempDir> {
    let dir = TempDir::new().unwrap();
    match file_system_supports_leases(File::open(dir.path()).unwrap().as_fd()) {
        Ok(_) => Some(dir),
        Err(kind) => {
            python_env::record_skip(test, &format!("the temporary directory is on {kind}"));
            None
        }
    }
}

fn new_shard(dir: &TempDir) -> PathBuf {
    let path = dir.path().join("counter_1.db");
    let mut bytes = encode_header(8).to_vec();
    bytes.resize(4096, 0);
    fs::write(&path, bytes).unwrap();
    path
}

fn open(path: &Path) -> ShardFile {
    let dir = File::open(path.parent().unwrap()).unwrap();
    ShardFile::open_at(dir.as_fd(), path.file_name().unwrap().to_str().unwrap()).unwrap()
}

/// Starts a child and waits until it says that it is ready.
fn start(command: &mut Command) -> Child {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert_eq!(line, "ready\n");
    child
}

/// SIGKILL. The wait returns when the kernel has closed and unmapped everything of the process.
fn kill(mut child: Child) {
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(Signal::KILL.as_raw()));
}

/// Waits until nobody has the file open. It is not always so at once: a child that another test starts holds copies of this
/// process's descriptors for a moment, and the one that has just written the shard may be among them.
fn becomes_idle(file: &ShardFile) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while file.probe() != Liveness::Idle {
        assert!(Instant::now() < deadline, "still {:?}", file.probe());
        std::thread::yield_now();
    }
}

fn descriptor_writer(path: &Path) -> Child {
    start(
        Command::new("sh")
            .args(["-c", DESCRIPTOR_WRITER, "writer"])
            .arg(path),
    )
}

#[test]
fn a_writer_with_a_descriptor_is_busy_until_it_is_killed() {
    let Some(dir) = directory("a_writer_with_a_descriptor_is_busy_until_it_is_killed") else {
        return;
    };
    let path = new_shard(&dir);
    let file = open(&path);
    becomes_idle(&file);
    let (first, second) = (descriptor_writer(&path), descriptor_writer(&path));
    assert_eq!(file.probe(), Liveness::Busy);
    kill(first);
    assert_eq!(
        file.probe(),
        Liveness::Busy,
        "the second writer is still there"
    );
    kill(second);
    becomes_idle(&file);
}

#[test]
fn a_writer_with_nothing_but_a_mapping_is_busy_until_it_is_killed() {
    let test = "a_writer_with_nothing_but_a_mapping_is_busy_until_it_is_killed";
    let (Some(python), Some(dir)) = (python_env::python(test), directory(test)) else {
        return;
    };
    let path = new_shard(&dir);
    let file = open(&path);
    let writer = start(
        Command::new(python)
            .args(["-c", MAP_ONLY_WRITER])
            .arg(&path),
    );
    assert_eq!(file.probe(), Liveness::Busy);
    kill(writer);
    becomes_idle(&file);
}

#[test]
fn a_deleted_shard_can_still_be_asked_about() {
    let Some(dir) = directory("a_deleted_shard_can_still_be_asked_about") else {
        return;
    };
    let path = new_shard(&dir);
    let file = open(&path);
    let writer = descriptor_writer(&path);
    fs::remove_file(&path).unwrap();
    assert_eq!(file.probe(), Liveness::Busy);
    kill(writer);
    becomes_idle(&file);
}

#[test]
fn readers_are_not_taken_for_writers_and_a_probe_leaves_nothing_behind() {
    let Some(dir) =
        directory("readers_are_not_taken_for_writers_and_a_probe_leaves_nothing_behind")
    else {
        return;
    };
    let path = new_shard(&dir);
    let (file, _other_reader, another) = (open(&path), File::open(&path).unwrap(), open(&path));
    assert_eq!(
        (file.probe(), another.probe()),
        (Liveness::Idle, Liveness::Idle)
    );
    // A lease that was left would make this fail with EWOULDBLOCK, and every blocking open wait for it.
    let writer = OpenOptions::new()
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(&path);
    assert!(writer.is_ok(), "{writer:?}");
    assert_eq!(file.probe(), Liveness::Busy);
}

#[test]
fn a_file_system_where_a_lease_proves_nothing_is_unknown() {
    let file = open(Path::new("/proc/version"));
    assert_eq!(
        file.probe(),
        Liveness::Unknown(UnknownReason::FileSystem(FileSystem::Other(0x9fa0)))
    );
    let answer = file_system_supports_leases(File::open("/proc").unwrap().as_fd());
    assert_eq!(answer, Err(FileSystem::Other(0x9fa0)));
}

/// Where the second process of a test begins: the test binary runs itself with one of these two tests.
fn again(test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", test, "--ignored", "--nocapture"])
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

const ANOTHER_USERS_FILE: &str = "ANOTHER_USERS_FILE";

#[test]
fn a_file_of_another_user_is_read_but_unknown() {
    let test = "a_file_of_another_user_is_read_but_unknown";
    if !geteuid().is_root() {
        if let Err(kind) = file_system_supports_leases(File::open("/etc").unwrap().as_fd()) {
            return python_env::record_skip(
                test,
                &format!("the one foreign file at hand is on {kind}"),
            );
        }
        // Somebody else's file is at hand.
        assert_eq!(
            open(Path::new("/etc/passwd")).probe(),
            Liveness::Unknown(UnknownReason::NotOwner)
        );
        return;
    }
    let Some(dir) = directory(test) else { return };
    let path = new_shard(&dir);
    fs::set_permissions(
        dir.path(),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    // Root asks as a user without capabilities.
    let mut child = again("asks_about_another_users_file");
    match child
        .env(ANOTHER_USERS_FILE, &path)
        .current_dir("/")
        .uid(65534)
        .gid(65534)
        .status()
    {
        Ok(status) => assert!(status.success(), "{status}"),
        Err(error) => python_env::record_skip(
            test,
            &format!("cannot run this test as another user: {error}"),
        ),
    }
}

#[test]
#[ignore = "the second process of a_file_of_another_user_is_read_but_unknown"]
fn asks_about_another_users_file() {
    // Without the first process there is nothing to ask about.
    let Some(path) = std::env::var_os(ANOTHER_USERS_FILE) else {
        return;
    };
    let path = PathBuf::from(path);
    let file = open(&path);
    let mut buffer = Vec::new();
    file.read_used(&mut buffer).unwrap();
    assert_eq!(buffer, encode_header(8));
    assert_eq!(file.stat().unwrap().owner_uid, 0);
    assert_eq!(file.probe(), Liveness::Unknown(UnknownReason::NotOwner));
}

const IGNORE: &str = "IGNORE_SIGIO";

#[test]
fn sigio_ends_a_process_unless_it_is_ignored() {
    let status = again("receives_sigio").env(IGNORE, "no").status().unwrap();
    assert_eq!(status.signal(), Some(Signal::IO.as_raw()), "{status}");
    let status = again("receives_sigio").env(IGNORE, "yes").status().unwrap();
    assert!(status.success(), "{status}");
}

#[test]
#[ignore = "the second process of sigio_ends_a_process_unless_it_is_ignored"]
fn receives_sigio() {
    // Without the first process there is nobody to see how this one ends.
    let Some(ignore) = std::env::var_os(IGNORE) else {
        return;
    };
    if ignore == "yes" {
        ignore_sigio().unwrap();
    }
    kill_process(getpid(), Signal::IO).unwrap();
}

#[test]
fn the_self_test_passes_where_leases_tell_and_leaves_nothing_behind() {
    let test = "the_self_test_passes_where_leases_tell_and_leaves_nothing_behind";
    let Some(dir) = directory(test) else { return };
    let mut dirs = vec![dir];
    // tmpfs as well as what the temporary directory is on.
    dirs.extend(TempDir::new_in("/dev/shm"));
    for dir in dirs {
        let opened = File::open(dir.path()).unwrap();
        if file_system_supports_leases(opened.as_fd()).is_err() {
            continue;
        }
        let modified = || fs::metadata(dir.path()).unwrap().modified().unwrap();
        let before = modified();
        for _ in 0..20 {
            assert_eq!(self_test(opened.as_fd()), Ok(()), "{dir:?}");
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        assert_eq!(
            modified(),
            before,
            "not even for a moment was there a name in it"
        );
    }
}

#[test]
fn the_self_test_tries_nothing_on_a_file_system_that_is_not_known() {
    assert_eq!(
        self_test(File::open("/proc/self/fdinfo").unwrap().as_fd()),
        Err(SelfTestFailure::FileSystem(FileSystem::Other(0x9fa0)))
    );
}

const ANOTHER_USERS_DIRECTORY: &str = "ANOTHER_USERS_DIRECTORY";

#[test]
fn the_self_test_fails_in_a_directory_that_this_user_may_not_write() {
    let test = "the_self_test_fails_in_a_directory_that_this_user_may_not_write";
    let Some(dir) = directory(test) else { return };
    if !geteuid().is_root() {
        fs::set_permissions(
            dir.path(),
            std::os::unix::fs::PermissionsExt::from_mode(0o555),
        )
        .unwrap();
        let opened = File::open(dir.path()).unwrap();
        assert_eq!(
            self_test(opened.as_fd()),
            Err(SelfTestFailure::NotWritable(libc::EACCES))
        );
        return;
    }
    fs::set_permissions(
        dir.path(),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    let mut child = again("tests_another_users_directory");
    match child
        .env(ANOTHER_USERS_DIRECTORY, dir.path())
        .current_dir("/")
        .uid(65534)
        .gid(65534)
        .status()
    {
        Ok(status) => assert!(status.success(), "{status}"),
        Err(error) => python_env::record_skip(
            test,
            &format!("cannot run this test as another user: {error}"),
        ),
    }
}

#[test]
#[ignore = "the second process of the_self_test_fails_in_a_directory_that_this_user_may_not_write"]
fn tests_another_users_directory() {
    let Some(path) = std::env::var_os(ANOTHER_USERS_DIRECTORY) else {
        return;
    };
    assert_eq!(
        self_test(File::open(path).unwrap().as_fd()),
        Err(SelfTestFailure::NotWritable(libc::EACCES))
    );
}

const SHARD: &str = "SHARD";

/// Starts one of the ignored tests below, which works on a shard, and waits until it is ready.
fn on_shard(test: &str, path: &Path) -> Child {
    let mut child = again(test)
        .env(SHARD, path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
    let is_ready = lines
        .map_while(Result::ok)
        .any(|line| line.ends_with("writer is ready"));
    assert!(is_ready, "{test} has ended");
    child
}

#[test]
fn a_writer_that_dropped_its_privileges_is_busy_until_it_is_killed() {
    let test = "a_writer_that_dropped_its_privileges_is_busy_until_it_is_killed";
    let Some(dir) = directory(test) else { return };
    if !geteuid().is_root() {
        return python_env::record_skip(test, "only root can become another user");
    }
    let path = new_shard(&dir);
    let file = open(&path);
    let writer = on_shard("drops_its_privileges", &path);
    assert_eq!(file.probe(), Liveness::Busy);
    // What procfs shows of it belongs to root, so that its own user finds no descriptor in there.
    let shown = fs::metadata(format!("/proc/{}/fd", writer.id())).unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&shown), 0);
    kill(writer);
    becomes_idle(&file);
}

#[test]
#[ignore = "the second process of a_writer_that_dropped_its_privileges_is_busy_until_it_is_killed"]
fn drops_its_privileges() {
    let Some(path) = std::env::var_os(SHARD) else {
        return;
    };
    let _held = OpenOptions::new().write(true).open(path).unwrap();
    // SAFETY: two system calls on numbers; they change no memory of this process.
    let dropped = unsafe { (libc::setgid(65534), libc::setuid(65534)) };
    assert_eq!(dropped, (0, 0));
    println!("\nwriter is ready");
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
}

#[test]
fn a_writer_that_opens_during_a_probe_ends_only_a_prober_that_does_not_ignore_sigio() {
    let test = "a_writer_that_opens_during_a_probe_ends_only_a_prober_that_does_not_ignore_sigio";
    let Some(dir) = directory(test) else { return };
    let path = new_shard(&dir);
    // An open that finds the lease taken is refused, and the holder gets SIGIO.
    let meets = || {
        let opened = OpenOptions::new()
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(&path);
        match opened {
            Ok(_) => false,
            Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => true,
            Err(error) => panic!("{error}"),
        }
    };
    let meet_one = || {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !meets() {
            assert!(Instant::now() < deadline, "no open fell into a probe");
        }
    };
    let mut careful = on_shard("probes_and_ignores_sigio", &path);
    for _ in 0..20 {
        meet_one();
    }
    assert_eq!(careful.try_wait().unwrap(), None, "it goes on");
    kill(careful);
    let mut careless = on_shard("probes", &path);
    meet_one();
    assert_eq!(careless.wait().unwrap().signal(), Some(Signal::IO.as_raw()));
}

#[test]
#[ignore = "a second process of a_writer_that_opens_during_a_probe_ends_only_a_prober_that_does_not_ignore_sigio"]
fn probes_and_ignores_sigio() {
    if std::env::var_os(SHARD).is_some() {
        ignore_sigio().unwrap();
        probe_for_ever();
    }
}

#[test]
#[ignore = "a second process of a_writer_that_opens_during_a_probe_ends_only_a_prober_that_does_not_ignore_sigio"]
fn probes() {
    probe_for_ever();
}

fn probe_for_ever() {
    let Some(path) = std::env::var_os(SHARD).map(PathBuf::from) else {
        return;
    };
    let file = open(&path);
    println!("\nwriter is ready");
    let parent = rustix::process::getppid();
    while rustix::process::getppid() == parent {
        file.probe();
    }
}
