//! Decimal money. Invariant: an amount has at most [`MONEY_DECIMALS`] decimals and is at most [`MONEY_MAX`], so that sums of amounts
//! are exact; what would be larger is `None`, and whoever asked must not trade on it.

use rust_decimal::Decimal;

/// Decimals of an amount in quote currency. More than any price times any quantity step of the table needs in practice; a product
/// with more is rounded half to even, once, where the amount comes into being.
pub const MONEY_DECIMALS: u32 = 10;

/// No amount is larger: 10^15 with ten decimals are 25 digits, and a decimal holds 28.
pub const MONEY_MAX: Decimal = Decimal::from_parts(2_764_472_320, 232_830, 0, false, 0);

/// An amount, from the result of a checked decimal operation.
#[inline]
pub fn amount(computed: Option<Decimal>) -> Option<Decimal> {
    let computed = computed?;
    let amount = if computed.scale() > MONEY_DECIMALS {
        computed.round_dp(MONEY_DECIMALS)
    } else {
        computed
    };
    (amount.abs() <= MONEY_MAX).then_some(amount)
}

/// The nearest float, within one unit in its last place: for ratios that are shown, never for decisions.
#[inline]
pub fn approximate(decimal: Decimal) -> f64 {
    /// 10^0..=10^28, each the nearest float (exact up to 10^22).
    const POWERS: [f64; 29] = [
        1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
        1e17, 1e18, 1e19, 1e20, 1e21, 1e22, 1e23, 1e24, 1e25, 1e26, 1e27, 1e28,
    ];
    // One division instead of the library's two 128-bit ones: this runs several times a step.
    let mantissa = decimal.mantissa();
    // Nearly every amount fits: converting 64 bits is one instruction, 128 bits are a call.
    let mantissa = match i64::try_from(mantissa) {
        Ok(mantissa) => mantissa as f64,
        Err(_) => wide(mantissa),
    };
    mantissa / POWERS[decimal.scale() as usize]
}

/// A function of its own, or the compiler makes both conversions and then picks one.
#[cold]
#[inline(never)]
fn wide(mantissa: i128) -> f64 {
    mantissa as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_is_rounded_once_to_ten_decimals_and_refused_when_too_large() {
        let table = [
            ("1.23456789014", Some("1.2345678901")),
            ("1.23456789015", Some("1.2345678902")),
            ("1.23456789025", Some("1.2345678902")),
            ("-0.00000000005", Some("0")),
            ("12.5", Some("12.5")),
            ("1000000000000000", Some("1000000000000000")),
            ("1000000000000000.0000000001", None),
            ("-1000000000000001", None),
        ];
        for (computed, expected) in table {
            assert_eq!(
                amount(Some(computed.parse().unwrap())),
                expected.map(|text| text.parse().unwrap()),
                "{computed}"
            );
        }
        assert_eq!(amount(None), None);
        assert_eq!(MONEY_MAX, Decimal::from(1_000_000_000_000_000_u64));
    }

    #[test]
    fn the_float_of_a_decimal_is_the_nearest_or_its_neighbour() {
        for text in [
            "0",
            "1",
            "-1",
            "0.1",
            "1.05236",
            "9999.1234567891",
            "-0.0000000001",
            "79228162514264337593543950335",
        ] {
            let (ours, exact) = (
                approximate(text.parse().unwrap()),
                text.parse::<f64>().unwrap(),
            );
            assert!(
                (ours - exact).abs() <= exact.abs() * f64::EPSILON,
                "{text}: {ours}"
            );
        }
    }
}
