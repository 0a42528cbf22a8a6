//! The interleaved run: every case once a round, so that a slow phase of the machine hits all of them alike.
//!
//! Invariant: no case is measured alone, and none has its warm-up inside the clock. Ratios of medians are the figures to read;
//! the nanoseconds belong to the machine.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Most threads that record at the same time.
pub(crate) const THREADS_MAX: usize = 8;

/// Who calls, and into which of the case's series.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    /// Number of the thread, below [`THREADS_MAX`].
    pub(crate) thread: usize,
    /// Number of the series, below [`THREADS_MAX`]: 0 for all threads, or each thread's own.
    pub(crate) series: usize,
}

/// So many calls from a place.
pub(crate) type Body = Box<dyn Fn(Place, u64) + Send + Sync>;

/// One thing to measure.
pub(crate) struct Case {
    /// What is compared: all cases of a group do the same work.
    pub(crate) group: &'static str,
    pub(crate) name: &'static str,
    pub(crate) body: Body,
    /// Whether the body heeds [`Place::series`].
    pub(crate) has_own_series: bool,
    /// Done outside the clock after each batch, for a case that buffers.
    pub(crate) drain: Option<Box<dyn Fn() + Send + Sync>>,
    /// Most calls before it has to be drained.
    pub(crate) calls_max: u64,
}

impl std::fmt::Debug for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.group, self.name)
    }
}

impl Case {
    /// A case whose body heeds the place's series.
    pub(crate) fn new(group: &'static str, name: &'static str, body: Body) -> Case {
        Case {
            group,
            name,
            body,
            has_own_series: true,
            drain: None,
            calls_max: u64::MAX,
        }
    }

    /// The same for a body that has one set of series for everybody.
    pub(crate) fn shared(group: &'static str, name: &'static str, body: Body) -> Case {
        Case {
            has_own_series: false,
            ..Case::new(group, name, body)
        }
    }

    fn run(&self, place: Place, calls: u64) {
        (self.body)(place, calls);
    }

    fn drained(&self) {
        if let Some(drain) = &self.drain {
            drain();
        }
    }
}

/// A body: what a thread holds during a batch, and then each call with its number. The fence is for the compiler alone: it keeps calls
/// apart that it would otherwise make into one, and costs no instruction.
#[macro_export]
#[doc(hidden)]
macro_rules! body {
    (|$place:ident| $held:expr; |$handle:ident, $call:ident| $action:expr) => {
        Box::new(move |$place: $crate::rounds::Place, calls: u64| {
            let $handle = $held;
            for $call in 0..calls {
                $action;
                std::sync::atomic::compiler_fence(std::sync::atomic::Ordering::SeqCst);
            }
        })
    };
}

/// How long a run takes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Effort {
    /// Rounds with one thread.
    pub(crate) rounds_alone: usize,
    /// Rounds with two threads, of each kind.
    pub(crate) rounds_together: usize,
    /// Length of a batch.
    pub(crate) batch: Duration,
}

impl Effort {
    /// What the figures of the report are made with.
    pub(crate) const FULL: Effort = Effort {
        rounds_alone: 101,
        rounds_together: 61,
        batch: Duration::from_millis(2),
    };
    /// A look, in a few seconds.
    pub(crate) const SHORT: Effort = Effort {
        rounds_alone: 15,
        rounds_together: 9,
        batch: Duration::from_millis(1),
    };
    /// One thread only, for one of many process starts.
    pub(crate) const START: Effort = Effort {
        rounds_alone: 21,
        rounds_together: 0,
        batch: Duration::from_millis(1),
    };
}

/// Nanoseconds a call, as each thread sees it.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) greatest: f64,
}

impl Spread {
    /// Of some figures; none when there are none.
    pub(crate) fn of(mut figures: Vec<f64>) -> Option<Spread> {
        figures.sort_by(f64::total_cmp);
        Some(Spread {
            median: *figures.get(figures.len() / 2)?,
            least: *figures.first()?,
            greatest: *figures.last()?,
        })
    }
}

/// What a case took.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) group: &'static str,
    pub(crate) name: &'static str,
    pub(crate) alone: Spread,
    /// Two threads on the same series.
    pub(crate) same: Option<Spread>,
    /// Two threads, each on a series of its own.
    pub(crate) own: Option<Spread>,
}

