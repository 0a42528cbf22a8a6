//! A writer that cannot write: nothing stops or dies, values are kept in memory, and each is in a shard exactly once as soon as
//! that works. Method: a process of its own, a real fault, and the shards read afterwards.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by it, its child answers on it"
)]

mod child;
mod python_env;
mod scripted;
mod shards;

use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use child::{ROLE, child_command, wait_for};
use metricsd_shard::{FileKind, ProcessFile, ShardName};
use scripted::Scripted;

fn sidecar(dir: &Path, id: &str) -> Option<ProcessFile> {
    let bytes = fs::read(dir.join(format!("process_{id}.json"))).ok()?;
    Some(ProcessFile::parse(&bytes).unwrap())
}

#[test]
fn a_directory_that_appears_later_gets_everything() {
    let temp = tempfile::tempdir().unwrap();
    let parent = temp.path().join("parent");
    fs::write(&parent, "a file where a directory should be").unwrap();
    let dir = parent.join("shards");
    let mut writer = Scripted::start();
    writer.open(&dir);
    writer.tell("counter hits_total");
    writer.tell("gauge livemax level");
    writer.tell("add hits_total 5");
    writer.tell("set level 0.25");
    let reason = writer.wait_until_degraded();
    assert!(
        reason.starts_with(dir.to_str().unwrap()),
        "path first: {reason}"
    );
    writer.tell("storm hits_total 2");
    fs::remove_file(&parent).unwrap();
    let id = writer.wait_until_healthy();
    let added = writer.number("calm");
    writer.tell("add level 0.5");
    assert_eq!(shards::total(&dir, "hits_total"), 5.0 + added);
    assert_eq!(writer.number("get hits_total"), 5.0 + added);
    assert_eq!(shards::total(&dir, "level"), 0.75);
    wait_for("a sidecar that says so", || {
        sidecar(&dir, &id).filter(|file| !file.degraded)
    });
    let log = writer.end_after("into shards again");
    assert!(
        log.contains("degraded_seconds=") && log.contains("since_unix_seconds="),
        "for how long: {log}"
    );
    let warnings = log.matches("recorded into memory").count();
    assert_eq!(warnings, 1, "one cause, one warning: {log}");
    assert_eq!(
        log.matches("recorded into shards again").count(),
        1,
        "{log}"
    );
}

#[test]
fn threads_that_come_and_go_while_shards_do_lose_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let parent = temp.path().join("parent");
    fs::write(&parent, "a file where a directory should be").unwrap();
    let dir = parent.join("shards");
    let mut writer = Scripted::start();
    writer.open(&dir);
    writer.tell("counter hits_total");
    writer.wait_until_degraded();
    // More at a time than have cells of their own.
    writer.tell("churn hits_total 24");
    wait_for("counts in memory", || {
        (writer.number("get hits_total") > 20_000.0).then_some(())
    });
    fs::remove_file(&parent).unwrap();
    writer.wait_until_healthy();
    let mut left = Vec::new();
    for _ in 0..3 {
        left.push(hold(&dir, FileKind::Counter));
        delete_shards(&dir, &mut writer);
        wait_for("counts in a new shard", || {
            (shards::total(&dir, "hits_total") > 0.0).then_some(())
        });
    }
    writer.wait_until_healthy();
    let added = writer.number("calm");
    let before: f64 = left
        .iter()
        .filter_map(|held| read_held(held).get("hits_total"))
        .sum();
    let after = shards::total(&dir, "hits_total");
    assert_eq!(before + after, added, "{before} before, {after} after");
    assert_eq!(writer.number("get hits_total"), after);
    writer.end();
}

