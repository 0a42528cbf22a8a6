//! Decimal arithmetic that is exact or is nothing.
//!
//! Invariant: no result was rounded. A decimal holds 28 digits; what would need more is `None`, and whoever asked must not trade on it.

use rust_decimal::Decimal;

/// Greatest amount of money, value of a lot, volume or limit that makes sense.
pub(in crate::gateway) const AMOUNT_MAX: Decimal =
    Decimal::from_parts(3_567_587_328, 232, 0, false, 0);

/// Sum.
pub(in crate::gateway) fn add(a: Decimal, b: Decimal) -> Option<Decimal> {
    if a.is_zero() {
        return Some(b);
    }
    if b.is_zero() {
        return Some(a);
    }
    // The library gives up decimals where the digits do not suffice, and only then.
    let (a, b) = (a.normalize(), b.normalize());
    a.checked_add(b)
        .filter(|sum| sum.scale() == a.scale().max(b.scale()))
}

/// Difference.
pub(in crate::gateway) fn sub(a: Decimal, b: Decimal) -> Option<Decimal> {
    add(a, -b)
}

/// Product.
pub(in crate::gateway) fn mul(a: Decimal, b: Decimal) -> Option<Decimal> {
    if a.is_zero() || b.is_zero() {
        return Some(Decimal::ZERO);
    }
    let (a, b) = (a.normalize(), b.normalize());
    a.checked_mul(b)
        .filter(|product| product.scale() == a.scale() + b.scale())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_be_rounded_is_nothing() {
        let d = |text: &str| text.parse::<Decimal>().unwrap();
        assert_eq!(mul(d("0.10"), d("1.50")), Some(d("0.15")));
        assert_eq!(mul(d("0.000000000000001"), d("0.00000000000001")), None);
        assert_eq!(mul(d("0.0000000000000000000000000001"), d("0.5")), None);
        assert_eq!(mul(Decimal::MAX, d("2")), None);
        assert_eq!(mul(Decimal::MAX, Decimal::ZERO), Some(Decimal::ZERO));
        assert_eq!(add(d("1.5"), d("-1.5")), Some(Decimal::ZERO));
        assert_eq!(add(Decimal::MAX, d("0.1")), None);
        assert_eq!(add(Decimal::MAX, Decimal::ONE), None);
        assert_eq!(sub(Decimal::MIN, Decimal::ONE), None);
        assert_eq!(sub(d("0.3"), d("0.1")), Some(d("0.2")));
    }
}
