//! Leaving halted: with the reset secret, and on record.
//!
//! Invariant: trading is active again only after an attempt with the right secret is on disk; an attempt with a wrong one is on disk too.
//! Comparing takes as long for any text of the secret's length. Must not touch: logs.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use subtle::ConstantTimeEq;
use thiserror::Error;

use crate::gateway::intent_log::IntentLog;
use crate::gateway::intent_log::error::LogError;
use crate::gateway::intent_log::storage::Storage;
use program::config::open_file;
use program::secret::Secret;

/// Shortest secret; what is shorter is guessed.
pub const SECRET_LEN_MIN_BYTES: usize = 16;
/// Longest secret.
pub const SECRET_LEN_MAX_BYTES: usize = 4_096;

/// The file of the secret is of no use.
#[derive(Debug, Error)]
pub enum SecretError {
    /// It cannot be read.
    #[error("{path}: cannot read the reset secret: {source}")]
    Read {
        /// The file.
        path: String,
        /// The system's error.
        source: io::Error,
    },
    /// It is too short or too long.
    #[error(
        "{path}: the reset secret has {found} bytes, {SECRET_LEN_MIN_BYTES} to {SECRET_LEN_MAX_BYTES} are accepted"
    )]
    Length {
        /// The file.
        path: String,
        /// Bytes without the white space around them.
        found: usize,
    },
}

/// The secret that leaves halted.
#[derive(Debug)]
pub struct ResetSecret(Secret);

impl ResetSecret {
    /// Reads a file, without the white space around its text.
    ///
    /// # Errors
    /// It cannot be read, is no text, or has a length that makes no sense.
    pub fn read(path: &Path) -> Result<ResetSecret, SecretError> {
        // The daemon reads it when it starts, where nobody may be waited for.
        let file = open_file(path).map_err(io::Error::from);
        let text = read(path, file)?;
        let found = text.trim().len();
        Secret::new(&text)
            .filter(|_| (SECRET_LEN_MIN_BYTES..=SECRET_LEN_MAX_BYTES).contains(&found))
            .map(ResetSecret)
            .ok_or_else(|| SecretError::Length {
                path: path.display().to_string(),
                found,
            })
    }

    fn is(&self, attempt: &Secret) -> bool {
        let (own, other) = (self.0.expose().as_bytes(), attempt.expose().as_bytes());
        own.ct_eq(other).into()
    }
}

/// Reads what somebody takes for the secret, without the white space around it; a short one is wrong and not refused here. It may come through
/// a pipe, from a safe of passwords.
///
/// # Errors
/// The file cannot be read, is no text, or holds nothing.
pub fn read_attempt(path: &Path) -> Result<Secret, SecretError> {
    Secret::new(&read(path, File::open(path))?).ok_or_else(|| SecretError::Length {
        path: path.display().to_string(),
        found: 0,
    })
}

/// A little more than the longest secret.
fn read(path: &Path, file: io::Result<File>) -> Result<String, SecretError> {
    let mut text = String::new();
    file.and_then(|file| {
        file.take(2 * SECRET_LEN_MAX_BYTES as u64)
            .read_to_string(&mut text)
    })
    .map_err(|source| SecretError::Read {
        path: path.display().to_string(),
        source,
    })?;
    Ok(text)
}

/// Tries to leave halted. Whether it did.
///
/// # Errors
/// Trading is not halted and the secret is right, or the attempt could not be recorded; trading is as it was.
pub fn reset<S: Storage>(
    log: &mut IntentLog<S>,
    secret: &ResetSecret,
    attempt: &Secret,
    now_ms: i64,
) -> Result<bool, LogError> {
    let is_accepted = secret.is(attempt);
    log.reset_attempt(is_accepted, now_ms)?;
    Ok(is_accepted)
}