#[test]
fn a_directory_that_may_not_be_written_is_used_once_it_may() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("shards");
    fs::create_dir(&dir).unwrap();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o555)).unwrap();
    // Root may write anywhere: the child is somebody else, who must be able to reach executable and directory.
    fs::set_permissions(temp.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let executable = temp.path().join("writer");
    fs::copy(std::env::current_exe().unwrap(), &executable).unwrap();
    let mut command = child_command(&executable, "scripted::child_process", "script");
    if rustix::process::getuid().is_root() {
        command.uid(65534).gid(65534);
    }
    let mut writer = Scripted::from_command(command);
    writer.open(&dir);
    let reason = writer.wait_until_degraded();
    assert!(reason.contains("Permission denied"), "{reason}");
    writer.tell("counter hits_total");
    writer.tell("add hits_total 3");
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o777)).unwrap();
    writer.wait_until_healthy();
    writer.tell("add hits_total 4");
    assert_eq!(shards::total(&dir, "hits_total"), 7.0);
    writer.end();
}

#[test]
fn one_kind_that_fails_costs_no_other() {
    let temp = tempfile::tempdir().unwrap();
    let mut writer = Scripted::start();
    writer.open(temp.path());
    writer.tell("counter hits_total");
    writer.tell("add hits_total 1");
    // The counter's shard and the directory are open; the histogram's would be one descriptor more.
    writer.tell("nofile 0");
    writer.tell("histogram seconds_sum");
    writer.tell("add seconds_sum 2.5");
    let reason = writer.wait_until_degraded();
    assert!(reason.contains("histogram_"), "{reason}");
    assert!(reason.contains("Too many open files"), "{reason}");
    writer.tell("counter more_total");
    writer.tell("add more_total 7");
    writer.tell("add hits_total 1");
    assert_eq!(shards::total(temp.path(), "hits_total"), 2.0);
    assert_eq!(shards::total(temp.path(), "more_total"), 7.0);
    assert_eq!(shards::total(temp.path(), "seconds_sum"), 0.0);
    writer.tell("nofile 256");
    writer.wait_until_healthy();
    assert_eq!(shards::total(temp.path(), "seconds_sum"), 2.5);
    writer.end();
}

/// A small tmpfs of its own. Unmounted when dropped.
struct Tmpfs {
    path: PathBuf,
}

impl Tmpfs {
    /// None, after the skip was recorded, where this user may not mount.
    fn mount(test: &str, path: &Path, options: &str) -> Option<Tmpfs> {
        fs::create_dir(path).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "metricsd-test"])
            .arg(path)
            .output();
        if !mounted.is_ok_and(|mounted| mounted.status.success()) {
            python_env::record_skip(test, "mounting a tmpfs needs root");
            return None;
        }
        Some(Tmpfs {
            path: path.to_path_buf(),
        })
    }

    fn remount(&self, options: &str) {
        let status = Command::new("mount")
            .args(["-o", &format!("remount,{options}")])
            .arg(&self.path)
            .status();
        assert!(status.unwrap().success());
    }

    /// Writes into a file until not one byte fits any more.
    fn fill(&self) {
        let filler = fs::File::create(self.path.join("filler")).unwrap();
        let mut offset = 0;
        for len in [4096, 1] {
            while filler.write_all_at(&vec![1; len], offset).is_ok() {
                offset += len as u64;
            }
        }
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.path).status();
    }
}

#[test]
fn a_disk_that_fills_up_under_a_writer_loses_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("full");
    let Some(disk) = Tmpfs::mount(
        "a_disk_that_fills_up_under_a_writer_loses_nothing",
        &dir,
        "size=64k",
    ) else {
        return;
    };
    let mut writer = Scripted::start();
    writer.open(&dir);
    writer.tell("counters c 2000");
    writer.tell("addall c 1");
    let reason = writer.wait_until_degraded();
    assert!(reason.contains("No space left"), "{reason}");
    disk.fill();
    // Every page that the shard has is touched while the disk has not a byte left: any hole would be SIGBUS.
    writer.tell("addall c 1");
    writer.tell("gauge all level");
    writer.tell("set level 3");
    let id = shards::read_all(&dir)[0].id.clone();
    wait_for("a sidecar that says so without room for another", || {
        sidecar(&dir, &id).filter(|file| file.degraded)
    });
    let in_shard = shards::read_all(&dir);
    assert!(!in_shard.is_empty() && in_shard[0].values.len() < 2000);
    assert!(in_shard[0].values.values().all(|&(value, _)| value == 2.0));

    writer.tell("storm c1999_total 2");
    disk.remount("size=4m");
    writer.wait_until_healthy();
    let added = writer.number("calm");
    let whole = shards::read_all(&dir);
    let counters = whole
        .iter()
        .find(|shard| shard.kind == FileKind::Counter)
        .unwrap();
    assert_eq!(counters.values.len(), 2000);
    for ((sample, _), (value, _)) in &counters.values {
        let expected = if sample == "c1999_total" {
            2.0 + added
        } else {
            2.0
        };
        assert_eq!(*value, expected, "{sample}");
    }
    assert_eq!(shards::total(&dir, "level"), 3.0);
    writer.end();
}

