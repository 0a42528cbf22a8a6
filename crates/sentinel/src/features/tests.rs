//! What holds for all bars: order, refusals, no look-ahead, stream equals batch. The numbers themselves are judged by pandas
//! (`tests/features_pandas.rs`).

use proptest::prelude::*;

use super::*;

const START: i64 = 1_483_308_000; // Sunday, 1 January 2017, 22:00 UTC

fn bar(index: usize, close: f64, volume: f64) -> Bar {
    Bar {
        open_time: START + 3_600 * index as i64,
        open: close,
        high: close,
        low: close,
        close,
        volume,
    }
}

fn constant(count: usize, close: f64, volume: f64) -> Vec<Bar> {
    (0..count).map(|index| bar(index, close, volume)).collect()
}

fn named(features: &Features, name: &str) -> f64 {
    let at = NAMES.iter().position(|&known| known == name);
    features.values()[at.expect("the tests name features that exist")]
}

/// Walks of a price with steps up to `step` of it, with gaps in time, ranges and volumes; among them steps of zero.
fn walk(step: f64) -> impl Strategy<Value = Vec<Bar>> {
    let one = (-1.0..1.0, 0.0..1.0, 0.0..1.0, 0.0..1e9_f64, 1..4_i64);
    let quiet = (Just(0.0), Just(0.0), Just(0.0), Just(0.0), Just(1_i64));
    let steps = prop::collection::vec(prop_oneof![9 => one, 1 => quiet], 201..420);
    let first = prop_oneof![Just(1.05), Just(1e-290), Just(1e290), Just(1.0e5)];
    (first, steps).prop_map(move |(first, steps)| {
        let (mut price, mut open_time) = (first, START);
        let mut bars = Vec::new();
        for (change, above, below, volume, hours) in steps {
            let open = price;
            price *= 1.0 + change * step;
            open_time += 3_600 * hours;
            bars.push(Bar {
                open_time,
                open,
                high: open.max(price) * (1.0 + above * step),
                low: open.min(price) * (1.0 - below * step),
                close: price,
                volume,
            });
        }
        bars
    })
}

fn any_walk() -> impl Strategy<Value = Vec<Bar>> {
    prop_oneof![walk(0.002), walk(0.3), walk(0.0)]
}

