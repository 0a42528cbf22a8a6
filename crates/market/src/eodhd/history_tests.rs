//! The rules of the history as tables, and what holds for any feed as properties.

use super::*;
use crate::sequence::Defect;
use proptest::prelude::*;

const HOUR: i64 = 3_600;
/// Wednesday 2017-01-04 00:00 UTC.
const START: i64 = 1_483_488_000;

fn bar_of(hour: i64, close: f64) -> RawBar {
    let open_time = START + hour * HOUR;
    RawBar {
        open_time,
        bar: Ok(Bar {
            open_time,
            open: close,
            high: close,
            low: close,
            close,
            volume: 1.0,
        }),
    }
}

fn bar(hour: i64) -> RawBar {
    bar_of(hour, 1.0)
}

fn null(hour: i64) -> RawBar {
    RawBar {
        open_time: START + hour * HOUR,
        bar: Err(Defect::NonFinite),
    }
}

fn at(hour: i64) -> i64 {
    START + hour * HOUR
}

fn history(capacity: usize) -> History {
    History::new(Timeframe::H1, Calendar::Fx, capacity)
}

/// The defects in words: `gap`, `duplicate 2`.
fn words(counts: DefectCounts) -> Vec<String> {
    counts
        .iter()
        .filter(|(_, count)| *count > 0)
        .map(|(kind, count)| match count {
            1 => kind.as_str().to_owned(),
            more => format!("{} {more}", kind.as_str()),
        })
        .collect()
}

fn hours(history: &History) -> Vec<i64> {
    let bars = history.bars().iter();
    bars.map(|bar| (bar.open_time - START) / HOUR).collect()
}

#[test]
fn each_fault_of_a_response_is_counted_once_and_again_never() {
    // Now is hour 10, half past: the bar of hour 9 is the newest closed one, that of hour 10 is forming.
    let now = at(10) + 1_800;
    type Case<'a> = (&'a str, Vec<RawBar>, &'a [&'a str], &'a [i64]);
    let table: [Case<'_>; 17] = [
        (
            "clean, with the forming bar",
            vec![bar(8), bar(9), bar(10)],
            &[],
            &[8, 9],
        ),
        ("only the forming bar", vec![bar(10)], &[], &[]),
        (
            "a null in the forming bar",
            vec![bar(9), null(10)],
            &[],
            &[9],
        ),
        ("a hole", vec![bar(5), bar(8), bar(9)], &["gap"], &[5, 8, 9]),
        (
            "two holes",
            vec![bar(1), bar(3), bar(5)],
            &["gap 2"],
            &[1, 3, 5],
        ),
        (
            "a null is no gap too",
            vec![bar(7), null(8), bar(9)],
            &["non_finite"],
            &[7, 9],
        ),
        (
            "a hole beside a null",
            vec![bar(6), null(8), bar(9)],
            &["gap", "non_finite"],
            &[6, 9],
        ),
        (
            "twice",
            vec![bar(8), bar(8), bar(9)],
            &["duplicate"],
            &[8, 9],
        ),
        (
            "twice with other prices",
            vec![bar(7), bar(8), bar_of(8, 2.0), bar(8), bar(9)],
            &["duplicate"],
            &[7, 9],
        ),
        (
            "the newest twice with other prices",
            vec![bar(8), bar(9), bar_of(9, 2.0)],
            &["duplicate"],
            &[8],
        ),
        (
            "three times is one faulty bar",
            vec![bar(8), bar(8), bar(8)],
            &["duplicate"],
            &[8],
        ),
        (
            "misplaced is no gap too",
            vec![bar(6), bar(8), bar(7), bar(9)],
            &["out_of_order"],
            &[6, 8, 9],
        ),
        (
            "behind the forming bar",
            vec![bar(8), bar(10), bar(9)],
            &["out_of_order"],
            &[8],
        ),
        (
            "off the grid",
            vec![
                bar(8),
                RawBar {
                    open_time: at(8) + 1_800,
                    ..bar(8)
                },
                bar(9),
            ],
            &["out_of_order"],
            &[8, 9],
        ),
        (
            "of the future",
            vec![bar(9), bar(10), bar(12)],
            &["future_bar"],
            &[9],
        ),
        (
            "the future first",
            vec![bar(30), bar(8), bar(9)],
            &["future_bar"],
            &[8, 9],
        ),
        (
            "contradicting prices",
            vec![
                bar(8),
                RawBar {
                    bar: Err(Defect::OhlcViolation),
                    ..bar(9)
                },
            ],
            &["ohlc_violation"],
            &[8],
        ),
    ];
    for (name, rows, expected, kept) in table {
        let mut history = history(200);
        let admitted = history.admit(&rows, now);
        assert_eq!(words(admitted.defects), expected, "{name}");
        assert_eq!(hours(&history), kept, "{name}");
        assert_eq!(admitted.new_closed, kept.len(), "{name}");
        for _ in 0..5 {
            assert_eq!(
                history.admit(&rows, now),
                Admitted::default(),
                "{name}, again"
            );
        }
    }
}