#[test]
fn a_disk_that_is_full_from_the_start_is_used_once_it_has_room() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("full");
    let Some(disk) = Tmpfs::mount(
        "a_disk_that_is_full_from_the_start_is_used_once_it_has_room",
        &dir,
        "size=64k",
    ) else {
        return;
    };
    disk.fill();
    let mut writer = Scripted::start();
    writer.open(&dir);
    writer.tell("counter hits_total");
    writer.tell("add hits_total 1");
    writer.wait_until_degraded();
    assert_eq!(shards::read_all(&dir).len(), 0, "no shard without room");
    writer.tell("add hits_total 1");
    fs::remove_file(dir.join("filler")).unwrap();
    let id = writer.wait_until_healthy();
    assert_eq!(shards::total(&dir, "hits_total"), 2.0);
    let left: Vec<_> = fs::read_dir(&dir)
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with('.'))
        .collect();
    assert_eq!(
        left,
        Vec::<String>::new(),
        "attempts that failed leave nothing"
    );
    wait_for("the sidecar", || sidecar(&dir, &id));
    writer.end();
}

#[test]
fn a_read_only_file_system_is_used_once_it_is_not() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("read_only");
    let Some(disk) = Tmpfs::mount(
        "a_read_only_file_system_is_used_once_it_is_not",
        &dir,
        "size=1m,ro",
    ) else {
        return;
    };
    let mut writer = Scripted::start();
    writer.open(&dir);
    writer.tell("counter hits_total");
    writer.tell("add hits_total 2");
    let reason = writer.wait_until_degraded();
    assert!(reason.contains("Read-only"), "{reason}");
    disk.remount("rw");
    writer.wait_until_healthy();
    assert_eq!(shards::total(&dir, "hits_total"), 2.0);
    writer.end();
}

#[test]
fn a_limit_on_file_sizes_does_not_kill() {
    let temp = tempfile::tempdir().unwrap();
    // The shell counts in blocks of 512 or of 1024 bytes.
    let mut command = Command::new("sh");
    let child = child_command(
        &std::env::current_exe().unwrap(),
        "scripted::child_process",
        "script",
    );
    command
        .args(["-c", "ulimit -f 16 && exec \"$0\" \"$@\""])
        .arg(child.get_program())
        .args(child.get_args())
        .env(ROLE, "script")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    let mut writer = Scripted::from_command(command);
    writer.open(temp.path());
    writer.tell("counters c 1000");
    writer.tell("addall c 1");
    let reason = writer.wait_until_degraded();
    assert!(reason.contains("RLIMIT_FSIZE"), "{reason}");
    let in_shard = shards::read_all(temp.path());
    assert!((10..1000).contains(&in_shard[0].values.len()));
    assert_eq!(writer.number("get c999_total"), 1.0);
    wait_for("a sidecar that says so", || {
        sidecar(temp.path(), &in_shard[0].id).filter(|file| file.degraded)
    });
    writer.end();
}

/// Opens the only shard of this kind, so that it can be read after it was deleted.
fn hold(dir: &Path, kind: FileKind) -> (ShardName, fs::File) {
    for file in fs::read_dir(dir).unwrap() {
        let file = file.unwrap();
        if let Ok(name) = ShardName::parse(file.file_name().to_str().unwrap())
            && name.kind == kind
        {
            return (name, fs::File::open(file.path()).unwrap());
        }
    }
    panic!("no shard of {kind:?}");
}

