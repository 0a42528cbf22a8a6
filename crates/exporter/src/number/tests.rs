//! The spelling against a table of Python's, and against the standard library's digits laid out step by step.

use super::*;

fn spelled(v: f64) -> String {
    let mut out = Vec::new();
    format_float(v, &mut out);
    String::from_utf8(out).expect("numbers are ASCII")
}

/// The slow way: the digits of `{:e}`, which come from another algorithm, laid out as Python's client lays them out.
fn laid_out(v: f64) -> String {
    if !v.is_finite() {
        let text = if v.is_nan() { "NaN" } else { "+Inf" };
        return if v == f64::NEG_INFINITY { "-Inf" } else { text }.to_owned();
    }
    let mut scientific = format!("{:e}", v.abs());
    let digit_count = scientific
        .bytes()
        .take_while(|byte| *byte != b'e')
        .filter(u8::is_ascii_digit)
        .count();
    // Of two that are as near the standard library takes any, Python the even one.
    let even = format!("{:.*e}", digit_count - 1, v.abs());
    if even.parse() == Ok(v.abs()) {
        scientific = even;
    }
    let (digits, exponent) = scientific.split_once('e').expect("an exponent");
    let digits = digits.replace('.', "");
    let exponent: i32 = exponent.parse().expect("a number");
    let sign = if v.is_sign_negative() { "-" } else { "" };
    let (first, rest) = digits.split_at(1);
    if exponent < -4 || exponent >= if sign.is_empty() { 6 } else { 16 } {
        let point = if rest.is_empty() { "" } else { "." };
        let exponent_sign = if exponent < 0 { '-' } else { '+' };
        return format!(
            "{sign}{first}{point}{rest}e{exponent_sign}{:02}",
            exponent.abs()
        );
    }
    match usize::try_from(exponent) {
        Err(_) => {
            let zeros = "0".repeat(exponent.unsigned_abs() as usize - 1);
            format!("{sign}0.{zeros}{digits}")
        }
        Ok(exponent) => {
            let padded = format!("{digits:0<width$}", width = exponent + 2);
            let (whole, fraction) = padded.split_at(exponent + 1);
            format!("{sign}{whole}.{fraction}")
        }
    }
}

/// Numbers without end, the same in every run.
fn random() -> impl Iterator<Item = u64> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    })
}

/// Panics unless `v` and its negative are spelled as they are laid out.
fn check(v: f64) {
    for v in [v, -v] {
        assert_eq!(spelled(v), laid_out(v), "{:#x}", v.to_bits());
    }
}

#[test]
fn every_group_of_eight_digits_is_made_of_two_of_four_that_are_all_right() {
    for four in 0..10_000_u64 {
        let expected = format!("{four:04}{four:04}").into_bytes();
        let digits = (eight_digits(four * 10_001) | ZEROS).to_le_bytes();
        assert_eq!(digits.as_slice(), expected);
    }
}

#[test]
fn whole_numbers_are_spelled_as_their_digits_say() {
    (0..200_000).for_each(|whole| check(f64::from(whole)));
    // Every group of three digits, in each place.
    for three in 0..1000 {
        for factor in [1000, 1_000_000, 1_001_001] {
            check(f64::from(three * factor));
            check(f64::from(three * factor + 999_000_000 % factor));
        }
    }
    // Where a digit more begins, where the digits end in zeros, and where doubles stop holding every whole number.
    let tens = (0..19).map(|exponent| 10_u64.pow(exponent));
    let twos = (0..64).map(|exponent| 1_u64 << exponent);
    for border in tens.chain(twos) {
        for factor in 1..=9 {
            let near = border.saturating_mul(factor);
            (near.saturating_sub(3)..=near.saturating_add(3)).for_each(|whole| check(whole as f64));
        }
    }
    for (number, len) in random().zip((1..=17).cycle()).take(500_000) {
        let whole = number % 10_u64.pow(len);
        // With zeros behind, as many as there is room for.
        let zeros = 10_u64.pow((number >> 32) as u32 % 8);
        check(whole as f64);
        check((whole / zeros * zeros) as f64);
    }
}

#[test]
fn fractions_are_spelled_as_their_digits_say() {
    for number in random().take(60_000) {
        check(f64::from_bits(number));
        // Of the sizes that people measure in.
        let fraction = (number >> 11) as f64 / (1_u64 << 53) as f64;
        for size in [1e-6, 1e-5, 1e-4, 1.0, 1e4, 1e6, 1e9, 1e13, 1e16] {
            check(fraction * size);
        }
        let short = (number % 100_000) as f64;
        for parts in [10.0, 100.0, 1000.0, 1e9, 1e10] {
            check(short / parts);
        }
    }
    for border in [1e-5, 1e-4, 1e6, 1e16] {
        check(f64::next_down(border));
        check(border);
        check(f64::next_up(border));
    }
}

#[test]
fn spelling_changes_where_python_changes_it() {
    let table: &[(f64, &str)] = &[
        (0.0, "0.0"),
        (-0.0, "-0.0"),
        (1.0, "1.0"),
        (-1.0, "-1.0"),
        (100.0, "100.0"),
        (0.005, "0.005"),
        (0.0001, "0.0001"),
        (0.00001, "1e-05"),
        (-0.000015, "-1.5e-05"),
        (123456.789, "123456.789"),
        (999_999.0, "999999.0"),
        (1_000_000.0, "1e+06"),
        (1_234_500.0, "1.2345e+06"),
        (1_234_567.5, "1.2345675e+06"),
        (-1_234_567.5, "-1234567.5"),
        (-1_000_000.0, "-1000000.0"),
        (9_007_199_254_740_991.0, "9.007199254740991e+15"),
        (9_007_199_254_740_994.0, "9.007199254740994e+15"),
        (1e15, "1e+15"),
        (-1e15, "-1000000000000000.0"),
        (1e16, "1e+16"),
        (-1e16, "-1e+16"),
        (-9_999_999_999_999_998.0, "-9999999999999998.0"),
        (1e100, "1e+100"),
        (5e-324, "5e-324"),
        (f64::MAX, "1.7976931348623157e+308"),
        (2f64.powi(-44), "5.684341886080802e-14"),
        (f64::INFINITY, "+Inf"),
        (f64::NEG_INFINITY, "-Inf"),
        (f64::NAN, "NaN"),
        (-f64::NAN, "NaN"),
    ];
    for &(value, expected) in table {
        assert_eq!(spelled(value), expected);
    }
}

proptest::proptest! {
    #[test]
    fn every_double_reads_back_as_itself(bits: u64) {
        let value = f64::from_bits(bits);
        let read: f64 = spelled(value).parse().expect("a number");
        proptest::prop_assert!(read.to_bits() == bits || (value.is_nan() && read.is_nan()));
    }
}

proptest::proptest! {
    #[test]
    fn what_was_kept_of_other_numbers_changes_no_spelling(
        pages in proptest::collection::vec(proptest::collection::vec(0..9_usize, 0..6), 1..6)
    ) {
        let numbers = [0.5, -0.0, 0.1, -3.0, 1e15, f64::NAN, f64::INFINITY, f64::MIN, 1_234_567.5];
        let mut spellings = Spellings::default();
        for page in pages {
            spellings.begin();
            for number in page.into_iter().map(|index| numbers[index]) {
                let kept = spellings.kept(number).map(|(text, len)| text[..len].to_vec());
                let text = kept.unwrap_or_else(|| {
                    let (text, len) = spellings.spell(number);
                    text[..len].to_vec()
                });
                proptest::prop_assert_eq!(text, format!("{}\n", spelled(number)).into_bytes());
            }
        }
    }
}
