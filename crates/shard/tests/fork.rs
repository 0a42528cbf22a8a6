//! A forked child counts into shards of its own, from zero, and never into its parent's. Method: real forks of a process whose
//! threads count, set and create series meanwhile; then the exact total of every process, read from the shards.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by it, its child answers on it"
)]

mod child;
mod shards;

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Child;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use child::{DEADLINE, ROLE, child_command, key, wait_for};
use metricsd_shard::{
    Create, FileKind, GaugeMode, ProcessInfo, Series, Writer, WriterId, WriterStatus,
};

/// Forks in the storm. Each is a chance to fork while another thread holds a lock or is in the middle of a new series.
const FORKS: usize = 300;

/// Series that the parent makes meanwhile, over and over.
const SERIES_MAX: u64 = 5000;

/// What each forked child adds, over three threads.
const ADDED_BY_CHILD: f64 = 2500.0;

/// Runs one role in a process of its own and gives what it printed. A process that hangs is killed and fails the test.
fn run(role: &str, dir: &Path) -> String {
    let executable = std::env::current_exe().unwrap();
    let mut child = child_command(
        &executable,
        "child_process",
        &format!("{role} {}", dir.display()),
    )
    .stderr(std::process::Stdio::inherit())
    .process_group(0)
    .spawn()
    .unwrap();
    let ended = wait_until_ended(&mut child);
    if ended.is_none() {
        // What it forked hangs with it, and has its output open.
        let group = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process_group(group, rustix::process::Signal::KILL).unwrap();
    }
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(ended.is_some(), "{role} hangs: {text}");
    assert!(output.status.success(), "{role}: {} {text}", output.status);
    text
}