fn read_held((name, file): &(ShardName, fs::File)) -> shards::Shard {
    let mut bytes = vec![0; file.metadata().unwrap().len() as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    shards::parse(name.clone(), &bytes)
}

/// What was counted before a deletion is in the deleted file and nowhere else; what is counted after it is in a new file.
fn check_continuation(dir: &Path, delete: impl FnOnce(&Path)) {
    let mut writer = Scripted::start();
    writer.open(dir);
    writer.tell("counter hits_total");
    writer.tell("gauge livesum level");
    writer.tell("gauge livemostrecent mode");
    writer.tell("set level 0.5");
    writer.tell("setat mode 2 1700000000");
    let old_id = writer.wait_until_healthy();
    let deleted = hold(dir, FileKind::Counter);
    writer.tell("storm hits_total 2");
    delete(dir);
    wait_for("counts in a new shard", || {
        let is_open = dir.exists() && shards::total(dir, "hits_total") > 0.0;
        is_open.then_some(())
    });
    let new_id = writer.wait_until_healthy();
    assert_ne!(new_id, old_id);
    wait_for("the old shards to be closed", || {
        let (id, open) = (format!("_{old_id}.db"), open_files(writer.id()));
        (!open.iter().any(|path| path.contains(&id))).then_some(())
    });
    let added = writer.number("calm");
    let before = read_held(&deleted).get("hits_total").unwrap();
    let after = shards::total(dir, "hits_total");
    assert_eq!(before + after, added, "{before} before, {after} after");
    // A gauge is what is true now: it has its value in the new file at once.
    let gauges = wait_for("the gauges", || {
        let shards = shards::read_all(dir);
        (shards.iter().filter(|shard| shard.id == new_id).count() == 3).then_some(shards)
    });
    let find = |sample: &str| {
        gauges
            .iter()
            .find_map(|shard| shard.values.get(&(sample.to_owned(), Vec::new())))
    };
    assert_eq!(find("level"), Some(&(0.5, 0.0)));
    assert_eq!(find("mode"), Some(&(2.0, 1_700_000_000.0)));
    wait_for("a new sidecar", || sidecar(dir, &new_id));
    writer.end_after("were deleted");
}

/// What the descriptors of a process lead to.
fn open_files(pid: u32) -> Vec<String> {
    fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .filter_map(|fd| fs::read_link(fd.unwrap().path()).ok())
        .map(|path| path.to_string_lossy().into_owned())
        .collect()
}

/// Deletes the shards and gives the ID of their successors.
fn delete_shards(dir: &Path, writer: &mut Scripted) -> String {
    let old_id = writer.wait_until_healthy();
    wait_for("a shard", || {
        let files = fs::read_dir(dir).unwrap();
        let paths = files.map(|file| file.unwrap().path());
        let is_shard = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "db");
        let shards: Vec<PathBuf> = paths.filter(is_shard).collect();
        // The values of the last deletion may be on their way into new ones.
        for shard in &shards {
            fs::remove_file(shard).unwrap();
        }
        (!shards.is_empty()).then_some(())
    });
    wait_for("a new ID", || {
        let id = writer.wait_until_healthy();
        (id != old_id).then_some(id)
    })
}

#[test]
fn a_gauge_that_is_added_to_while_its_shard_is_deleted_keeps_every_addition() {
    let temp = tempfile::tempdir().unwrap();
    let mut writer = Scripted::start();
    writer.open(temp.path());
    writer.tell("gauge livesum level");
    writer.tell("set level 0");
    writer.tell("storm level 4");
    for _ in 0..12 {
        delete_shards(temp.path(), &mut writer);
    }
    let added = writer.number("calm");
    assert_eq!(writer.number("get level"), added);
    wait_for("the gauge in its shard", || {
        (shards::total(temp.path(), "level") == added).then_some(())
    });
    writer.end();
}

