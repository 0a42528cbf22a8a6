//! The requests of a verification: small, bounded, and written down.
//!
//! Invariant: an answer comes within the client's time or is none, takes at most `BODY_LEN_MAX_BYTES`, goes through no proxy and follows no
//! redirection: it is the answer of the address that was asked. What is written down has no users and no tokens of addresses in it.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;
use serde_json::Value;
use ureq::Body;
use ureq::http::Response;

use super::record::Probe;
use crate::verify::evidence::{Exchange, redact, redact_addresses};

/// How long an answer may take, unless something else is said.
const TIME_MAX: Duration = Duration::from_secs(10);

/// What an error says of an answer that did not come in time.
pub const NOT_IN_TIME: &str = "no whole answer within";

/// Longest body; a million series have some 100 MB.
const BODY_LEN_MAX_BYTES: u64 = 256 << 20;

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The header `Content-Type`; empty if there is none.
    pub content_type: String,
    /// The header `Date`: the clock of who answered, cut to the second.
    pub date: Option<Timestamp>,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as text; what is no UTF-8 is replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Asks over HTTP.
#[derive(Debug, Clone)]
pub struct Client {
    agent: ureq::Agent,
    time_max: Duration,
}

impl Default for Client {
    fn default() -> Client {
        Client::within(TIME_MAX)
    }
}

impl Client {
    /// One whose answers may take so long.
    pub fn within(time_max: Duration) -> Client {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(time_max))
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            // A connection that a daemon closed at its end would be an error of the next request.
            .max_idle_connections(0);
        Client {
            agent: config.build().into(),
            time_max,
        }
    }

    /// `GET`, with the query's values encoded.
    ///
    /// # Errors
    /// One sentence that names the address.
    pub fn get(
        &self,
        url: &str,
        query: &[(&str, &str)],
        probe: &mut Probe,
    ) -> Result<Answer, String> {
        self.get_shown(url, query, probe, Answer::text)
    }

    /// `GET` of a page of metrics, of which the lines of `names` are written down, which may be prefixes; its beginning if none.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub fn page(
        &self,
        url: &str,
        names: Option<&[&str]>,
        probe: &mut Probe,
    ) -> Result<Answer, String> {
        self.get_shown(url, &[], probe, |answer| match names {
            Some(names) if answer.status == 200 => lines_of(&answer.text(), names),
            _ => answer.text(),
        })
    }

    /// `GET`, of whose answer `shown` says what is written down.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub fn get_shown(
        &self,
        url: &str,
        query: &[(&str, &str)],
        probe: &mut Probe,
        shown: impl FnOnce(&Answer) -> String,
    ) -> Result<Answer, String> {
        let request = self.agent.get(url).query_pairs(query.iter().copied());
        keep(command(url, query), probe, shown, || {
            request
                .call()
                .and_then(read)
                .map_err(|err| self.failure(url, err))
        })
    }

    fn failure(&self, url: &str, err: ureq::Error) -> String {
        match err {
            ureq::Error::Io(err) if err.kind() == std::io::ErrorKind::ConnectionRefused => {
                format!("{url}: connection refused")
            }
            ureq::Error::Timeout(_) => format!("{url}: {NOT_IN_TIME} {:?}", self.time_max),
            err => format!("{url}: {err}"),
        }
    }

    /// `POST` of JSON.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub fn post(&self, url: &str, json: &Value, probe: &mut Probe) -> Result<Answer, String> {
        let body = json.to_string();
        let header = "Content-Type: application/json";
        let words = ["curl", "-si", url, "-H", header, "-d", &body];
        let request = self
            .agent
            .post(url)
            .header("Content-Type", "application/json");
        keep(redact(words), probe, Answer::text, || {
            request
                .send(body.as_bytes())
                .and_then(read)
                .map_err(|err| self.failure(url, err))
        })
    }
}

/// Asks, and writes down what was asked and what came.
fn keep(
    asked: String,
    probe: &mut Probe,
    shown: impl FnOnce(&Answer) -> String,
    ask: impl FnOnce() -> Result<Answer, String>,
) -> Result<Answer, String> {
    let (at, clock) = (Timestamp::now(), Instant::now());
    let answer = ask();
    let duration = clock.elapsed();
    let shown = match &answer {
        Ok(answer) => format!(
            "{} {}\n{} bytes\n{}",
            answer.status,
            answer.content_type,
            answer.body.len(),
            shown(answer)
        ),
        Err(err) => err.clone(),
    };
    let shown = redact_addresses(&shown);
    probe.keep(Exchange::new(asked, &shown, at, duration));
    answer
}

fn read(mut response: Response<Body>) -> Result<Answer, ureq::Error> {
    let header = |name: &str| {
        let value = response.headers().get(name)?.to_str().ok()?;
        Some(value.to_owned())
    };
    let content_type = header("content-type").unwrap_or_default();
    let date = header("date").and_then(|date| DateTimeParser::new().parse_timestamp(&date).ok());
    let status = response.status().as_u16();
    let body = response
        .body_mut()
        .with_config()
        .limit(BODY_LEN_MAX_BYTES)
        .read_to_vec()?;
    Ok(Answer {
        status,
        content_type,
        date,
        body,
    })
}

/// The command that asks the same.
fn command(url: &str, query: &[(&str, &str)]) -> String {
    let flags = if query.is_empty() { "-si" } else { "-siG" };
    let mut words = vec!["curl".to_owned(), flags.to_owned(), url.to_owned()];
    for (name, value) in query {
        words.extend(["--data-urlencode".to_owned(), format!("{name}={value}")]);
    }
    redact(words.iter().map(String::as_str))
}

fn lines_of(page: &str, names: &[&str]) -> String {
    let is_wanted = |line: &&str| {
        let name = line.strip_prefix("# TYPE ").unwrap_or(line);
        names.iter().any(|wanted| name.starts_with(wanted))
    };
    let lines: Vec<&str> = page.lines().filter(is_wanted).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_written_down_as_a_command_that_can_be_repeated() {
        assert_eq!(
            command("http://h:1/metrics", &[]),
            "curl -si http://h:1/metrics"
        );
        assert_eq!(
            command("http://h:1/api", &[("query", "up{job=\"x\"}[3s]")]),
            "curl -siG http://h:1/api --data-urlencode 'query=up{job=\"x\"}[3s]'"
        );
    }

    #[test]
    fn of_a_page_the_lines_are_shown_that_matter() {
        let page = "# HELP a x\n# TYPE a counter\na_total 1\n# TYPE b gauge\nb 2\n";
        assert_eq!(lines_of(page, &["a"]), "# TYPE a counter\na_total 1");
        assert_eq!(lines_of(page, &[]), "");
    }
}