/// Measures all cases. With one processor nothing runs on two threads.
pub(crate) fn run(cases: &[Case], effort: Effort) -> Vec<Outcome> {
    let processors = processors();
    pin(processors.first());
    let batches: Vec<u64> = cases
        .iter()
        .map(|case| calibrate(case, effort.batch))
        .collect();
    let mut alone = vec![Vec::new(); cases.len()];
    let here = Place {
        thread: 0,
        series: 0,
    };
    for _ in 0..effort.rounds_alone {
        for ((case, &calls), figures) in cases.iter().zip(&batches).zip(&mut alone) {
            case.run(here, (calls / 20).max(1));
            let started = Instant::now();
            case.run(here, calls);
            let took = started.elapsed();
            case.drained();
            figures.push(took.as_nanos() as f64 / calls as f64);
        }
    }
    unpin(&processors);
    let (mut same, mut own) = (vec![None; cases.len()], vec![None; cases.len()]);
    if processors.len() > 1 && effort.rounds_together > 0 {
        same = together(cases, &batches, effort, &processors, false);
        own = together(cases, &batches, effort, &processors, true);
    }
    cases
        .iter()
        .zip(alone)
        .zip(same.into_iter().zip(own))
        .map(|((case, alone), (same, own))| Outcome {
            group: case.group,
            name: case.name,
            alone: Spread::of(alone).unwrap_or_default(),
            same,
            own,
        })
        .collect()
}

/// Calls after which every series of a case has been touched.
pub(crate) const WARM_UP_CALLS: u64 = 1_000;

/// Calls that take about as long as a batch is to be.
fn calibrate(case: &Case, batch: Duration) -> u64 {
    let here = Place {
        thread: 0,
        series: 0,
    };
    // The first touch of each series takes a lock and writes into a file: it would be taken for the price of a call.
    case.run(here, WARM_UP_CALLS.min(case.calls_max));
    case.drained();
    let mut calls = 16_u64;
    loop {
        let started = Instant::now();
        case.run(here, calls);
        let took = started.elapsed();
        case.drained();
        if took > batch / 8 || calls > case.calls_max / 2 {
            let fitting = calls as f64 * batch.as_secs_f64() / took.as_secs_f64().max(1e-9);
            return (fitting as u64).clamp(1, case.calls_max);
        }
        calls *= 2;
    }
}

/// Two threads on a processor each, fully overlapped: the first measures a fixed time, the second works until the first is done.
fn together(
    cases: &[Case],
    batches: &[u64],
    effort: Effort,
    processors: &[usize],
    is_own: bool,
) -> Vec<Option<Spread>> {
    let mut figures = vec![Vec::new(); cases.len()];
    let (barrier, is_over) = (Barrier::new(2), AtomicBool::new(false));
    // Each worker runs the same list of cases in the same order; only the barrier keeps them in step.
    let work = |thread: usize| {
        pin(processors.get(thread));
        let place = Place {
            thread,
            series: if is_own { thread } else { 0 },
        };
        let mut took = vec![Vec::new(); cases.len()];
        for _ in 0..effort.rounds_together {
            for ((case, &calls), figures) in cases.iter().zip(batches).zip(&mut took) {
                if is_own && !case.has_own_series {
                    continue;
                }
                let chunk = (calls / 100).max(1);
                case.run(place, chunk);
                if barrier.wait().is_leader() {
                    is_over.store(false, Ordering::Release);
                }
                barrier.wait();
                let (mut done, started) = (0, Instant::now());
                // One chunk at least: on a busy machine the other thread can be over before this one has begun.
                loop {
                    case.run(place, chunk);
                    done += chunk;
                    if thread == 0
                        && (started.elapsed() >= 2 * effort.batch || done > case.calls_max)
                    {
                        is_over.store(true, Ordering::Release);
                    }
                    if is_over.load(Ordering::Acquire) {
                        break;
                    }
                }
                figures.push(started.elapsed().as_nanos() as f64 / done as f64);
                if barrier.wait().is_leader() {
                    case.drained();
                }
            }
        }
        took
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(|| work(1));
        // The measuring thread must not stay bound to a processor.
        let first = scope.spawn(|| work(0)).join().unwrap_or_default();
        for took in [first, other.join().unwrap_or_default()] {
            for (all, of_thread) in figures.iter_mut().zip(took) {
                all.extend(of_thread);
            }
        }
    });
    figures.into_iter().map(Spread::of).collect()
}

/// The processors that this process may run on.
pub(crate) fn processors() -> Vec<usize> {
    let Ok(set) = sched_getaffinity(None) else {
        return Vec::new();
    };
    (0..CpuSet::MAX_CPU)
        .filter(|&number| set.is_set(number))
        .collect()
}

/// Binds the calling thread to one processor; where the kernel does not let us, the figures are noisier and nothing else.
fn pin(processor: Option<&usize>) {
    let Some(&processor) = processor else { return };
    let mut set = CpuSet::new();
    set.set(processor);
    let _ = sched_setaffinity(None, &set);
}

/// Lets the calling thread run everywhere again.
fn unpin(processors: &[usize]) {
    let mut set = CpuSet::new();
    for &processor in processors {
        set.set(processor);
    }
    let _ = sched_setaffinity(None, &set);
}