#[test]
fn a_deleted_gauge_shard_that_somebody_still_reads_keeps_its_last_value() {
    let temp = tempfile::tempdir().unwrap();
    let mut writer = Scripted::start();
    writer.open(temp.path());
    writer.tell("gauge livesum level");
    writer.tell("set level 3");
    let held = hold(
        temp.path(),
        FileKind::Gauge(metricsd_shard::GaugeMode::LiveSum),
    );
    delete_shards(temp.path(), &mut writer);
    writer.tell("set level 4");
    assert_eq!(read_held(&held).get("level"), Some(3.0));
    writer.end();
}

#[test]
fn a_sidecar_of_deleted_shards_is_removed() {
    let temp = tempfile::tempdir().unwrap();
    let stranger = temp
        .path()
        .join("process_1-aaaaaaaaaaaaaaaaaaaaaaaaaa.json");
    fs::write(&stranger, "{}").unwrap();
    let mut writer = Scripted::start();
    writer.open(temp.path());
    writer.tell("counter hits_total");
    let new_id = delete_shards(temp.path(), &mut writer);
    wait_for("one sidecar", || {
        let ids = shards::sidecar_ids(temp.path());
        (ids.len() == 2 && ids.contains(&new_id)).then_some(())
    });
    assert!(stranger.exists(), "another process's sidecar is its own");
    writer.end();
}

#[test]
fn a_histogram_is_in_the_shard_whole_or_not_at_all() {
    let temp = tempfile::tempdir().unwrap();
    let mut writer = Scripted::start();
    writer.open(temp.path());
    // A second page cannot be had, and no number of whole histograms fills the first.
    writer.tell("fsize 4096");
    for number in 0..10 {
        let name = format!("h{number}");
        writer.tell(&format!("whole {name}"));
        writer.tell(&format!("add {name} 2"));
    }
    writer.wait_until_degraded();
    let whole = |count_expected: Option<usize>| {
        let shard = &shards::read_all(temp.path())[0];
        let count = shard.values.len();
        assert!(count > 0 && count.is_multiple_of(10), "{count} entries");
        assert_eq!(count_expected.unwrap_or(count), count);
    };
    whole(None);
    writer.tell("fsize 9000");
    wait_for("more of them", || {
        (shards::read_all(temp.path())[0].values.len() > 40).then_some(())
    });
    whole(None);
    writer.tell("fsize unlimited");
    writer.wait_until_healthy();
    whole(Some(100));
    for number in 0..10 {
        assert_eq!(shards::total(temp.path(), &format!("h{number}_0")), 2.0);
    }
    writer.end();
}

#[test]
fn a_directory_that_is_renamed_and_not_replaced_is_still_ours() {
    let temp = tempfile::tempdir().unwrap();
    let (dir, renamed) = (temp.path().join("shards"), temp.path().join("renamed"));
    let mut writer = Scripted::start();
    writer.open(&dir);
    writer.tell("counter hits_total");
    writer.tell("add hits_total 1");
    let id = writer.wait_until_healthy();
    fs::rename(&dir, &renamed).unwrap();
    // That it is written again tells that the background thread has had its look.
    for _ in 0..2 {
        fs::remove_file(renamed.join(format!("process_{id}.json"))).unwrap();
        wait_for("the sidecar", || sidecar(&renamed, &id));
    }
    writer.tell("add hits_total 1");
    assert_eq!(writer.wait_until_healthy(), id);
    assert_eq!(shards::total(&renamed, "hits_total"), 2.0);
    assert!(!dir.exists());
    writer.end();
}

#[test]
fn a_name_that_is_taken_costs_nothing_but_the_name() {
    let temp = tempfile::tempdir().unwrap();
    let mut writer = Scripted::start();
    writer.open(temp.path());
    writer.tell("counter hits_total");
    let id = writer.wait_until_healthy();
    let taken = temp.path().join(format!("histogram_{id}.db"));
    fs::create_dir(&taken).unwrap();
    writer.tell("histogram seconds_sum");
    writer.tell("add seconds_sum 2");
    assert_eq!(writer.wait_until_healthy(), id);
    fs::remove_dir(&taken).unwrap();
    assert_eq!(shards::total(temp.path(), "seconds_sum"), 2.0);
    let shards = shards::read_all(temp.path());
    let mut ids: Vec<String> = shards.into_iter().map(|shard| shard.id).collect();
    ids.sort();
    wait_for("a sidecar for each", || {
        (shards::sidecar_ids(temp.path()) == ids).then_some(())
    });
    writer.end();
}

