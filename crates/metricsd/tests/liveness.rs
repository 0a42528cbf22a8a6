//! Who still writes: each way in which that could be misjudged, caused for real with other processes, users and namespaces.
#![allow(
    clippy::unwrap_used,
    reason = "a test ends at the first thing that does not hold"
)]

mod common;
#[path = "common/outsider.rs"]
mod outsider;

use std::fs::{self, File, OpenOptions};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use common::child::WriterChild;
use common::shards::{counter, write_shard};
use common::{Daemon, eventually, expect_value, signal, value_of};
use metricsd::collect::{Collector, Locking};
use metricsd::directory::ShardDirectory;
use metricsd::liveness::{Claim, LivenessMode, LivenessWatch, Looked, Outlook, is_live, look};
use metricsd::policy::Policy;
use metricsd_shard::{Identity, Liveness, ProcessFile, ShardFile, file_system_supports_leases};
use outsider::{
    DESCRIPTOR_WRITER, FORKING_WRITER, MAP_ONLY_WRITER, NOBODY, our_writer, run_test,
    script_writer, skip, unshare,
};
use rustix::process::Signal;
use tempfile::TempDir;

#[test]
fn child() {
    common::child::obey();
}

/// A directory on a file system where leases tell; none, after the skip was counted, where there is none.
fn folder(test: &str) -> Option<TempDir> {
    let folder = tempfile::tempdir().unwrap();
    match file_system_supports_leases(File::open(folder.path()).unwrap().as_fd()) {
        Ok(_) => Some(folder),
        Err(kind) => {
            skip(test, &format!("the temporary directory is on {kind}"));
            None
        }
    }
}

fn shard(directory: &Path) -> PathBuf {
    write_shard(directory, "counter_1.db", &[(counter("a"), 1.0)])
}

fn open(path: &Path) -> (Identity, Arc<ShardFile>) {
    let directory = File::open(path.parent().unwrap()).unwrap();
    let name = path.file_name().unwrap().to_str().unwrap();
    let file = ShardFile::open_at(directory.as_fd(), name).unwrap();
    (file.identity(), Arc::new(file))
}

/// This process asks as well, and a writer that opens meanwhile must not end it. Not by ignoring the signal, which daemons that
/// are started from here would inherit.
fn survive_sigio() {
    static CAUGHT: OnceLock<Arc<AtomicBool>> = OnceLock::new();
    CAUGHT.get_or_init(|| {
        let flag = Arc::new(AtomicBool::new(false));
        signal_hook::flag::register(Signal::IO.as_raw(), Arc::clone(&flag)).unwrap();
        flag
    });
}

/// The thread that asks, following a directory as the daemon has it do.
struct Watching {
    collector: Collector,
    watch: LivenessWatch,
}

impl Watching {
    fn start(directory: &Path) -> Watching {
        survive_sigio();
        let directory = ShardDirectory::open(directory).unwrap();
        let mut watching = Watching {
            collector: Collector::new(directory, Locking::None, Policy::default(), 100),
            watch: LivenessWatch::start().unwrap(),
        };
        watching.follow();
        watching
    }

    fn follow(&mut self) {
        let (_, outcome) = self.collector.collect(&self.watch.answers());
        outcome.unwrap();
        self.watch
            .follow(self.collector.directory(), self.collector.shards())
            .unwrap();
        assert!(self.watch.settle(common::DEADLINE));
    }

    fn ask(&self, file: &(Identity, Arc<ShardFile>)) -> Liveness {
        self.watch.ask(std::slice::from_ref(file))[0].liveness
    }

    /// What is published, which nobody has asked for.
    fn answer(&self, identity: &Identity) -> Option<Liveness> {
        self.watch
            .answers()
            .get(identity)
            .map(|answer| answer.liveness)
    }

    fn idle_since(&self, identity: &Identity) -> Option<Instant> {
        self.watch.answers().idle_since(identity)
    }

