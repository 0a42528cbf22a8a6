//! Somebody else cuts the shards of a living process short: the process goes on, says so, and counts nothing twice; what it
//! counts after that is not lost. Method: real processes, real truncations under adding threads, and all files read afterwards, the
//! cut ones as far as they go.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by it, its child answers on it"
)]

mod child;
#[allow(dead_code, reason = "not every test binary uses all of it")]
mod scripted;
mod shards;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use child::{ROLE, child_command, key, kill_after_deadline, wait_for};
use metricsd_shard::{
    Create, FileKind, GaugeMode, HEADER_LEN_BYTES, Key, ProcessInfo, Series, ShardName, Writer,
    parse_from, read_value,
};
use scripted::Scripted;

/// Adding threads.
const THREADS: usize = 4;

/// What is done to a file.
#[derive(Debug, Clone, Copy)]
enum Harm {
    /// This long from now on.
    CutTo(u64),
    /// Cut to this length and made as long again as it was.
    CutAndGrown(u64),
    /// So many bytes less than are in use.
    CutBy(u64),
    /// So many bytes less than are in use, and made as long again as it was.
    CutByAndGrown(u64),
    /// Made empty and deleted.
    CutAndDeleted,
    /// Overwritten with text, longer than before.
    Overwritten,
}

impl Harm {
    /// Does it and gives where the file was cut.
    fn happen(self, path: &Path) -> u64 {
        let file = fs::OpenOptions::new().write(true).open(path).unwrap();
        let len = file.metadata().unwrap().len();
        let used = || {
            let bytes = fs::read(path).unwrap();
            u64::from(u32::from_le_bytes(*bytes.first_chunk().unwrap()))
        };
        let cut = match self {
            Harm::CutTo(len) | Harm::CutAndGrown(len) => len,
            Harm::CutBy(count) | Harm::CutByAndGrown(count) => used() - count,
            Harm::CutAndDeleted | Harm::Overwritten => 0,
        };
        file.set_len(cut).unwrap();
        match self {
            Harm::CutTo(_) | Harm::CutBy(_) => {}
            Harm::CutAndGrown(_) | Harm::CutByAndGrown(_) => file.set_len(len).unwrap(),
            Harm::CutAndDeleted => fs::remove_file(path).unwrap(),
            Harm::Overwritten => {
                let text = "nothing that a shard would have ".repeat(len as usize / 16);
                fs::write(path, text).unwrap();
            }
        }
        cut
    }
}

/// The only shard of this kind.
fn shard_of(dir: &Path, kind: FileKind) -> PathBuf {
    let files = fs::read_dir(dir).unwrap().flatten();
    let mut found = files.filter(|file| {
        let name = file.file_name().into_string().unwrap();
        ShardName::parse(&name).is_ok_and(|name| name.kind == kind)
    });
    let path = found.next().unwrap().path();
    assert!(found.next().is_none(), "one shard of {kind:?}");
    path
}

/// The values that a reader finds in these bytes, whatever is wrong with the rest; of a key that stands there for several threads the sum.
fn values(bytes: &[u8]) -> BTreeMap<String, f64> {
    let mut sums = BTreeMap::new();
    for entry in parse_from(bytes, HEADER_LEN_BYTES).entries {
        if let Ok(key) = Key::parse(entry.key) {
            *sums.entry(key.sample).or_default() += read_value(bytes, entry.value_offset).0;
        }
    }
    sums
}

/// How many entries each sample has in these bytes, and where the last of them ends.
fn places(bytes: &[u8]) -> BTreeMap<String, (usize, u64)> {
    let mut places = BTreeMap::<String, (usize, u64)>::new();
    for entry in parse_from(bytes, HEADER_LEN_BYTES).entries {
        let place = places
            .entry(Key::parse(entry.key).unwrap().sample)
            .or_default();
        *place = (place.0 + 1, entry.value_offset as u64 + 16);
    }
    places
}