#[test]
fn the_background_thread_takes_its_own_faults_and_no_other_signal() {
    let temp = tempfile::tempdir().unwrap();
    let mut writer = Scripted::start();
    writer.open(temp.path());
    let pid = writer.id();
    let blocked = wait_for("the thread", || {
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
        tasks.flatten().find_map(|task| {
            let status = fs::read_to_string(task.path().join("status")).ok()?;
            status.contains("Name:\tmetricsd-writer").then_some(())?;
            let mask = status
                .lines()
                .find_map(|line| line.strip_prefix("SigBlk:"))?;
            u64::from_str_radix(mask.trim(), 16)
                .ok()
                .filter(|mask| *mask != 0)
        })
    });
    let is_blocked = |signal: i32| blocked & (1 << (signal - 1)) != 0;
    for fault in [
        libc::SIGSEGV,
        libc::SIGBUS,
        libc::SIGFPE,
        libc::SIGILL,
        libc::SIGSYS,
    ] {
        assert!(!is_blocked(fault), "{fault}");
    }
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGIO, libc::SIGUSR1] {
        assert!(is_blocked(signal), "{signal}");
    }
    writer.end();
}

#[test]
fn a_writer_whose_files_are_deleted_goes_on_in_new_ones() {
    let temp = tempfile::tempdir().unwrap();
    check_continuation(&temp.path().join("shards"), |dir| {
        for file in fs::read_dir(dir).unwrap() {
            fs::remove_file(file.unwrap().path()).unwrap();
        }
    });
}

#[test]
fn a_writer_whose_directory_is_deleted_makes_it_again() {
    let temp = tempfile::tempdir().unwrap();
    check_continuation(&temp.path().join("shards"), |dir| {
        // The writer may put a file into it between the two steps.
        wait_for("an empty directory", || fs::remove_dir_all(dir).ok());
    });
}

#[test]
fn a_writer_whose_directory_is_replaced_follows_the_path() {
    let temp = tempfile::tempdir().unwrap();
    check_continuation(&temp.path().join("shards"), |dir| {
        fs::rename(dir, dir.with_extension("old")).unwrap();
        fs::create_dir(dir).unwrap();
    });
}

#[test]
fn a_directory_above_that_has_gone_is_waited_for() {
    let temp = tempfile::tempdir().unwrap();
    let mount = temp.path().join("mount");
    let dir = mount.join("shards");
    let mut writer = Scripted::start();
    writer.open(&dir);
    writer.tell("counter hits_total");
    writer.tell("add hits_total 1");
    writer.wait_until_healthy();
    let deleted = hold(&dir, FileKind::Counter);
    fs::remove_dir_all(&mount).unwrap();
    writer.wait_until_degraded();
    writer.tell("add hits_total 2");
    assert!(!mount.exists(), "a missing mount is not papered over");
    fs::create_dir(&mount).unwrap();
    writer.wait_until_healthy();
    writer.tell("add hits_total 4");
    assert_eq!(read_held(&deleted).get("hits_total"), Some(1.0));
    assert_eq!(shards::total(&dir, "hits_total"), 6.0);
    writer.end();
}

