//! The query string of a scrape, read as Python's `parse_qs` reads it.
//!
//! Invariant: any query gives a filter; parameters other than `name[]` are ignored (Prometheus and people add their own). Must not
//! touch: anything but the string.

use crate::text::NameFilter;

/// The names asked for by `name[]`, which may be repeated; blank ones do not count.
pub(super) fn names(query: Option<&str>) -> NameFilter {
    let pairs = query
        .unwrap_or_default()
        .split('&')
        .filter_map(|pair| pair.split_once('='));
    NameFilter::only(
        pairs
            .filter(|(key, _)| decoded(key) == "name[]")
            .map(|(_, value)| decoded(value)),
    )
}

/// `+` is a blank, `%XX` a byte; a malformed escape stays as it is, bytes that are not UTF-8 become U+FFFD.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, behind)) = rest.split_first() {
        rest = behind;
        match (byte, behind) {
            (b'+', _) => bytes.push(b' '),
            (b'%', [high, low, behind @ ..])
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                bytes.push(nibble(*high) << 4 | nibble(*low));
                rest = behind;
            }
            _ => bytes.push(byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn nibble(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_name_parameters_filter() {
        let only = |names: &[&str]| NameFilter::only(names.iter().map(|name| name.to_string()));
        let table: &[(Option<&str>, NameFilter)] = &[
            (None, NameFilter::all()),
            (Some(""), NameFilter::all()),
            (Some("foo=bar&name=x"), NameFilter::all()),
            (Some("name[]="), NameFilter::all()),
            (Some("name[]"), NameFilter::all()),
            (Some("name[]=up"), only(&["up"])),
            (
                Some("name%5B%5D=a&x=1&name[]=b_total"),
                only(&["a", "b_total"]),
            ),
            (Some("name%5b%5d=a%5Fb+c"), only(&["a_b c"])),
            (
                Some("name[]=%zz%4&name[]=%ff"),
                only(&["%zz%4", "\u{fffd}"]),
            ),
            (Some("name[]=a=b"), only(&["a=b"])),
        ];
        for (query, expected) in table {
            assert_eq!(&names(*query), expected, "{query:?}");
        }
    }
}