    /// A child that another test is starting may hold a copy of a descriptor of this process for a moment.
    fn becomes_idle(&self, file: &(Identity, Arc<ShardFile>)) {
        eventually("idle", || match self.ask(file) {
            Liveness::Idle => Ok(()),
            other => Err(format!("{other:?}")),
        });
    }
}

#[test]
fn questions_are_answered_in_order_also_about_files_that_nobody_follows() {
    let test = "questions_are_answered_in_order_also_about_files_that_nobody_follows";
    let Some(folder) = folder(test) else { return };
    let names: Vec<PathBuf> = (0..6)
        .map(|number| folder.path().join(format!("counter_{number}.db")))
        .collect();
    let mut files = Vec::new();
    for path in &names {
        write_shard(
            folder.path(),
            path.file_name().unwrap().to_str().unwrap(),
            &[],
        );
        files.push(open(path));
    }
    let watching = Watching::start(folder.path());
    // Deleted ones, one with a writer; a renamed one; and one that came later.
    let held: Vec<File> = [1, 4]
        .map(|number: usize| OpenOptions::new().write(true).open(&names[number]).unwrap())
        .into();
    fs::remove_file(&names[1]).unwrap();
    fs::remove_file(&names[2]).unwrap();
    fs::rename(&names[3], folder.path().join("elsewhere")).unwrap();
    let later = write_shard(folder.path(), "counter_99.db", &[]);
    files.push(open(&later));
    let (idle, busy) = (Liveness::Idle, Liveness::Busy);
    let expected = [idle, busy, idle, idle, busy, idle, idle];
    eventually("each answer in its place", || {
        let answers: Vec<Liveness> = watching
            .watch
            .ask(&files)
            .iter()
            .map(|answer| answer.liveness)
            .collect();
        if answers == expected {
            Ok(())
        } else {
            Err(format!("{answers:?}"))
        }
    });
    assert_eq!(watching.answer(&files[6].0), None, "it is not followed");
    assert_eq!(watching.answer(&files[4].0), Some(busy));
    assert_eq!(watching.watch.ask(&[]), []);
    drop(held);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..50 {
                    let answers = watching.watch.ask(&files);
                    assert_eq!(answers.len(), files.len());
                }
            });
        }
    });
}

#[test]
fn idle_is_counted_from_the_last_writer_that_was_seen() {
    let Some(folder) = folder("idle_is_counted_from_the_last_writer_that_was_seen") else {
        return;
    };
    let path = shard(folder.path());
    let file = open(&path);
    let watching = Watching::start(folder.path());
    watching.becomes_idle(&file);
    let (writer, _) = script_writer(Path::new("sh"), DESCRIPTOR_WRITER, &path);
    assert_eq!(watching.ask(&file), Liveness::Busy);
    assert_eq!(watching.idle_since(&file.0), None);
    let before_kill = Instant::now();
    writer.kill();
    // Nobody asks: the kernel tells of the end.
    let since = eventually("idle", || {
        watching.idle_since(&file.0).ok_or("busy".to_owned())
    });
    assert!(since > before_kill);
    for _ in 0..3 {
        watching.becomes_idle(&file);
    }
    // An event may be told of while its answer is known already.
    let since = eventually("the same twice", || {
        let first = watching.idle_since(&file.0);
        watching.becomes_idle(&file);
        match watching.idle_since(&file.0) {
            Some(second) if Some(second) == first => Ok(second),
            other => Err(format!("{first:?} {other:?}")),
        }
    });
    // A writer that comes and goes between two questions.
    drop(OpenOptions::new().write(true).open(&path).unwrap());
    eventually("idle since the second writer", || {
        match watching.idle_since(&file.0) {
            Some(later) if later > since => Ok(()),
            other => Err(format!("{other:?} after {since:?}")),
        }
    });
}

