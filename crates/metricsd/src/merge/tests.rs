//! Live first, rule by rule.

use GaugeMode::{LiveAll, LiveMax, LiveMin, LiveMostRecent, LiveSum, Max};
use metricsd_exporter::Value;
use metricsd_shard::{FileKind, GaugeMode, Key};

use super::*;
use crate::policy::{Policy, SeriesLimits};

const ENDED: Standing = Standing::Ended {
    hides_live_gauges: false,
};
const HIDDEN: Standing = Standing::Ended {
    hides_live_gauges: true,
};

/// A shard with one entry `g` of the value.
#[derive(Clone, Copy)]
struct One {
    kind: FileKind,
    id: &'static str,
    standing: Standing,
    value: f64,
    timestamp: f64,
    is_news: bool,
    is_discarded: bool,
}

fn one(mode: GaugeMode, standing: Standing, value: f64) -> One {
    One {
        kind: FileKind::Gauge(mode),
        id: "1",
        standing,
        value,
        timestamp: 1.0,
        is_news: false,
        is_discarded: false,
    }
}

struct Outcome {
    values: Vec<f64>,
    superseded: Vec<usize>,
    /// Whether the same plan still does once every entry is set.
    is_outdated_when_set: bool,
}

fn outcome_of(shards: &[One], limits: &SeriesLimits, live_first: LiveFirst) -> Outcome {
    let (mut catalog, policy) = (Catalog::default(), Policy::default());
    let key = Key {
        family: "g".to_owned(),
        sample: "g".to_owned(),
        labels: Vec::new(),
        help: "h".to_owned(),
    };
    let keys = [catalog.intern(key.encode().as_bytes(), &policy)];
    let timestamps: Vec<[f64; 1]> = shards.iter().map(|shard| [shard.timestamp]).collect();
    let values: Vec<[f64; 1]> = shards.iter().map(|shard| [shard.value]).collect();
    let sources: Vec<Source<'_>> = shards
        .iter()
        .zip(&timestamps)
        .map(|(shard, timestamps)| Source {
            kind: shard.kind,
            id: shard.id,
            keys: &keys,
            timestamps,
            standing: shard.standing,
            discarded: if shard.is_discarded { &keys } else { &[] },
            is_news: shard.is_news,
        })
        .collect();
    let (mut plan, findings) = Plan::new(&catalog, limits, &sources, live_first);
    let readings = |set: bool| {
        let timestamps = timestamps
            .iter()
            .map(move |at| if set { &[5.0] } else { at });
        let both = values.iter().zip(timestamps);
        both.map(|(values, timestamps)| Reading::Values { values, timestamps })
    };
    assert!(!plan.is_outdated(readings(false)), "nothing has changed");
    plan.merge(readings(false));
    let series = plan.families().iter().flat_map(|family| &family.series);
    Outcome {
        values: series
            .map(|series| match series.value {
                Value::Single(value) => value,
                ref other => panic!("{other:?} is no gauge"),
            })
            .collect(),
        superseded: findings.superseded.iter().map(|place| place.0).collect(),
        is_outdated_when_set: plan.is_outdated(readings(true)),
    }
}

fn outcome(shards: &[One]) -> Outcome {
    outcome_of(shards, &Policy::default().limits, LiveFirst::Apply)
}

#[track_caller]
fn check(shards: &[One], values: &[f64], superseded: &[usize]) {
    let outcome = outcome(shards);
    assert_eq!(outcome.values, values);
    assert_eq!(outcome.superseded, superseded);
}

#[test]
fn ended_processes_are_merged_until_a_live_one_has_the_series() {
    let ended = [one(LiveSum, ENDED, 2.0), one(LiveSum, ENDED, 3.0)];
    check(&ended, &[5.0], &[]);
    for at in 0..=2 {
        let mut shards = ended.to_vec();
        shards.insert(at, one(LiveSum, Standing::Live, 10.0));
        let others: Vec<usize> = (0..3).filter(|index| *index != at).collect();
        check(&shards, &[10.0], &others);
        let deferred = outcome_of(&shards, &Policy::default().limits, LiveFirst::Defer);
        assert_eq!((deferred.values, deferred.superseded), (vec![15.0], others));
    }
}

#[test]
fn the_extreme_of_the_live_is_not_that_of_an_older_ended_process() {
    check(
        &[one(LiveMin, ENDED, -7.0), one(LiveMin, Standing::Live, 4.0)],
        &[4.0],
        &[0],
    );
    check(
        &[one(LiveMax, ENDED, 7.0), one(LiveMax, Standing::Live, 4.0)],
        &[4.0],
        &[0],
    );
}

