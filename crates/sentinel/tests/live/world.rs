//! A peer, a feed whose time the test moves, a model that is sure to buy, and a state directory that stays.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use stand_in::{Clock, Eodhd, Mlflow, Replay};
use tempfile::TempDir;

use crate::daemon::{Daemon, Start, mlflow, now};
use crate::site::{SECRET, Site};

/// The account of the reference peer.
pub(crate) const ACCOUNT: &str = "1000001";

/// How many bars the feed can be moved on before it is at the present.
const BEHIND_BARS: i64 = 6;

pub(crate) struct World {
    pub(crate) site: Site,
    feed: Eodhd,
    hub: Mlflow,
    time: Arc<AtomicI64>,
    pub(crate) folder: TempDir,
    pub(crate) account: &'static str,
    pub(crate) secret: &'static str,
}

impl World {
    /// With a peer that runs; none where there is no Python for it.
    pub(crate) fn new(test: &str) -> Option<World> {
        let mut world = World::without_peer(test)?;
        world.site.run();
        Some(world)
    }

    pub(crate) fn without_peer(test: &str) -> Option<World> {
        let site = Site::absent(test, "127.0.0.1", crate::site::free_port())?;
        let time = Arc::new(AtomicI64::new(now() - BEHIND_BARS * 60));
        let told = time.clone();
        let feed = Eodhd::start(Replay {
            clock: Clock(Arc::new(move || told.load(Ordering::Relaxed))),
            forming: false,
            ..Replay::default()
        })
        .unwrap();
        Some(World {
            site,
            feed,
            hub: mlflow(),
            time,
            folder: tempfile::tempdir().unwrap(),
            account: ACCOUNT,
            secret: SECRET,
        })
    }

    /// The next bar closes.
    pub(crate) fn next_bar(&self) {
        self.time.fetch_add(60, Ordering::Relaxed);
    }

    /// A live run in the state directory of the one before.
    pub(crate) fn start(&self) -> Daemon {
        let secret = self.folder.path().join("secret");
        std::fs::write(&secret, self.secret).unwrap();
        let config = format!(
            r#"stale_after = "30m"
[decide]
max_orders_per_minute = 100
[gateway]
port = {}
secret_file = "{}"
timeout = "2s"
heartbeat_every = "100ms"
worst_price_bps = 0
contract_sizes = {{ EURUSD = "100000" }}
[arm]
account = "{account}"
confirm = "{account}"
[state]
dir = "{}"
"#,
            self.site.port,
            secret.display(),
            self.folder.path().join("state").display(),
            account = self.account,
        );
        Daemon::start(&Start {
            eodhd: &self.feed.url(),
            hub: Some(self.hub.address()),
            extra_config: &config,
            arguments: &["--live"],
            ..Start::default()
        })
    }

    /// Orders that the peer has executed.
    pub(crate) fn fills(&self) -> usize {
        self.site.ledger().0.len()
    }
}

pub(crate) fn executed(daemon: &Daemon) -> f64 {
    let metrics = daemon.metrics();
    let of = |action: &str| {
        let sample = format!("sentinel_trading_signals_executed_total{{action=\"{action}\"}}");
        metrics.as_ref()?.get(&sample)
    };
    of("BUY").unwrap_or_default() + of("SELL").unwrap_or_default()
}

pub(crate) fn until_executed(daemon: &Daemon, count: f64) {
    daemon.eventually("an execution", |daemon| {
        (executed(daemon) >= count).then_some(())
    });
}

/// A few cycles more, in which anything might happen.
pub(crate) fn some_cycles(daemon: &Daemon) {
    let cycles = daemon.eventually("metrics", |daemon| {
        daemon.metrics()?.get("sentinel_trading_cycles_total")
    });
    daemon.after_cycles(cycles + 3.0);
}

/// Sentences of `/health`.
pub(crate) fn why(daemon: &Daemon) -> String {
    let health = daemon.health().unwrap_or_default();
    health["why"].to_string()
}

pub(crate) fn until_why(daemon: &Daemon, words: &str) {
    daemon.eventually(words, |daemon| why(daemon).contains(words).then_some(()));
}

pub(crate) fn until_reconciled(daemon: &Daemon, words: &str) {
    daemon.eventually(words, |daemon| {
        let health = daemon.health()?;
        let found = health["gateway"]["reconciliation"].as_str()?.to_owned();
        found.contains(words).then_some(())
    });
}
