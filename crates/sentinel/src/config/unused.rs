//! Keys of a link to a gateway that a dry run does not have: read and checked, so that one file serves both, and said to have no effect.
//!
//! Invariant: nothing here reaches a decision, and no value of theirs is shown. Must not touch: the file that `secret_file` names.

use super::file::{ConfigError, Keys};
use super::layers::Layers;
use super::{BUDGET_MAX, duration};

/// Checks them and gives the names of those that the file sets, in its order of sections.
///
/// # Errors
/// A budget or a volume that is none.
pub(super) fn check(layers: &Layers<'_>, keys: &Keys) -> Result<Vec<&'static str>, ConfigError> {
    let (gateway, arm) = (&keys.gateway, &keys.arm);
    layers
        .setting("gateway.timeout", "5s")
        .key(&gateway.timeout)
        .resolve("a duration from 1ms to 60s in quotes, as \"5s\"", |text| {
            duration::parse(text).filter(|time| !time.is_zero() && *time <= BUDGET_MAX)
        })?;
    layers
        .setting("gateway.volume", "0.01")
        .key(&gateway.volume)
        .resolve("an amount above 0 as text, such as \"0.01\"", is_amount)?;
    let given = [
        ("gateway.timeout", gateway.timeout.is_some()),
        ("gateway.secret_file", gateway.secret_file.is_some()),
        ("gateway.volume", gateway.volume.is_some()),
        ("arm.account", arm.account.is_some()),
        ("arm.confirm", arm.confirm.is_some()),
    ];
    Ok(given
        .into_iter()
        .filter_map(|(key, is_given)| is_given.then_some(key))
        .collect())
}

/// Digits with at most one point, and not all of them zero: what a decimal amount is spelled like.
fn is_amount(text: &str) -> Option<()> {
    let digits = text.replacen('.', "", 1);
    let is_number = !digits.is_empty()
        && digits.len() <= 20
        && digits.bytes().all(|byte| byte.is_ascii_digit())
        && !text.starts_with('.')
        && !text.ends_with('.');
    (is_number && digits.bytes().any(|byte| byte != b'0')).then_some(())
}
