//! What `--live` needs: the account twice, the gateway's secret, and what a lot of the symbol is.
//!
//! Invariant: a configuration has a [`Live`] only with the flag and all of it; what is missing is named. Must not touch: the link.

use std::path::PathBuf;

use program::config::{self, ConfigError, Place, Placed};

use super::gateway::GatewaySettings;
use super::keys::Keys;
use super::{Layers, LoadError, secrets};
use crate::cli::Cli;
use crate::gateway::guards::Arm;
use crate::gateway::protocol::{Key, Text};

/// What a live run has and a dry run has not.
#[derive(Debug)]
pub struct Live {
    /// Signs what goes to the gateway.
    pub key: Key,
    /// The file that it is from.
    pub secret_file: Placed<PathBuf>,
    /// The armed account.
    pub arm: Arm,
    /// What the operator should know of all that, for the log.
    pub warnings: Vec<String>,
}

const FLAG: &str = "--live";
const ACCOUNT: &str = "the account's name at the gateway, 1 to 64 bytes without control characters";

/// Both layers of the arm are checked in a dry run too, and the secret file is not touched in one.
pub(super) fn resolve(
    cli: &Cli,
    layers: &Layers<'_>,
    keys: &Keys,
    gateway: &GatewaySettings,
    symbol: &str,
) -> Result<Option<Live>, LoadError> {
    let name = |text: &str| Text::name(text).map(|name| name.as_str().to_owned());
    let account = layers
        .setting("arm.account", "")
        .key(&keys.arm.account)
        .given(ACCOUNT, name)?;
    let confirm = layers
        .setting("arm.confirm", "")
        .key(&keys.arm.confirm)
        .given(ACCOUNT, name)?;
    if !cli.live {
        return Ok(None);
    }
    let unset = |key: String, accepted| ConfigError::Unset {
        path: layers.file.path.clone(),
        key,
        needed_by: FLAG,
        accepted,
    };
    let account = account.ok_or_else(|| unset("arm.account".to_owned(), ACCOUNT))?;
    let confirm =
        confirm.ok_or_else(|| unset("arm.confirm".to_owned(), "the same as arm.account"))?;
    if account.value != confirm.value {
        let accepted = format!("the same as arm.account (`{}`)", account.value);
        return Err(config::refused(confirm.place, confirm.value, &accepted).into());
    }
    if gateway.contract_size(symbol).is_none() {
        let accepted = "units of one lot in quotes, as \"100000\"";
        return Err(unset(format!("gateway.contract_sizes.{symbol}"), accepted).into());
    }
    let file = keys.gateway.secret_file.as_ref().ok_or_else(|| {
        let accepted = "a file with the secret that the gateway has too, 32 to 512 characters";
        unset("gateway.secret_file".to_owned(), accepted)
    })?;
    let place: Place = layers.file.place(file.span(), "gateway.secret_file");
    let path = PathBuf::from(file.get_ref());
    let (key, warning) = secrets::gateway_key(&place, &path)?;
    Ok(Some(Live {
        key,
        secret_file: Placed { value: path, place },
        arm: Arm {
            is_live: true,
            account: account.value,
            confirm: confirm.value,
        },
        warnings: warning.into_iter().collect(),
    }))
}