fn bits(result: Result<Features, FeatureError>) -> Result<[u64; 23], FeatureError> {
    result.map(|features| features.values().map(f64::to_bits))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_stream_of_bars_gives_the_bits_that_the_bars_at_once_give(bars in any_walk()) {
        let mut stream = Stream::new();
        for count in 1..=bars.len() {
            prop_assert_eq!(stream.push(bars[count - 1]), Ok(()));
            prop_assert_eq!(bits(stream.features()), bits(build(&bars[..count])));
        }
        prop_assert!(stream.features().is_ok(), "a walk has features");
    }

    #[test]
    fn exactly_the_200_newest_bars_are_used(bars in any_walk()) {
        let newest = &bars[bars.len() - 200..];
        // An older bar, even one that is no bar, is not looked at.
        let mut longer = vec![Bar { high: f64::NAN, ..bars[0] }; 3];
        longer.extend(newest);
        prop_assert_eq!(bits(build(&longer)), bits(build(newest)));
        // The oldest of the 200 is used: the slow mean of the price starts there.
        let mut other = newest.to_vec();
        other[0].close *= 1.5;
        other[0].high *= 1.5;
        prop_assert!(build(&other).is_ok());
        prop_assert_ne!(bits(build(&other)), bits(build(newest)));
    }

    #[test]
    fn what_comes_later_changes_no_features_of_before(bars in any_walk(), count in 200..202_usize) {
        let mut stream = Stream::new();
        let mut then = Vec::new();
        for bar in &bars {
            prop_assert_eq!(stream.push(*bar), Ok(()));
            then.push(bits(stream.features()));
        }
        // The same past with another future, in which the price falls to a third.
        let mut other = Stream::new();
        for (index, bar) in bars.iter().enumerate() {
            let third = Bar { low: bar.low / 3.0, close: bar.low / 3.0, ..*bar };
            prop_assert_eq!(other.push(if index < count { *bar } else { third }), Ok(()));
            if index < count {
                prop_assert_eq!(&bits(other.features()), &then[index]);
            }
        }
        prop_assert_eq!(bits(build(&bars[..count])), then[count - 1]);
    }

    #[test]
    fn bars_in_another_order_are_refused(bars in any_walk(), one in 0..200_usize, other in 0..200_usize) {
        let mut bars = bars[bars.len() - 200..].to_vec();
        bars.swap(one, other);
        let is_refused = matches!(build(&bars), Err(FeatureError::OutOfOrder { .. }));
        prop_assert_eq!(is_refused, one != other);
        // The same bar twice is no order either.
        bars.swap(one, other);
        bars[199].open_time = bars[198].open_time;
        let is_refused = matches!(build(&bars), Err(FeatureError::OutOfOrder { .. }));
        prop_assert!(is_refused);
    }

    #[test]
    fn any_numbers_at_all_give_finite_features_or_a_typed_error(
        rows in prop::collection::vec(any::<(f64, f64, f64, f64, f64, i64)>(), 0..230),
        rising in any::<bool>(),
        mended in any::<bool>(),
    ) {
        let mut stream = Stream::new();
        let mut bars = Vec::new();
        for (index, (open, high, low, close, volume, open_time)) in rows.into_iter().enumerate() {
            let open_time = if rising { index as i64 } else { open_time };
            let mut bar = Bar { open_time, open, high, low, close, volume };
            if mended {
                // Any finite numbers whatsoever, in an order that makes a bar of them.
                let whole = |value: f64| if value.is_finite() { value.abs().max(5e-324) } else { f64::MAX };
                let mut prices = [open, high, low, close].map(whole);
                prices.sort_by(f64::total_cmp);
                bar = Bar { open_time, low: prices[0], open: prices[1], close: prices[2], high: prices[3], volume: whole(volume) };
            }
            let _ = stream.push(bar);
            bars.push(bar);
        }
        for features in [build(&bars), stream.features()].into_iter().flatten() {
            prop_assert!(features.values().iter().all(|value| value.is_finite()));
        }
    }
}

#[test]
fn fewer_bars_than_a_window_are_too_few() {
    let bars = constant(200, 1.0, 1.0);
    assert_eq!(build(&[]), Err(FeatureError::TooFew { found: 0 }));
    assert_eq!(build(&bars[1..]), Err(FeatureError::TooFew { found: 199 }));
    assert_eq!(
        Stream::new().features(),
        Err(FeatureError::TooFew { found: 0 })
    );
    assert!(build(&bars).is_ok());
}

#[test]
fn a_price_that_stands_still_has_the_values_that_the_contract_names() {
    for close in [1.1, 0.1, 1e-300, 1e300, 5e-324] {
        let features = build(&constant(200, close, 0.0)).expect("a constant price has features");
        for zero in [
            "return_1",
            "return_5",
            "return_10",
            "volatility_10",
            "volatility_20",
            "macd",
            "macd_signal",
            "macd_histogram",
            "volume_sma_20",
            "momentum_5",
            "acceleration_5",
            "atr_14",
        ] {
            assert_eq!(named(&features, zero), 0.0, "{zero} at {close}");
        }
        assert_eq!(named(&features, "rsi_14"), 50.0);
        assert_eq!(named(&features, "volume_ratio"), 1.0);
        assert_eq!(named(&features, "ema_20"), close);
        assert_eq!(named(&features, "high_low_ratio"), 1.0);
    }
}

