//! Each thing that is recorded and came out otherwise is told by name.

use super::*;
use crate::decide::Action;
use crate::gateway::guards::refusal::Refusal;

/// What a replay says of one decision that was recorded after a change.
fn differences(change: impl FnOnce(&mut Made)) -> Vec<(String, String, String)> {
    let mut made = Made::buy(0);
    change(&mut made);
    of(&made.decision(), &start())
}

fn of(decision: &Decision<'_>, start: &Start) -> Vec<(String, String, String)> {
    let disk = Simulated::default();
    let mut audit = Audit::open_in(disk.clone(), start, ROTATE_LEN_BYTES).unwrap();
    audit.decision(decision).unwrap();
    let report = replayed(&disk);
    assert_eq!(report.is_good(), report.findings.is_empty());
    assert_eq!(report.decisions, 1);
    let findings = report.findings.into_iter();
    findings
        .map(|f| (f.what, f.recorded.unwrap(), f.came_out.unwrap()))
        .collect()
}

/// A decision of the model in this program, as the guards see it.
fn embedded() -> Made {
    let mut made = Made::buy(0);
    let model = EmbeddedModel::shipped();
    made.model = Model::embedded(&model);
    made.probabilities = model.predict(&made.features).unwrap();
    let decide::Decision { action, confidence } = decide::decide(made.probabilities);
    made.request = request(0, action, confidence);
    let guards = Guards::new(start().configuration.guards).unwrap();
    if let Err(refusal) = guards.check(&made.request, &made.situation) {
        made.verdict = Verdict::refused(&refusal);
    }
    made
}

/// With the model in this program.
fn own() -> Start {
    let mut start = start();
    start.configuration.model = Origin::Embedded;
    start
}

fn names(found: &[(String, String, String)]) -> Vec<&str> {
    found.iter().map(|(what, ..)| what.as_str()).collect()
}

#[test]
fn a_decision_of_either_model_is_reproduced() {
    assert_eq!(of(&Made::buy(0).decision(), &start()), []);
    assert_eq!(of(&embedded().decision(), &own()), []);
}

#[test]
fn a_verdict_that_the_guards_do_not_give_is_told_with_both() {
    let refused = Verdict::refused(&Refusal::Cooldown);
    let mut made = Made::buy(0);
    made.verdict = refused.clone();
    let found = of(&made.decision(), &start());
    let said = (
        "verdict",
        "refused for cooldown: too soon after the order before",
        "permitted",
    );
    assert_eq!(found.len(), 1);
    assert_eq!((&*found[0].0, &*found[0].1, &*found[0].2), said);
    let mut made = Made::buy(0);
    made.situation.is_killed = true;
    let found = of(&made.decision(), &start());
    assert_eq!(names(&found), ["verdict"]);
    assert_eq!(found[0].2, "refused for halted: the kill switch is on");
    made.verdict = Verdict::refused(&Refusal::KillSwitch);
    assert_eq!(of(&made.decision(), &start()), []);
    // The same reason for another cause is another verdict.
    made.verdict = Verdict::refused(&Refusal::PeerKilled);
    assert_eq!(names(&of(&made.decision(), &start())), ["verdict"]);
    let made = Made::buy(0);
    let held = Decision {
        verdict: Verdict::Hold,
        ..made.decision()
    };
    assert_eq!(names(&of(&held, &start())), ["verdict"]);
    let late = Verdict::Permitted {
        id: id("o"),
        idempotency_key: id("k"),
        valid_until_ms: made.request.valid_until_ms + 1,
    };
    let late = Decision {
        verdict: late,
        ..made.decision()
    };
    assert_eq!(names(&of(&late, &start())), ["verdict"]);
}

#[test]
fn a_permitted_order_that_could_not_be_recorded_is_reproduced() {
    let mut made = Made::buy(0);
    made.verdict = Verdict::Unrecorded {
        text: "disk full".to_owned(),
    };
    assert_eq!(of(&made.decision(), &start()), []);
}

#[test]
fn settings_other_than_the_recorded_ones_would_be_told() {
    // The start line says more orders than these are too many: the permit does not come out.
    let mut start = start();
    start.configuration.guards.orders_per_day = 0;
    let found = of(&Made::buy(0).decision(), &start);
    assert_eq!(names(&found), ["verdict"]);
    assert!(
        found[0].2.starts_with("refused for risk_limit"),
        "{found:?}"
    );
}

#[test]
fn an_action_or_a_confidence_that_does_not_follow_is_told() {
    let made = Made::buy(0);
    let sell = Decision {
        action: Action::Sell,
        ..made.decision()
    };
    assert_eq!(names(&of(&sell, &start())), ["action", "request side"]);
    let next = f64::from_bits(0.9_f64.to_bits() + 1);
    let other = Decision {
        confidence: next,
        ..made.decision()
    };
    let found = of(&other, &start());
    assert_eq!(names(&found), ["confidence", "request confidence"]);
    assert_eq!((&*found[0].1, &*found[0].2), ("0.9000000000000001", "0.9"));
}

#[test]
fn features_other_than_those_of_the_bars_are_told() {
    let features = features::build(&window(1)).unwrap();
    let found = differences(|made| made.features = features);
    assert_eq!(names(&found), ["features"]);
    let mut made = Made::buy(0);
    made.bars.pop();
    made.bars.insert(
        0,
        Bar {
            open_time: 0,
            ..made.bars[0]
        },
    );
    let found = of(&made.decision(), &start());
    assert_eq!(names(&found), ["bar", "bar close", "features"]);
}

#[test]
fn probabilities_of_the_embedded_model_are_compared_to_the_last_bit() {
    let mut made = embedded();
    let [sell, hold, buy] = made.probabilities.to_array();
    let least = f64::from_bits(sell.to_bits() + 1);
    made.probabilities = Probabilities::new([least, hold, buy]).unwrap();
    let found = of(&made.decision(), &own());
    assert_eq!(names(&found)[0], "probabilities");
    assert_eq!(found[0].2, format!("{sell:?} {hold:?} {buy:?}"));
}

#[test]
fn a_model_that_is_not_ours_is_told_and_not_passed_over() {
    let mut made = embedded();
    made.model.sha256 = Some(Digest::of(b"another file"));
    let found = of(&made.decision(), &own());
    assert_eq!(names(&found), ["model"]);
    assert!(
        found[0]
            .1
            .contains(&Digest::of(b"another file").to_string())
    );
    // A server's answer where the configuration says embedded.
    assert_eq!(names(&of(&Made::buy(0).decision(), &own())), ["model"]);
}

#[test]
fn another_version_is_said_and_what_it_decided_alike_is_reproduced() {
    let mut start = start();
    start.version = "0.0.1".to_owned();
    let disk = Simulated::default();
    let mut audit = Audit::open_in(disk.clone(), &start, ROTATE_LEN_BYTES).unwrap();
    audit.decision(&Made::buy(0).decision()).unwrap();
    let report = replayed(&disk);
    assert!(report.is_good());
    let own = env!("CARGO_PKG_VERSION");
    let said = format!("recorded by version 0.0.1, this is {own}");
    assert_eq!(report.findings.len(), 1);
    assert_eq!(report.findings[0].what, said);
}
