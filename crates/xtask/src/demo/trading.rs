//! Trading in the demo and in the HUB: the sentinel, live and armed, against the paper gateway; recorded bars, and a model server that says what it is told.
//!
//! Every claim that it prints is checked. No money moves: the gateway's broker is simulated, and everything is on loopback.

mod programs;

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use stand_in::{Mlflow, Predict};

use programs::{start_gateway, start_sentinel, write_configuration, write_secret};

use super::agreement::{Audited, agree, decisions, orders};
use super::{headline, text};
use crate::child::Running;
use crate::feed::{BEHIND_BARS, Feed, PAUSE};
use crate::run_folder::usual_or_free_port;
use crate::scrape::{Scrape, get, scrape};
use crate::terminal::say;
use crate::workspace;

/// The port that Prometheus configurations expect; another free one is used when it is taken.
const USUAL_PORT: u16 = 8000;
/// A stand-in for what would be a paid token.
const TOKEN: &str = "demo";
const ACCOUNT: &str = "1000001";
/// Lots of an order.
const VOLUME: &str = "0.01";
/// What the model says to one bar after the other, over and over: sell, hold, buy. Two orders, nothing, one that the limit refuses, one
/// that is not sure enough, and one that takes half of the position back.
const SAID: [[f64; 3]; 6] = [
    [0.09, 0.13, 0.78],
    [0.12, 0.17, 0.71],
    [0.19, 0.64, 0.17],
    [0.14, 0.17, 0.69],
    [0.52, 0.30, 0.18],
    [0.74, 0.15, 0.11],
];
/// What the model says where trading is to go on for long without an alert: buy, hold, sell, hold.
const EVEN: [[f64; 3]; 4] = [SAID[0], SAID[2], SAID[5], SAID[2]];
/// Bars that are decided on before the books are compared.
const BARS: usize = SAID.len();
/// A cycle a second; a busy machine gets some more.
const DECISION_TIME_MAX: Duration = Duration::from_secs(20);

/// What is traded on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Script {
    /// How many bars the market is behind the present at first; it catches up.
    behind_bars: i64,
    /// What the model says to one bar after the other, over and over.
    said: &'static [[f64; 3]],
}

impl Script {
    /// Everything once, at once.
    const EVERYTHING: Script = Script {
        behind_bars: BEHIND_BARS,
        said: &SAID,
    };
    /// A bar a minute, and nothing that a rule has to warn of.
    pub(crate) const CALM: Script = Script {
        behind_bars: 0,
        said: &EVEN,
    };
}

/// A sentinel that trades, and all that it trades with.
pub(crate) struct Trading {
    sentinel: Running,
    gateway: Running,
    feed: Feed,
    _hub: Mlflow,
    pub(super) port: u16,
    /// Everything that the three keep.
    folder: PathBuf,
    /// When a bar closed last.
    closed: Instant,
}

impl Trading {
    /// Starts all of it, on a market that is an hour behind and catches up, and trades a few bars.
    pub(super) fn start(folder: &Path, interrupted: &AtomicBool) -> Result<Trading> {
        headline(
            "the sentinel trades: live, armed for a paper account, against `sentinel paper-gateway`",
        )?;
        let port = usual_or_free_port(USUAL_PORT)?;
        let mut trading = Trading::launch(&folder.join("trading"), port, Script::EVERYTHING)?;
        for decided in 1..=BARS {
            trading.until_decided(decided, interrupted)?;
            if decided < BARS {
                trading.next_bar()?;
            }
        }
        for line in trading.sentinel.output().lines() {
            if let Some((_, decision)) = line.split_once("decided bar=") {
                say(format_args!("   bar {decision}"))?;
            }
        }
        Ok(trading)
    }

    /// Starts all of it, with the sentinel's endpoint at `port`.
    pub(crate) fn launch(folder: &Path, port: u16, script: Script) -> Result<Trading> {
        fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let hub = Mlflow::start(any, &[], said_in_turn(script.said))
            .context("starting the stand-in of the model server")?;
        let feed = Feed::start(any, &folder.join("prices.json"), script.behind_bars)?;
        write_secret(&folder.join("gateway.secret"))?;
        let (gateway, gateway_port) = start_gateway(folder)?;
        write_configuration(folder, &feed, hub.address().port(), gateway_port)?;
        let sentinel = start_sentinel(folder, port)?;
        say(format_args!(
            "   gateway: pid {} on 127.0.0.1:{gateway_port}, account {ACCOUNT}, a fresh secret; sentinel: pid {} on 127.0.0.1:{port}\n   \
             the bars are recorded, and what the model says is made up",
            gateway.id(),
            sentinel.id()
        ))?;
        Ok(Trading {
            sentinel,
            gateway,
            feed,
            _hub: hub,
            port,
            folder: folder.to_owned(),
            closed: Instant::now(),
        })
    }

    fn until_decided(&mut self, count: usize, interrupted: &AtomicBool) -> Result<()> {
        let deadline = Instant::now() + DECISION_TIME_MAX;
        loop {
            ensure!(!interrupted.load(Ordering::Relaxed), "interrupted");
            self.check_running()?;
            if scrape(self.port).is_ok_and(|page| decisions(&page) >= count as f64) {
                return Ok(());
            }
            ensure!(
                Instant::now() < deadline,
                "bar {count} was not decided on within {DECISION_TIME_MAX:?}; the sentinel printed:\n{}",
                self.sentinel.output()
            );
            std::thread::sleep(Duration::from_millis(25));
        }
    }

