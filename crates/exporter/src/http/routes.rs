//! What each path answers.
//!
//! Invariant: every request gets an answer, GET and HEAD the same headers; the program's closures run on other threads and
//! their panics end here. Must not touch: sockets.

use std::any::Any;
use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Incoming};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode, Uri};
use tokio::sync::Semaphore;
use tokio::task::{JoinError, spawn_blocking};
use tracing::error;

use super::body::COMPRESSED_FROM_BYTES;
use super::connections::{Connections, Place};
use super::encoding::{self, Accepted, Coding};
use super::{
    Endpoint, HealthResponse, Limits, PageRequest, Pages, ScrapeBody, ScrapeRequest,
    ScrapeResponse, landing, query,
};

/// A request's body is read and ignored up to here, so that the connection can be kept; nothing here takes a longer one.
const REQUEST_BODY_MAX_BYTES: u64 = 64 << 10;

const PLAIN: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
const HTML: &str = "text/html; charset=utf-8";
/// The answer to `/metrics` depends on it.
const VARIES: HeaderValue = HeaderValue::from_static("accept-encoding");
const ALLOWED: HeaderValue = HeaderValue::from_static("GET, HEAD");

/// The answering side of the server.
pub(super) struct Routes {
    endpoint: Endpoint,
    connections: Arc<Connections>,
    landing_page: Bytes,
    max_requests: usize,
    scrapes: Option<Arc<Semaphore>>,
    pages: Option<(Pages, Arc<Semaphore>)>,
}

impl Routes {
    pub(super) fn new(
        endpoint: Endpoint,
        limits: &Limits,
        connections: Arc<Connections>,
    ) -> Arc<Routes> {
        let scrapes =
            (limits.max_requests > 0).then(|| Arc::new(Semaphore::new(limits.max_requests)));
        let with_bound = |pages: Pages| {
            let bound = Arc::new(Semaphore::new(pages.requests_max.max(1)));
            (pages, bound)
        };
        let pages = endpoint.pages.clone().map(with_bound);
        let landing_page = Bytes::from(landing::page(&endpoint.site));
        Arc::new(Routes {
            endpoint,
            connections,
            landing_page,
            max_requests: limits.max_requests,
            scrapes,
            pages,
        })
    }

