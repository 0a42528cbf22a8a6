//! Mode A: the process serves its own metrics.
//! Invariant: a scrape reads cells and never holds up a thread that records.
//! It must not decide what a failure means: the registry does.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use metricsd_exporter::http::{
    BindError, Endpoint, Limits, ScrapeRequest, ScrapeResponse, Site, bind, spawn,
};
use metricsd_exporter::write_text_filtered;
use metricsd_shard::Writer;

use crate::gather::gather;
use crate::settings::Settings;

/// Why there is no endpoint.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServeError {
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error("{address}: cannot start the server")]
    Spawn {
        address: SocketAddr,
        source: io::Error,
    },
}

/// Serve `writer`'s cells on `listen` until the process ends. Answers with the address, whose port the system chose if it was 0.
pub(crate) fn serve(
    settings: &Settings,
    listen: SocketAddr,
    writer: Writer,
) -> Result<SocketAddr, ServeError> {
    let listeners = bind(&[listen])?;
    let endpoint = Endpoint {
        site: Site {
            title: settings.program.clone(),
            description: "Metrics of this process.".to_owned(),
            version: settings.version.clone(),
            links: Vec::new(),
        },
        metrics: Arc::new(move |request| scrape(writer, request)),
        ready: Arc::new(|| Ok(())),
        health: None,
        pages: None,
    };
    let server =
        spawn(listeners, endpoint, Limits::default()).map_err(|source| ServeError::Spawn {
            address: listen,
            source,
        })?;
    let address = server.addresses().first().copied().unwrap_or(listen);
    // For the life of the process: a program that drops its registry by mistake must not vanish from its scraper.
    std::mem::forget(server);
    Ok(address)
}

fn scrape(writer: Writer, request: &ScrapeRequest) -> ScrapeResponse {
    let mut text = Vec::new();
    write_text_filtered(&gather(&writer.snapshot()), &request.names, &mut text);
    ScrapeResponse::text(text)
}
