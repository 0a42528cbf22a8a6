//! Fetching intraday bars from EODHD, or from what stands in for it.
//!
//! Invariant: without a token no call is made; the token is in no text that leaves. What a response means is judged in `market::eodhd`.

use std::time::Instant;

use market::eodhd::{ParseError, RawBar, check_interval, parse};
use market::{Calendar, Timeframe};

use crate::error_code::ErrorCode;
use crate::http::{CallError, Client, Method, Request};
use program::secret::Secret;

/// Most bytes of a response.
const BODY_MAX: usize = 16 * 1024 * 1024;

/// How many bars the first fetch is to bring, if nobody says from when on.
const LOOKBACK_BARS: usize = 200;

/// A symbol of the foreign exchange market, at one interval.
#[derive(Debug, Clone)]
pub struct Eodhd {
    client: Client,
    endpoint: String,
    interval: Timeframe,
    token: Option<Secret>,
}

impl Eodhd {
    /// The feed below `base_url` (`https://eodhd.com/api`, with or without a slash at the end) for a symbol such as `EURUSD`. The vendor offers
    /// 1m, 5m and 1h; it refuses others.
    pub fn new(base_url: &str, symbol: &str, interval: Timeframe, token: Option<Secret>) -> Eodhd {
        Eodhd {
            client: Client::new(),
            endpoint: format!("{}/intraday/{symbol}.FOREX", base_url.trim_end_matches('/')),
            interval,
            token,
        }
    }

    /// Asks for the bars that open from `from_unix` to `to_unix` (Unix seconds). Without a beginning: so far back that, weekends and some holes
    /// taken into account, 200 closed bars come. Rows that are closed at `to_unix`, which is now by our clock, and were not when the response was
    /// made, by its own `Date`, are left out.
    ///
    /// # Errors
    /// [`CallError`]; [`ErrorCode::NoApiKey`] without a call.
    pub fn fetch(
        &self,
        from_unix: Option<i64>,
        to_unix: i64,
        deadline: Instant,
    ) -> Result<Vec<RawBar>, CallError> {
        let Some(token) = &self.token else {
            return Err(CallError::new(
                ErrorCode::NoApiKey,
                "EODHD_API_TOKEN is not set, so no call was made",
            ));
        };
        let from = from_unix.unwrap_or_else(|| {
            // The calendar with weekends: for a market that never closes it only asks for more.
            Calendar::Fx.lookback_start(to_unix, LOOKBACK_BARS, self.interval)
        });
        let request = Request {
            method: Method::Get,
            url: format!(
                "{}?interval={}&fmt=json&from={from}&to={to_unix}",
                self.endpoint, self.interval
            ),
            secret: Some(("api_token", token.clone())),
            body_max: BODY_MAX,
        };
        let answer = self.client.answer(request, deadline)?;
        let mut rows = self
            .read(&answer.body)
            .map_err(|error| self.refused(&error, &answer.body, token))?;
        // Closed by our clock, but not when the feed (or a cache before it) made the response: our clock is ahead or the response is old, and
        // the row is the bar as it was forming.
        if let Some(made_at) = answer.made_at {
            let closes = |row: &RawBar| row.open_time + self.interval.seconds();
            rows.retain(|row| closes(row) <= made_at || closes(row) > to_unix);
        }
        Ok(rows)
    }

    fn read(&self, body: &[u8]) -> Result<Vec<RawBar>, ParseError> {
        let rows = parse(body)?;
        check_interval(&rows, self.interval)?;
        Ok(rows)
    }

    /// The failure that an unusable response is. It may say back what it was asked, and the error shows how it begins: the token is taken
    /// out of the response itself, since half a token at the end of an excerpt would not be recognised any more.
    fn refused(&self, error: &ParseError, body: &[u8], token: &Secret) -> CallError {
        let code = match error {
            ParseError::Empty => ErrorCode::EmptyResponse,
            _ => ErrorCode::Malformed,
        };
        let hidden = token.hidden_in(&String::from_utf8_lossy(body));
        match self.read(hidden.as_bytes()) {
            Err(error) => CallError::new(code, &error.to_string()),
            Ok(_) => CallError::new(code, "the response is malformed: it is not UTF-8"),
        }
    }
}