#[test]
fn leases_are_believed_only_in_a_directory_that_was_tested() {
    let Some(folder) = folder("leases_are_believed_only_in_a_directory_that_was_tested") else {
        return;
    };
    survive_sigio();
    let watch = LivenessWatch::start().unwrap();
    assert_eq!(watch.mode().words(), ("off", "untested"));
    let shards = ShardDirectory::open(folder.path()).unwrap();
    let elsewhere = ShardDirectory::open(Path::new("/proc/self/fdinfo")).unwrap();
    for _ in 0..2 {
        for (directory, words) in [
            (&shards, ("leases", "passed")),
            (&elsewhere, ("off", "file_system")),
        ] {
            watch.follow(directory, &[]).unwrap();
            assert!(watch.settle(common::DEADLINE));
            assert_eq!(watch.mode().words(), words);
            assert!(LivenessMode::all_words().any(|known| known == words));
        }
    }
    let names = fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(names, 0, "the test leaves nothing behind");
}

#[test]
fn a_failed_self_test_is_made_again() {
    const MOUNT: &str =
        r#"mount -t tmpfs -o nr_inodes=2 tmpfs "$SMALL" && touch "$SMALL/full" && exec "$@""#;
    let test = "a_failed_self_test_is_made_again";
    let Some(mut command) = unshare(test, &["--mount"]) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    command
        .env("SMALL", folder.path())
        .args(["sh", "-c", MOUNT, "sh"]);
    run_test(&mut command, "inside_a_tmpfs_without_inodes");
}

#[test]
#[ignore = "runs in namespaces of a_failed_self_test_is_made_again"]
fn inside_a_tmpfs_without_inodes() {
    let Some(folder) = std::env::var_os("SMALL").map(PathBuf::from) else {
        return;
    };
    let watching = Watching::start(&folder);
    assert_eq!(watching.watch.mode().words(), ("off", "no_space"));
    fs::remove_file(folder.join("full")).unwrap();
    eventually("the test passes", || match watching.watch.mode() {
        LivenessMode::Leases => Ok(()),
        other => Err(format!("{other:?}")),
    });
}

#[test]
fn leases_are_off_on_overlayfs() {
    const MOUNT: &str = r#"cd "$OVER" && mkdir lower upper work merged && mount -t overlay overlay -o lowerdir=lower,upperdir=upper,workdir=work merged && exec "$@""#;
    let test = "leases_are_off_on_overlayfs";
    let Some(first) = unshare(test, &["--mount"]) else {
        return;
    };
    let mounted = |mut command: Command, folder: &TempDir| {
        command
            .env("OVER", folder.path())
            .args(["sh", "-c", MOUNT, "sh"]);
        command
    };
    let folder = tempfile::tempdir().unwrap();
    let output = mounted(first, &folder).arg("true").output().unwrap();
    if !output.status.success() {
        return skip(test, &format!("overlayfs cannot be mounted: {output:?}"));
    }
    let folder = tempfile::tempdir().unwrap();
    let second = unshare(test, &["--mount"]).expect("as before");
    run_test(&mut mounted(second, &folder), "inside_an_overlay");
}

#[test]
#[ignore = "runs in namespaces of leases_are_off_on_overlayfs"]
fn inside_an_overlay() {
    let Some(folder) = std::env::var_os("OVER").map(PathBuf::from) else {
        return;
    };
    let folder = folder.join("merged");
    let file = open(&shard(&folder));
    let watching = Watching::start(&folder);
    assert_eq!(watching.watch.mode().words(), ("off", "file_system"));
    assert!(matches!(watching.ask(&file), Liveness::Unknown(_)));
    assert_eq!(watching.idle_since(&file.0), None);
    let page = Daemon::start(&folder).scrape();
    assert_eq!(expect_value(&page, "a_total"), 1.0, "served all the same");
    assert_eq!(
        expect_value(&page, "metricsd_shards{state=\"unknown\"}"),
        1.0
    );
}