/// The same of all shards of this kind but `except`, added up.
fn values_elsewhere(dir: &Path, kind: FileKind, except: &Path) -> BTreeMap<String, f64> {
    let mut sums = BTreeMap::new();
    for file in fs::read_dir(dir).unwrap() {
        let path = file.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path != except && ShardName::parse(name).is_ok_and(|name| name.kind == kind) {
            for (sample, value) in values(&fs::read(&path).unwrap()) {
                *sums.entry(sample).or_default() += value;
            }
        }
    }
    sums
}

/// Series of one kind, of several pages.
fn make(writer: &mut Scripted, kind: FileKind) {
    match kind {
        FileKind::Counter => writer.tell("counters x 200"),
        FileKind::Histogram => {
            for number in 0..20 {
                writer.tell(&format!("whole x{number}"));
            }
        }
        _ => {
            for number in 0..200 {
                writer.tell(&format!("gauge livesum x{number}"));
            }
            writer.tell("addall x 0");
        }
    }
}

fn check(kind: FileKind, harm: Harm) {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("shards");
    let mut writer = Scripted::start();
    writer.open(&dir);
    make(&mut writer, kind);
    let old_id = writer.wait_until_healthy();
    let path = shard_of(&dir, kind);
    let held = fs::File::open(&path).unwrap();
    let samples: Vec<String> = values(&fs::read(&path).unwrap()).into_keys().collect();
    assert_eq!(samples.len(), 200);

    writer.tell(&format!("stormall x {THREADS}"));
    wait_for("counts", || (writer.number("rounds") > 50.0).then_some(()));
    // Each thread has its own entry of what adds up.
    let count = if matches!(kind, FileKind::Gauge(_)) {
        1
    } else {
        THREADS
    };
    let places = wait_for("all threads", || {
        let places = places(&fs::read(&path).unwrap());
        places
            .values()
            .all(|place| place.0 == count)
            .then_some(places)
    });
    let cut = harm.happen(&path);
    // Rounds that had begun by then, at most.
    let begun_at_cut = writer.number("rounds") + THREADS as f64;
    let new_id = wait_for("a new shard", || {
        let id = writer.wait_until_healthy();
        (id != old_id).then_some(id)
    });
    assert_ne!(new_id, old_id);
    let begun_at_notice = writer.number("rounds") + THREADS as f64;
    let later = begun_at_notice + 20.0;
    wait_for("more", || (writer.number("rounds") > later).then_some(()));
    let added = writer.number("calm");
    wait_for("all of them in the new shard", || {
        let present = values_elsewhere(&dir, kind, &path);
        let least = if matches!(kind, FileKind::Gauge(_)) {
            0
        } else {
            200
        };
        (present.len() >= least && present.values().all(|&value| value > 0.0)).then_some(())
    });

    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut &held, &mut bytes).unwrap();
    let left = values(&bytes);
    let new = values_elsewhere(&dir, kind, &path);
    let mut doubtful = 0;
    for sample in &samples {
        let (left, new) = (left.get(sample), new.get(sample).copied());
        let what = format!("{kind:?} {harm:?} {sample}: {left:?} left, {new:?} new, {added} added");
        let total = match kind {
            // What is true now, and no count.
            FileKind::Gauge(_) => new.unwrap_or_default(),
            _ => left.copied().unwrap_or_default() + new.unwrap_or_default(),
        };
        assert!(total <= added, "more than was added: {what}");
        let after_notice = added - begun_at_notice;
        assert!(
            total >= after_notice,
            "less than after the notice, {after_notice}: {what}"
        );
        let is_whole = places[sample].1 <= cut;
        if is_whole && !matches!(harm, Harm::CutByAndGrown(_)) {
            assert_eq!(
                total, added,
                "what the file still has goes on exactly: {what}"
            );
        }
        // What was added since the cut is there, but for calls of the moment of the move.
        if total < added - begun_at_cut - THREADS as f64 {
            doubtful += 1;
        }
    }
    let doubtful_max = if matches!(harm, Harm::Overwritten) {
        200
    } else {
        1
    };
    assert!(doubtful <= doubtful_max, "{kind:?} {harm:?}: {doubtful}");
    let log = writer.end_after("into shards again");
    assert_eq!(log.matches("cut short").count(), 1, "{harm:?}: {log}");
    assert_eq!(log.matches("WARN").count(), 1, "{harm:?}: {log}");
    let recovered = log.lines().find(|line| line.contains("into shards again"));
    let recovered = recovered.unwrap_or_else(|| panic!("{harm:?}: {log}"));
    assert!(
        recovered.contains("degraded_seconds=") && recovered.contains("since_unix_seconds="),
        "{recovered}"
    );
}

