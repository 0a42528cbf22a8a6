//! SHA-256 over what a decision was made of, in one defined encoding.
//!
//! Invariant: two inputs that differ in one bit have different encodings; the encoding depends on no machine and no version of a library.
//! Must not touch: files, clocks.

use std::fmt;

use market::Bar;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::features::Features;

/// Digits of a digest.
pub(super) const HEX_LEN: usize = 64;

/// A SHA-256; written as 64 hexadecimal digits in lower case, and read only like that.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest([u8; 32]);

impl Digest {
    /// What the first line of all names as the one before it.
    pub const NONE: Digest = Digest([0; 32]);

    /// Of any bytes.
    pub fn of(bytes: &[u8]) -> Digest {
        Digest(Sha256::digest(bytes).into())
    }

    /// Of bars, oldest first: for each its opening (Unix seconds, a signed 64-bit integer), open, high, low, close and volume (the bits of
    /// a 64-bit float), each as 8 bytes with the most significant first; 48 bytes a bar, nothing between or around them.
    pub fn of_bars(bars: &[Bar]) -> Digest {
        let mut hash = Sha256::new();
        for bar in bars {
            hash.update(bar.open_time.to_be_bytes());
            for value in [bar.open, bar.high, bar.low, bar.close, bar.volume] {
                hash.update(value.to_bits().to_be_bytes());
            }
        }
        Digest(hash.finalize().into())
    }

    /// Of features, in the order of the wire: the bits of each as 8 bytes with the most significant first; 184 bytes.
    pub fn of_features(features: &Features) -> Digest {
        let mut hash = Sha256::new();
        for value in features.values() {
            hash.update(value.to_bits().to_be_bytes());
        }
        Digest(hash.finalize().into())
    }

    /// Reads 64 digits; none if there is anything else, capital letters included.
    pub(super) fn parse(hex: &[u8]) -> Option<Digest> {
        if hex.len() != HEX_LEN {
            return None;
        }
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Some(byte - b'0'),
            b'a'..=b'f' => Some(byte - b'a' + 10),
            _ => None,
        };
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(hex.chunks_exact(2)) {
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Some(Digest(bytes))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<[u8; 32]> for Digest {
    fn from(bytes: [u8; 32]) -> Digest {
        Digest(bytes)
    }
}

impl TryFrom<String> for Digest {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Digest, &'static str> {
        Digest::parse(text.as_bytes()).ok_or("no digest of 64 hexadecimal digits in lower case")
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> String {
        digest.to_string()
    }
}
