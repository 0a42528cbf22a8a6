//! One scrape over HTTP, as Prometheus would make it.
//!
//! Invariant: it ends within ten seconds, takes no more memory than [`BODY_LEN_MAX_BYTES`], goes through no proxy, follows no
//! redirection, and every failure is one sentence that names the address.

use std::fmt;
use std::io;
use std::str::FromStr;
use std::time::Duration;

use metricsd_exporter::{Family, ParseError, parse_text};
use thiserror::Error;
use ureq::http::Uri;

/// How long a scrape may take: Prometheus' own default.
const TIME_MAX: Duration = Duration::from_secs(10);

/// Longest page that is read; a million series have some 100 MB.
pub const BODY_LEN_MAX_BYTES: u64 = 512 << 20;

/// An address to scrape: `http`, with a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScrapeUrl(String);

impl ScrapeUrl {
    /// `/metrics` on loopback.
    pub fn of_port(port: u16) -> ScrapeUrl {
        ScrapeUrl(format!("http://127.0.0.1:{port}/metrics"))
    }
}

impl fmt::Display for ScrapeUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ScrapeUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<ScrapeUrl, String> {
        let accepted = "accepted is http://HOST:PORT/PATH, such as http://127.0.0.1:9111/metrics";
        let uri: Uri = text.parse().map_err(|_| accepted)?;
        let has_host = uri.host().is_some_and(|host| !host.is_empty());
        if uri.scheme_str() != Some("http") || !has_host {
            return Err(accepted.to_owned());
        }
        let path = match uri.path() {
            "/" => "/metrics",
            path => path,
        };
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        let query = uri
            .query()
            .map_or(String::new(), |query| format!("?{query}"));
        Ok(ScrapeUrl(format!("http://{authority}{path}{query}")))
    }
}

/// What was answered.
#[derive(Debug, Clone)]
pub struct Page {
    /// The header `Content-Type`; empty if there is none.
    pub content_type: String,
    /// Length of the text.
    pub len_bytes: usize,
    /// The text's families.
    pub families: Vec<Family>,
}

/// Why there is no page.
#[derive(Debug, Error)]
pub enum ScrapeError {
    /// Nobody listens.
    #[error("{url}: connection refused")]
    Refused {
        /// The address.
        url: ScrapeUrl,
    },
    /// No answer in time.
    #[error("{url}: no whole answer within {TIME_MAX:?}")]
    Timeout {
        /// The address.
        url: ScrapeUrl,
    },
    /// An answer that is not 200.
    #[error("{url}: answered with status {status}; 200 is expected")]
    Status {
        /// The address.
        url: ScrapeUrl,
        /// The status code.
        status: u16,
    },
    /// Anything else on the way.
    #[error("{url}: {source}")]
    Http {
        /// The address.
        url: ScrapeUrl,
        /// What happened.
        source: Box<ureq::Error>,
    },
    /// A page that is no text 0.0.4.
    #[error("{url}: the page is not text 0.0.4: {source}")]
    Text {
        /// The address.
        url: ScrapeUrl,
        /// Where.
        source: ParseError,
    },
}

impl ScrapeError {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            ScrapeError::Refused { .. } => {
                "is metricsd serving there? start it, or name its address with --url"
            }
            ScrapeError::Timeout { .. } => "see the daemon's log for what it waits for",
            ScrapeError::Status { .. } | ScrapeError::Http { .. } | ScrapeError::Text { .. } => {
                "is that metricsd's address? its log says at the start where it serves; name it with --url"
            }
        }
    }
}

/// Scrapes once.
///
/// # Errors
/// As [`ScrapeError`] lists them.
pub fn scrape(url: &ScrapeUrl) -> Result<Page, ScrapeError> {
    let failed = |source| of_http(url, source);
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(TIME_MAX))
        .proxy(None)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        .build()
        .into();
    let request = agent
        .get(url.0.as_str())
        .header("Accept", "text/plain;version=0.0.4");
    let mut response = request.call().map_err(failed)?;
    if response.status() != 200 {
        return Err(ScrapeError::Status {
            url: url.clone(),
            status: response.status().as_u16(),
        });
    }
    let content_type = response.headers().get("content-type");
    let content_type = content_type
        .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
        .unwrap_or_default();
    let body = response.body_mut().with_config().limit(BODY_LEN_MAX_BYTES);
    let text = body.read_to_vec().map_err(failed)?;
    let families = parse_text(&text).map_err(|source| ScrapeError::Text {
        url: url.clone(),
        source,
    })?;
    Ok(Page {
        content_type,
        len_bytes: text.len(),
        families,
    })
}

fn of_http(url: &ScrapeUrl, source: ureq::Error) -> ScrapeError {
    let url = url.clone();
    match source {
        ureq::Error::Timeout(_) => ScrapeError::Timeout { url },
        ureq::Error::Io(err) if err.kind() == io::ErrorKind::ConnectionRefused => {
            ScrapeError::Refused { url }
        }
        source => ScrapeError::Http {
            url,
            source: Box::new(source),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_http_with_a_host_and_gets_the_usual_path() {
        for (text, url) in [
            (
                "http://127.0.0.1:9111/metrics",
                "http://127.0.0.1:9111/metrics",
            ),
            ("http://[::1]:1", "http://[::1]:1/metrics"),
            ("http://host/x?a=b", "http://host/x?a=b"),
        ] {
            let parsed: ScrapeUrl = text.parse().unwrap();
            assert_eq!(parsed.to_string(), url);
        }
        for text in [
            "",
            "9111",
            "127.0.0.1:9111",
            "https://host/metrics",
            "http:///metrics",
            "http://a b/",
        ] {
            assert!(text.parse::<ScrapeUrl>().is_err(), "{text}");
        }
    }
}