const GAUGE: FileKind = FileKind::Gauge(GaugeMode::LiveSum);

#[test]
fn counters_of_a_cut_shard_go_on() {
    for harm in [
        Harm::CutTo(0),
        Harm::CutTo(3),
        Harm::CutTo(4096),
        Harm::CutTo(4096 + 1000),
        Harm::CutBy(0),
        Harm::CutBy(3),
    ] {
        check(FileKind::Counter, harm);
    }
}

#[test]
fn counters_of_a_shard_that_was_cut_and_made_long_again_go_on() {
    for harm in [
        Harm::CutAndGrown(0),
        Harm::CutAndGrown(4096),
        Harm::CutAndGrown(5003),
        Harm::CutByAndGrown(20),
        Harm::CutAndDeleted,
        Harm::Overwritten,
    ] {
        check(FileKind::Counter, harm);
    }
}

#[test]
fn histograms_of_a_cut_shard_go_on() {
    for harm in [
        Harm::CutTo(0),
        Harm::CutTo(4096),
        Harm::CutBy(20),
        Harm::CutAndGrown(4096),
        Harm::CutAndDeleted,
    ] {
        check(FileKind::Histogram, harm);
    }
}

#[test]
fn gauges_of_a_cut_shard_go_on_with_what_is_known() {
    for harm in [
        Harm::CutTo(0),
        Harm::CutTo(4096),
        Harm::CutTo(5003),
        Harm::CutAndGrown(4096),
        Harm::CutAndDeleted,
    ] {
        check(GAUGE, harm);
    }
}

#[test]
fn a_cut_is_noticed_without_a_fault() {
    for harm in [
        Harm::CutTo(0),
        Harm::CutTo(4096),
        Harm::CutBy(0),
        Harm::CutAndGrown(0),
        Harm::CutAndGrown(4096),
        Harm::CutByAndGrown(17),
        Harm::Overwritten,
    ] {
        let temp = tempfile::tempdir().unwrap();
        let mut writer = Scripted::start();
        writer.open(temp.path());
        make(&mut writer, FileKind::Counter);
        writer.tell("addall x 5");
        let old_id = writer.wait_until_healthy();
        let path = shard_of(temp.path(), FileKind::Counter);
        harm.happen(&path);
        // Nobody touches a value from here on.
        let whole = wait_for("a new shard", || {
            let new = values_elsewhere(temp.path(), FileKind::Counter, &path);
            (new.len() == 200).then_some(new)
        });
        assert!(
            whole.values().all(|&value| value == 0.0),
            "{harm:?}: {whole:?}"
        );
        assert_ne!(writer.wait_until_healthy(), old_id);
        writer.tell("addall x 1");
        let new = values_elsewhere(temp.path(), FileKind::Counter, &path);
        assert!(new.values().all(|&value| value == 1.0), "{harm:?}: {new:?}");
        // A cut right before the last value leaves its key, and a zero once the file is long again.
        let left = values(&fs::read(&path).unwrap());
        let zeros = left.values().filter(|&&value| value == 0.0).count();
        let zeros_max = usize::from(matches!(harm, Harm::CutByAndGrown(_)));
        let is_left = left.values().all(|&value| value == 5.0 || value == 0.0);
        assert!(is_left && zeros <= zeros_max, "{harm:?}: {left:?}");
        writer.end_after("cut short");
    }
}