fn wait_until_ended(child: &mut Child) -> Option<()> {
    let deadline = Instant::now() + DEADLINE;
    while Instant::now() < deadline {
        if child.try_wait().unwrap().is_some() {
            return Some(());
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    None
}

/// A number that the child printed as `name=NUMBER`.
fn printed(text: &str, name: &str) -> f64 {
    text.lines()
        .find_map(|line| line.strip_prefix(&format!("{name}=")))
        .unwrap_or_else(|| panic!("no {name} in {text}"))
        .parse()
        .unwrap()
}

fn pid_of(id: &str) -> u32 {
    id.parse::<WriterId>().unwrap().pid
}

#[test]
fn totals_are_exact_when_a_process_of_many_threads_forks_many_times() {
    let temp = tempfile::tempdir().unwrap();
    let text = run("storm", temp.path());
    let parent = printed(&text, "pid") as u32;
    let mut child_shards = 0;
    for shard in shards::read_all(temp.path()) {
        let is_parent = pid_of(&shard.id) == parent;
        match shard.kind {
            FileKind::Counter if is_parent => {
                assert_eq!(shard.get("hits_total"), Some(printed(&text, "added")));
                let made = shard.values.len() - 1;
                assert_eq!(made as f64, printed(&text, "made"), "series of the parent");
            }
            FileKind::Counter => {
                child_shards += 1;
                assert_eq!(
                    shard.get("hits_total"),
                    Some(ADDED_BY_CHILD),
                    "{}",
                    shard.id
                );
                assert_eq!(shard.get("of_child_total"), Some(1.0), "{}", shard.id);
                assert_eq!(shard.values.len(), 2, "only what the child touched");
            }
            FileKind::Histogram if !is_parent => {
                // Touched in one of its entries, created whole.
                assert_eq!(shard.get("seconds_sum"), Some(0.5), "{}", shard.id);
                assert_eq!(shard.get("seconds_bucket"), Some(0.0), "{}", shard.id);
            }
            FileKind::Gauge(_) if !is_parent => {
                let pair = shard.values[&("last".to_owned(), Vec::new())];
                assert_eq!(pair, (7.0, 8.0), "{}", shard.id);
            }
            _ => {}
        }
    }
    assert_eq!(child_shards, FORKS);
    // Parent and children each have their sidecar.
    assert_eq!(shards::sidecar_ids(temp.path()).len(), FORKS + 1);
}

#[test]
fn what_is_in_memory_at_the_fork_stays_the_parents() {
    let temp = tempfile::tempdir().unwrap();
    let blocked = temp.path().join("blocked");
    std::fs::write(&blocked, "a file where a directory should be").unwrap();
    let dir = blocked.join("shards");
    let text = run("degraded", &dir);
    let parent = printed(&text, "pid") as u32;
    let totals: Vec<(bool, Option<f64>)> = shards::read_all(&dir)
        .iter()
        .map(|shard| (pid_of(&shard.id) == parent, shard.get("hits_total")))
        .collect();
    assert_eq!(totals.len(), 2);
    assert!(totals.contains(&(true, Some(5.0))), "{totals:?}");
    assert!(totals.contains(&(false, Some(3.0))), "{totals:?}");
}

#[test]
fn a_grandchild_has_shards_of_its_own() {
    let temp = tempfile::tempdir().unwrap();
    run("grandchild", temp.path());
    let mut totals: Vec<f64> = shards::read_all(temp.path())
        .iter()
        .map(|shard| shard.get("hits_total").unwrap())
        .collect();
    totals.sort_by(f64::total_cmp);
    assert_eq!(totals, [1.0, 10.0, 100.0]);
}

#[test]
fn a_child_keeps_nothing_of_its_parents_files_open_or_mapped() {
    let temp = tempfile::tempdir().unwrap();
    let text = run("idle", temp.path());
    assert!(text.contains("clean"), "{text}");
}

#[test]
fn a_writer_in_memory_is_copied_by_a_fork() {
    let temp = tempfile::tempdir().unwrap();
    run("memory", temp.path());
}

#[test]
fn a_child_of_a_writer_in_memory_waits_for_no_thread_that_it_has_not() {
    let temp = tempfile::tempdir().unwrap();
    run("pairs", temp.path());
}

#[test]
fn cells_of_threads_that_the_child_has_not_are_taken_over_in_memory_and_left_alone_in_shards() {
    let temp = tempfile::tempdir().unwrap();
    let text = run("crowd", temp.path());
    let parent = printed(&text, "pid") as u32;
    for name in ["hits_total", "more_total"] {
        let mut totals: Vec<(bool, f64)> = shards::read_all(temp.path())
            .iter()
            .map(|shard| (pid_of(&shard.id) == parent, shard.get(name).unwrap()))
            .collect();
        totals.sort_by(|a, b| a.1.total_cmp(&b.1));
        assert_eq!(totals, [(false, 201.0), (false, 211.0), (true, 4014.0)]);
    }
}

#[test]
fn a_child_has_its_own_id_before_its_first_touch() {
    let temp = tempfile::tempdir().unwrap();
    run("status", temp.path());
}

#[test]
fn a_child_papers_over_a_missing_mount_no_more_than_its_parent() {
    let temp = tempfile::tempdir().unwrap();
    run("gone", &temp.path().join("mount/shards"));
}

#[test]
fn a_writer_takes_no_standard_stream() {
    let temp = tempfile::tempdir().unwrap();
    run("streams", temp.path());
}

/// A child process of the tests above.
#[test]
#[ignore = "a child process of the tests in this file"]
fn child_process() {
    let Ok(role) = std::env::var(ROLE) else {
        return;
    };
    let (role, dir) = role.split_once(' ').unwrap();
    let dir = Path::new(dir);
    println!("\npid={}", std::process::id());
    match role {
        "storm" => storm(dir),
        "degraded" => degraded(dir),
        "grandchild" => grandchild(dir),
        "idle" => idle(dir),
        "memory" => memory(),
        "pairs" => pairs(),
        "crowd" => crowd(dir),
        "status" => status(dir),
        "gone" => gone(dir),
        "streams" => streams(dir),
        _ => panic!("{role}"),
    }
}

fn open(dir: &Path) -> (Writer, Series) {
    let writer = Writer::open(dir, ProcessInfo::default());
    let hits = writer.series(FileKind::Counter, vec![key("hits_total")], Create::AtZero);
    (writer, hits)
}

/// Threads at a time, more than have cells of their own.
const CROWD: usize = 20;

/// Lets a crowd of threads add to all of these, ten times `v` each, all of them alive until the last one is through.
fn add_in_crowd(all: &[Series], v: f64, meanwhile: impl FnOnce()) {
    let (through, over) = (
        Arc::new(std::sync::Barrier::new(CROWD + 1)),
        Arc::new(std::sync::Barrier::new(CROWD + 1)),
    );
    let threads: Vec<_> = (0..CROWD)
        .map(|_| {
            let all = all.to_vec();
            let (through, over) = (Arc::clone(&through), Arc::clone(&over));
            std::thread::spawn(move || {
                (0..10).for_each(|_| all.iter().for_each(|series| series.add(0, v)));
                through.wait();
                over.wait();
                (0..10).for_each(|_| all.iter().for_each(|series| series.add(0, v)));
            })
        })
        .collect();
    through.wait();
    meanwhile();
    over.wait();
    for thread in threads {
        thread.join().unwrap();
    }
}

/// Forks in a thread without a lane, while others have them all, and in the child in one that has one.
fn crowd(dir: &Path) {
    let (writer, hits) = open(dir);
    let more = writer.series(FileKind::Counter, vec![key("more_total")], Create::AtZero);
    let copied =
        Writer::in_memory().series(FileKind::Counter, vec![key("copied_total")], Create::AtZero);
    // Of the first a thread that takes a lane gets its cell anew; of the others it finds in its table what is there.
    let all = [hits, copied, more];
    let values = |all: &[Series]| {
        assert_eq!(all[0].get(0), all[2].get(0));
        [all[0].get(0), all[1].get(0)]
    };
    let mut child = None;
    add_in_crowd(&all, 10.0, || {
        all.iter().for_each(|series| series.add(0, 7.0));
        assert_eq!(values(&all), [2007.0, 2007.0]);
        child = Some(fork(|| {
            assert_eq!(values(&all), [0.0, 2007.0]);
            add_in_crowd(&all, 0.5, || assert_eq!(values(&all), [100.0, 2107.0]));
            assert_eq!(values(&all), [200.0, 2207.0]);
            all.iter().for_each(|series| series.add(0, 11.0));
            join(fork(|| {
                assert_eq!(values(&all), [0.0, 2218.0]);
                all.iter().for_each(|series| series.add(0, 1.0));
                add_in_crowd(&all, 0.5, || {});
                assert_eq!(values(&all), [201.0, 2419.0]);
            }));
            assert_eq!(values(&all), [211.0, 2218.0]);
        }));
    });
    join(child.unwrap());
    all.iter().for_each(|series| series.add(0, 7.0));
    assert_eq!(values(&all), [4014.0, 4014.0]);
}

/// Forks; the child runs `work` and ends at once, the parent gets its process ID.
fn fork(work: impl FnOnce()) -> rustix::process::Pid {
    // SAFETY: glibc's fork, which runs the handlers that are tested here. The child ends by `_exit` and never returns from here; it
    // allocates and starts threads, which glibc allows in the child of a process with threads.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "fork: {}", std::io::Error::last_os_error());
    match rustix::process::Pid::from_raw(pid) {
        Some(pid) => pid,
        None => {
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).is_ok();
            // SAFETY: ends the process without running the parent's exit handlers; no requirement.
            unsafe { libc::_exit(i32::from(!done)) }
        }
    }
}

fn join(pid: rustix::process::Pid) {
    let (_, status) = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty())
        .unwrap()
        .unwrap();
    assert_eq!(status.exit_status(), Some(0), "a forked child failed");
}