fn sessions(page: &str, program: &str) -> (f64, f64) {
    let of = |state: &str| {
        let series = format!("metricsd_sessions{{program=\"{program}\",state=\"{state}\"}}");
        value_of(page, &series).unwrap_or(0.0)
    };
    (of("live"), of("ended"))
}

/// Scrapes until so many sessions are live and ended, and gives that page.
#[track_caller]
fn becomes(daemon: &Daemon, program: &str, expected: (f64, f64)) -> String {
    eventually("sessions are live and ended as expected", || {
        let page = daemon.scrape();
        match sessions(&page, program) {
            found if found == expected => Ok(page),
            found => Err(format!("{found:?}, not {expected:?}")),
        }
    })
}

/// What our writers in this directory say of themselves.
fn sidecars(directory: &Path) -> Vec<ProcessFile> {
    let open = File::open(directory).unwrap();
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name.starts_with("process_") {
            found.push(ProcessFile::read_at(open.as_fd(), &name).unwrap());
        }
    }
    found
}

fn claim_of(sidecar: &ProcessFile) -> Claim<'_> {
    Claim::new(sidecar, sidecar.pid_namespace)
}

#[test]
fn pid_1_in_two_containers_is_two_writers() {
    let test = "pid_1_in_two_containers_is_two_writers";
    let (Some(folder), Some(first), Some(second)) = (
        folder(test),
        unshare(test, &["--pid"]),
        unshare(test, &["--pid"]),
    ) else {
        return;
    };
    let daemon = Daemon::start(folder.path());
    let mut first = our_writer(first, folder.path(), "boxed");
    let mut second = our_writer(second, folder.path(), "boxed");
    first.tell("add 5");
    second.tell("add 7");
    let page = becomes(&daemon, "boxed", (2.0, 0.0));
    assert_eq!(expect_value(&page, "child_events_total"), 12.0);

    // Process 1 of this namespace is another one, and started at another time; which says nothing of them.
    let outlook = Outlook::of_this_process();
    let claims = sidecars(folder.path());
    assert_eq!(
        claims.iter().map(|claim| claim.pid).collect::<Vec<_>>(),
        [1, 1]
    );
    let mut namespaces = [&first, &second].map(|writer| {
        fs::metadata(format!("/proc/{}/ns/pid_for_children", writer.id()))
            .unwrap()
            .ino()
    });
    namespaces.sort_unstable();
    let mut claimed: Vec<u64> = claims
        .iter()
        .filter_map(|claim| claim.pid_namespace)
        .collect();
    claimed.sort_unstable();
    assert_eq!(claimed, namespaces);
    let ours = fs::metadata("/proc/self/ns/pid").unwrap().ino();
    for claim in claims.iter().map(claim_of) {
        let live = |claim| is_live(Liveness::Busy, Some(&claim), &outlook, look);
        assert!(live(claim));
        let misread = Claim {
            pid_namespace: Some(ours),
            ..claim
        };
        assert!(!live(misread), "that is how it would be misjudged");
    }

    first.kill();
    let page = becomes(&daemon, "boxed", (1.0, 1.0));
    assert_eq!(expect_value(&page, "child_events_total"), 12.0);
    second.tell("add 1");
    assert_eq!(expect_value(&daemon.scrape(), "child_events_total"), 13.0);
    second.kill();
    let page = becomes(&daemon, "boxed", (0.0, 2.0));
    assert_eq!(expect_value(&page, "child_events_total"), 13.0);
}

#[test]
fn a_dead_writer_is_ended_although_another_process_has_its_pid() {
    let test = "a_dead_writer_is_ended_although_another_process_has_its_pid";
    let (Some(folder), Some(mut command)) =
        (folder(test), unshare(test, &["--pid", "--mount-proc"]))
    else {
        return;
    };
    let writable = unshare(test, &["--pid", "--mount-proc"])
        .expect("as before")
        .args(["sh", "-c", "echo 50 > /proc/sys/kernel/ns_last_pid"])
        .output()
        .unwrap();
    if !writable.status.success() {
        return skip(test, &format!("process IDs cannot be chosen: {writable:?}"));
    }
    command.env("SHARDS", folder.path());
    run_test(&mut command, "inside_a_namespace_with_chosen_pids");
}

