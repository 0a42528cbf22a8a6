//! Our own handles: in shards (Mode B), as a trading process has them, and in memory (Mode A).
//!
//! Invariant: only what any program can call. One registry for the process, as its documentation asks for.

use std::path::Path;
use std::sync::OnceLock;

use metricsd_client::{Counter, Gauge, GaugeMode, Histogram, Registry, Settings, Target};

use crate::body;
use crate::rounds::Case;
use crate::sequence::{label_positions, latencies_seconds};

use super::labels::{
    EnumLabels, METHODS, Method, MethodText, Owner, OwnerLabels, PATHS, PathText, TextLabels, Turn,
    TurnLabels,
};
use super::{
    ADD, BOUNDS_11, ENUMS, FRACTION, INC, OBSERVE_11, OBSERVE_20, OURS, OURS_BY_HANDLE,
    OURS_IN_MEMORY, OURS_IN_TURN, SET, STRINGS, bounds_20,
};

/// The one registry of this process that writes shards; the first directory that is given is the one that counts.
pub(crate) fn registry(directory: &Path) -> &'static Registry {
    static REGISTRY: OnceLock<Registry> = OnceLock::new();
    REGISTRY.get_or_init(|| {
        Registry::start(Settings {
            program: "bench".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            runs_as: "measurement".to_owned(),
            target: Target::Shards {
                directory: directory.to_owned(),
            },
            labels: Default::default(),
            warnings: Vec::new(),
        })
    })
}

/// All of ours, in both modes.
pub(crate) fn cases(directory: &Path) -> Vec<Case> {
    let shards = registry(directory);
    let mut cases = of(shards, OURS);
    cases.push(in_turn(shards));
    cases.push(enums_by_handle(shards));
    cases.extend(of(&Registry::in_memory(), OURS_IN_MEMORY));
    cases
}

fn of(registry: &Registry, name: &'static str) -> Vec<Case> {
    let incremented = counters(registry, "bench_incremented");
    let added = counters(registry, "bench_added");
    let set = gauges(registry);
    vec![
        Case::new(
            INC,
            name,
            body!(|place| &incremented[place.series]; |counter, _call| counter.inc()),
        ),
        Case::new(
            ADD,
            name,
            body!(|place| &added[place.series]; |counter, _call| counter.add(FRACTION)),
        ),
        Case::new(
            SET,
            name,
            body!(|place| &set[place.series]; |gauge, call| gauge.set(call as f64)),
        ),
        observe(
            registry,
            OBSERVE_11,
            name,
            "bench_observed_11_seconds",
            &BOUNDS_11,
        ),
        observe(
            registry,
            OBSERVE_20,
            name,
            "bench_observed_20_seconds",
            &bounds_20(),
        ),
        enums(registry, name),
        strings(registry, name),
    ]
}

/// One counter for each thread.
fn counters(registry: &Registry, family: &str) -> Vec<Counter> {
    let family = registry.counter_family::<OwnerLabels>(family, "Counted by the benchmark.");
    let owners = Owner::ALL.iter();
    owners
        .map(|&owner| family.with(&OwnerLabels { owner }).clone())
        .collect()
}

fn gauges(registry: &Registry) -> Vec<Gauge> {
    let family = registry.gauge_family::<OwnerLabels>(
        "bench_set",
        "Set by the benchmark.",
        GaugeMode::LiveMax,
    );
    let owners = Owner::ALL.iter();
    owners
        .map(|&owner| family.with(&OwnerLabels { owner }).clone())
        .collect()
}

fn observe(
    registry: &Registry,
    group: &'static str,
    name: &'static str,
    family: &str,
    bounds: &[f64],
) -> Case {
    let family =
        registry.histogram_family::<OwnerLabels>(family, "Observed by the benchmark.", bounds);
    let owners = Owner::ALL.iter();
    let histograms: Vec<Histogram> = owners
        .map(|&owner| family.with(&OwnerLabels { owner }).clone())
        .collect();
    let values = latencies_seconds();
    Case::new(
        group,
        name,
        body!(|place| &histograms[place.series]; |histogram, call| histogram.observe(values.at(call))),
    )
}

fn enums(registry: &Registry, name: &'static str) -> Case {
    let family = registry.counter_family::<EnumLabels>("bench_enums", "Counted by enum labels.");
    let positions = label_positions();
    let (methods, paths) = (
        std::hint::black_box(Method::ALL),
        std::hint::black_box(super::labels::Path::ALL),
    );
    Case::shared(
        ENUMS,
        name,
        body!(|_place| &family; |family, call| {
            let (method, path) = positions.at(call);
            family.inc(&EnumLabels { method: methods[usize::from(method)], path: paths[usize::from(path)] });
        }),
    )
}

/// The same by a handle that is asked for at each call.
fn enums_by_handle(registry: &Registry) -> Case {
    let family = registry.counter_family::<EnumLabels>("bench_enums", "Counted by enum labels.");
    let positions = label_positions();
    let (methods, paths) = (
        std::hint::black_box(Method::ALL),
        std::hint::black_box(super::labels::Path::ALL),
    );
    Case::shared(
        ENUMS,
        OURS_BY_HANDLE,
        body!(|_place| &family; |family, call| {
            let (method, path) = positions.at(call);
            family.with(&EnumLabels { method: methods[usize::from(method)], path: paths[usize::from(path)] }).inc();
        }),
    )
}

fn strings(registry: &Registry, name: &'static str) -> Case {
    let family = registry.counter_family::<TextLabels>("bench_strings", "Counted by text labels.");
    let positions = label_positions();
    let methods: &'static [&'static str; 3] = std::hint::black_box(&METHODS);
    let paths: &'static [&'static str; 8] = std::hint::black_box(&PATHS);
    Case::shared(
        STRINGS,
        name,
        body!(|_place| &family; |family, call| {
            let (method, path) = positions.at(call);
            let labels = TextLabels { method: MethodText::new(methods[usize::from(method)]), path: PathText::new(paths[usize::from(path)]) };
            family.with(&labels).inc();
        }),
    )
}

/// What a loop over many series costs: no addition waits for the one before.
fn in_turn(registry: &Registry) -> Case {
    let family = registry.counter_family::<TurnLabels>("bench_in_turn", "Counted in turn.");
    let counters: Vec<Counter> = (0..64)
        .map(|turn| {
            family
                .with(&TurnLabels {
                    turn: Turn::new(&format!("t{turn}")),
                })
                .clone()
        })
        .collect();
    let Ok(counters) = <Box<[Counter; 64]>>::try_from(counters.into_boxed_slice()) else {
        unreachable!("64 were made")
    };
    Case::shared(
        INC,
        OURS_IN_TURN,
        body!(|_place| &counters; |counters, call| counters[call as usize & 63].inc()),
    )
}
