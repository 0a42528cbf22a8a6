//! A text that must not be seen: access tokens, signing secrets, keys.
//!
//! Invariant: it leaves only through [`Secret::expose`]; there is no `Display`, and `Debug` shows `***`. Must not touch: logs.

use std::fmt;

/// A text that is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes a text without the white space around it, which a file or a shell leaves there; none if nothing is left.
    pub fn new(text: &str) -> Option<Secret> {
        let text = text.trim();
        (!text.is_empty()).then(|| Secret(text.to_owned()))
    }

    /// The text itself, for the one place that uses it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// A text in which the secret, bare or with percent signs, is replaced by `***`; a remote may say back what it was sent.
    pub fn hidden_in(&self, text: &str) -> String {
        text.replace(&self.0, "***")
            .replace(&percent_encoded(&self.0), "***")
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// A text as a value of a query: everything but letters, digits and `-._~` with percent signs, once.
pub fn percent_encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_shown_and_is_found_in_both_spellings() {
        let secret = Secret::new(" to+k/n 1\n").unwrap();
        assert_eq!(secret.expose(), "to+k/n 1");
        assert_eq!(percent_encoded(secret.expose()), "to%2Bk%2Fn%201");
        assert_eq!(format!("{secret:?} {:?}", Some(&secret)), "*** Some(***)");
        assert_eq!(
            secret.hidden_in("a to+k/n 1 b to%2Bk%2Fn%201 c"),
            "a *** b *** c"
        );
        assert_eq!(Secret::new(" \n"), None);
    }
}