#[test]
fn who_is_unknown_pushes_nobody_out_and_is_not_pushed_out() {
    check(
        &[
            one(LiveSum, ENDED, 2.0),
            one(LiveSum, Standing::Unknown, 3.0),
        ],
        &[5.0],
        &[],
    );
    check(
        &[
            one(LiveSum, Standing::Unknown, 3.0),
            one(LiveSum, Standing::Live, 4.0),
        ],
        &[7.0],
        &[],
    );
}

#[test]
fn a_mode_that_is_not_live_takes_no_part() {
    check(
        &[one(LiveMax, ENDED, 9.0), one(Max, Standing::Live, 1.0)],
        &[9.0],
        &[],
    );
    check(
        &[one(Max, ENDED, 9.0), one(LiveMax, Standing::Live, 1.0)],
        &[9.0],
        &[],
    );
}

#[test]
fn an_unmerged_gauge_gives_way_only_to_its_own_name() {
    let named = |id, standing, value| One {
        id,
        ..one(LiveAll, standing, value)
    };
    check(
        &[
            named("1", ENDED, 1.0),
            named("2", ENDED, 2.0),
            named("2", Standing::Live, 3.0),
        ],
        &[1.0, 3.0],
        &[1],
    );
}

#[test]
fn an_entry_that_was_never_set_pushes_nobody_out_until_it_is_set() {
    let at = |timestamp, standing, value| One {
        timestamp,
        ..one(LiveMostRecent, standing, value)
    };
    let shards = [at(9.0, ENDED, 1.0), at(0.0, Standing::Live, 2.0)];
    check(&shards, &[1.0], &[]);
    assert!(outcome(&shards).is_outdated_when_set);
    // As soon as it is set it holds the series, however old its time stamp.
    check(&[shards[0], at(3.0, Standing::Live, 2.0)], &[2.0], &[0]);
    let alone = [at(0.0, Standing::Live, 2.0)];
    assert!(
        !outcome(&alone).is_outdated_when_set,
        "nobody is there to give way"
    );
    check(
        &[at(0.0, ENDED, 1.0), at(3.0, Standing::Live, 2.0)],
        &[2.0],
        &[],
    );
}

#[test]
fn news_pushes_out_what_is_older_and_has_ended() {
    let news = |standing, value| One {
        is_news: true,
        ..one(LiveSum, standing, value)
    };
    let old = one(LiveSum, ENDED, 2.0);
    check(&[old, news(ENDED, 3.0)], &[3.0], &[0]);
    check(&[news(ENDED, 3.0), old], &[5.0], &[]);
    check(&[old, news(ENDED, 3.0), news(ENDED, 4.0)], &[4.0], &[0, 1]);
    check(
        &[one(LiveSum, Standing::Unknown, 2.0), news(ENDED, 3.0)],
        &[5.0],
        &[],
    );
    check(&[old, news(HIDDEN, 3.0)], &[2.0], &[]);
}

#[test]
fn hidden_gauges_are_not_served_and_still_discarded_for_good() {
    check(&[one(LiveSum, HIDDEN, 2.0)], &[], &[]);
    check(&[one(Max, HIDDEN, 2.0)], &[2.0], &[]);
    check(
        &[one(LiveSum, HIDDEN, 2.0), one(LiveSum, Standing::Live, 3.0)],
        &[3.0],
        &[0],
    );
}

#[test]
fn what_is_discarded_is_gone_unless_its_file_is_continued() {
    let discarded = |standing| One {
        is_discarded: true,
        ..one(LiveSum, standing, 2.0)
    };
    check(&[discarded(ENDED)], &[], &[]);
    check(&[discarded(Standing::Unknown)], &[], &[]);
    check(
        &[discarded(Standing::Live), one(LiveSum, ENDED, 1.0)],
        &[2.0],
        &[1],
    );
    // A reset drops gauges of all modes.
    let of_another_mode = |standing| One {
        is_discarded: true,
        ..one(Max, standing, 2.0)
    };
    check(&[of_another_mode(ENDED)], &[], &[]);
    check(&[of_another_mode(ENDED), one(Max, ENDED, 1.0)], &[1.0], &[]);
    check(&[of_another_mode(Standing::Live)], &[2.0], &[]);
}

#[test]
fn a_live_process_that_is_not_served_pushes_nobody_out() {
    let counter = One {
        kind: FileKind::Counter,
        ..one(Max, Standing::Live, 1.0)
    };
    // Without the oldest one the family would be the counter's, and the series would vanish.
    check(
        &[
            one(LiveSum, ENDED, 2.0),
            counter,
            one(LiveSum, Standing::Live, 3.0),
        ],
        &[5.0],
        &[],
    );
    let limits = SeriesLimits {
        series: 0,
        ..Policy::default().limits
    };
    let shards = [one(LiveSum, ENDED, 2.0), one(LiveSum, Standing::Live, 3.0)];
    let refused = outcome_of(&shards, &limits, LiveFirst::Apply);
    assert_eq!((refused.values, refused.superseded), (vec![], vec![]));
}