#[test]
fn a_new_series_never_makes_a_cut_shard_long_again() {
    let temp = tempfile::tempdir().unwrap();
    let mut writer = Scripted::start();
    writer.open(temp.path());
    for round in 0..5 {
        let prefix = format!("r{round}x");
        writer.tell(&format!("counters {prefix} 100"));
        let id = writer.wait_until_healthy();
        let path = temp.path().join(format!("counter_{id}.db"));
        wait_for("its shard", || path.exists().then_some(()));
        let cut = Harm::CutTo(4096).happen(&path);
        writer.tell(&format!("counters {prefix}more 100"));
        writer.tell(&format!("addall {prefix}more 1"));
        wait_for("a new shard", || {
            (writer.wait_until_healthy() != id).then_some(())
        });
        assert!(fs::metadata(&path).unwrap().len() <= cut, "grown again");
        for index in 0..100 {
            let name = format!("{prefix}more{index}_total");
            assert_eq!(writer.number(&format!("get {name}")), 1.0, "{name}");
        }
    }
    writer.end();
}

#[test]
fn a_gauge_whose_value_is_gone_claims_none_until_it_is_set() {
    let temp = tempfile::tempdir().unwrap();
    let mut writer = Scripted::start();
    writer.open(temp.path());
    for name in ["gone", "again"] {
        writer.tell(&format!("gauge livesum {name}"));
        writer.tell(&format!("set {name} 7"));
    }
    let path = shard_of(temp.path(), GAUGE);
    let held = fs::File::open(&path).unwrap();
    let old_id = writer.wait_until_healthy();
    Harm::CutAndDeleted.happen(&path);
    writer.tell("set again 3");
    wait_for("a new ID", || {
        (writer.wait_until_healthy() != old_id).then_some(())
    });
    wait_for("what was set since", || {
        (shards::total(temp.path(), "again") == 3.0).then_some(())
    });
    let new = values_elsewhere(temp.path(), GAUGE, &path);
    assert_eq!(new.get("gone"), None, "{new:?}");
    writer.tell("set gone 0");
    let new = values_elsewhere(temp.path(), GAUGE, &path);
    assert_eq!(new.get("gone"), Some(&0.0), "{new:?}");
    assert_eq!(held.metadata().unwrap().len(), 0);
    writer.end();
}

#[test]
fn a_fault_in_a_cut_shard_is_seen_in_the_status_at_once() {
    let temp = tempfile::tempdir().unwrap();
    let mut writer = Scripted::start();
    writer.open(temp.path());
    writer.tell("counter hits_total");
    writer.tell("counter seconds_total");
    writer.tell("degradedseconds seconds_total");
    // A pass may come between fault and look; it does not each time.
    wait_for("a degraded status", || {
        let id = writer.wait_until_healthy();
        let path = temp.path().join(format!("counter_{id}.db"));
        Harm::CutTo(0).happen(path.exists().then_some(&path)?);
        writer.tell("add hits_total 1");
        let status = writer.ask("status");
        let reason = status.strip_prefix("degraded ")?;
        let is_first = reason.starts_with(path.to_str().unwrap());
        assert!(
            is_first && reason.contains("cut the shard short"),
            "{reason}"
        );
        Some(())
    });
    writer.wait_until_healthy();
    wait_for("the time that it took", || {
        (writer.number("get seconds_total") > 0.0).then_some(())
    });
    writer.end();
}

/// Runs one role in a process of its own.
fn run(role: &str) -> (ExitStatus, String) {
    let temp = tempfile::tempdir().unwrap();
    let executable = std::env::current_exe().unwrap();
    let role = format!("{role} {}", temp.path().display());
    let mut command = child_command(&executable, "sigbus_process", &role);
    command.stdin(std::process::Stdio::null());
    let child = command.spawn().unwrap();
    // A fault that comes back for ever would hang.
    let done = Arc::new(AtomicBool::new(false));
    kill_after_deadline(&child, Arc::clone(&done));
    let output = child.wait_with_output().unwrap();
    done.store(true, Ordering::Relaxed);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status, text + &errors)
}

#[test]
fn a_foreign_fault_goes_to_the_handler_that_was_there_before() {
    for role in ["before", "before_old_style", "after_and_chaining"] {
        let (status, text) = run(role);
        assert!(status.success(), "{role}: {status} {text}");
    }
}

#[test]
fn a_fault_that_nobody_handles_still_kills() {
    for role in [
        "foreign",
        "foreign_default",
        "foreign_ignored",
        "once",
        "sent",
    ] {
        let (status, text) = run(role);
        assert_eq!(
            status.signal(),
            Some(libc::SIGBUS),
            "{role}: {status} {text}"
        );
        assert!(text.contains("ready to die"), "{role}: {text}");
    }
}

