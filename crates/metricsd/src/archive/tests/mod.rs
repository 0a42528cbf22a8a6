//! Tests of the archive. Random ones print the seed or the case that fails; `METRICSD_TEST_LONG` tries a hundred times as many.

mod crash;
mod damage;
mod exact;
mod figures;
mod full_disk;
mod gauges;
mod golden;
mod kill;
mod ledger;
mod records;
mod rules;
mod storage;
mod workload;

/// How many random cases to try.
fn cases(ordinary: u32) -> u32 {
    match std::env::var_os("METRICSD_TEST_LONG") {
        Some(_) => ordinary.saturating_mul(100),
        None => ordinary,
    }
}
