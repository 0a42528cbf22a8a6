//! A recorded market for who trades on paper: the shipped candles as one-minute bars, served as the market data service does, and the prices
//! at which the paper gateway executes.
//!
//! Invariant: before a bar is served as closed, its close is the price at the gateway, so what is decided on and what is traded at belong
//! together. Must not touch: the sentinel and the gateway, which are started by others.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use serde_json::json;
use stand_in::{Clock, Eodhd, Replay};

use crate::child::watch_for_interrupts;
use crate::terminal::say;
use crate::workspace;

/// How many bars can close one soon after the other, before the market is at the present and has one a minute.
pub(crate) const BEHIND_BARS: i64 = 60;
const BAR_SECONDS: i64 = 60;
/// Half of what lies between bid and ask.
const HALF_SPREAD: f64 = 0.00005;
/// Of `cargo xtask feed`: how soon one bar follows the other.
pub const PAUSE: Duration = Duration::from_secs(2);
/// Of `cargo xtask feed`.
const PORT: u16 = 8010;

/// A running market.
#[derive(Debug)]
pub struct Feed {
    server: Eodhd,
    /// Its time, in Unix seconds.
    time: Arc<AtomicI64>,
    prices: PathBuf,
}

impl Feed {
    /// Starts it that many bars behind the present, with the first prices in the file `prices`.
    ///
    /// # Errors
    /// When the address cannot be bound or the file cannot be written.
    pub fn start(listen: SocketAddr, prices: &Path, behind_bars: i64) -> Result<Feed> {
        let time = Arc::new(AtomicI64::new(unix_seconds() - behind_bars * BAR_SECONDS));
        let told = Arc::clone(&time);
        let server = Eodhd::start(Replay {
            listen,
            clock: Clock(Arc::new(move || told.load(Ordering::Relaxed))),
            forming: false,
        })
        .with_context(|| format!("serving recorded bars on {listen}"))?;
        let feed = Feed {
            server,
            time,
            prices: prices.to_owned(),
        };
        feed.write_prices(feed.time.load(Ordering::Relaxed))?;
        Ok(feed)
    }

    /// What `EODHD_BASE_URL` and `market.base_url` take.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// Goes on by a minute, and not beyond the present.
    ///
    /// # Errors
    /// When the prices cannot be written.
    pub fn next_bar(&self) -> Result<()> {
        let next = self.time.load(Ordering::Relaxed) + BAR_SECONDS;
        let next = next.min(unix_seconds());
        self.write_prices(next)?;
        self.time.store(next, Ordering::Relaxed);
        Ok(())
    }

    fn write_prices(&self, now: i64) -> Result<()> {
        let closed = now - BAR_SECONDS;
        let bars = self.server.bars()(BAR_SECONDS, closed - BAR_SECONDS, closed);
        let (_, [.., close], _) = *bars.last().context("the recorded market has no bars")?;
        let quote = json!({"EURUSD": {
            "bid": format!("{:.5}", close - HALF_SPREAD),
            "ask": format!("{:.5}", close + HALF_SPREAD),
        }});
        let failed = || format!("writing {}", self.prices.display());
        // Replaced and not changed: the gateway never reads half of it.
        let unfinished = self.prices.with_extension("unfinished");
        fs::write(&unfinished, format!("{quote}\n")).with_context(failed)?;
        fs::rename(&unfinished, &self.prices).with_context(failed)
    }
}

/// `cargo xtask feed`: until Ctrl-C.
///
/// # Errors
/// When it cannot be started.
pub fn run() -> Result<()> {
    let interrupted = watch_for_interrupts()?;
    let folder = workspace::root().join(".ops_local");
    fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    let prices = folder.join("prices.json");
    let feed = Feed::start(
        SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)),
        &prices,
        BEHIND_BARS,
    )?;
    say(format_args!(
        "recorded one-minute bars of EURUSD: {}; prices: {}\n\
         a bar closes every {} s until the present is reached, then every minute; Ctrl-C ends it",
        feed.url(),
        prices.display(),
        PAUSE.as_secs()
    ))?;
    let mut closed = Instant::now();
    while !interrupted.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(100));
        if closed.elapsed() >= PAUSE {
            feed.next_bar()?;
            closed = Instant::now();
        }
    }
    Ok(())
}

fn unix_seconds() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |passed| {
        i64::try_from(passed.as_secs()).unwrap_or(i64::MAX)
    })
}
