//! The share of a core that ten million updates a second take.
//!
//! Invariant: paced, not as fast as it goes: ten thousand calls each millisecond, then sleep. The sleeping and waking is in the share, and
//! has a row of its own.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::growth::processor_time;
use crate::hot;
use crate::report::Report;
use crate::rounds::Place;

const A_SECOND: u64 = 10_000_000;
const BEAT: Duration = Duration::from_millis(1);
const BEATS_A_SECOND: u64 = 1_000;

/// Adds a table.
pub(crate) fn measure(directory: &Path, is_short: bool, report: &mut Report) {
    report.line("\n## Ten million updates a second\n");
    report.line(&format!(
        "One thread, {} calls each millisecond, then it sleeps; what it does not reach is not made up for. Share: processor time of the thread.\n",
        A_SECOND / BEATS_A_SECOND
    ));
    report.line("| | updates a second | share of a core |");
    report.line("|---|---|---|");
    let length = Duration::from_secs(if is_short { 1 } else { 3 });
    let mut line = |name: &str, made: f64, share: f64| {
        report.line(&format!(
            "| {name} | {:.2} million | {:.1} % |",
            made / 1e6,
            share * 100.0
        ));
        report.figure(&format!("pace/{name}/share"), share);
        report.figure(&format!("pace/{name}/updates"), made);
    };
    let (_, share) = paced(length, &mut |_| {});
    line("nothing, the pacing alone", 0.0, share);
    let cases = hot::all_cases(directory);
    for case in &cases {
        let is_asked = [hot::INC, hot::ENUMS, hot::OBSERVE_11].contains(&case.group)
            && ![
                hot::LIMIT_IN_TURN,
                hot::OURS_IN_TURN,
                hot::OURS_IN_MEMORY,
                hot::OURS_BY_HANDLE,
            ]
            .contains(&case.name);
        if !is_asked || case.calls_max < u64::MAX {
            continue;
        }
        let here = Place {
            thread: 0,
            series: 0,
        };
        let (made, share) = paced(length, &mut |calls| (case.body)(here, calls));
        line(&format!("{}: {}", case.group, case.name), made, share);
    }
}

/// Calls a second, and the share.
fn paced(length: Duration, work: &mut dyn FnMut(u64)) -> (f64, f64) {
    let (began, before) = (Instant::now(), processor_time());
    let (mut made, mut next) = (0, BEAT);
    while began.elapsed() < length {
        work(A_SECOND / BEATS_A_SECOND);
        made += A_SECOND / BEATS_A_SECOND;
        let now = began.elapsed();
        if now < next {
            std::thread::sleep(next - now);
        }
        // A beat that was missed is not made up for, but those of a sleep that was too long are.
        next = (next + BEAT).max(began.elapsed().saturating_sub(20 * BEAT));
    }
    let elapsed = began.elapsed().as_secs_f64();
    (
        made as f64 / elapsed,
        (processor_time() - before) / 1e9 / elapsed,
    )
}