fn storm(dir: &Path) {
    let (writer, hits) = open(dir);
    let histogram = writer.series(
        FileKind::Histogram,
        vec![key("seconds_sum"), key("seconds_bucket")],
        Create::AtZero,
    );
    let last = writer.series(
        FileKind::Gauge(GaugeMode::MostRecent),
        vec![key("last")],
        Create::OnFirstTouch,
    );
    let stop = Arc::new(AtomicBool::new(false));
    let made = Arc::new(AtomicU64::new(0));
    let adders: Vec<_> = (0..2)
        .map(|_| {
            let (hits, stop) = (hits.clone(), Arc::clone(&stop));
            std::thread::spawn(move || {
                let mut added = 0.0;
                while !stop.load(Ordering::Relaxed) {
                    // In bursts, so that the forked children get their turn on a machine of two cores.
                    (0..1000).for_each(|_| hits.add(0, 1.0));
                    added += 1000.0;
                    std::thread::yield_now();
                }
                added
            })
        })
        .collect();
    let setter = {
        let (last, stop) = (last.clone(), Arc::clone(&stop));
        std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                (0..1000).for_each(|_| last.set_with_timestamp(0, 1.0, 2.0));
                std::thread::yield_now();
            }
        })
    };
    let maker = {
        let (stop, made) = (Arc::clone(&stop), Arc::clone(&made));
        std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                // New ones first, then the same again: both take the lock.
                let number = made.load(Ordering::Relaxed) % SERIES_MAX;
                let name = format!("made{number}_total");
                writer.series(FileKind::Counter, vec![key(&name)], Create::AtZero);
                made.fetch_add(1, Ordering::Relaxed);
                std::thread::yield_now();
            }
        })
    };
    for _ in 0..FORKS {
        let child = fork(|| {
            let threads = [1.0, 3.0].map(|v| {
                let hits = hits.clone();
                std::thread::spawn(move || (0..500).for_each(|_| hits.add(0, v)))
            });
            (0..500).for_each(|_| hits.add(0, 1.0));
            last.set_with_timestamp(0, 7.0, 8.0);
            histogram.add(0, 0.5);
            writer
                .series(
                    FileKind::Counter,
                    vec![key("of_child_total")],
                    Create::AtZero,
                )
                .add(0, 1.0);
            for thread in threads {
                thread.join().unwrap();
            }
            assert!(matches!(writer.status(), WriterStatus::Healthy { .. }));
        });
        // While the child works, so does the parent.
        join(child);
    }
    stop.store(true, Ordering::Relaxed);
    let added: f64 = adders.into_iter().map(|adder| adder.join().unwrap()).sum();
    setter.join().unwrap();
    maker.join().unwrap();
    assert_eq!(hits.get(0), added);
    println!(
        "added={added}\nmade={}",
        made.load(Ordering::Relaxed).min(SERIES_MAX)
    );
}