#[test]
fn a_price_that_only_rises_has_full_strength_and_one_that_only_falls_has_none() {
    let rising: Vec<Bar> = (0..200).map(|i| bar(i, 1.0 + i as f64, 3.0)).collect();
    let falling: Vec<Bar> = (0..200).map(|i| bar(i, 300.0 - i as f64, 3.0)).collect();
    let (rising, falling) = (build(&rising), build(&falling));
    let (rising, falling) = (rising.expect("features"), falling.expect("features"));
    assert_eq!(named(&rising, "rsi_14"), 100.0);
    assert_eq!(named(&falling, "rsi_14"), 0.0);
    assert_eq!(named(&rising, "momentum_5"), 5.0);
    assert_eq!(named(&rising, "acceleration_5"), 0.0);
    assert_eq!(named(&rising, "atr_14"), 1.0);
    assert_eq!(named(&rising, "sma_10"), 195.5);
    assert_eq!(named(&rising, "volume_sma_20"), 3.0);
}

#[test]
fn a_result_beyond_the_range_of_numbers_is_refused_by_its_name() {
    let not_finite = |name| Err(FeatureError::NotFinite { name });
    let huge = constant(200, f64::MAX, 1.0);
    assert_eq!(build(&huge), not_finite("sma_10"));
    let volumes = constant(200, 1.0, f64::MAX);
    assert_eq!(build(&volumes), not_finite("volume_sma_20"));
    let mut jump = constant(200, 1e-300, 1.0);
    jump[199] = bar(199, 1e300, 1.0);
    assert_eq!(build(&jump), not_finite("return_1"));
    let mut wide = constant(200, 1.0, 1.0);
    wide[199].high = 1e300;
    wide[199].low = 1e-300;
    assert_eq!(build(&wide), not_finite("high_low_ratio"));
    assert_eq!(Features::new([f64::NAN; 23]), not_finite("return_1"));
}

#[test]
fn a_bar_that_is_none_is_refused_and_a_stream_stays_as_it_was() {
    let good = constant(201, 1.0, 1.0);
    let mut stream = Stream::new();
    for bar in &good[..200] {
        stream.push(*bar).expect("a proper bar");
    }
    let before = bits(stream.features());
    for broken in [
        Bar {
            close: f64::NAN,
            ..good[200]
        },
        Bar {
            volume: f64::INFINITY,
            ..good[200]
        },
        Bar {
            volume: -1.0,
            ..good[200]
        },
        Bar {
            low: 0.0,
            ..good[200]
        },
        Bar {
            high: 0.5,
            ..good[200]
        },
    ] {
        let mut bars = good.clone();
        bars[120] = Bar {
            open_time: bars[120].open_time,
            ..broken
        };
        assert!(
            matches!(build(&bars), Err(FeatureError::Defective { open_time, .. }) if open_time == good[120].open_time)
        );
        assert!(matches!(
            stream.push(broken),
            Err(FeatureError::Defective { .. })
        ));
    }
    assert!(matches!(
        stream.push(good[199]),
        Err(FeatureError::OutOfOrder { .. })
    ));
    assert_eq!(bits(stream.features()), before);
}

#[test]
fn hours_and_weekdays_are_those_of_the_newest_bars_opening() {
    // The first bar of the window opens on a Sunday at 22:00, so the 200th opens 199 hours later: a Tuesday at 5:00.
    let features = build(&constant(200, 1.0, 1.0)).expect("features");
    assert_eq!(named(&features, "hour"), 5.0);
    assert_eq!(named(&features, "weekday"), 1.0);
    // Before 1970, and at the ends of what a time can be.
    let at = |open_time| Bar {
        open_time,
        ..bar(0, 1.0, 1.0)
    };
    assert_eq!((time::hour(&at(-1)), time::weekday(&at(-1))), (23.0, 2.0));
    for end in [i64::MIN, i64::MAX] {
        assert!((0.0..24.0).contains(&time::hour(&at(end))));
        assert!((0.0..7.0).contains(&time::weekday(&at(end))));
    }
}
