//! What files with secrets hold.
//!
//! Invariant: no message shows any of it, no more is read than a secret may have, and nobody is waited for: the start of a daemon that
//! hangs in a pipe answers no signal. Must not touch: what the secrets are for.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use program::config::{ConfigError, Place, Placed, open_file};
use program::secret::Secret;

use super::{ConfigFile, Layers, LoadError, TOKEN_VARIABLE};
use crate::gateway::protocol::{Key, KeyError};

/// Longest file of a secret that is read; the longest secret has 512 bytes.
const FILE_LEN_MAX_BYTES: u64 = 4_096;
/// Read permission of the group and of all others.
const READABLE_BY_OTHERS: u32 = 0o044;

/// The vendor's token: the variable's, else that of the file.
pub(super) fn token(
    layers: &Layers<'_>,
    file: &ConfigFile,
) -> Result<Option<Placed<Secret>>, ConfigError> {
    let in_environment = layers.variable(TOKEN_VARIABLE);
    if let Some(value) = in_environment.and_then(|text| Secret::new(text.trim())) {
        let place = Place::Variable(TOKEN_VARIABLE);
        return Ok(Some(Placed { value, place }));
    }
    let Some(key) = &file.keys.market.token_file else {
        return Ok(None);
    };
    let place = file.place(key.span(), "market.token_file");
    let path = PathBuf::from(key.get_ref());
    let unreadable = |source| ConfigError::Named {
        what: "token",
        place: place.clone(),
        path: path.clone(),
        source,
    };
    let text = open_file(&path)
        .map_err(io::Error::from)
        .and_then(|file| io::read_to_string(file.take(FILE_LEN_MAX_BYTES)))
        .map_err(unreadable)?;
    // A byte order mark or a control character would be sent as a part of the token, and refused by the vendor as a wrong one.
    let word = Some(text.trim()).filter(|text| text.bytes().all(|byte| byte.is_ascii_graphic()));
    match word
        .filter(|word| word.len() < FILE_LEN_MAX_BYTES as usize)
        .and_then(Secret::new)
    {
        Some(value) => Ok(Some(Placed { value, place })),
        None => Err(ConfigError::Value {
            found: path.display().to_string(),
            accepted: "a file that holds one word of printable ASCII characters, the token"
                .to_owned(),
            place,
        }),
    }
}

/// The key that the messages of the gateway are signed with, and a warning if others can read the file. ASCII white space at both ends of the file does not
/// count, as the protocol has it.
pub(super) fn gateway_key(place: &Place, path: &Path) -> Result<(Key, Option<String>), LoadError> {
    let unreadable = |source| ConfigError::Named {
        what: "secret of the gateway",
        place: place.clone(),
        path: path.to_owned(),
        source,
    };
    let file = open_file(path)
        .map_err(io::Error::from)
        .map_err(unreadable)?;
    let warning = readable_by_others(path, &file);
    let mut bytes = Vec::new();
    file.take(FILE_LEN_MAX_BYTES)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    let refused = |source| LoadError::GatewaySecret {
        place: place.clone(),
        path: path.to_owned(),
        source,
    };
    // Other white space belongs to the secret at the gateway, which makes it none.
    let text = String::from_utf8(bytes).map_err(|_| refused(KeyError::Character))?;
    let text = text.trim_matches([' ', '\t', '\r', '\n']);
    if text.trim() != text {
        return Err(refused(KeyError::Character));
    }
    let secret = Secret::new(text).ok_or_else(|| refused(KeyError::Length(0)))?;
    Ok((Key::new(&secret).map_err(refused)?, warning))
}

/// A warning if the file can be read by more than its owner.
pub(super) fn warn_of(path: &Path) -> Option<String> {
    readable_by_others(path, &open_file(path).ok()?)
}

fn readable_by_others(path: &Path, file: &File) -> Option<String> {
    let mode = file.metadata().ok()?.permissions().mode() & 0o777;
    (mode & READABLE_BY_OTHERS != 0).then(|| {
        format!(
            "{}: others can read this secret (mode {mode:03o}); chmod 600 keeps it",
            path.display()
        )
    })
}