/// Starts processes until one has this ID, which nobody else in the namespace competes for.
fn start_as<T>(pid: u32, mut start: impl FnMut() -> (T, u32)) -> T {
    eventually("a process with the wanted ID", || {
        fs::write("/proc/sys/kernel/ns_last_pid", (pid - 1).to_string()).unwrap();
        match start() {
            (started, found) if found == pid => Ok(started),
            (_, found) => Err(format!("{found}, not {pid}")),
        }
    })
}

#[test]
#[ignore = "runs in namespaces of a_dead_writer_is_ended_although_another_process_has_its_pid"]
fn inside_a_namespace_with_chosen_pids() {
    let Some(folder) = std::env::var_os("SHARDS").map(PathBuf::from) else {
        return;
    };
    let daemon = Daemon::start(&folder);
    let mut first = WriterChild::start(&folder, "reused");
    let pid = first.id();
    first.tell("add 5");
    // A file as Python names it, of the same process ID.
    let python = write_shard(
        &folder,
        &format!("counter_{pid}.db"),
        &[(counter("a"), 1.0)],
    );
    let held = OpenOptions::new().write(true).open(&python).unwrap();
    becomes(&daemon, "python", (1.0, 0.0));
    becomes(&daemon, "reused", (1.0, 0.0));
    first.kill();
    drop(held);

    // Somebody else is that process now.
    let sidecar = &sidecars(&folder)[0];
    assert_eq!(sidecar.pid, pid);
    let other = eventually("another process has its ID and another start time", || {
        let other = start_as(pid, || {
            script_writer(Path::new("sh"), DESCRIPTOR_WRITER, &folder.join("no-shard"))
        });
        // Start times are as coarse as clock ticks.
        match look(pid) {
            Looked::Runs { start_ticks } if start_ticks != sidecar.start_ticks => Ok(other),
            looked => Err(format!("{looked:?}")),
        }
    });
    becomes(&daemon, "python", (0.0, 1.0));
    becomes(&daemon, "reused", (0.0, 1.0));
    let claim = claim_of(sidecar);
    let outlook = Outlook::of_this_process();
    assert!(
        !is_live(Liveness::Busy, Some(&claim), &outlook, look),
        "a child of the dead one would not make it live"
    );
    other.kill();

    // A writer of ours with the same process ID does not continue the dead one's file.
    let mut second = start_as(pid, || {
        let writer = WriterChild::start(&folder, "reused");
        let found = writer.id();
        (writer, found)
    });
    second.tell("add 7");
    eventually("live and ended", || {
        let page = daemon.scrape();
        let (live, ended) = sessions(&page, "reused");
        let total = expect_value(&page, "child_events_total");
        // Attempts that got another process ID are ended sessions, too.
        if (live, total) == (1.0, 12.0) && ended >= 1.0 {
            Ok(())
        } else {
            Err(format!("{live} {ended} {total}"))
        }
    });
    let claims = sidecars(&folder);
    let living = |claim: &&ProcessFile| {
        let claim = claim_of(claim);
        claim.pid == pid && is_live(Liveness::Busy, Some(&claim), &outlook, look)
    };
    assert_eq!(claims.iter().filter(living).count(), 1);
}

