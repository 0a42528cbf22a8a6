//! The NO-LIVE gate: the program does not start where the environment says that somebody expects real orders.
//!
//! Invariant: a pure function of the environment that fails closed: a value that is not plainly "off" refuses. The token is never
//! repeated, since refusals end up in logs.

use std::ffi::OsString;

use program::live_trading::{SWITCHES, TOKEN, is_off};

/// The environment expects real orders.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A switch is not plainly off.
    #[error(
        "{variable}: found `{found}`, and this program never trades for real; accepted: unset, empty, 0, false, no, off"
    )]
    Switch {
        /// Which.
        variable: &'static str,
        /// Its value.
        found: String,
    },
    /// There is a token.
    #[error(
        "{TOKEN}: found a value (not shown), and this program never trades for real; accepted: unset or empty"
    )]
    Token,
}

/// Whether the program may start.
///
/// # Errors
/// The first variable that stands against it.
pub fn check(environment: &dyn Fn(&str) -> Option<OsString>) -> Result<(), Refusal> {
    for variable in SWITCHES {
        let value = environment(variable).unwrap_or_default();
        if !is_off(&value) {
            return Err(Refusal::Switch {
                variable,
                found: value.to_string_lossy().into_owned(),
            });
        }
    }
    match environment(TOKEN) {
        Some(token) if !token.is_empty() => Err(Refusal::Token),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refuses(variable: &str, value: &str) -> bool {
        check(&|name| (name == variable).then(|| value.into())).is_err()
    }

    #[test]
    fn only_plainly_off_values_let_the_program_start() {
        for variable in SWITCHES {
            for value in ["", "0", "false", "False", "FALSE", "no", "No", "off", "OFF"] {
                assert!(!refuses(variable, value), "{variable}={value:?}");
            }
            for value in [
                "1", "true", "TRUE", "yes", "Yes", "on", "ON", "2", "enabled", " ", " false",
                "false\r", "off ", "ＮＯ", "null",
            ] {
                assert!(refuses(variable, value), "{variable}={value:?}");
            }
        }
        for value in ["x", "0", "false", " "] {
            assert!(refuses(TOKEN, value), "{TOKEN}={value:?}");
        }
        assert!(!refuses(TOKEN, ""));
        assert_eq!(check(&|_| None), Ok(()));
    }

    #[test]
    fn a_refusal_names_the_variable_and_never_the_token() {
        let error = check(&|name| (name == TOKEN).then(|| "secret-1".into()))
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("PT_LIVE_CONFIRM_TOKEN: ") && !error.contains("secret-1"),
            "{error}"
        );
        let error = check(&|name| (name == SWITCHES[1]).then(|| "yes".into()))
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("PEAK_TRADE_LIVE_ARMED: found `yes`"),
            "{error}"
        );
    }
}
