//! A call on an entry that exists allocates nothing and makes no system call. Method: an allocator that counts, and a thread in
//! strict seccomp, where any system call but read, write and exit is death.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by it, its child answers on it"
)]

mod child;
mod python_env;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{BufReader, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use child::{READY, ROLE, child_command, key, kill_after_deadline, skip_to_ready};
use metricsd_shard::{Create, FileKind, GaugeMode, ProcessInfo, Series, Writer};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: passes every call on to the system's allocator as it came; the counter is a plain thread-local without destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller keeps GlobalAlloc's contract, and it is the same here.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: `memory` came from `alloc` above, that is from the system's allocator, with this layout.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// One series of each sort, every entry touched.
struct Touched {
    counter: Series,
    histogram: Series,
    gauge: Series,
    last: Series,
}

impl Touched {
    fn of(writer: Writer) -> Touched {
        let gauge = |mode, name| {
            writer.series(FileKind::Gauge(mode), vec![key(name)], Create::OnFirstTouch)
        };
        let touched = Touched {
            counter: writer.series(FileKind::Counter, vec![key("c_total")], Create::AtZero),
            histogram: writer.series(
                FileKind::Histogram,
                vec![key("h_sum"), key("h_bucket")],
                Create::AtZero,
            ),
            gauge: gauge(GaugeMode::LiveSum, "g"),
            last: gauge(GaugeMode::MostRecent, "m"),
        };
        touched.use_all();
        touched
    }

    fn use_all(&self) -> f64 {
        for _ in 0..1000 {
            self.counter.add(0, 1.0);
            self.histogram.add(1, 1.0);
            self.histogram.add(0, 0.5);
            self.gauge.set(0, 3.0);
            self.gauge.add(0, -1.0);
            self.last.set_with_timestamp(0, 1.0, 2.0);
        }
        self.counter.clone().get(0) + self.gauge.get(0)
    }
}

#[test]
fn a_call_allocates_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let shards = Writer::open(&temp.path().join("shards"), ProcessInfo::default());
    for writer in [shards, Writer::in_memory()] {
        let touched = Touched::of(writer);
        let before = ALLOCATIONS.get();
        let sum = touched.use_all();
        assert_eq!(ALLOCATIONS.get() - before, 0);
        assert_eq!(sum, 2002.0);
    }
}

#[test]
fn a_call_makes_no_system_call() {
    let temp = tempfile::tempdir().unwrap();
    let executable = std::env::current_exe().unwrap();
    let dir = temp.path().join("shards");
    let mut child = child_command(&executable, "child_process", dir.to_str().unwrap())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    // Strict mode ends one thread, and the harness would wait for it for ever.
    let done = Arc::new(AtomicBool::new(false));
    kill_after_deadline(&child, Arc::clone(&done));
    skip_to_ready(&mut output);
    let mut answer = [0; 5];
    output
        .read_exact(&mut answer)
        .expect("killed for a system call");
    match &answer {
        b"alive" => {}
        b"never" => python_env::record_skip("a_call_makes_no_system_call", "no seccomp here"),
        _ => panic!("{answer:?}"),
    }
    done.store(true, Ordering::Relaxed);
    child.kill().unwrap();
    child.wait().unwrap();
}

/// A child process of the test above. Its role is its directory.
#[test]
#[ignore = "a child process of the tests in this file"]
fn child_process() {
    let Ok(dir) = std::env::var(ROLE) else { return };
    let touched = Touched::of(Writer::open(dir.as_ref(), ProcessInfo::default()));
    println!("{READY}");
    // SAFETY: no pointers; from here on this thread may only read, write and exit.
    let status = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_STRICT) };
    if status != 0 {
        println!("never");
        return;
    }
    touched.use_all();
    // SAFETY: writes five bytes of a constant to standard output.
    unsafe { libc::write(1, b"alive".as_ptr().cast(), 5) };
    // SAFETY: ends this thread by the one system call that strict mode leaves for it; nothing runs after it.
    unsafe { libc::syscall(libc::SYS_exit, 0) };
}
