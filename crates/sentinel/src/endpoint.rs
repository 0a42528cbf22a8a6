//! Mode A: `/metrics` and `/health` of this process.
//!
//! Invariant: an address that cannot be listened on costs the endpoint and nothing else; it is tried again until it works, said once in the
//! log and counted. Must not touch: what the metrics mean.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use metricsd_client::Registry;
use metricsd_exporter::http::{self, Bytes, HealthResponse, Limits, ScrapeResponse, Server, Site};
use metricsd_exporter::{Family, Value, write_text_filtered};
use tracing::{error, info};

use crate::health::{Health, Status};
use crate::pulse::Pulse;
use crate::telemetry::{MODEL_INFO, Telemetry};

/// How long after a failure it is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// A trading host has a scraper or two and a person who looks.
const LIMITS: (usize, usize) = (4, 32);

/// The endpoint, there or not yet.
#[derive(Debug)]
pub struct Serving {
    listen: SocketAddr,
    registry: Registry,
    pulse: Pulse,
    health: Health,
    telemetry: Telemetry,
    server: Option<Server>,
    failures: u64,
    next_try: Instant,
}

impl Serving {
    /// Nothing is bound yet; see [`tend`](Self::tend).
    pub fn new(
        listen: SocketAddr,
        registry: Registry,
        pulse: Pulse,
        health: Health,
        telemetry: Telemetry,
    ) -> Serving {
        let next_try = pulse.now();
        Serving {
            listen,
            registry,
            pulse,
            health,
            telemetry,
            server: None,
            failures: 0,
            next_try,
        }
    }

    /// Bring the endpoint up if it is not and if it is time to try.
    pub fn tend(&mut self) {
        if self.server.is_some() || self.pulse.now() < self.next_try {
            return;
        }
        match self.start() {
            Ok(server) => {
                let address = server.addresses().first().copied().unwrap_or(self.listen);
                let failures = self.failures;
                info!(%address, failures, "serving /metrics and /health");
                self.server = Some(server);
            }
            Err(reason) => {
                self.telemetry.record_endpoint_failure();
                self.failures += 1;
                if self.failures == 1 {
                    error!(
                        error = reason,
                        "no endpoint for /metrics and /health; the daemon goes on without and tries again every {} s",
                        RETRY_AFTER.as_secs()
                    );
                }
                self.next_try = self.pulse.now() + RETRY_AFTER;
            }
        }
    }

    fn start(&self) -> Result<Server, String> {
        let listeners = http::bind(&[self.listen]).map_err(|error| error.to_string())?;
        let (registry, pulse) = (self.registry.clone(), self.pulse.clone());
        let health = self.health.clone();
        let ready = self.health.clone();
        let endpoint = http::Endpoint {
            site: Site {
                title: "sentinel".to_owned(),
                description: "Metrics and health of this process.".to_owned(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                links: vec![("/health".to_owned(), "Health".to_owned())],
            },
            metrics: Arc::new(move |request| {
                pulse.record_uptime();
                let mut text = Vec::new();
                write_text_filtered(&families(&registry), &request.names, &mut text);
                ScrapeResponse::text(text)
            }),
            ready: Arc::new(move || match ready.report().last_cycle_age_seconds {
                Some(_) => Ok(()),
                None => Err("no cycle has completed yet".to_owned()),
            }),
            health: Some(Arc::new(move || answer(&health))),
            pages: None,
        };
        let limits = Limits {
            max_requests: LIMITS.0,
            max_connections: LIMITS.1,
            ..Limits::default()
        };
        http::spawn(listeners, endpoint, limits)
            .map_err(|error| format!("{}: cannot start the server: {error}", self.listen))
    }
}

fn answer(health: &Health) -> HealthResponse {
    let report = health.report();
    let is_serving = report.status != Status::Stalled;
    match serde_json::to_vec(&report) {
        Ok(mut body) => {
            body.push(b'\n');
            HealthResponse {
                is_serving,
                body: Bytes::from(body),
            }
        }
        Err(_) => HealthResponse {
            is_serving: false,
            body: Bytes::from_static(b"{\"status\":\"stalled\"}\n"),
        },
    }
}

/// What a scrape shows: the registry's families; those that were declared and have no value yet by their head alone, so that all of them
/// are seen from the first scrape on; and of the models the one in use.
pub fn families(registry: &Registry) -> Vec<Family> {
    let mut families = registry.families();
    if let Some(models) = families.iter_mut().find(|family| family.name == MODEL_INFO) {
        models
            .series
            .retain(|series| series.value != Value::Single(0.0));
    }
    for declared in registry.declarations() {
        let empty = declared.without_series();
        if !families.iter().any(|family| family.name == empty.name) {
            families.push(empty);
        }
    }
    families.sort_by(|a, b| a.name.cmp(&b.name));
    families
}