fn degraded(dir: &Path) {
    let (writer, hits) = open(dir);
    hits.add(0, 5.0);
    let is_healthy = || {
        wait_for("a healthy writer", || {
            matches!(writer.status(), WriterStatus::Healthy { .. }).then_some(())
        });
    };
    let child = fork(|| {
        assert_eq!(hits.get(0), 0.0, "a child begins at zero");
        hits.add(0, 3.0);
        is_healthy();
    });
    std::fs::remove_file(dir.parent().unwrap()).unwrap();
    is_healthy();
    join(child);
}

fn grandchild(dir: &Path) {
    let (_writer, hits) = open(dir);
    hits.add(0, 1.0);
    join(fork(|| {
        hits.add(0, 10.0);
        join(fork(|| hits.add(0, 100.0)));
    }));
}

fn idle(dir: &Path) {
    let (_writer, hits) = open(dir);
    hits.add(0, 1.0);
    let dir = dir.to_str().unwrap();
    let names_ours = |path: &Path| path.to_str().is_some_and(|path| path.contains(dir));
    let mapped = || {
        std::fs::read_to_string("/proc/self/maps")
            .unwrap()
            .contains(dir)
    };
    let opened = || {
        std::fs::read_dir("/proc/self/fd")
            .unwrap()
            .filter_map(|fd| std::fs::read_link(fd.unwrap().path()).ok())
            .any(|path| names_ours(&path))
    };
    assert!(mapped() && opened(), "the parent has them");
    join(fork(|| {
        assert!(!mapped() && !opened(), "the child has not")
    }));
    println!("clean");
}

fn memory() {
    let writer = Writer::in_memory();
    let hits = writer.series(FileKind::Counter, vec![key("hits_total")], Create::AtZero);
    hits.add(0, 2.0);
    join(fork(|| {
        hits.add(0, 1.0);
        assert_eq!(hits.get(0), 3.0);
    }));
    assert_eq!(hits.get(0), 2.0);
}

fn pairs() {
    let writer = Writer::in_memory();
    let last = writer.series(
        FileKind::Gauge(GaugeMode::MostRecent),
        vec![key("last")],
        Create::OnFirstTouch,
    );
    last.set_with_timestamp(0, 1.0, 1.0);
    for _ in 0..2 {
        let last = last.clone();
        // Until the process ends.
        std::thread::spawn(move || {
            loop {
                last.set_with_timestamp(0, 1.0, 1.0);
            }
        });
    }
    for _ in 0..FORKS {
        join(fork(|| {
            last.set_with_timestamp(0, 7.0, 8.0);
            assert_eq!(last.get(0), 7.0);
        }));
    }
}

fn status(dir: &Path) {
    let (writer, hits) = open(dir);
    let id = |writer: Writer| match writer.status() {
        WriterStatus::Healthy { id, .. } => id,
        other => panic!("{other:?}"),
    };
    let parents = id(writer);
    join(fork(|| {
        let before = id(writer);
        assert_eq!(before.pid, std::process::id());
        assert_ne!(before, parents);
        hits.add(0, 1.0);
        assert_eq!(id(writer), before);
    }));
}

fn gone(dir: &Path) {
    let (_writer, hits) = open(dir);
    hits.add(0, 1.0);
    let mount = dir.parent().unwrap();
    join(fork(|| {
        std::fs::rename(mount, mount.with_extension("elsewhere")).unwrap();
        hits.add(0, 1.0);
        assert!(!mount.exists());
    }));
}

fn streams(dir: &Path) {
    join(fork(|| {
        for stream in 0..3 {
            // SAFETY: nobody in this process uses the standard streams any more; it ends by `_exit`.
            unsafe { libc::close(stream) };
        }
        let (writer, hits) = open(dir);
        hits.add(0, 1.0);
        let is_healthy = matches!(writer.status(), WriterStatus::Healthy { .. });
        let is_free = |stream: i32| {
            let link = std::fs::read_link(format!("/proc/self/fd/{stream}"));
            !link.is_ok_and(|path| path.starts_with(dir))
        };
        assert!(is_healthy && (0..3).all(is_free));
    }));
}