#[test]
fn a_writer_of_another_user_is_seen_by_root() {
    let test = "a_writer_of_another_user_is_seen_by_root";
    let Some(folder) = folder(test) else { return };
    if !rustix::process::geteuid().is_root() {
        return skip(test, "only root can start a process of another user");
    }
    fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o777)).unwrap();
    let path = shard(folder.path());
    fs::set_permissions(&path, PermissionsExt::from_mode(0o666)).unwrap();
    let mut command = Command::new("sh");
    command
        .args(["-c", DESCRIPTOR_WRITER, "writer"])
        .arg(&path)
        .current_dir("/")
        .uid(NOBODY)
        .gid(NOBODY);
    let mut writer = outsider::Outsider::start(&mut command);
    writer.expect("ready ");
    let daemon = Daemon::start(folder.path());
    let watching = Watching::start(folder.path());
    let file = open(&path);
    assert_eq!(watching.ask(&file), Liveness::Busy);
    becomes(&daemon, "python", (1.0, 0.0));
    writer.kill();
    becomes(&daemon, "python", (0.0, 1.0));
    watching.becomes_idle(&file);
}

#[test]
fn a_daemon_without_the_privilege_calls_other_users_shards_unknown_and_never_ended() {
    let test = "a_daemon_without_the_privilege_calls_other_users_shards_unknown_and_never_ended";
    let Some(folder) = folder(test) else { return };
    if !rustix::process::geteuid().is_root() {
        return skip(test, "only root can start a process of another user");
    }
    fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
    shard(folder.path());
    // Where the program is may be closed to that user; a copy is not.
    let program = folder.path().join("metricsd");
    fs::copy(env!("CARGO_BIN_EXE_metricsd"), &program).unwrap();
    fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    let state = tempfile::tempdir().unwrap();
    std::os::unix::fs::chown(state.path(), Some(NOBODY), Some(NOBODY)).unwrap();
    let mut command = Command::new(&program);
    command
        .args(["serve", "--multiproc-dir"])
        .arg(folder.path())
        .arg("--state-dir")
        .arg(state.path())
        .args(["--web.listen-address", "127.0.0.1:0"])
        .env_clear()
        .current_dir("/")
        .stderr(std::process::Stdio::piped())
        .uid(NOBODY)
        .gid(NOBODY);
    let daemon = Daemon::spawn(&mut command);
    let states = |page: &str| {
        ["unknown", "live", "ended"]
            .map(|state| expect_value(page, &format!("metricsd_shards{{state=\"{state}\"}}")))
    };
    let mut writer = WriterChild::start(folder.path(), "of-root");
    writer.tell("add 3");
    let page = eventually("the writer's shard is there", || {
        let page = daemon.scrape();
        value_of(&page, "child_events_total").ok_or(page.clone())?;
        Ok(page)
    });
    let found = states(&page);
    assert!(found[0] >= 2.0 && found[1..] == [0.0, 0.0], "{found:?}");
    writer.kill();
    for _ in 0..20 {
        let page = daemon.scrape();
        assert_eq!(states(&page), found, "nobody can tell that it has ended");
        assert_eq!(expect_value(&page, "child_events_total"), 3.0);
    }
}

