//! The demo's sentinel: real recorded bars from a server on loopback, the embedded model, a bar a minute, its own endpoint.
//!
//! Every claim that it prints is checked. It reaches nothing but loopback, and sends no order: there is no gateway in the program.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use stand_in::{Eodhd, Replay};

use super::headline;
use crate::child::{Running, eventually, free_port};
use crate::scrape::{get, scrape};
use crate::terminal::say;
use crate::workspace;

/// The port that Prometheus configurations expect; another free one is used when it is taken.
const USUAL_PORT: u16 = 8000;

/// A stand-in for what would be a paid token.
const TOKEN: &str = "demo";

/// A sentinel at work, and the feed that it reads.
pub(super) struct Watching {
    sentinel: Running,
    _feed: Eodhd,
    pub(super) port: u16,
}

impl Watching {
    /// Starts both, and shows that a bar was predicted on and that the health says so.
    pub(super) fn start(folder: &Path) -> Result<Watching> {
        headline("the sentinel: a closed bar, 23 features, a prediction, a decision (dry run)")?;
        let feed = Eodhd::start(Replay::default()).context("starting the feed's stand-in")?;
        let port = match std::net::TcpListener::bind(("127.0.0.1", USUAL_PORT)) {
            Ok(_) => USUAL_PORT,
            Err(_) => free_port()?,
        };
        let config = folder.join("sentinel.toml");
        std::fs::write(&config, "[market]\ninterval = \"1m\"\n")
            .with_context(|| format!("writing {}", config.display()))?;
        let arguments = [
            "--config.file",
            super::text(&config)?,
            "--model",
            "embedded",
            "--metrics-port",
            &port.to_string(),
        ];
        let url = feed.url();
        let variables = [
            ("PEAKTRADE_METRICS_MODE", "A"),
            ("EODHD_BASE_URL", url.as_str()),
            ("EODHD_API_TOKEN", TOKEN),
            ("SENTINEL_CALENDAR", "always"),
        ];
        let sentinel = Running::start(
            &workspace::program("sentinel")?,
            &arguments,
            &variables,
            &folder.join("sentinel.log"),
        )?;
        let health = eventually(Duration::from_secs(20), "the sentinel to be well", || {
            let health = get(port, "/health")?;
            ensure!(health.contains("\"status\":\"ok\""), "it says {health}");
            Ok(health)
        })
        .with_context(|| format!("it printed:\n{}", sentinel.output()))?;
        let metrics = scrape(port)?;
        let predictions = metrics
            .total("sentinel_prediction_requests_total")
            .unwrap_or(0.0);
        ensure!(predictions >= 1.0, "no prediction was made");
        say(format_args!(
            "   http://127.0.0.1:{port}/health: {}",
            health.trim()
        ))?;
        for (series, value) in &metrics.samples {
            let is_shown = [
                "sentinel_trading_signals",
                "sentinel_signals_suppressed",
                "sentinel_model_info",
            ]
            .iter()
            .any(|name| series.starts_with(name));
            if is_shown && *value != 0.0 {
                say(format_args!("   {series} {value}"))?;
            }
        }
        say(format_args!(
            "   checked: health is ok, and {predictions} prediction was made by the embedded model"
        ))?;
        Ok(Watching {
            sentinel,
            _feed: feed,
            port,
        })
    }

    /// Ends the sentinel.
    pub(super) fn end(mut self) -> Result<()> {
        let status = self.sentinel.terminate()?;
        ensure!(
            status.success(),
            "the sentinel answered SIGTERM with {status}; it printed:\n{}",
            self.sentinel.output()
        );
        Ok(())
    }
}
