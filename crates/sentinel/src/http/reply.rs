//! What a refusal says. Invariant: every status that is no success has one finite reason, and the text is short.

use std::time::Duration;

use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;
use ureq::http::{HeaderMap, HeaderName, header};

use super::attempt::Failure;
use crate::error_code::ErrorCode;

/// Most bytes that are read of the page of an error.
pub(super) const ERROR_BODY_MAX: usize = 8 * 1024;

/// Bytes of that page that are shown before it is brought into one line: much less than is read, so that a secret in it is whole or
/// not there.
const SHOWN: usize = 1_024;

/// Longest wait that is taken from a remote.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(86_400);

/// The failure that a status and its page mean.
pub(super) fn refusal(status: u16, body: &[u8]) -> Failure {
    let code = match status {
        429 => ErrorCode::Http429,
        300..=499 => ErrorCode::Http4xx,
        500..=599 => ErrorCode::Http5xx,
        _ => ErrorCode::Malformed,
    };
    let body = String::from_utf8_lossy(body);
    Failure::new(code, format!("status {status}: {}", message(&body)))
}

/// What an error page says: the known members of a JSON object (the stack trace is none), else how it begins.
fn message(body: &str) -> String {
    if let Ok(serde_json::Value::Object(object)) = serde_json::from_str(body) {
        let texts = ["error_class", "error_code", "message", "error", "detail"]
            .into_iter()
            .filter_map(|name| object.get(name)?.as_str());
        let texts: Vec<&str> = texts.collect();
        if !texts.is_empty() {
            return texts.join(": ");
        }
    }
    // Cut where a word ends, so that a secret behind the cut is not shown in part.
    if body.len() <= SHOWN {
        return body.to_owned();
    }
    let mut end = SHOWN;
    while !body.is_char_boundary(end) {
        end -= 1;
    }
    let cut = body[..end].rfind(char::is_whitespace).unwrap_or(0);
    body[..cut].to_owned()
}

/// A page that was not read to its end, without its last word: it may be half a secret, which nobody would recognise.
pub(super) fn whole_words(mut page: Vec<u8>) -> Vec<u8> {
    let last = page.iter().rposition(u8::is_ascii_whitespace);
    page.truncate(last.unwrap_or(0));
    page
}

/// `Retry-After`: seconds, or a date, which is compared with the `Date` of the same answer and only without that with our clock.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: HeaderName| headers.get(name)?.to_str().ok().map(str::trim);
    let wanted = text(header::RETRY_AFTER)?;
    let wait = match wanted.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        // A number of seconds that no machine holds is still a number of seconds.
        Err(_) if wanted.bytes().all(|byte| byte.is_ascii_digit()) && !wanted.is_empty() => {
            RETRY_AFTER_MAX
        }
        Err(_) => {
            let until = date(wanted)?;
            let now = text(header::DATE).and_then(date);
            let seconds = until.as_second() - now.unwrap_or_else(Timestamp::now).as_second();
            Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
        }
    };
    Some(wait.min(RETRY_AFTER_MAX))
}

/// `Date` in Unix seconds.
pub(super) fn made_at(headers: &HeaderMap) -> Option<i64> {
    let text = headers.get(header::DATE)?.to_str().ok()?;
    date(text.trim()).map(Timestamp::as_second)
}

/// A date as HTTP writes it: `Sun, 06 Nov 1994 08:49:37 GMT`.
fn date(text: &str) -> Option<Timestamp> {
    static PARSER: DateTimeParser = DateTimeParser::new();
    PARSER.parse_timestamp(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_read_as_seconds_and_as_a_date_and_bounded() {
        let date = Some("Sun, 06 Nov 1994 08:49:37 GMT");
        for (retry_after, date, expected) in [
            ("120", None, Some(120)),
            (" 0 ", None, Some(0)),
            ("Sun, 06 Nov 1994 08:50:37 GMT", date, Some(60)),
            ("Sun, 06 Nov 1994 08:49:00 GMT", date, Some(0)),
            ("Sun, 06 Nov 1994 08:50:37 GMT", None, Some(0)),
            ("Sat, 06 Nov 2094 08:50:37 GMT", date, Some(86_400)),
            ("99999999999999999999999999", None, Some(86_400)),
            ("-1", None, None),
            ("", None, None),
            ("soon", None, None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::RETRY_AFTER, retry_after.parse().unwrap());
            if let Some(date) = date {
                headers.insert(header::DATE, date.parse().unwrap());
            }
            let found = super::retry_after(&headers).map(|wait| wait.as_secs());
            assert_eq!(found, expected, "{retry_after} {date:?}");
        }
    }

    #[test]
    fn half_a_word_at_the_end_of_a_page_that_broke_off_is_not_shown() {
        assert_eq!(
            whole_words(b"no such token: tok-12".to_vec()),
            b"no such token:"
        );
        assert_eq!(whole_words(b"api_token=tok-12".to_vec()), b"");
    }

    #[test]
    fn a_long_page_is_cut_between_words() {
        let page = format!("{} secret{}", "x".repeat(1_020), "y".repeat(50));
        assert_eq!(message(&page), "x".repeat(1_020));
        assert_eq!(message(&"é".repeat(2_000)), "");
        assert_eq!(
            message("{\"error_code\":\"A\",\"message\":\"b\",\"stack_trace\":\"c\"}"),
            "A: b"
        );
    }
}
