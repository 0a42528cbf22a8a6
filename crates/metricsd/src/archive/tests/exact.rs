//! The exact sum against Python: `math.fsum` where that does not raise, exact fractions where it does.

use std::io::Write;
use std::process::{Command, Stdio};

use proptest::prelude::*;

use crate::archive::codec::Reader;
use crate::archive::exact::{Exact, swallows_increments};
use crate::archive::testing::Dice;

/// Doubles of all sizes: whole ones, fractions as timers make them, any bit pattern, the ends of the range.
fn double(dice: &mut Dice) -> f64 {
    let sign = if dice.below(3) == 0 { -1.0 } else { 1.0 };
    let any = |dice: &mut Dice| {
        let bits = (dice.below(1 << 32) as u64) << 32 | dice.below(1 << 32) as u64;
        let value = f64::from_bits(bits);
        if value.is_finite() { value } else { 0.5 }
    };
    sign * match dice.below(8) {
        0 => dice.below(1000) as f64,
        1 => dice.below(1 << 54) as f64,
        2 => dice.below(100_000) as f64 / 1e4,
        3 => (dice.below(1 << 53) as f64) * 2f64.powi(dice.below(200) as i32 - 100),
        4 => 2f64.powi(dice.below(2098) as i32 - 1074),
        5 => f64::from_bits(dice.below(1 << 53) as u64),
        6 => [
            f64::MAX,
            f64::MIN_POSITIVE,
            5e-324,
            0.1,
            0.2,
            0.3,
            1e16,
            0.0,
        ][dice.below(8)],
        _ => any(dice),
    }
}

fn doubles(dice: &mut Dice) -> Vec<f64> {
    let count = dice.below(40);
    let mut values: Vec<f64> = (0..count).map(|_| double(dice)).collect();
    // Sums that cancel, and half-way cases with something small behind them, are where rounding goes wrong.
    if dice.below(3) == 0 {
        let opposite: Vec<f64> = values.iter().map(|value| -value).collect();
        values.extend(opposite);
        values.push(double(dice));
    }
    if dice.below(3) == 0 {
        let exponent = dice.below(1900) as i32 - 950;
        let unit = 2f64.powi(exponent);
        values.extend([unit, unit * 2f64.powi(-53)]);
        if dice.below(2) == 0 {
            values.push(unit * 2f64.powi(-70) * sign(dice));
        }
    }
    values
}

fn sign(dice: &mut Dice) -> f64 {
    if dice.below(2) == 0 { -1.0 } else { 1.0 }
}

const JUDGE: &str = r"
import math, struct, sys
from fractions import Fraction
def judge(values):
    try:
        return math.fsum(values)
    except OverflowError:
        pass
    total = sum(map(Fraction, values), Fraction(0))
    try:
        return float(total)
    except OverflowError:
        return math.inf if total > 0 else -math.inf
for line in sys.stdin:
    values = [struct.unpack('<d', bytes.fromhex(word))[0] for word in line.split()]
    print(struct.pack('<d', judge(values)).hex())
";

#[test]
fn value_is_the_one_of_fsum_bit_for_bit() {
    let python = std::env::var_os("METRICSD_TEST_PYTHON").unwrap_or_else(|| "python3".into());
    let spawned = Command::new(&python)
        .args(["-c", JUDGE])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let Ok(mut child) = spawned else {
        skip(
            "value_is_the_one_of_fsum_bit_for_bit",
            "no python3 to judge",
        );
        return;
    };
    let mut dice = Dice(20);
    let cases: Vec<Vec<f64>> = (0..20_000).map(|_| doubles(&mut dice)).collect();
    let hex = |value: f64| -> String {
        value
            .to_le_bytes()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    };
    let input: String = cases
        .iter()
        .map(|values| {
            values
                .iter()
                .map(|value| hex(*value))
                .collect::<Vec<_>>()
                .join(" ")
                + "\n"
        })
        .collect();
    let mut stdin = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    let judged = String::from_utf8(output.stdout).unwrap();
    let judged: Vec<&str> = judged.lines().collect();
    assert_eq!(judged.len(), cases.len());
    for (values, judged) in cases.iter().zip(judged) {
        let sum: Exact = values.iter().copied().collect();
        assert_eq!(hex(sum.value()), judged, "{values:?}");
    }
}

/// Says that a judge is missing, where whoever runs the tests counts it.
fn skip(test: &str, why: &str) {
    eprintln!("SKIPPED: {why}");
    if let Some(path) = std::env::var_os("METRICSD_TEST_SKIPS") {
        let mut file = std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(path)
            .unwrap();
        writeln!(file, "{test}: {why}").unwrap();
    }
}

