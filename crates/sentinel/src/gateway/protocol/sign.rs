//! HMAC-SHA256 over canonical bytes. Invariant: a mac is compared in constant time, and the key is not shown. Must not touch: fields.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use program::secret::Secret;

/// The shared secret, ready to sign with.
#[derive(Clone)]
pub struct Key(Hmac<Sha256>);

/// Why a secret is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Too short or too long.
    #[error("the secret has {0} bytes, 32 to 512 are accepted")]
    Length(usize),
    /// Another character than the printable ones of ASCII.
    #[error("the secret has a character that is not printable ASCII, or a space")]
    Character,
}

impl Key {
    /// The bytes of the text are the key, as they are: neither hexadecimal nor base64 is decoded.
    ///
    /// # Errors
    /// When the secret is not 32 to 512 printable ASCII characters without spaces.
    pub fn new(secret: &Secret) -> Result<Key, KeyError> {
        let bytes = secret.expose().as_bytes();
        if !(32..=512).contains(&bytes.len()) {
            return Err(KeyError::Length(bytes.len()));
        }
        if !bytes.iter().all(u8::is_ascii_graphic) {
            return Err(KeyError::Character);
        }
        let mac = Hmac::new_from_slice(bytes).expect("a key of any length is a key of HMAC");
        Ok(Key(mac))
    }

    /// The mac of bytes, 64 small hexadecimal digits.
    pub(super) fn mac(&self, bytes: &[u8]) -> String {
        let mut mac = self.0.clone();
        mac.update(bytes);
        hex(&mac.finalize().into_bytes())
    }

    /// Whether this text is the mac of the bytes. How long it takes says nothing of how nearly right the mac is.
    pub(super) fn is_mac(&self, bytes: &[u8], text: &str) -> bool {
        let Some(claimed) = unhex(text) else {
            return false;
        };
        let mut mac = self.0.clone();
        mac.update(bytes);
        mac.verify_slice(&claimed).is_ok()
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(***)")
    }
}

/// The SHA-256 of bytes, 64 small hexadecimal digits: by it a reply names the request that it answers.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Whether a text is 64 small hexadecimal digits.
pub(super) fn is_hex_32(text: &str) -> bool {
    unhex(text).is_some()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Only small digits: a mac has one spelling.
fn unhex(text: &str) -> Option<[u8; 32]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let text: &[u8; 64] = text.as_bytes().try_into().ok()?;
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? * 16 + digit(pair[1])?;
    }
    Some(bytes)
}
