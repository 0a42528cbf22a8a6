//! An audit that was written once: every later version understands it and decides alike, or has to say in its changelog that it does not.

use std::path::Path;

use super::*;
use crate::gateway::guards::situation::Position;

const PATH: &str = "tests/audit/golden.jsonl";
/// Set to write the file anew, after a change that is meant.
const WRITE: &str = "SENTINEL_WRITE_GOLDEN";

/// Moves as small as those that the model was trained on.
fn calm(bar: &mut Bar) {
    let close = 1.1 + (bar.open_time / 3_600 % 37) as f64 / 10_000.0;
    (bar.open, bar.close) = (close - 0.0001, close);
    (bar.high, bar.low) = (close + 0.0002, close - 0.0003);
}

/// The model in this program on bars that follow each other, each with something else in its way.
fn write() -> Vec<u8> {
    let mut start = start();
    start.configuration.model = Origin::Embedded;
    start.configuration.guards.threshold = 0.35;
    let guards = Guards::new(start.configuration.guards.clone()).unwrap();
    let model = EmbeddedModel::shipped();
    let disk = Simulated::default();
    let mut audit = Audit::open_in(disk.clone(), &start, ROTATE_LEN_BYTES).unwrap();
    let mut signals = 0;
    // The hours of one UTC day.
    for index in -11..12 {
        let mut made = Made::buy(index);
        made.bars.iter_mut().for_each(calm);
        made.features = features::build(&made.bars).unwrap();
        made.model = Model::embedded(&model);
        made.probabilities = model.predict(&made.features).unwrap();
        let decide::Decision { action, confidence } = decide::decide(made.probabilities);
        made.request = request(index, action, confidence);
        let situation = &mut made.situation;
        match signals {
            0 | 1 => {}
            2 => situation.is_killed = true,
            3 => situation.is_bar_stale = true,
            4 => situation
                .book
                .as_mut()
                .unwrap()
                .value
                .positions
                .push(Position {
                    symbol: "EURUSD".to_owned(),
                    volume: d("-0.03"),
                    unit_value: d("110000.5"),
                }),
            5 => situation.account.as_mut().unwrap().value.equity = d("9899.99"),
            6 => situation.peer.as_mut().unwrap().clock_offset_ms = 2_001,
            7 => made.request.volume = d("0.02"),
            8 => situation.log = None,
            _ => situation.breaker = breaker::State::Open,
        }
        signals += u32::from(action != decide::Action::Hold);
        if let Err(refusal) = guards.check(&made.request, &made.situation) {
            made.verdict = Verdict::refused(&refusal);
        }
        audit.decision(&made.decision()).unwrap();
    }
    audit.outcome(&outcome(0)).unwrap();
    disk.contents(&disk.names()[0])
}

#[test]
fn an_audit_of_an_earlier_version_is_understood_and_reproduced() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(PATH);
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(&path, write()).unwrap();
    }
    let bytes = std::fs::read(&path).unwrap();
    let report = replayed_file(&bytes);
    assert!(report.is_good(), "{:#?}", report.findings);
    assert_eq!((report.decisions, report.outcomes), (23, 1));
    // Of both kinds, so that guards that always say no are found.
    assert_eq!(report.permitted, 3);
}