    fn next_bar(&mut self) -> Result<()> {
        self.closed = Instant::now();
        self.feed.next_bar()
    }

    /// Shows what gateway, metrics and audit say of the orders, and that it is the same.
    pub(super) fn compare(&self) -> Result<()> {
        headline(
            "the gateway's book beside the sentinel's metrics, and every decision made again",
        )?;
        let health: Value = serde_json::from_str(&get(self.port, "/health")?)
            .context("reading the sentinel's health")?;
        ensure!(
            health["status"] == "ok" && health["mode"] == "live",
            "the sentinel says {health}"
        );
        let (page, book, audited) = (scrape(self.port)?, self.book()?, self.replay()?);
        let orders = orders(&book)?;
        show(&orders.lines(), &page)?;
        agree(&orders, &page, &audited, VOLUME)?;
        say(format_args!(
            "   checked: {} orders at the gateway, in the metrics and in the audit, with the same position; health is ok\n   \
             checked: sentinel replay: {} decisions, {} reproduced",
            orders.count(),
            audited.decisions,
            audited.reproduced
        ))?;
        Ok(())
    }

    fn book(&self) -> Result<Value> {
        let folder = &self.folder;
        let (journal, prices) = (folder.join("gateway.journal"), folder.join("prices.json"));
        let arguments = [
            "paper-gateway",
            "--journal",
            text(&journal)?,
            "--prices",
            text(&prices)?,
            "--account",
            ACCOUNT,
            "--book",
            "-",
        ];
        let (book, is_good) = ask(&arguments)?;
        ensure!(
            is_good,
            "sentinel paper-gateway --book gave no book: {book}"
        );
        Ok(book)
    }

    /// What `sentinel replay` found. That it ends with 0 is part of the claim.
    fn replay(&self) -> Result<Audited> {
        let audit = self.folder.join("state/live/audit");
        let (report, is_good) = ask(&["replay", "--json", text(&audit)?])?;
        ensure!(
            is_good,
            "sentinel replay {} does not reproduce the audit: {report}",
            audit.display()
        );
        Audited::read(&report)
    }

    /// A bar now and then, while somebody looks.
    pub(crate) fn go_on(&mut self) -> Result<()> {
        self.check_running()?;
        if self.closed.elapsed() >= PAUSE {
            self.next_bar()?;
        }
        Ok(())
    }

    fn check_running(&mut self) -> Result<()> {
        for child in [&mut self.sentinel, &mut self.gateway] {
            if let Some(status) = child.ended()? {
                bail!(
                    "{} ended with {status}; it printed:\n{}",
                    child.name(),
                    child.output()
                );
            }
        }
        Ok(())
    }

    /// What to type for a look at it, and for the kill switch.
    pub(crate) fn where_to_look(&self) -> Result<Vec<String>> {
        let (state, port) = (self.folder.join("state"), self.port);
        Ok(vec![
            format!(
                "curl -s http://127.0.0.1:{port}/health; curl -s http://127.0.0.1:{port}/metrics | grep ^sentinel_"
            ),
            format!(
                "touch {}    # the kill switch; docs/trading-safety.md",
                state.join("kill").display()
            ),
            format!(
                "{} replay {}",
                workspace::program("sentinel")?.display(),
                state.join("live/audit").display()
            ),
        ])
    }

    /// Ends the sentinel, then the gateway.
    pub(crate) fn end(mut self) -> Result<()> {
        for child in [&mut self.sentinel, &mut self.gateway] {
            let status = child.terminate()?;
            ensure!(
                status.success(),
                "{} answered SIGTERM with {status}; it printed:\n{}",
                child.name(),
                child.output()
            );
        }
        Ok(())
    }
}

/// Whatever the features are.
fn said_in_turn(said: &'static [[f64; 3]]) -> Predict {
    let asked = AtomicUsize::new(0);
    Predict(Arc::new(move |_| {
        json!(said[asked.fetch_add(1, Ordering::Relaxed) % said.len()])
    }))
}

/// What the sentinel answers to these words as JSON, and whether it ended with 0.
fn ask(arguments: &[&str]) -> Result<(Value, bool)> {
    let shown = || format!("sentinel {}", arguments.join(" "));
    let output = Command::new(workspace::program("sentinel")?)
        .args(arguments)
        .current_dir(workspace::root())
        .output()
        .with_context(|| format!("starting {}", shown()))?;
    let answer = serde_json::from_slice(&output.stdout).with_context(|| {
        let said = String::from_utf8_lossy(&output.stderr);
        format!("{} ended with {}: {said}", shown(), output.status)
    })?;
    Ok((answer, output.status.success()))
}

fn show(book: &[String], page: &Scrape) -> Result<()> {
    for line in book {
        say(format_args!("   book     {line}"))?;
    }
    let shown = [
        "sentinel_trading_signals_executed_total",
        "sentinel_order_results_total",
        "sentinel_trading_signals_total",
        "sentinel_signals_suppressed_total",
    ];
    for name in shown {
        for (series, value) in page.of(name).filter(|(_, value)| *value != 0.0) {
            say(format_args!("   metrics  {series} {value}"))?;
        }
    }
    Ok(())
}
