//! What an addition costs: through a series, and by the plainest means on either side of it (a cell in private memory that one thread stores
//! into; a locked instruction; a loop of compare-and-swap).
//!
//! Every case runs once a round, so that slow moments of the machine hit all alike; the ratios are what counts. Run with
//! `cargo bench -p metricsd-shard --bench lanes`, optionally with a number of rounds behind `--`. It asserts nothing.

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use metricsd_shard::{Create, FileKind, Key, ProcessInfo, Series, Writer};

/// Counts the bytes that are in use.
struct Counting;

static IN_USE: AtomicUsize = AtomicUsize::new(0);

// SAFETY: passes every call on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        IN_USE.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps GlobalAlloc's contract, and it is the same here.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        IN_USE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: `memory` came from `alloc` above, that is from the system's allocator, with this layout.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Series whose memory is measured.
const SERIES: usize = 100_000;

/// Additions of one case in one round.
const ADDITIONS: u32 = 1 << 18;

/// Cells or series that are used in turn.
const IN_TURN: usize = 64;

const ROUNDS: usize = 101;

/// A cell that shares no cache line with another.
#[repr(align(128))]
struct Alone(AtomicU64);

impl Alone {
    fn new() -> Alone {
        Alone(AtomicU64::new(0))
    }
}

/// What the cases work on.
struct Ground {
    private: Vec<Vec<Alone>>,
    shared: Alone,
    series: Vec<Series>,
    in_memory: Series,
}

/// Name, and what one thread does.
type Case = (&'static str, fn(&Ground, usize));

const CASES: [Case; 9] = [
    ("private f64 cell, load-add-store", |ground, thread| {
        let cell = &ground.private[thread][0].0;
        repeat(|_| add_alone(cell));
    }),
    ("private f64 cells, 64 in turn", |ground, thread| {
        let cells = &ground.private[thread];
        repeat(|step| add_alone(&cells[step % IN_TURN].0));
    }),
    (
        "private f64 cells, 64 in turn, by pointers in a table",
        |ground, thread| {
            let cells: Vec<&AtomicU64> =
                ground.private[thread].iter().map(|cell| &cell.0).collect();
            let cells = black_box(cells);
            repeat(|step| add_alone(cells[step % IN_TURN]));
        },
    ),
    ("u64 `lock xadd`, one cell for all", |ground, _| {
        repeat(|_| {
            ground.shared.0.fetch_add(1, Ordering::Relaxed);
        });
    }),
    ("f64 compare-and-swap, one cell for all", |ground, _| {
        repeat(|_| add_shared(&ground.shared.0));
    }),
    ("series, one for all", |ground, _| {
        let series = black_box(&ground.series[0]);
        repeat(|_| series.add(0, 1.0));
    }),
    ("series, own handle", |ground, _| {
        let series = black_box(ground.series[0].clone());
        repeat(|_| series.add(0, 1.0));
    }),
    ("series, 64 in turn", |ground, _| {
        let series = &ground.series;
        repeat(|step| series[step % IN_TURN].add(0, 1.0));
    }),
    ("series in memory, one for all", |ground, _| {
        let series = black_box(&ground.in_memory);
        repeat(|_| series.add(0, 1.0));
    }),
];

fn repeat(mut add: impl FnMut(usize)) {
    for step in 0..ADDITIONS as usize {
        add(step);
        // Each addition is a call of its own: nothing of one may be kept for the next.
        std::sync::atomic::compiler_fence(Ordering::SeqCst);
    }
}

fn add_alone(cell: &AtomicU64) {
    let value = f64::from_bits(cell.load(Ordering::Relaxed)) + 1.0;
    cell.store(value.to_bits(), Ordering::Relaxed);
}

fn add_shared(cell: &AtomicU64) {
    let mut bits = cell.load(Ordering::Relaxed);
    loop {
        let next = (f64::from_bits(bits) + 1.0).to_bits();
        match cell.compare_exchange_weak(bits, next, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => return,
            Err(now) => bits = now,
        }
    }
}

fn series(writer: Writer, number: usize) -> Series {
    let key = Key {
        family: "bench".to_owned(),
        sample: "bench_total".to_owned(),
        labels: vec![
            ("number".to_owned(), format!("{number:05}")),
            ("side".to_owned(), "buy".to_owned()),
        ],
        help: "Additions of a benchmark.".to_owned(),
    };
    writer.series(FileKind::Counter, vec![key], Create::AtZero)
}

/// Nanoseconds an addition of one case, as the slowest of its threads sees it.
fn time(ground: &Ground, case: fn(&Ground, usize), threads: usize) -> f64 {
    let begin = Barrier::new(threads);
    let run = |thread: usize| {
        // The lane's first touch of each entry is not what is measured.
        for series in ground.series.iter().chain([&ground.in_memory]) {
            series.add(0, 1.0);
        }
        begin.wait();
        let start = Instant::now();
        case(ground, thread);
        start.elapsed().as_nanos() as f64 / f64::from(ADDITIONS)
    };
    if threads == 1 {
        return run(0);
    }
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads)
            .map(|thread| scope.spawn(move || run(thread)))
            .collect();
        let times = running.into_iter().filter_map(|thread| thread.join().ok());
        times.fold(0.0, f64::max)
    })
}

fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn main() -> io::Result<()> {
    let rounds = std::env::args()
        .find_map(|word| word.parse().ok())
        .unwrap_or(ROUNDS);
    let dir = Path::new("/dev/shm").join(format!("metricsd-bench-{}", std::process::id()));
    let writer = Writer::open(&dir, ProcessInfo::default());
    let ground = Ground {
        private: (0..2)
            .map(|_| (0..IN_TURN).map(|_| Alone::new()).collect())
            .collect(),
        shared: Alone::new(),
        series: (0..IN_TURN).map(|number| series(writer, number)).collect(),
        in_memory: series(Writer::in_memory(), 0),
    };
    let mut times = vec![[Vec::new(), Vec::new()]; CASES.len()];
    for _ in 0..rounds {
        for (times, (_, case)) in times.iter_mut().zip(CASES) {
            for threads in [1, 2] {
                times[threads - 1].push(time(&ground, case, threads));
            }
        }
    }
    let mut output = io::stdout().lock();
    writeln!(
        output,
        "{rounds} rounds of {ADDITIONS} additions, ns an addition, medians"
    )?;
    writeln!(output, "{:55} {:>9} {:>9}", "", "1 thread", "2 threads")?;
    for ([one, two], (name, _)) in times.iter_mut().zip(CASES) {
        writeln!(
            output,
            "{name:55} {:>9.2} {:>9.2}",
            median(one),
            median(two)
        )?;
    }
    let before = IN_USE.load(Ordering::Relaxed);
    let many: Vec<Series> = (0..SERIES).map(|number| series(writer, number)).collect();
    many.iter().for_each(|series| series.add(0, 1.0));
    let handles = many.capacity() * size_of::<Series>();
    let in_use = IN_USE.load(Ordering::Relaxed) - before - handles;
    let each = in_use as f64 / SERIES as f64;
    writeln!(
        output,
        "heap of a counter with two labels, of {SERIES} in one shard: {each:.0} B"
    )?;
    std::fs::remove_dir_all(&dir)
}