#[test]
fn one_deleted_shard_gets_a_successor_and_the_others_stay() {
    let temp = tempfile::tempdir().unwrap();
    let mut writer = Scripted::start();
    writer.open(temp.path());
    writer.tell("counter hits_total");
    writer.tell("gauge all level");
    writer.tell("add hits_total 1");
    writer.tell("set level 1");
    let old_id = writer.wait_until_healthy();
    fs::remove_file(temp.path().join(format!("counter_{old_id}.db"))).unwrap();
    let new_id = wait_for("a new shard", || {
        let id = writer.wait_until_healthy();
        temp.path()
            .join(format!("counter_{id}.db"))
            .exists()
            .then_some(id)
    });
    writer.tell("add hits_total 1");
    writer.tell("set level 2");
    let shards = shards::read_all(temp.path());
    let ids: Vec<(&str, Option<f64>)> = shards
        .iter()
        .map(|shard| {
            let value = shard.get("hits_total").or(shard.get("level"));
            (shard.id.as_str(), value)
        })
        .collect();
    assert_eq!(
        ids,
        [(new_id.as_str(), Some(1.0)), (old_id.as_str(), Some(2.0))]
    );
    // Both IDs are in use, so both have a sidecar.
    let mut expected = vec![old_id, new_id];
    expected.sort();
    wait_for("both sidecars", || {
        (shards::sidecar_ids(temp.path()) == expected).then_some(())
    });
    writer.end();
}

#[test]
fn the_sidecar_says_who_writes_and_whether_it_can() {
    let temp = tempfile::tempdir().unwrap();
    let mut writer = Scripted::start();
    writer.open(temp.path());
    writer.tell("counter hits_total");
    let id = writer.wait_until_healthy();
    let file = wait_for("the sidecar", || sidecar(temp.path(), &id));
    assert_eq!(
        (
            file.program.as_str(),
            file.version.as_str(),
            file.mode.as_str()
        ),
        ("scripted", "1.2.3", "test")
    );
    assert_eq!(file.pid, writer.id());
    assert_eq!(file.labels["desk"], "fx");
    let stat = fs::read_to_string(format!("/proc/{}/stat", writer.id())).unwrap();
    let ticks: u64 = stat.split(' ').nth(21).unwrap().parse().unwrap();
    assert_eq!(file.start_ticks, ticks);
    let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    assert_eq!(file.boot_id, boot_id.trim());
    assert!(!file.degraded);

    fs::remove_file(temp.path().join(format!("process_{id}.json"))).unwrap();
    let again = wait_for("the sidecar again", || sidecar(temp.path(), &id));
    assert_eq!(again, file);
    writer.end();
}

/// Everything is opened, recorded and repaired with so little room, whatever it stops at.
fn check_room(test: &str, options: &str, roomy: &str) -> Option<()> {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("full");
    let disk = Tmpfs::mount(test, &dir, options)?;
    let mut writer = Scripted::start();
    writer.open(&dir);
    writer.tell("counters x 150");
    writer.tell("whole xh");
    writer.tell("gauge livesum xg");
    writer.tell("gauge max xm");
    writer.tell("addall x 0");
    writer.tell("stormall x 2");
    wait_for("some rounds", || {
        (writer.number("rounds") > 20.0).then_some(())
    });
    disk.remount(roomy);
    writer.wait_until_healthy();
    let added = writer.number("calm");
    for name in [
        "x0_total",
        "x75_total",
        "x149_total",
        "xh_0",
        "xh_9",
        "xg",
        "xm",
    ] {
        let name = name.to_owned();
        assert_eq!(shards::total(&dir, &name), added, "{options}: {name}");
    }
    let entries: usize = shards::read_all(&dir)
        .iter()
        .map(|shard| shard.values.len())
        .sum();
    assert_eq!(entries, 150 + 10 + 2, "{options}");
    let id = writer.wait_until_healthy();
    wait_for("a sidecar that says so", || {
        sidecar(&dir, &id).filter(|file| !file.degraded)
    });
    writer.end();
    Some(())
}

#[test]
fn a_disk_that_is_full_at_any_point_loses_nothing() {
    let test = "a_disk_that_is_full_at_any_point_loses_nothing";
    for page_count in 1..=9 {
        let options = format!("size={}k", page_count * 4);
        if check_room(test, &options, "size=1m").is_none() {
            return;
        }
    }
}

#[test]
fn a_disk_without_inodes_at_any_point_loses_nothing() {
    let test = "a_disk_without_inodes_at_any_point_loses_nothing";
    for count in 2..=6 {
        let options = format!("size=1m,nr_inodes={count}");
        if check_room(test, &options, "nr_inodes=100").is_none() {
            return;
        }
    }
}
