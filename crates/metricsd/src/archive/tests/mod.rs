//! Tests of the archive. Random ones print the seed or the case that fails; `METRICSD_TEST_LONG=N` tries N times as many.

mod crash;
mod damage;
mod exact;
mod figures;
mod full_disk;
mod gauges;
mod golden;
mod kill;
mod records;
mod rules;
mod storage;
mod workload;

/// How many random cases to try.
fn cases(ordinary: u32) -> u32 {
    let factor = std::env::var("METRICSD_TEST_LONG")
        .ok()
        .and_then(|factor| factor.parse().ok());
    ordinary.saturating_mul(factor.unwrap_or(1))
}