#[test]
fn the_daemon_survives_writers_that_open_while_it_asks() {
    let test = "the_daemon_survives_writers_that_open_while_it_asks";
    let Some(folder) = folder(test) else { return };
    let path = shard(folder.path());
    let daemon = Daemon::start(folder.path());
    let mut met = 0;
    eventually("an open falls into a check", || {
        for _ in 0..2000 {
            // Each close has the daemon ask. An open that finds the lease taken is refused, and the daemon gets SIGIO.
            let opened = OpenOptions::new()
                .write(true)
                .custom_flags(rustix::fs::OFlags::NONBLOCK.bits() as i32)
                .open(&path);
            match opened {
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => met += 1,
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!(expect_value(&daemon.scrape(), "a_total"), 1.0);
        if met >= 1 {
            Ok(())
        } else {
            Err(met.to_string())
        }
    });
    becomes(&daemon, "python", (0.0, 1.0));
}

#[test]
fn a_writer_without_a_descriptor_is_busy_and_its_end_is_told() {
    let test = "a_writer_without_a_descriptor_is_busy_and_its_end_is_told";
    let (Some(folder), Some(python)) = (folder(test), common::python(test)) else {
        return;
    };
    let path = shard(folder.path());
    let file = open(&path);
    let (writer, _) = script_writer(&python, MAP_ONLY_WRITER, &path);
    let watching = Watching::start(folder.path());
    let daemon = Daemon::start(folder.path());
    becomes(&daemon, "python", (1.0, 0.0));
    for _ in 0..100 {
        assert_eq!(watching.ask(&file), Liveness::Busy);
    }
    assert_eq!(watching.idle_since(&file.0), None);
    writer.kill();
    // Nobody asks, and the sweep comes later than this waits.
    eventually("idle", || match watching.answer(&file.0) {
        Some(Liveness::Idle) => Ok(()),
        other => Err(format!("{other:?}")),
    });
    becomes(&daemon, "python", (0.0, 1.0));
}

/// SIGSTOP, which reaches one thread after the other.
fn stop_all_threads(pid: u32) {
    signal(pid, Signal::STOP);
    eventually("every thread is stopped", || {
        for thread in fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
            let stat = fs::read_to_string(thread.unwrap().path().join("stat")).unwrap_or_default();
            if !stat.contains(") T ") {
                return Err(stat);
            }
        }
        Ok(())
    });
}

#[test]
fn a_frozen_writer_stays_busy() {
    let test = "a_frozen_writer_stays_busy";
    let Some(folder) = folder(test) else { return };
    let mut writer = WriterChild::start(folder.path(), "frozen");
    writer.tell("add 1");
    let watching = Watching::start(folder.path());
    let files: Vec<_> = watching.collector.shards().iter().collect();
    let files: Vec<_> = files
        .iter()
        .map(|shard| open(&folder.path().join(shard.file_name())))
        .collect();
    assert!(!files.is_empty());
    let daemon = Daemon::start(folder.path());
    stop_all_threads(writer.id());
    for _ in 0..20 {
        for answer in watching.watch.ask(&files) {
            assert_eq!(answer.liveness, Liveness::Busy);
        }
        assert_eq!(sessions(&daemon.scrape(), "frozen"), (1.0, 0.0));
    }
    let sidecar = &sidecars(folder.path())[0];
    let claim = claim_of(sidecar);
    let outlook = Outlook::of_this_process();
    assert!(is_live(Liveness::Busy, Some(&claim), &outlook, look));
    signal(writer.id(), Signal::CONT);
    writer.tell("add 1");
    assert_eq!(expect_value(&daemon.scrape(), "child_events_total"), 2.0);
    writer.kill();
    becomes(&daemon, "frozen", (0.0, 1.0));
}

/// Has a thread end when the test does, also by a panic.
struct SetWhenDropped<'a>(&'a AtomicBool);

impl Drop for SetWhenDropped<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Whether the process holds a lease now.
fn holds_lease(pid: u32) -> bool {
    let locks = fs::read_to_string("/proc/locks").unwrap();
    locks.lines().any(|line| {
        let mut words = line.split_whitespace();
        words.any(|word| word == "LEASE") && words.any(|word| word == pid.to_string())
    })
}