    /// Answer one request; the place follows its phases.
    pub(super) async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
        place: Arc<Place>,
    ) -> Result<Response<Full<Bytes>>, Infallible> {
        let (head, body) = request.into_parts();
        if let Some((pages, bound)) = &self.pages
            && (pages.owns)(head.uri.path())
        {
            return Ok(self.page(pages, bound, head, body, &place).await);
        }
        let complete = read_body(body, &place, REQUEST_BODY_MAX_BYTES, None).await == Read::Whole;
        place.serving();
        let reply = self.route(&head.method, &head.uri, &head.headers).await;
        let close = !complete || self.connections.is_draining();
        place.writing(&reply.body);
        // hyper sends the head alone where the request was HEAD.
        Ok(reply.into_response(close))
    }

    /// A path of the program's own. The permit is taken before the body is read, so that the memory for bodies is bounded.
    async fn page(
        &self,
        pages: &Pages,
        bound: &Arc<Semaphore>,
        head: Parts,
        body: Incoming,
        place: &Place,
    ) -> Response<Full<Bytes>> {
        // The semaphore is never closed; were it, an answer without a bound beats none.
        let permit = Arc::clone(bound).acquire_owned().await.ok();
        let mut bytes = Vec::new();
        let max = pages.body_max_bytes as u64;
        let read = read_body(body, place, max, Some(&mut bytes)).await;
        place.serving();
        if read == Read::BrokenOff {
            let reply = Reply::plain(StatusCode::BAD_REQUEST, "the body broke off\n");
            place.writing(&reply.body);
            return reply.into_response(true);
        }
        let headers = head.headers.iter().filter_map(|(name, value)| {
            let value = value.to_str().ok()?;
            Some((name.as_str().to_owned(), value.to_owned()))
        });
        let request = PageRequest {
            method: head.method.as_str().to_owned(),
            path: head.uri.path().to_owned(),
            headers: headers.collect(),
            body: (read == Read::Whole).then(|| Bytes::from(bytes)),
        };
        let answer = Arc::clone(&pages.answer);
        let answered = spawn_blocking(move || {
            let _permit = permit;
            answer(request)
        });
        let reply = match answered.await {
            Ok(page) => {
                let status =
                    StatusCode::from_u16(page.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                let mut reply = Reply::new(status, page.content_type, page.body);
                for (name, value) in page.headers {
                    if let Ok(value) = HeaderValue::from_str(&value) {
                        reply.headers.insert(HeaderName::from_static(name), value);
                    }
                }
                reply
            }
            Err(error) => failed("page", error),
        };
        let close = read != Read::Whole || self.connections.is_draining();
        place.writing(&reply.body);
        reply.into_response(close)
    }

    async fn route(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Reply {
        let path = uri.path();
        let has_health = self.endpoint.health.is_some();
        let is_known = match path {
            "/" | "/metrics" | "/-/healthy" | "/-/ready" | "/favicon.ico" => true,
            "/health" => has_health,
            _ => false,
        };
        if !is_known {
            let paths = if has_health {
                "not found; there are /, /metrics, /health, /-/healthy and /-/ready\n"
            } else {
                "not found; there are /, /metrics, /-/healthy and /-/ready\n"
            };
            return Reply::plain(StatusCode::NOT_FOUND, paths);
        }
        if method != Method::GET && method != Method::HEAD {
            let reply = Reply::plain(
                StatusCode::METHOD_NOT_ALLOWED,
                "method not allowed; GET and HEAD are\n",
            );
            return reply.with(header::ALLOW, ALLOWED);
        }
        match path {
            "/metrics" => {
                let request = ScrapeRequest {
                    names: query::names(uri.query()),
                };
                self.metrics(request, encoding::accepted(headers)).await
            }
            "/-/ready" => self.ready().await,
            "/health" => self.health().await,
            "/-/healthy" => Reply::plain(StatusCode::OK, "healthy\n"),
            "/favicon.ico" => Reply::plain(StatusCode::NO_CONTENT, ""),
            _ => Reply::new(StatusCode::OK, HTML, self.landing_page.clone()).with(
                header::CONTENT_SECURITY_POLICY,
                HeaderValue::from_static(landing::CONTENT_SECURITY_POLICY),
            ),
        }
    }

    async fn metrics(&self, request: ScrapeRequest, accepted: Accepted) -> Reply {
        if accepted.coding.is_none() && !accepted.identity {
            let text = "not acceptable; there are gzip and identity\n";
            return Reply::plain(StatusCode::NOT_ACCEPTABLE, text).with(header::VARY, VARIES);
        }
        let permit = match &self.scrapes {
            None => None,
            Some(scrapes) => match Arc::clone(scrapes).try_acquire_owned() {
                Ok(permit) => Some(permit),
                Err(_) => return self.busy(),
            },
        };
        let metrics = Arc::clone(&self.endpoint.metrics);
        // The permit goes with the work, not with the connection: a client that hangs up does not end the work.
        let scrape = spawn_blocking(move || {
            let _permit = permit;
            match metrics(&request) {
                ScrapeResponse::Metrics { content_type, body } => {
                    let (coding, body) = coded(&body, accepted);
                    Ok((content_type, coding, body))
                }
                ScrapeResponse::Unavailable { reason } => Err(reason),
            }
        });
        match scrape.await {
            Ok(Ok((content_type, coding, body))) => {
                let reply = Reply::new(StatusCode::OK, content_type, body);
                let reply = reply.with(header::VARY, VARIES);
                match coding.header() {
                    Some(coding) => reply.with(header::CONTENT_ENCODING, coding),
                    None => reply,
                }
            }
            Ok(Err(reason)) => Reply::plain(
                StatusCode::SERVICE_UNAVAILABLE,
                format!("no metrics: {}\n", one_line(&reason)),
            ),
            Err(error) => failed("scrape", error),
        }
    }

    fn busy(&self) -> Reply {
        let text = format!(
            "busy: {} scrapes are under way, which is the limit; try again\n",
            self.max_requests
        );
        Reply::plain(StatusCode::SERVICE_UNAVAILABLE, text)
            .with(header::RETRY_AFTER, HeaderValue::from_static("1"))
    }

    async fn ready(&self) -> Reply {
        let ready = Arc::clone(&self.endpoint.ready);
        match spawn_blocking(move || ready()).await {
            Ok(Ok(())) => Reply::plain(StatusCode::OK, "ready\n"),
            Ok(Err(reason)) => Reply::plain(
                StatusCode::SERVICE_UNAVAILABLE,
                format!("not ready: {}\n", one_line(&reason)),
            ),
            Err(error) => failed("readiness check", error),
        }
    }

    async fn health(&self) -> Reply {
        let Some(health) = self.endpoint.health.clone() else {
            return Reply::plain(StatusCode::NOT_FOUND, "not found\n");
        };
        match spawn_blocking(move || health()).await {
            Ok(HealthResponse { is_serving, body }) => {
                let status = if is_serving {
                    StatusCode::OK
                } else {
                    StatusCode::SERVICE_UNAVAILABLE
                };
                Reply::new(status, JSON, body)
            }
            Err(error) => failed("health report", error),
        }
    }
}

/// The page as the scraper is to have it. Takes its time, so it is done where the page was made.
fn coded(body: &ScrapeBody, accepted: Accepted) -> (Coding, Bytes) {
    let is_short = body.text().len() < COMPRESSED_FROM_BYTES && accepted.identity;
    let coding = accepted.coding.filter(|_| !is_short);
    let coded = coding.and_then(|coding| Some((coding, body.coded(coding)?)));
    coded.unwrap_or_else(|| (Coding::Identity, body.text().clone()))
}

fn failed(what: &'static str, error: JoinError) -> Reply {
    let reason = match error.try_into_panic() {
        Ok(panic) => panic_text(panic.as_ref()),
        Err(cancelled) => cancelled.to_string(),
    };
    error!(
        what,
        reason, "a request failed inside the program; it was answered with 500"
    );
    Reply::plain(
        StatusCode::INTERNAL_SERVER_ERROR,
        format!("the {what} failed inside the program; its log says why\n"),
    )
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("panic without a text").to_string()
}

fn one_line(text: &str) -> String {
    text.replace(|c: char| c.is_control(), " ")
}

/// How the reading of a body ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Read {
    Whole,
    TooLong,
    BrokenOff,
}