#[test]
fn a_bar_is_used_from_the_second_it_closes() {
    let mut history = history(200);
    assert_eq!(history.admit(&[bar(9)], at(10) - 1).new_closed, 0);
    assert_eq!(history.admit(&[bar(9)], at(10)).new_closed, 1);
}

#[test]
fn a_bar_that_is_not_over_although_a_later_one_began_is_counted() {
    // Our clock is 30 s behind the feed's, which has begun the bar of hour 10 already.
    let mut history = history(200);
    let admitted = history.admit(&[bar(8), bar(9), bar(10)], at(10) - 30);
    assert_eq!(words(admitted.defects), ["unclosed_bar"]);
    assert_eq!(hours(&history), [8]);
    assert_eq!(history.admit(&[bar(9), bar(10)], at(10) + 30).new_closed, 1);
}

#[test]
fn the_first_version_of_a_bar_stands_and_new_prices_are_counted_once() {
    let mut history = history(200);
    history.admit(&[bar(8), bar(9)], at(10));
    let admitted = history.admit(&[bar_of(9, 2.0), bar(10)], at(11));
    assert_eq!(words(admitted.defects), ["duplicate"]);
    assert_eq!(admitted.new_closed, 1);
    assert_eq!(history.bars()[1].close.to_bits(), 1.0_f64.to_bits());
    assert_eq!(
        history
            .admit(&[bar_of(9, 3.0), bar(10)], at(11))
            .defects
            .total(),
        0
    );
    // The volume alone is revised as a rule.
    let mut revised = bar(10);
    revised.bar = revised.bar.map(|bar| Bar { volume: 5.0, ..bar });
    assert_eq!(history.admit(&[revised], at(11)), Admitted::default());
}

#[test]
fn a_bar_of_two_versions_is_used_once_it_comes_alone() {
    let mut history = history(200);
    let contradiction = [bar(8), bar(9), bar_of(9, 2.0)];
    assert_eq!(history.admit(&contradiction, at(10)).new_closed, 1);
    assert_eq!(history.admit(&contradiction, at(10)).new_closed, 0);
    let admitted = history.admit(&[bar(8), bar_of(9, 2.0)], at(10));
    assert_eq!((admitted.new_closed, admitted.defects.total()), (1, 0));
    assert_eq!(hours(&history), [8, 9]);
}

#[test]
fn a_late_bar_and_a_corrected_one_are_filled_in() {
    let mut history = history(200);
    history.admit(&[bar(1), bar(3), null(4), bar(5)], at(6));
    assert_eq!(hours(&history), [1, 3, 5]);
    let admitted = history.admit(&[bar(1), bar(2), bar(3), bar(4), bar(5)], at(6));
    assert_eq!((admitted.new_closed, admitted.filled), (0, 2));
    assert_eq!(admitted.defects.total(), 0);
    assert_eq!(hours(&history), [1, 2, 3, 4, 5]);
}

#[test]
fn only_what_is_new_is_asked_for_and_a_hole_three_times() {
    let mut history = history(5);
    let now = at(10);
    let lookback = Calendar::Fx.lookback_start(now, 5, Timeframe::H1);
    assert_eq!(history.fetch_from(now), lookback);
    history.admit(&[bar(8), bar(9)], now);
    assert_eq!(history.fetch_from(now), lookback, "short");
    let rows = [bar(3), bar(5), bar(6), bar(8), bar(9)];
    history.admit(&rows, now);
    for fetches in 1..3 {
        assert_eq!(history.fetch_from(now), at(3), "{fetches}");
        history.admit(&rows, now);
    }
    assert_eq!(
        history.fetch_from(now),
        at(9),
        "what the feed cannot fill is left alone"
    );
    history.admit(&[bar(9), bar(10)], at(11));
    assert_eq!(history.fetch_from(at(11)), at(10));
    // Long asleep: what lies between is asked for as far as it is needed.
    assert_eq!(
        history.fetch_from(at(60)),
        Calendar::Fx.lookback_start(at(60), 5, Timeframe::H1)
    );
}

