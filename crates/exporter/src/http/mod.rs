//! The HTTP surface every exporter needs: `/metrics`, `/-/healthy`, `/-/ready`, a landing page, and bounds on everything a
//! client can hold.
//!
//! Pages go out in gzip or zstd to whoever accepts that (`docs/decisions/0016-compression.md`).
//!
//! Invariant: no client, however slow, silent or malformed, keeps another one from its answer for longer than the time its own
//! answer takes. Must not touch: what the metrics mean; they come from a closure. Binds only the addresses it was given.

mod bind;
mod body;
mod connection;
mod connections;
mod encoding;
mod landing;
mod owner;
mod query;
mod routes;
mod server;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub use bytes::Bytes;

pub use self::bind::{BindError, bind};
pub use self::body::{PageMemory, ScrapeBody};
pub use self::owner::PortOwner;
pub use self::server::{Server, spawn};

use crate::text::{CONTENT_TYPE_TEXT_0_0_4, NameFilter};

/// The landing page at `/`. All text is escaped on the page.
#[derive(Debug, Clone, Default)]
pub struct Site {
    /// Name of the program.
    pub title: String,
    /// One sentence on what it serves.
    pub description: String,
    /// Version of the program.
    pub version: String,
    /// Further links as (path or URL, text); `/metrics`, `/-/healthy` and `/-/ready` are always there.
    pub links: Vec<(String, String)>,
}

/// What one scrape asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ScrapeRequest {
    /// The samples asked for by `name[]`, percent-decoded.
    pub names: NameFilter,
}

/// What a scrape is answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScrapeResponse {
    /// 200 with a page, compressed if the scraper accepts that. A body that several scrapes share is sent without being copied, and
    /// compressed once.
    Metrics {
        /// The exact Content-Type.
        content_type: &'static str,
        /// The page.
        body: ScrapeBody,
    },
    /// 503 with one line that says why there are no metrics.
    Unavailable {
        /// The reason; line breaks become blanks.
        reason: String,
    },
}

impl ScrapeResponse {
    /// A page of text 0.0.4.
    pub fn text(body: impl Into<ScrapeBody>) -> ScrapeResponse {
        ScrapeResponse::Metrics {
            content_type: CONTENT_TYPE_TEXT_0_0_4,
            body: body.into(),
        }
    }
}

/// Answers one scrape. May block: it runs on a thread of its own, on at most [`Limits::max_requests`] at once. The request has
/// arrived by the time it is called. A panic answers 500 and is logged.
pub type ScrapeFn = dyn Fn(&ScrapeRequest) -> ScrapeResponse + Send + Sync;

/// Says whether the program is ready, or in one line why it is not. May block, like [`ScrapeFn`].
pub type ReadyFn = dyn Fn() -> Result<(), String> + Send + Sync;

/// What `/health` is answered with: a program's own account of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthResponse {
    /// 200, or 503: whether the program does what it is there for.
    pub is_serving: bool,
    /// JSON.
    pub body: Bytes,
}

/// Tells how the program is. May block, like [`ScrapeFn`].
pub type HealthFn = dyn Fn() -> HealthResponse + Send + Sync;

/// What the server serves.
#[derive(Clone)]
pub struct Endpoint {
    /// The landing page.
    pub site: Site,
    /// Answers `/metrics`.
    pub metrics: Arc<ScrapeFn>,
    /// Answers `/-/ready`: 200, or 503 with the reason.
    pub ready: Arc<ReadyFn>,
    /// Answers `/health` with JSON; without it there is no such path.
    pub health: Option<Arc<HealthFn>>,
    /// Paths of the program's own, beyond those that every exporter has.
    pub pages: Option<Pages>,
}

/// Paths of a program's own. The server keeps bounds and deadlines; what a path means is the program's.
#[derive(Clone)]
pub struct Pages {
    /// Whether a path is the program's; asked before the server's own paths. Must be quick.
    pub owns: Arc<dyn Fn(&str) -> bool + Send + Sync>,
    /// Answers a request of such a path, any method. May block: it runs on a thread of its own.
    pub answer: Arc<dyn Fn(PageRequest) -> PageResponse + Send + Sync>,
    /// Longest body that is read, in bytes. Up to `requests_max` of them are in memory at once.
    pub body_max_bytes: usize,
    /// Requests read and answered at once; further ones wait, for as long as a request may take to arrive. At least 1.
    pub requests_max: usize,
}

impl fmt::Debug for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pages")
            .field("body_max_bytes", &self.body_max_bytes)
            .field("requests_max", &self.requests_max)
            .finish_non_exhaustive()
    }
}

/// A request of a program's own path; it has arrived as a whole.
#[derive(Debug, Clone)]
pub struct PageRequest {
    /// `GET`, `POST`.
    pub method: String,
    /// The path as it was sent, percent signs and all.
    pub path: String,
    /// Names in lower case, and values that are text.
    pub headers: Vec<(String, String)>,
    /// The body, empty where there is none; nothing where it is longer than [`Pages::body_max_bytes`].
    pub body: Option<Bytes>,
}

impl PageRequest {
    /// The first header of that name, in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers
            .find(|(found, _)| found == name)
            .map(|(_, value)| value.as_str())
    }
}

/// What a program's own path is answered with.
#[derive(Debug, Clone)]
pub struct PageResponse {
    /// The status code.
    pub status: u16,
    /// The exact Content-Type.
    pub content_type: &'static str,
    /// The body.
    pub body: Bytes,
    /// Further headers; a value that is no header text is left out.
    pub headers: Vec<(&'static str, String)>,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("site", &self.site)
            .finish_non_exhaustive()
    }
}

/// Bounds of the server. The defaults suit a daemon; a program that is not about serving lowers `max_connections`, since each
/// one holds a file descriptor.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Scrapes computed at once; further ones get 503 with Retry-After. 0 = no bound. Default 40.
    pub max_requests: usize,
    /// Connections at once; for one more, the one that was longest without a request is dropped. At least 1. Default 512.
    pub max_connections: usize,
    /// Bytes of a request's line and headers; beyond it 431. Default 16 KiB.
    pub max_head_bytes: usize,
    /// Headers of a request; beyond it 431. Default 64.
    pub max_headers: usize,
    /// From the connection's begin, or on a kept one from the first byte of the request, to the end of its headers and body.
    /// Default 5 s.
    pub head_timeout: Duration,
    /// How long a connection is kept between requests. Default 75 s, so that scrapes once a minute reuse theirs.
    pub idle_timeout: Duration,
    /// From a response's begin until the client has taken all of it. Default 30 s.
    pub write_timeout: Duration,
    /// Bytes of finished responses that wait for their readers (a shared body counts once); beyond it the reader that is
    /// longest at it is dropped. Default 256 MiB.
    pub max_unread_bytes: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            max_requests: 40,
            max_connections: 512,
            max_head_bytes: 16 << 10,
            max_headers: 64,
            head_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(75),
            write_timeout: Duration::from_secs(30),
            max_unread_bytes: 256 << 20,
        }
    }
}
