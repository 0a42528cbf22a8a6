//! What each path of the bridge answers, besides those that every exporter has.
//!
//! Invariant: a notification is answered with 2xx only when it is on disk, and with 4xx only when no repetition would make it readable.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use metricsd_client::Registry;
use metricsd_exporter::http::{
    self, Endpoint, Limits, PageRequest, PageResponse, Pages, ScrapeResponse, Server, Site,
};
use metricsd_exporter::{Family, write_text_filtered};

use crate::bridge::{Bridge, unix_now};
use crate::html::plain;
use crate::{runbooks, silence};

/// Longest notification; ten thousand alerts have some six megabytes.
const BODY_MAX_BYTES: usize = 32 << 20;

/// Notifications that are read and written at once.
const REQUESTS_MAX: usize = 4;

/// Why the bridge cannot be reached: exit status 1.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// An address cannot be listened on.
    #[error(transparent)]
    Bind(#[from] http::BindError),
    /// Out of threads or descriptors.
    #[error("cannot start the server")]
    Start(#[source] io::Error),
}

/// Serve on these addresses.
///
/// # Errors
/// See [`ServeError`].
pub fn serve(
    listen: &[SocketAddr],
    registry: Registry,
    bridge: Bridge,
) -> Result<Server, ServeError> {
    let listeners = http::bind(listen)?;
    let ready = bridge.clone();
    let endpoint = Endpoint {
        site: Site {
            title: "alertbridge".to_owned(),
            description: "Alertmanager's webhook to DingTalk and others.".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            links: vec![("/runbooks/".to_owned(), "Runbooks".to_owned())],
        },
        metrics: Arc::new(move |request| {
            let mut text = Vec::new();
            write_text_filtered(&families(&registry), &request.names, &mut text);
            ScrapeResponse::text(text)
        }),
        ready: Arc::new(move || ready.queue().ready(ready.config().queue_max_bytes)),
        health: None,
        pages: Some(Pages {
            owns: Arc::new(|path| {
                [
                    "/dingtalk/",
                    "/webhook/",
                    "/silence/",
                    "/runbooks/",
                    "/-/reload",
                ]
                .iter()
                .any(|own| path.starts_with(own))
            }),
            answer: Arc::new(move |request| answer(&bridge, &request)),
            body_max_bytes: BODY_MAX_BYTES,
            requests_max: REQUESTS_MAX,
        }),
    };
    let limits = Limits {
        max_requests: 4,
        max_connections: 256,
        ..Limits::default()
    };
    http::spawn(listeners, endpoint, limits).map_err(ServeError::Start)
}

fn answer(bridge: &Bridge, request: &PageRequest) -> PageResponse {
    let parts: Vec<&str> = request.path.split('/').skip(1).collect();
    match parts.as_slice() {
        ["dingtalk", target, "send"] | ["webhook", target] => notification(bridge, request, target),
        ["silence", token] => silence_page(bridge, request, token),
        ["runbooks", name] => match request.method.as_str() {
            "GET" | "HEAD" => runbooks::answer(name, bridge.config().runbooks.as_deref()),
            _ => not_allowed("GET, HEAD"),
        },
        ["-", "reload"] => reload(bridge, request),
        _ => plain(
            404,
            "not found; notifications go to /dingtalk/TARGET/send or /webhook/TARGET",
        ),
    }
}

fn notification(bridge: &Bridge, request: &PageRequest, target: &str) -> PageResponse {
    if request.method != "POST" {
        return not_allowed("POST");
    }
    let (status, text) = bridge.receive(target, request.body.as_deref());
    let mut response = plain(status, &text);
    if status == 503 {
        response.headers.push(("retry-after", "5".to_owned()));
    }
    response
}

fn silence_page(bridge: &Bridge, request: &PageRequest, token: &str) -> PageResponse {
    let config = bridge.config();
    let Some(settings) = &config.silence else {
        return plain(404, "silences are not configured");
    };
    let signer = bridge.signer(&config);
    let now = unix_now() as i64;
    silence::answer(&signer, settings, bridge.telemetry(), request, token, now)
}

fn reload(bridge: &Bridge, request: &PageRequest) -> PageResponse {
    if !bridge.config().lifecycle {
        return plain(
            403,
            "the lifecycle interface is off (--web.enable-lifecycle)",
        );
    }
    if request.method != "POST" && request.method != "PUT" {
        return not_allowed("POST, PUT");
    }
    match bridge.reload() {
        Ok(()) => plain(200, "reloaded"),
        Err(sentence) => plain(500, &sentence),
    }
}

fn not_allowed(allowed: &str) -> PageResponse {
    let mut response = plain(405, &format!("method not allowed; {allowed} is"));
    response.headers.push(("allow", allowed.to_owned()));
    response
}

/// What a scrape shows: the registry's families, and those that were declared and have no value yet by their head alone.
pub fn families(registry: &Registry) -> Vec<Family> {
    let mut families = registry.families();
    for declared in registry.declarations() {
        let empty = declared.without_series();
        if !families.iter().any(|family| family.name == empty.name) {
            families.push(empty);
        }
    }
    families.sort_by(|a, b| a.name.cmp(&b.name));
    families
}
