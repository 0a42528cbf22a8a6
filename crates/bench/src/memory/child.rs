//! The counting process: makes many series of each kind and looks at the heap before and after.
//!
//! Invariant: nothing that is counted is freed before it was counted, and labels that the caller alone needs are freed.

use std::path::Path;

use anyhow::Result;
use metricsd_client::{Registry, label_set, label_text, label_value};

use crate::hot::{BOUNDS_11, all_cases, registry};
use crate::rounds::Place;

use super::OURS;

/// What an allocator has done so far.
#[derive(Debug, Clone, Copy)]
pub struct Heap {
    /// Calls that gave memory or moved it.
    pub calls: usize,
    /// Pieces that are not given back.
    pub live: i64,
    /// Their bytes.
    pub live_bytes: i64,
}

/// The two kinds of series, by the names of the report.
pub(crate) const COUNTER: &str = "counter, two labels";
pub(super) const HISTOGRAM: &str = "histogram, 11 buckets, two labels";
/// Series of each kind; other crates have them in one family, we in ten, since a family of ours has 10,000 at most.
pub(super) const COUNTERS: usize = 10 * 9_999;
pub(super) const HISTOGRAMS: usize = 10 * 1_999;

/// Calls of which the allocations are counted.
const CALLS: u64 = 10_000;

/// Prints a line for each kind of series and for each kind of call.
///
/// # Errors
/// When no directory can be made.
pub fn count_allocations(heap: &dyn Fn() -> Heap) -> Result<()> {
    let directory = crate::shards::scratch()?;
    own_series(heap, directory.path());
    #[cfg(feature = "peers")]
    super::peers::series(heap);
    let here = Place {
        thread: 0,
        series: 0,
    };
    for case in all_cases(directory.path()) {
        (case.body)(here, CALLS);
        let before = heap();
        (case.body)(here, CALLS);
        let each = (heap().calls - before.calls) as f64 / CALLS as f64;
        println!("call\t{}\t{}\t{each:.2}", case.group, case.name);
    }
    Ok(())
}

/// Makes something and prints what of it stays on the heap.
pub(super) fn kept<T>(
    heap: &dyn Fn() -> Heap,
    what: &str,
    name: &str,
    count: usize,
    make: impl FnOnce() -> T,
) {
    let before = heap();
    let made = make();
    let after = heap();
    println!(
        "series\t{what}\t{name}\t{count}\t{:.0}\t{:.2}",
        (after.live_bytes - before.live_bytes) as f64 / count as f64,
        (after.live - before.live) as f64 / count as f64
    );
    std::mem::forget(made);
}

/// The second label of a series by its number.
pub(super) fn path(number: usize) -> String {
    format!("api.v1.items.{number:07}")
}

label_value! {
    enum Method { Get = "get" }
}

/// Families over text domains of their own, so that every series has a text of its own, as with the other crates.
macro_rules! families {
    ($($module:ident),+) => {
        $(mod $module {
            use super::{Method, Registry, label_set, label_text, path};

            label_text! { pub(super) struct Path { spelling: Lower, len_max_bytes: 32, values_max: 9_999 } }
            label_set! { pub(super) struct Labels { method: Method, path: Path } }
            label_text! { pub(super) struct FewPath { spelling: Lower, len_max_bytes: 32, values_max: 1_999 } }
            label_set! { pub(super) struct FewLabels { method: Method, path: FewPath } }

            pub(super) fn counters(registry: &Registry, first: usize) {
                let family = registry.counter_family::<Labels>(concat!("kept_", stringify!($module)), "Counted.");
                for number in first..first + 9_999 {
                    family.with(&Labels { method: Method::Get, path: Path::new(&path(number)) }).inc();
                }
            }

            pub(super) fn histograms(registry: &Registry, first: usize) {
                let name = concat!("kept_seconds_", stringify!($module));
                let family = registry.histogram_family::<FewLabels>(name, "Observed.", &super::BOUNDS_11);
                for number in first..first + 1_999 {
                    family.with(&FewLabels { method: Method::Get, path: FewPath::new(&path(number)) }).observe(0.3);
                }
            }
        })+
        const COUNTER_FAMILIES: [fn(&Registry, usize); 10] = [$($module::counters),+];
        const HISTOGRAM_FAMILIES: [fn(&Registry, usize); 10] = [$($module::histograms),+];
    };
}
families!(a, b, c, d, e, f, g, h, i, j);

fn own_series(heap: &dyn Fn() -> Heap, directory: &Path) {
    let registry = registry(directory);
    // What a registry has for itself belongs to no series.
    registry.counter("kept_first", "Counted.").inc();
    let before = used_bytes(directory);
    kept(heap, COUNTER, OURS, COUNTERS, || {
        for (number, make) in COUNTER_FAMILIES.iter().enumerate() {
            make(registry, number * 9_999);
        }
    });
    let between = used_bytes(directory);
    kept(heap, HISTOGRAM, OURS, HISTOGRAMS, || {
        for (number, make) in HISTOGRAM_FAMILIES.iter().enumerate() {
            make(registry, number * 1_999);
        }
    });
    for (what, count, bytes) in [
        (COUNTER, COUNTERS, between - before),
        (HISTOGRAM, HISTOGRAMS, used_bytes(directory) - between),
    ] {
        println!(
            "series\t{what}\tthe shards beside it, bytes in use\t{count}\t{}\t0",
            bytes / count as u64
        );
    }
}

/// Bytes that the headers of all shards say are in use.
fn used_bytes(directory: &Path) -> u64 {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let shards = entries.filter(|entry| entry.file_name().to_string_lossy().ends_with(".db"));
    shards
        .filter_map(|entry| {
            let mut header = [0; 4];
            let mut file = std::fs::File::open(entry.path()).ok()?;
            std::io::Read::read_exact(&mut file, &mut header).ok()?;
            Some(u64::from(u32::from_le_bytes(header)))
        })
        .sum()
}
