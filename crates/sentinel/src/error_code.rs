//! The finite reasons for which a call to a remote fails: the values of the label `error_code`.
//!
//! Invariant: every failure has exactly one. Must not touch: anything; the text of an error is logged elsewhere and never a label.

use std::fmt;

/// Why a call failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// No token is configured, so no call was made.
    NoApiKey,
    /// The budget of the call ran out, wherever it was: resolving, connecting, waiting, reading.
    Timeout,
    /// The connection was refused, reset or closed early, or the name does not resolve.
    Connect,
    /// The peer cannot be trusted, or does not speak TLS.
    Tls,
    /// A status from 400 to 499, 429 apart; also a redirect, which is not followed.
    Http4xx,
    /// Too many requests.
    Http429,
    /// A status from 500 to 599.
    Http5xx,
    /// A success without content.
    EmptyResponse,
    /// A success whose content is not what was agreed.
    Malformed,
    /// The circuit breaker is open, so no call was made.
    BreakerOpen,
    /// Anything else.
    Other,
}

impl ErrorCode {
    /// All of them.
    pub const ALL: [ErrorCode; 11] = [
        ErrorCode::NoApiKey,
        ErrorCode::Timeout,
        ErrorCode::Connect,
        ErrorCode::Tls,
        ErrorCode::Http4xx,
        ErrorCode::Http429,
        ErrorCode::Http5xx,
        ErrorCode::EmptyResponse,
        ErrorCode::Malformed,
        ErrorCode::BreakerOpen,
        ErrorCode::Other,
    ];

    /// The spelling in metrics, logs and `/health`.
    pub const fn as_str(self) -> &'static str {
        match self {
            ErrorCode::NoApiKey => "no_api_key",
            ErrorCode::Timeout => "timeout",
            ErrorCode::Connect => "connect",
            ErrorCode::Tls => "tls",
            ErrorCode::Http4xx => "http_4xx",
            ErrorCode::Http429 => "http_429",
            ErrorCode::Http5xx => "http_5xx",
            ErrorCode::EmptyResponse => "empty_response",
            ErrorCode::Malformed => "malformed",
            ErrorCode::BreakerOpen => "breaker_open",
            ErrorCode::Other => "other",
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