#[test]
fn order_grouping_and_the_way_through_bytes_leave_no_trace() {
    let mut dice = Dice(4);
    for _ in 0..3000 {
        let mut values = doubles(&mut dice);
        let expected: Exact = values.iter().copied().collect();
        for index in (1..values.len()).rev() {
            values.swap(index, dice.below(index + 1));
        }
        let cut = dice.below(values.len() + 1);
        let mut grouped: Exact = values[..cut].iter().copied().collect();
        // Passing things are added and taken away again on the way.
        let passing = doubles(&mut dice);
        passing.iter().for_each(|value| grouped.add(*value));
        let group: Exact = values[cut..].iter().copied().collect();
        grouped.merge(&through_bytes(&group));
        passing
            .iter()
            .rev()
            .for_each(|value| grouped.subtract(*value));
        assert_eq!(
            grouped.value().to_bits(),
            expected.value().to_bits(),
            "{values:?}"
        );
        assert_eq!(grouped, expected);
        assert_eq!(
            bytes(&grouped),
            bytes(&expected),
            "one spelling for one sum"
        );
        grouped.subtract_sum(&expected);
        assert!(grouped.is_zero());
        assert_eq!(bytes(&grouped), [0]);
    }
}

#[test]
fn adding_what_is_not_negative_never_lowers_the_value() {
    let mut dice = Dice(5);
    for _ in 0..300 {
        let mut sum: Exact = doubles(&mut dice).into_iter().collect();
        let mut before = sum.value();
        for _ in 0..40 {
            let step = double(&mut dice).abs();
            sum.add(step);
            let after = sum.value();
            assert!(after >= before, "{before:e} + {step:e} = {after:e}");
            before = after;
        }
    }
}

#[test]
fn ten_tenths_are_one_and_a_small_step_is_kept_until_it_counts() {
    let tenths: Exact = [0.1; 10].into_iter().collect();
    assert_eq!(tenths.value(), 1.0);
    let mut sum = Exact::from(2f64.powi(53));
    for step in 1..=4_u64 {
        sum.add(1.0);
        let (expected, is_exact) = (((1 << 53) + step) as f64, step % 2 == 0);
        assert_eq!((sum.value(), sum.is_exact_double()), (expected, is_exact));
    }
    assert!(swallows_increments(2f64.powi(53)) && !swallows_increments(2f64.powi(53) - 1.0));
    assert!(!swallows_increments(f64::NAN) && !swallows_increments(f64::INFINITY));
}

#[test]
fn whole_sums_beyond_64_bits_stay_exact() {
    let mut sum = Exact::default();
    let term = 2f64.powi(53) - 1.0;
    (0..5000).for_each(|_| sum.add(term));
    assert_eq!(sum.value(), term * 5000.0);
    (0..5000).for_each(|_| sum.subtract(term));
    assert!(sum.is_zero());
    (0..3000).for_each(|_| sum.subtract(term));
    let mut doubled = sum.clone();
    (0..3).for_each(|_| doubled.merge(&sum.clone()));
    assert_eq!(doubled.value(), -term * 12_000.0);
}

#[test]
fn what_is_no_number_is_the_same_in_every_order_and_can_be_taken_away() {
    let (up, down, nan) = (f64::INFINITY, f64::NEG_INFINITY, f64::NAN);
    let value = |values: &[f64]| values.iter().copied().collect::<Exact>().value();
    assert_eq!(value(&[1.0, up, -3.5]), up);
    assert_eq!(value(&[down, 1e308]), down);
    assert_eq!(value(&[up, down]).to_bits(), nan.to_bits());
    assert_eq!(value(&[down, 2.5, up]).to_bits(), nan.to_bits());
    assert_eq!(value(&[-f64::NAN, 1.0]).to_bits(), nan.to_bits());
    assert_eq!(value(&[f64::MAX, f64::MAX]), up);
    assert_eq!(
        value(&[f64::MAX, f64::MAX, f64::MIN]),
        f64::MAX,
        "no overflow on the way"
    );
    assert_eq!(value(&[-0.0]).to_bits(), 0);
    let mut sum: Exact = [0.25, up, nan, down].into_iter().collect();
    [nan, up, down]
        .iter()
        .for_each(|value| sum.subtract(*value));
    assert_eq!(sum, Exact::from(0.25));
    sum.subtract(up);
    assert_eq!(through_bytes(&sum).value(), down);
}

fn bytes(sum: &Exact) -> Vec<u8> {
    let mut bytes = Vec::new();
    sum.encode(&mut bytes);
    bytes
}

fn through_bytes(sum: &Exact) -> Exact {
    let bytes = bytes(sum);
    let mut reader = Reader::new(&bytes);
    let decoded = Exact::decode(&mut reader).unwrap();
    assert!(reader.rest().is_empty());
    decoded
}

proptest! {
    #[test]
    fn any_bytes_decode_to_a_sum_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..330)) {
        let mut reader = Reader::new(&bytes);
        if let Ok(mut sum) = Exact::decode(&mut reader) {
            sum.add(0.1);
            sum.add(f64::MAX);
            let again = through_bytes(&sum);
            prop_assert_eq!(again.value().to_bits(), sum.value().to_bits());
        }
    }
}