/// Read a request's body of at most `max` bytes, and keep it if it has somewhere to go.
async fn read_body(
    body: Incoming,
    place: &Place,
    max: u64,
    mut kept: Option<&mut Vec<u8>>,
) -> Read {
    if body.is_end_stream() {
        return Read::Whole;
    }
    if body.size_hint().lower() > max {
        return Read::TooLong;
    }
    place.reading_body();
    let mut body = pin!(body);
    let mut read_bytes = 0;
    while read_bytes <= max {
        match poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
            None => return Read::Whole,
            Some(Err(_)) => return Read::BrokenOff,
            Some(Ok(frame)) => {
                let Some(data) = frame.data_ref() else {
                    continue;
                };
                read_bytes += data.len() as u64;
                if let Some(kept) = &mut kept {
                    kept.extend_from_slice(data);
                }
            }
        }
    }
    Read::TooLong
}

/// An answer before it is HTTP.
struct Reply {
    status: StatusCode,
    content_type: &'static str,
    body: Bytes,
    headers: HeaderMap,
}

impl Reply {
    fn new(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Reply {
        Reply {
            status,
            content_type,
            body: body.into(),
            headers: HeaderMap::new(),
        }
    }

    fn plain(status: StatusCode, text: impl Into<Bytes>) -> Reply {
        Reply::new(status, PLAIN, text)
    }

    fn with(mut self, name: HeaderName, value: HeaderValue) -> Reply {
        self.headers.insert(name, value);
        self
    }

    fn into_response(self, close: bool) -> Response<Full<Bytes>> {
        let length = self.body.len();
        let mut response = Response::new(Full::new(self.body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        *headers = self.headers;
        // 204 has neither a type nor a length.
        if self.status != StatusCode::NO_CONTENT {
            let content_type =
                HeaderValue::from_str(self.content_type).unwrap_or(HeaderValue::from_static(PLAIN));
            headers.insert(header::CONTENT_TYPE, content_type);
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        );
        if close {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}