#[test]
fn a_frozen_daemon_delays_no_writer() {
    // On a busy machine the daemon is often taken off its core right after a writer's open has interrupted it.
    const ROUNDS_MAX: usize = 400;
    const WITHOUT_LEASE: usize = 20;
    let test = "a_frozen_daemon_delays_no_writer";
    let Some(folder) = folder(test) else { return };
    let path = shard(folder.path());
    let daemon = Daemon::start(folder.path());
    let stop = AtomicBool::new(false);
    let (opened, opens) = mpsc::channel();
    let mut without_lease = 0;
    std::thread::scope(|scope| {
        let stopping = SetWhenDropped(&stop);
        // Has the daemon ask all the time, and opens as a writer does that knows nothing of leases.
        scope.spawn(|| {
            let opened = opened;
            while !stop.load(Ordering::Relaxed) {
                drop(OpenOptions::new().write(true).open(&path).unwrap());
                let _ = opened.send(());
            }
        });
        for _ in 0..ROUNDS_MAX {
            if without_lease == WITHOUT_LEASE {
                break;
            }
            opens.recv().unwrap();
            stop_all_threads(daemon.id());
            if !holds_lease(daemon.id()) {
                without_lease += 1;
                while opens.try_recv().is_ok() {}
                let waited = opens.recv_timeout(common::DEADLINE);
                if waited.is_err() {
                    signal(daemon.id(), Signal::CONT);
                }
                waited.expect("a writer's open returns although the daemon is stopped");
            }
            signal(daemon.id(), Signal::CONT);
        }
        drop(stopping);
    });
    assert_eq!(
        without_lease, WITHOUT_LEASE,
        "stopped {ROUNDS_MAX} times, so often without a lease: leases are held too long"
    );
    becomes(&daemon, "python", (0.0, 1.0));
}

#[test]
fn a_child_that_inherited_the_descriptor_keeps_the_shard_busy_but_not_live() {
    let test = "a_child_that_inherited_the_descriptor_keeps_the_shard_busy_but_not_live";
    let Some(folder) = folder(test) else { return };
    let path = shard(folder.path());
    let file = open(&path);
    let watching = Watching::start(folder.path());
    let (writer, heir) = script_writer(Path::new("sh"), FORKING_WRITER, &path);
    let Looked::Runs { start_ticks } = look(writer.id()) else {
        panic!("it runs");
    };
    let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let claim = Claim {
        pid: writer.id(),
        start_ticks,
        boot_id: boot_id.trim(),
        pid_namespace: Some(fs::metadata("/proc/self/ns/pid").unwrap().ino()),
    };
    let outlook = Outlook::of_this_process();
    let live = || is_live(watching.ask(&file), Some(&claim), &outlook, look);
    assert!(live());
    writer.kill();
    for _ in 0..20 {
        assert_eq!(watching.ask(&file), Liveness::Busy, "it may still store");
        assert!(!live());
    }
    signal(heir, Signal::KILL);
    watching.becomes_idle(&file);
    assert!(!live());
}

#[test]
fn lost_events_have_every_shard_asked_about() {
    let test = "lost_events_have_every_shard_asked_about";
    let Some(folder) = folder(test) else { return };
    let path = shard(folder.path());
    let noise = ["noise-1", "noise-2"].map(|name| folder.path().join(name));
    let limit = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
    let limit: usize = limit.trim().parse().unwrap();
    if limit > 1_000_000 {
        return skip(test, &format!("{limit} events would have to be made"));
    }
    let daemon = Daemon::start(folder.path());
    let (writer, _) = script_writer(Path::new("sh"), DESCRIPTOR_WRITER, &path);
    // Found by the sweep or by a close; here by a close of somebody else.
    drop(OpenOptions::new().write(true).open(&path).unwrap());
    becomes(&daemon, "python", (1.0, 0.0));
    // After a close it asks a few times more within a second and a half; one of those must not be what finds the end.
    let closed = Instant::now();
    eventually("the close is history", || match closed.elapsed() {
        age if age.as_secs() >= 3 => Ok(()),
        age => Err(format!("{age:?}")),
    });
    // A close that the daemon does not hear of, because its queue is full by then.
    stop_all_threads(daemon.id());
    for _ in 0..=limit / 2 {
        // Two in turn, because the kernel makes one of equal events.
        for path in &noise {
            let opened = OpenOptions::new().create(true).append(true).open(path);
            opened.unwrap();
        }
    }
    writer.kill();
    signal(daemon.id(), Signal::CONT);
    becomes(&daemon, "python", (0.0, 1.0));
}