#[test]
fn an_ignored_signal_that_is_sent_stays_ignored() {
    let (status, text) = run("sent_ignored");
    assert!(status.success(), "{status} {text}");
}

#[test]
fn a_forked_child_is_guarded_and_so_is_its_parent() {
    let (status, text) = run("fork");
    assert!(status.success(), "{status} {text}");
}

/// Faults that a handler of the program saw.
static SEEN: AtomicUsize = AtomicUsize::new(0);

/// What handled SIGBUS when a handler of the program was installed after ours.
static OURS: AtomicUsize = AtomicUsize::new(0);

/// The page that a handler of the program puts memory under.
static FOREIGN: AtomicUsize = AtomicUsize::new(0);

/// Puts memory under the foreign page.
fn repair() {
    SEEN.fetch_add(1, Ordering::SeqCst);
    let page = FOREIGN.load(Ordering::SeqCst) as *mut libc::c_void;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
    // SAFETY: exactly the mapping that `foreign_page` made.
    let new = unsafe { libc::mmap(page, 4096, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0) };
    assert_eq!(new, page);
}

extern "C" fn old_style(signal: libc::c_int) {
    assert_eq!(signal, libc::SIGBUS);
    repair();
}

extern "C" fn own(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: installed with SA_SIGINFO.
    let address = unsafe { (*info).si_addr() } as usize;
    if address == FOREIGN.load(Ordering::SeqCst) {
        return repair();
    }
    let ours = OURS.load(Ordering::SeqCst);
    assert_ne!(ours, 0, "a fault that is not for us: {address:#x}");
    // SAFETY: what `install` found, which was installed with SA_SIGINFO.
    let ours = unsafe {
        std::mem::transmute::<
            usize,
            extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void),
        >(ours)
    };
    ours(signal, info, context);
}

/// Installs an action and gives the one before.
fn install(action: usize, flags: libc::c_int) -> usize {
    // SAFETY: all zeros are a valid action.
    let (mut new, mut old): (libc::sigaction, libc::sigaction) = unsafe { std::mem::zeroed() };
    (new.sa_sigaction, new.sa_flags) = (action, flags);
    // SAFETY: whole actions; their functions live as long as the program.
    let status = unsafe { libc::sigaction(libc::SIGBUS, &raw const new, &raw mut old) };
    assert_eq!(status, 0);
    old.sa_sigaction
}

/// A mapping of a file of the program's own, whose file is empty: touching it is SIGBUS.
fn foreign_page(dir: &Path) -> *mut u8 {
    use std::os::fd::AsRawFd;
    let mut options = fs::OpenOptions::new();
    let file = options.read(true).write(true).create_new(true);
    let file = file.open(dir.join("foreign")).unwrap();
    let access = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a new mapping at an address of the kernel's choice.
    let page = unsafe {
        libc::mmap(
            ptr::null_mut(),
            4096,
            access,
            libc::MAP_SHARED,
            file.as_raw_fd(),
            0,
        )
    };
    assert_ne!(page, libc::MAP_FAILED);
    FOREIGN.store(page as usize, Ordering::SeqCst);
    page.cast()
}

fn touch(page: *mut u8) {
    // SAFETY: a mapping of this test's own; what becomes of the fault is what is tested.
    unsafe { page.write_volatile(1) };
}

fn open(dir: &Path) -> Series {
    let writer = Writer::open(dir, ProcessInfo::default());
    let hits = writer.series(FileKind::Counter, vec![key("hits_total")], Create::AtZero);
    hits.add(0, 1.0);
    hits
}

/// Cuts the shards of this directory to nothing and counts on.
fn cut_and_count(dir: &Path, hits: &Series) {
    for file in fs::read_dir(dir).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "db") {
            Harm::CutTo(0).happen(&path);
        }
    }
    hits.add(0, 2.0);
    assert_eq!(hits.get(0), 2.0, "what was there before is lost");
}

