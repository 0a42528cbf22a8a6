//! Signed links and confirmations.
//!
//! Invariant: only whoever has the key makes a token that is read; a token of one purpose is none of the other. Comparisons take the
//! same time whatever differs.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

use crate::payload::Labels;
use program::secret::Secret;

/// How long a page may be open before its form is sent, in seconds.
const PAGE_GOOD_FOR: i64 = 600;

/// Where a key is kept that nobody configured.
const KEY_FILE: &str = "silence.key";

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
#[error("{}: cannot {doing} the key of links to silences", .path.display())]
pub struct KeyError {
    path: PathBuf,
    doing: &'static str,
    source: io::Error,
}

/// Signs and checks.
#[derive(Debug, Clone)]
pub struct Signer(Secret);

#[derive(Serialize, Deserialize)]
struct Link {
    #[serde(rename = "m")]
    matchers: BTreeMap<String, String>,
    #[serde(rename = "e")]
    expires: i64,
}

impl Signer {
    /// Signs with this key.
    pub fn new(key: Secret) -> Signer {
        Signer(key)
    }

    /// Signs with the key in this directory, which is made if there is none: links survive a restart.
    ///
    /// # Errors
    /// See [`KeyError`].
    pub fn of_directory(directory: &Path) -> Result<Signer, KeyError> {
        let path = directory.join(KEY_FILE);
        let failed = |doing| {
            let path = path.clone();
            move |source| KeyError {
                path,
                doing,
                source,
            }
        };
        match fs::read_to_string(&path) {
            Ok(text) => {
                if let Some(key) = Secret::new(&text) {
                    return Ok(Signer(key));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed("read")(error)),
        }
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes)
            .map_err(|error| failed("make")(io::Error::other(error.to_string())))?;
        let text = BASE64_URL_SAFE_NO_PAD.encode(bytes);
        let mut options = OpenOptions::new();
        options.create(true).write(true).truncate(true).mode(0o600);
        options
            .open(&path)
            .and_then(|mut file| {
                file.write_all(text.as_bytes())
                    .and_then(|()| file.sync_data())
            })
            .map_err(failed("write"))?;
        Ok(Signer(
            Secret::new(&text).expect("an encoding of 32 bytes is not empty"),
        ))
    }

    /// A token for alerts with these labels, good until then, in Unix seconds.
    pub fn link(&self, labels: &Labels, expires: i64) -> String {
        let link = Link {
            matchers: labels.clone(),
            expires,
        };
        let json = serde_json::to_vec(&link).expect("a map of texts is JSON");
        let payload = BASE64_URL_SAFE_NO_PAD.encode(json);
        let signature = self.signature("link", &payload);
        format!("{payload}.{signature}")
    }

    /// The labels of a token that this key signed and that is still good.
    pub fn read_link(&self, token: &str, now: i64) -> Option<Labels> {
        let (payload, signature) = token.split_once('.')?;
        if !is_same(&self.signature("link", payload), signature) {
            return None;
        }
        let json = BASE64_URL_SAFE_NO_PAD.decode(payload).ok()?;
        let link: Link = serde_json::from_slice(&json).ok()?;
        (now <= link.expires && !link.matchers.is_empty()).then_some(link.matchers)
    }

    /// What a page for a token holds that was made then.
    pub fn confirmation(&self, token: &str, issued: i64) -> String {
        self.signature("confirm", &format!("{issued} {token}"))
    }

    /// Whether that comes from such a page, and not too late.
    pub fn is_confirmed(&self, token: &str, issued: i64, confirmation: &str, now: i64) -> bool {
        let is_timely = (0..=PAGE_GOOD_FOR).contains(&now.saturating_sub(issued));
        is_same(&self.confirmation(token, issued), confirmation) && is_timely
    }

    fn signature(&self, purpose: &str, text: &str) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.0.expose().as_bytes())
            .expect("HMAC takes keys of any length");
        mac.update(format!("alertbridge {purpose}\n{text}").as_bytes());
        BASE64_URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes())
    }
}

fn is_same(expected: &str, found: &str) -> bool {
    expected.as_bytes().ct_eq(found.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels() -> Labels {
        [("alertname".to_owned(), "停机 <x>".to_owned())].into()
    }

    #[test]
    fn a_link_is_read_with_its_key_until_it_expires_and_not_when_a_character_differs() {
        let signer = Signer::new(Secret::new("key one").unwrap());
        let token = signer.link(&labels(), 100);
        assert_eq!(signer.read_link(&token, 100), Some(labels()));
        assert_eq!(signer.read_link(&token, 101), None);
        let other = Signer::new(Secret::new("key two").unwrap());
        assert_eq!(other.read_link(&token, 1), None);
        for at in 0..token.len() {
            let mut changed = token.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert_eq!(signer.read_link(&changed, 1), None, "{at}");
        }
        assert_eq!(signer.read_link("", 1), None);
    }

    #[test]
    fn a_confirmation_is_for_one_link_and_ten_minutes() {
        let signer = Signer::new(Secret::new("key").unwrap());
        let confirmation = signer.confirmation("link", 1_000);
        assert!(signer.is_confirmed("link", 1_000, &confirmation, 1_600));
        assert!(!signer.is_confirmed("link", 1_000, &confirmation, 1_601));
        assert!(!signer.is_confirmed("link", 1_000, &confirmation, 999));
        assert!(!signer.is_confirmed("link", 1_001, &confirmation, 1_001));
        assert!(!signer.is_confirmed("other", 1_000, &confirmation, 1_000));
        assert!(!signer.is_confirmed("link", 1_000, "", 1_000));
    }

    #[test]
    fn a_key_that_nobody_configured_survives_a_restart_and_is_readable_by_nobody_else() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let first = Signer::of_directory(folder.path()).unwrap();
        let second = Signer::of_directory(folder.path()).unwrap();
        assert_eq!(
            second.read_link(&first.link(&labels(), 5), 5),
            Some(labels())
        );
        let metadata = fs::metadata(folder.path().join(KEY_FILE)).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    }
}