#[test]
fn a_hole_as_wide_as_the_history_begins_it_anew_and_is_one_gap() {
    let mut history = history(4);
    history.admit(&[bar(0), bar(1), bar(2), bar(3)], at(4));
    let admitted = history.admit(&[bar(3), bar(20), bar(21)], at(22));
    assert_eq!(words(admitted.defects), ["gap"]);
    assert_eq!(hours(&history), [20, 21]);
    let whole: Vec<RawBar> = (16..22).map(bar).collect();
    assert_eq!(history.admit(&whole, at(22)).defects.total(), 0);
    assert_eq!(hours(&history), [18, 19, 20, 21]);
}

#[test]
fn a_row_out_of_the_distant_past_is_one_gap_however_often_it_comes() {
    let mut history = history(4);
    let rows = [bar(-9_000), bar(20), bar(21)];
    assert_eq!(words(history.admit(&rows, at(22)).defects), ["gap"]);
    assert_eq!(hours(&history), [20, 21]);
    for _ in 0..5 {
        assert_eq!(history.admit(&rows, at(22)), Admitted::default());
    }
}

#[test]
fn the_weekend_is_no_gap() {
    // Friday 20:00 is hour 68, Sunday 22:00 is hour 118.
    let mut history = history(10);
    assert_eq!(
        history.admit(&[bar(68), bar(118)], at(119)).defects.total(),
        0
    );
    assert_eq!(hours(&history), [68, 118]);
}

/// Any row: near or far, good or bad.
fn any_row() -> impl Strategy<Value = RawBar> {
    let hour = prop_oneof![8 => -5..60_i64, 1 => -500_000..500_000_i64];
    (
        hour,
        0..8_u8,
        1..3_u8,
        prop_oneof![9 => Just(0_i64), 1 => 0..HOUR],
    )
        .prop_map(|(hour, kind, close, offset)| {
            let mut row = match kind {
                0 => null(hour),
                1 => RawBar {
                    bar: Err(Defect::OhlcViolation),
                    ..bar(hour)
                },
                _ => bar_of(hour, f64::from(close)),
            };
            row.open_time += offset;
            if let Ok(bar) = &mut row.bar {
                bar.open_time = row.open_time;
            }
            row
        })
}

proptest! {
    #[test]
    fn whatever_comes_the_bars_are_closed_ascending_and_bounded_and_nothing_is_counted_twice(
        responses in prop::collection::vec(prop::collection::vec(any_row(), 0..40), 1..12),
        capacity in 1..20_usize,
    ) {
        let mut history = history(capacity);
        for (index, rows) in responses.iter().enumerate() {
            let now = at(30 + i64::try_from(index).unwrap());
            let before = history.newest_open_time();
            let admitted = history.admit(rows, now);
            prop_assert!(history.bars().len() <= capacity);
            prop_assert!(history.bars().windows(2).all(|pair| pair[0].open_time < pair[1].open_time));
            for bar in history.bars() {
                prop_assert!(bar.open_time + HOUR <= now && bar.open_time % HOUR == 0);
                prop_assert!(bar.check().is_ok());
            }
            let newer = history.bars().iter().filter(|bar| Some(bar.open_time) > before).count();
            prop_assert_eq!(admitted.new_closed, newer);
            prop_assert!(history.newest_open_time() >= before);
            // Every fault belongs to a row; a hole belongs to the bar behind it.
            prop_assert!(admitted.defects.total() as usize <= 2 * rows.len());
            let again = history.admit(rows, now);
            prop_assert_eq!(again.new_closed, 0);
            prop_assert_eq!(again.defects.total(), 0, "{:?}", again);
        }
    }

    #[test]
    fn overlapping_responses_give_what_one_response_gives(cuts in prop::collection::vec((0..100_i64, 1..30_i64), 0..20)) {
        let all: Vec<RawBar> = (0..100).map(bar).filter(|row| Calendar::Fx.is_open_at(row.open_time)).collect();
        let mut once = history(50);
        once.admit(&all, at(200));
        let mut often = history(50);
        for (start, length) in cuts {
            let part: Vec<RawBar> = all.iter().copied()
                .filter(|row| row.open_time >= at(start) && row.open_time < at(start + length)).collect();
            often.admit(&part, at(200));
        }
        often.admit(&all, at(200));
        prop_assert_eq!(once.bars(), often.bars());
        prop_assert_eq!(once.newest_open_time(), often.newest_open_time());
    }
}