#[test]
#[ignore = "a child process of the tests in this file"]
fn sigbus_process() {
    let Ok(role) = std::env::var(ROLE) else {
        return;
    };
    let Some((role, dir)) = role.split_once(' ') else {
        return;
    };
    let dir = Path::new(dir);
    let shards = dir.join("shards");
    let foreign = foreign_page(dir);
    let siginfo = libc::SA_SIGINFO | libc::SA_ONSTACK;
    let own = own as *const () as usize;
    let old_style = old_style as *const () as usize;
    let seen = || SEEN.load(Ordering::SeqCst);
    match role {
        "before" | "before_old_style" => {
            if role == "before" {
                install(own, siginfo);
            } else {
                install(old_style, 0);
            }
            let hits = open(&shards);
            cut_and_count(&shards, &hits);
            assert_eq!(seen(), 0, "a fault of ours is not the program's");
            touch(foreign);
            assert_eq!(seen(), 1);
            let more = shards.join("more");
            cut_and_count(&more, &open(&more));
            hits.add(0, 1.0);
            assert_eq!((seen(), hits.get(0)), (1, 3.0));
        }
        "after_and_chaining" => {
            let hits = open(&shards);
            OURS.store(install(own, siginfo), Ordering::SeqCst);
            cut_and_count(&shards, &hits);
            touch(foreign);
            assert_eq!(seen(), 1);
        }
        "foreign" | "foreign_default" | "foreign_ignored" => {
            if role != "foreign" {
                let is_default = role == "foreign_default";
                install(
                    if is_default {
                        libc::SIG_DFL
                    } else {
                        libc::SIG_IGN
                    },
                    0,
                );
            }
            cut_and_count(&shards, &open(&shards));
            println!("ready to die");
            touch(foreign);
        }
        "once" => {
            install(own, siginfo | libc::SA_RESETHAND);
            cut_and_count(&shards, &open(&shards));
            touch(foreign);
            assert_eq!(seen(), 1);
            fs::remove_file(dir.join("foreign")).unwrap();
            println!("ready to die");
            touch(foreign_page(dir));
        }
        "sent" | "sent_ignored" => {
            install(
                if role == "sent" {
                    libc::SIG_DFL
                } else {
                    libc::SIG_IGN
                },
                0,
            );
            let hits = open(&shards);
            println!("ready to die");
            // SAFETY: no pointers.
            unsafe { libc::raise(libc::SIGBUS) };
            cut_and_count(&shards, &hits);
        }
        "fork" => fork_and_cut(&shards),
        _ => panic!("{role}"),
    }
}

fn fork_and_cut(shards: &Path) {
    let hits = open(shards);
    // Longer than one block of the table of ranges.
    let many: Vec<Series> = (0..70)
        .map(|number| open(&shards.join(format!("n{number}"))))
        .collect();
    for (round, cut) in many.iter().enumerate().take(20) {
        // Now and then the parent's own is private memory when it forks.
        if round % 2 == 0 {
            cut_and_count(&shards.join(format!("n{round}")), cut);
        }
        // SAFETY: glibc's fork, which runs the handlers that are tested here; the child ends by `_exit`.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            let work = std::panic::catch_unwind(|| {
                let own = std::process::id().to_string();
                for (number, series) in many.iter().enumerate().rev().step_by(23) {
                    series.add(0, 5.0);
                    let dir = shards.join(format!("n{number}"));
                    let is_own = |file: &fs::DirEntry| {
                        let name = file.file_name().into_string().unwrap();
                        name.starts_with(&format!("counter_{own}-"))
                    };
                    let file = fs::read_dir(dir).unwrap().flatten().find(is_own).unwrap();
                    Harm::CutTo(0).happen(&file.path());
                    series.add(0, 1.0);
                    assert_eq!(series.get(0), 1.0);
                }
            });
            // SAFETY: ends the process without running the parent's exit handlers.
            unsafe { libc::_exit(i32::from(work.is_err())) }
        }
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        let (_, status) =
            rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty())
                .unwrap()
                .unwrap();
        assert_eq!(status.exit_status(), Some(0), "the child of round {round}");
    }
    cut_and_count(shards, &hits);
    let last = many.len() - 1;
    cut_and_count(&shards.join(format!("n{last}")), &many[last]);
}
