//! Doubles as text, spelled exactly as Python's `prometheus_client` spells them.
//!
//! Invariant: for every double the bytes equal `floatToGoString` of release 0.26 (Python's `repr`, except that positive values
//! from a million up take an exponent), so an `le` is one identity whoever wrote it. Must not touch: I/O, the clock, logging.

/// Whole numbers up to here are printed from their integer: each is exact, and its digits are its shortest spelling.
const EXACT_WHOLE_MAX: f64 = 9_007_199_254_740_992.0;

/// The longest significand zmij prints is 17 digits; a whole number below 2^53 has 16.
const DIGITS_MAX: usize = 20;

/// Append `v` to `out`: `1.0`, `0.005`, `1e+06`, `1.2345e+06`, `-1234567.5`, `1e+16`, `1e-05`, `+Inf`, `-Inf`, `NaN`, `-0.0`.
pub fn format_float(v: f64, out: &mut Vec<u8>) {
    if v.is_nan() {
        return out.extend_from_slice(b"NaN");
    }
    let positive = v.is_sign_positive();
    if v.is_infinite() {
        return out.extend_from_slice(if positive { b"+Inf" } else { b"-Inf" });
    }
    if !positive {
        out.push(b'-');
    }
    let mut digits = [0; DIGITS_MAX];
    let decimal = Decimal::shortest(v.abs(), &mut digits);
    // Python's `repr` changes to an exponent below 1e-4 and from 1e16 up. Go does so from 1e21 up or by precision, and
    // the client imitates it from 1e6 up, for positive values only.
    if decimal.point <= -4 || decimal.point > if positive { 6 } else { 16 } {
        decimal.write_scientific(out);
    } else {
        decimal.write_plain(out);
    }
}

/// A finite value as 0.DIGITS times ten to the power of `point`; the last digit is not zero, except for zero itself.
struct Decimal<'a> {
    digits: &'a [u8],
    point: i32,
}

impl<'a> Decimal<'a> {
    /// The shortest digits that read back as `magnitude` (finite, not negative), nearest to it among those of that length.
    fn shortest(magnitude: f64, buffer: &'a mut [u8; DIGITS_MAX]) -> Decimal<'a> {
        if magnitude == 0.0 {
            return Decimal {
                digits: b"0",
                point: 1,
            };
        }
        if magnitude < EXACT_WHOLE_MAX && magnitude.fract() == 0.0 {
            return Decimal::whole(magnitude as u64, buffer);
        }
        let mut zmij = zmij::Buffer::new();
        Decimal::from_spelling(zmij.format_finite(magnitude).as_bytes(), buffer)
    }

    fn whole(mut rest: u64, buffer: &'a mut [u8; DIGITS_MAX]) -> Decimal<'a> {
        let mut start = DIGITS_MAX;
        while rest > 0 {
            start -= 1;
            buffer[start] = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        let point = (DIGITS_MAX - start) as i32;
        let last = buffer
            .iter()
            .rposition(|&digit| digit != b'0')
            .unwrap_or(start);
        Decimal {
            digits: &buffer[start..=last],
            point,
        }
    }

    /// Take apart whatever layout the printer chose (`0.005`, `1234.5`, `1.5e-7`, `1e16`): only its digits matter.
    fn from_spelling(text: &[u8], buffer: &'a mut [u8; DIGITS_MAX]) -> Decimal<'a> {
        let mut len = 0;
        let mut point = 0;
        let mut behind_point = false;
        let mut exponent = 0;
        for (index, &byte) in text.iter().enumerate() {
            match byte {
                b'.' => behind_point = true,
                b'e' => {
                    exponent = parse_exponent(&text[index + 1..]);
                    break;
                }
                b'0' if len == 0 => point -= i32::from(behind_point),
                digit => {
                    buffer[len] = digit;
                    len += 1;
                    point += i32::from(!behind_point);
                }
            }
        }
        let last = buffer[..len]
            .iter()
            .rposition(|&digit| digit != b'0')
            .map_or(0, |index| index + 1);
        Decimal {
            digits: &buffer[..last],
            point: point + exponent,
        }
    }

    fn write_plain(&self, out: &mut Vec<u8>) {
        let Ok(whole_len) = usize::try_from(self.point) else {
            out.extend_from_slice(b"0.");
            out.resize(out.len() + self.point.unsigned_abs() as usize, b'0');
            return out.extend_from_slice(self.digits);
        };
        if whole_len == 0 {
            out.extend_from_slice(b"0.");
            out.extend_from_slice(self.digits);
        } else if let Some((whole, fraction)) = self
            .digits
            .split_at_checked(whole_len)
            .filter(|(_, f)| !f.is_empty())
        {
            out.extend_from_slice(whole);
            out.push(b'.');
            out.extend_from_slice(fraction);
        } else {
            out.extend_from_slice(self.digits);
            out.resize(out.len() + whole_len - self.digits.len(), b'0');
            out.extend_from_slice(b".0");
        }
    }

    fn write_scientific(&self, out: &mut Vec<u8>) {
        out.push(self.digits[0]);
        if self.digits.len() > 1 {
            out.push(b'.');
            out.extend_from_slice(&self.digits[1..]);
        }
        let exponent = self.point - 1;
        out.extend_from_slice(if exponent < 0 { b"e-" } else { b"e+" });
        let exponent = exponent.unsigned_abs();
        if exponent >= 100 {
            out.push(b'0' + (exponent / 100) as u8);
        }
        out.push(b'0' + (exponent / 10 % 10) as u8);
        out.push(b'0' + (exponent % 10) as u8);
    }
}

fn parse_exponent(text: &[u8]) -> i32 {
    let (sign, digits) = match text {
        [b'-', digits @ ..] => (-1, digits),
        [b'+', digits @ ..] => (1, digits),
        digits => (1, digits),
    };
    sign * digits
        .iter()
        .fold(0, |value, digit| value * 10 + i32::from(digit - b'0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spelled(v: f64) -> String {
        let mut out = Vec::new();
        format_float(v, &mut out);
        String::from_utf8(out).expect("numbers are ASCII")
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
}
