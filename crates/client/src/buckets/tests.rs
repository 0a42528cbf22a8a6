//! The table against the binary search that it stands for.

use proptest::prelude::*;

use super::*;

fn agrees(buckets: &Buckets, finite: &[f64], value: f64) {
    assert_eq!(
        buckets.of(value),
        bucket_of(finite, value),
        "{value:e} ({:#x}) among {finite:?}",
        value.to_bits()
    );
}

/// Around every bound and every edge of an interval, and where doubles are peculiar.
fn judge(finite: &[f64]) {
    let buckets = Buckets::new(finite);
    let mut values = vec![
        0.0,
        -0.0,
        f64::from_bits(1),
        -f64::from_bits(1),
        f64::MIN_POSITIVE,
        -f64::MIN_POSITIVE,
        f64::MAX,
        f64::MIN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        crate::AMOUNT_MAX,
        -crate::AMOUNT_MAX,
    ];
    for bound in finite {
        let edge = f64::from_bits(bound.to_bits() >> MANTISSA_REST_BITS << MANTISSA_REST_BITS);
        for near in [
            *bound,
            edge,
            -bound,
            bound * (17.0 / 16.0),
            bound * (15.0 / 16.0),
        ] {
            values.extend([near, near.next_up(), near.next_down()]);
        }
    }
    for value in values {
        agrees(&buckets, finite, value);
    }
    assert_eq!(buckets.bounds().len(), finite.len() + 1);
    assert_eq!(buckets.bounds()[..finite.len()], *finite);
    assert_eq!(buckets.bounds()[finite.len()], f64::INFINITY);
}

#[test]
fn bounds_as_people_choose_them_need_one_comparison() {
    let doubling: Vec<f64> = (0..20).map(|n| 0.0005 * 2f64.powi(n)).collect();
    let default = [
        0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
    ];
    for finite in [
        &doubling[..],
        &default[..],
        &[1.0],
        &[0.0, 0.005, 1.0],
        &[-1.0, 1.0],
    ] {
        assert_eq!(Buckets::new(finite).compared, 1, "{finite:?}");
        judge(finite);
    }
}

#[test]
fn bounds_that_are_close_negative_or_extreme_are_found_as_well() {
    let linear: Vec<f64> = (1..=200).map(|n| f64::from(n) * 0.1).collect();
    let one_interval: Vec<f64> = (0..200).map(|n| 1.0 + f64::from(n) * 1e-6).collect();
    let around_zero: Vec<f64> = (-100..100).map(f64::from).collect();
    let negative = [-1e300, -5.0, -f64::from_bits(1)];
    let subnormal = [f64::from_bits(1), f64::from_bits(2), f64::MIN_POSITIVE];
    let extreme = [f64::MIN, -0.0, f64::MAX];
    for finite in [
        &linear[..],
        &one_interval,
        &around_zero,
        &negative,
        &subnormal,
        &extreme,
        &[f64::MAX],
        &[f64::from_bits(1)],
        &[0.0],
        &[-0.0],
        &[f64::MIN],
        &[],
    ] {
        judge(finite);
    }
}

fn bound() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<u64>().prop_map(f64::from_bits),
        -20.0..20.0,
        (-40i32..40).prop_map(|power| 2f64.powi(power)),
        (0u64..200).prop_map(|ulp| f64::from_bits(1.0f64.to_bits() + ulp)),
        (0u64..200).prop_map(f64::from_bits),
    ]
    .prop_filter("finite", |bound| bound.is_finite())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn every_value_is_found_where_the_binary_search_finds_it(
        mut finite in prop::collection::vec(bound(), 0..200),
        bits in prop::collection::vec(any::<u64>(), 50),
        near in prop::collection::vec(bound(), 50),
    ) {
        finite.sort_by(f64::total_cmp);
        finite.dedup_by(|later, kept| later == kept);
        let buckets = Buckets::new(&finite);
        let anywhere = bits.into_iter().map(f64::from_bits).chain(near);
        for value in anywhere.filter(|value| !value.is_nan()) {
            agrees(&buckets, &finite, value);
        }
        judge(&finite);
    }
}
