//! Which content coding a request is answered in.
//!
//! Invariant: what RFC 9110 calls acceptable is sent, and nothing else; a header that makes no sense asks for nothing. Must not touch:
//! bodies.

use hyper::header::{self, HeaderMap, HeaderValue};

/// A content coding that pages are sent in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coding {
    /// As it is.
    Identity,
    /// gzip, which every scraper knows.
    Gzip,
    /// zstd: smaller, and faster at both ends.
    #[cfg(feature = "zstd")]
    Zstd,
}

impl Coding {
    /// What stands in `Content-Encoding`; nothing where there is no coding.
    pub(super) fn header(self) -> Option<HeaderValue> {
        match self {
            Coding::Identity => None,
            Coding::Gzip => Some(HeaderValue::from_static("gzip")),
            #[cfg(feature = "zstd")]
            Coding::Zstd => Some(HeaderValue::from_static("zstd")),
        }
    }
}

/// What a request accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Accepted {
    /// The best coding that makes pages smaller, if one is acceptable and not worse than none.
    pub(super) coding: Option<Coding>,
    /// Whether the page may be sent as it is.
    pub(super) identity: bool,
}

/// How much something is wanted, in thousandths; 0 is not acceptable.
type Weight = u16;

/// The weights of one request; nothing where a coding is not mentioned.
#[derive(Debug, Default)]
struct Weights {
    gzip: Option<Weight>,
    zstd: Option<Weight>,
    identity: Option<Weight>,
    any: Option<Weight>,
}

/// Reads the request's `Accept-Encoding`.
pub(super) fn accepted(headers: &HeaderMap) -> Accepted {
    let mut weights = Weights::default();
    let values = headers.get_all(header::ACCEPT_ENCODING).iter();
    for value in values.filter_map(|value| value.to_str().ok()) {
        value.split(',').for_each(|item| weights.read(item));
    }
    weights.accepted()
}

impl Weights {
    fn read(&mut self, item: &str) {
        let mut parts = item.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let quality = parts.find_map(|part| {
            let (name, value) = part.split_once('=')?;
            name.trim()
                .eq_ignore_ascii_case("q")
                .then(|| weight(value.trim()))
        });
        // A weight that makes no sense is none to rely on.
        let weight = quality.map_or(1000, |quality| quality.unwrap_or(0));
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        let place = if is("gzip") || is("x-gzip") {
            &mut self.gzip
        } else if is("zstd") {
            &mut self.zstd
        } else if is("identity") {
            &mut self.identity
        } else if is("*") {
            &mut self.any
        } else {
            return;
        };
        *place = Some(weight.max(place.unwrap_or(0)));
    }

    fn accepted(&self) -> Accepted {
        // Whoever takes everything takes gzip; zstd goes to those who name it.
        let gzip = (self.gzip.or(self.any).unwrap_or(0), Coding::Gzip);
        #[cfg(feature = "zstd")]
        let best = {
            let zstd = (self.zstd.unwrap_or(0), Coding::Zstd);
            if zstd.0 >= gzip.0 { zstd } else { gzip }
        };
        #[cfg(not(feature = "zstd"))]
        let best = gzip;
        // Without a word about it the page as it is is acceptable, and the last choice.
        let identity = self.identity.or(self.any.filter(|any| *any == 0));
        let is_best = best.0 > 0 && best.0 >= self.identity.unwrap_or(0);
        Accepted {
            coding: is_best.then_some(best.1),
            identity: identity != Some(0),
        }
    }
}

/// `0`, `0.5`, `1.000`: at most three digits behind the point, from 0 to 1.
fn weight(text: &str) -> Option<Weight> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let is_number = matches!(whole, "0" | "1")
        && fraction.len() <= 3
        && fraction.bytes().all(|byte| byte.is_ascii_digit());
    // Nothing is added up before: more digits are more than the sum can hold.
    if !is_number {
        return None;
    }
    let thousandths: Weight = format!("{fraction:0<3}").parse().ok()?;
    let weight = thousandths + if whole == "1" { 1000 } else { 0 };
    (weight <= 1000).then_some(weight)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[&str]) -> (Option<&'static str>, bool) {
        let mut headers = HeaderMap::new();
        for value in values {
            let value = HeaderValue::from_str(value).expect("header text");
            headers.append(header::ACCEPT_ENCODING, value);
        }
        let accepted = accepted(&headers);
        let name = accepted.coding.map(|coding| match coding {
            Coding::Identity => "identity",
            Coding::Gzip => "gzip",
            #[cfg(feature = "zstd")]
            Coding::Zstd => "zstd",
        });
        (name, accepted.identity)
    }

    #[test]
    fn the_best_acceptable_coding_is_chosen() {
        let both = if cfg!(feature = "zstd") {
            "zstd"
        } else {
            "gzip"
        };
        let table: &[(&[&str], Option<&str>, bool)] = &[
            (&[], None, true),
            (&[""], None, true),
            (&["gzip"], Some("gzip"), true),
            (&["GZip"], Some("gzip"), true),
            (&["x-gzip"], Some("gzip"), true),
            (&["deflate, br"], None, true),
            (&["gzip, deflate, br, zstd"], Some(both), true),
            (&["zstd;q=0.5, gzip"], Some("gzip"), true),
            (&["gzip;q=0.5, zstd;q=0.5"], Some(both), true),
            (&["deflate", "gzip"], Some("gzip"), true),
            (&["gzip;q=0"], None, true),
            (&["gzip ; Q=0.000"], None, true),
            (&["gzip;q=0.001"], Some("gzip"), true),
            (&["gzip;q=0.4, identity;q=0.5"], None, true),
            (&["gzip;q=0.5, identity;q=0.5"], Some("gzip"), true),
            (&["identity"], None, true),
            (&["identity;q=0"], None, false),
            (&["identity;q=0, gzip;q=0.1"], Some("gzip"), false),
            (&["*"], Some("gzip"), true),
            (&["*;q=0"], None, false),
            (&["*;q=0, gzip"], Some("gzip"), false),
            (&["*;q=0, identity"], None, true),
            (&["gzip;q=0, *"], None, true),
            (&["gzip;q=2"], None, true),
            (&["gzip;q=0.1234"], None, true),
            (&["gzip;q=1.65535"], None, true),
            (&["gzip;q=1.99999999999"], None, true),
            (&["gzip;q=1.+5"], None, true),
            (&["gzip;q=."], None, true),
            (&["gzip;q=-1"], None, true),
            (&["gzip;q="], None, true),
            (&["gzip;level=9;q=0.5"], Some("gzip"), true),
            (&[",,;q=1,gzip,,"], Some("gzip"), true),
        ];
        for (values, coding, identity) in table {
            let coding = match *coding {
                // Without the feature nobody gets it.
                Some("zstd") if !cfg!(feature = "zstd") => None,
                coding => coding,
            };
            assert_eq!(of(values), (coding, *identity), "{values:?}");
        }
    }
}
