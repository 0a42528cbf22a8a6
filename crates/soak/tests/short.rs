//! The soak as `cargo xtask test` runs it: two and a half simulated hours with the real peer over pyzmq, in which each trouble comes once.
#![allow(clippy::unwrap_used, reason = "a test stops where it cannot go on")]

use std::io::Write as _;
use std::path::Path;

use soak::run::{SHORT_BARS, Settings, run};
use soak::{checks, golden};
use xtask::tools;

#[test]
fn in_a_short_soak_every_order_happens_once_in_time_on_true_bars_and_is_known_to_have_happened() {
    let name = "in_a_short_soak_every_order_happens_once_in_time_on_true_bars_and_is_known_to_have_happened";
    let Some(python) = tools::gateway_python() else {
        tools::skip(name, "there is no Python with pyzmq");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings {
        bars: SHORT_BARS,
        seed: 1,
        folder: folder.path().join("soak"),
        program: Path::new(env!("CARGO_BIN_EXE_soak")).to_owned(),
        python,
    };
    let evidence = run(&settings, &mut |_| Ok(())).unwrap();
    let mut checks = checks::all(&evidence).unwrap();
    checks.extend(golden::check(&settings, &evidence).unwrap());
    let is_good = checks.iter().all(|check| check.holds());
    let kept = (!is_good).then(|| folder.keep());
    let mut out = std::io::stderr().lock();
    for check in &checks {
        writeln!(out, "{check}").unwrap();
    }
    assert!(is_good, "what is left is in {kept:?}");
}
