//! What in the environment says that somebody expects real orders.
//!
//! Invariant: it fails closed: a value that is not plainly off is on. Whoever asks decides what follows; the token is never repeated, since
//! messages end up in logs.

use std::ffi::OsStr;

/// Switches of live trading: see [`is_off`].
pub const SWITCHES: [&str; 2] = ["PEAK_TRADE_LIVE_ENABLED", "PEAK_TRADE_LIVE_ARMED"];

/// A confirmation of live trading: any value at all is one.
pub const TOKEN: &str = "PT_LIVE_CONFIRM_TOKEN";

/// Whether that value of a switch is plainly off: empty, `0`, `false`, `no` or `off`, in either case. A variable that is unset is empty.
pub fn is_off(value: &OsStr) -> bool {
    const OFF: [&str; 5] = ["", "0", "false", "no", "off"];
    value
        .to_str()
        .is_some_and(|value| OFF.iter().any(|off| off.eq_ignore_ascii_case(value)))
}
