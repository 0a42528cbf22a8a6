//! What each setting's text means. Invariant: a text that is not exactly one of the accepted is none. Must not touch: the environment, files.

use std::net::SocketAddr;

use market::{Calendar, Timeframe};
use rust_decimal::Decimal;

use program::duration;

use super::ModelChoice;
use crate::gateway::guards::limits::AMOUNT_MAX;
use crate::gateway::protocol::Amount;

pub(super) const HOST: &str = "a host name or address, without port";

/// Two intervals, and some minutes where these are short. An age that is right for bars of an hour would let a signal come of a bar of one
/// minute that is two hours old.
pub(super) const fn stale_after_default(interval: Timeframe) -> &'static str {
    match interval {
        Timeframe::M1 => "5m",
        Timeframe::M5 => "10m",
        _ => "2h",
    }
}

pub(super) fn parse_interval(text: &str) -> Option<Timeframe> {
    [Timeframe::M1, Timeframe::M5, Timeframe::H1]
        .into_iter()
        .find(|timeframe| timeframe.as_str() == text)
}

pub(super) fn parse_calendar(text: &str) -> Option<Calendar> {
    match text {
        "fx" => Some(Calendar::Fx),
        "always" => Some(Calendar::Always),
        _ => None,
    }
}

pub(super) fn parse_model(text: &str) -> Option<ModelChoice> {
    [ModelChoice::Hub, ModelChoice::Embedded]
        .into_iter()
        .find(|model| model.as_str() == text)
}

pub(super) fn parse_period(text: &str) -> Option<i64> {
    let period = duration::parse(text).filter(|time| time.subsec_nanos() == 0)?;
    i64::try_from(period.as_secs())
        .ok()
        .filter(|seconds| (1..=3_600).contains(seconds))
}

pub(super) fn parse_ratio(text: &str) -> Option<f64> {
    text.trim()
        .parse()
        .ok()
        .filter(|ratio| (0.0..=1.0).contains(ratio))
}

pub(super) fn parse_symbol(text: &str) -> Option<String> {
    let is_symbol = (3..=12).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
    is_symbol.then(|| text.to_owned())
}

/// Also in brackets, as IPv6 addresses stand in URLs.
pub(super) fn parse_host(text: &str) -> Option<String> {
    let is_host = !text.is_empty()
        && text.len() <= 253
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte));
    let has_port = text.matches(':').count() == 1;
    (is_host && !has_port).then(|| text.to_owned())
}

pub(super) fn parse_url(text: &str) -> Option<String> {
    let rest = ["https://", "http://"]
        .into_iter()
        .find_map(|scheme| text.strip_prefix(scheme))?;
    let host = rest.split('/').next().unwrap_or_default();
    // A user or a query could carry a secret into the log of the configuration.
    let is_plain = !rest.contains(['@', '?', '#'])
        && rest.bytes().all(|byte| byte.is_ascii_graphic())
        && !host.is_empty();
    is_plain.then(|| text.trim_end_matches('/').to_owned())
}

/// Not port 0: a port that is another one at each start is one that no scraper finds.
pub(super) fn parse_listen(text: &str) -> Option<SocketAddr> {
    text.parse()
        .ok()
        .filter(|address: &SocketAddr| address.port() != 0)
}

/// Above 0, as it may be on the wire, and not beyond what the guards take.
pub(super) fn parse_amount(text: &str) -> Option<Decimal> {
    Amount::parse(text)
        .map(Amount::value)
        .filter(|amount| *amount > Decimal::ZERO && *amount <= AMOUNT_MAX)
}
