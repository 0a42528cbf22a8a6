//! The Python peer of `ops/gateway` as a process that can be killed, frozen and started again, and the book that it leaves.
//!
//! Invariant: one journal for the whole soak, so that what the peer says in the end is all that it ever executed. A dropped gateway's process
//! has ended.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use xtask::workspace;

use crate::proxy::Proxy;

/// The account that the peer's simulated broker has.
pub const ACCOUNT: &str = "1000001";

/// Units of one lot: small, so that a day of orders neither ruins the account nor makes it rich.
pub const CONTRACT_SIZE: u32 = 1_000;

/// How the broker behind the peer is while the process runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    /// It fills all of an order.
    Fills,
    /// It fills half of it.
    FillsHalf,
    /// It has no price at this moment.
    Requotes,
    /// It takes the order and fills it later.
    PlacesFirst,
    /// It takes the order and cancels it later.
    PlacesAndCancels,
}

/// The peer.
#[derive(Debug)]
pub struct Gateway {
    python: PathBuf,
    folder: PathBuf,
    clock: PathBuf,
    proxy: Arc<Proxy>,
    child: Option<Child>,
    /// How often it was started.
    pub starts: u64,
}

impl Gateway {
    /// Not running yet. Its files are in `folder`.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn new(python: &Path, folder: &Path, clock: &Path, proxy: Arc<Proxy>) -> Result<Gateway> {
        let gateway = Gateway {
            python: python.to_owned(),
            folder: folder.to_owned(),
            clock: clock.to_owned(),
            proxy,
            child: None,
            starts: 0,
        };
        fs::write(gateway.secret(), "soak-".repeat(8)).context("the secret of the gateway")?;
        Ok(gateway)
    }

    /// The file with the secret, for both ends.
    pub fn secret(&self) -> PathBuf {
        self.folder.join("gateway.secret")
    }

    /// What the broker asks and bids for EURUSD from now on; none: nobody trades it.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn set_price(&self, price: Option<f64>) -> Result<()> {
        let quotes = match price {
            None => json!({}),
            Some(mid) => {
                let text = |price: f64| format!("{price:.5}");
                json!({"EURUSD": {"bid": text(mid - 0.0001), "ask": text(mid + 0.0001)}})
            }
        };
        let path = self.folder.join("prices.json");
        let new = path.with_extension("new");
        fs::write(&new, quotes.to_string()).context("the prices of the broker")?;
        fs::rename(&new, &path).context("the prices of the broker")
    }

    /// Starts it, and waits until it listens.
    ///
    /// # Errors
    /// It does not start.
    pub fn start(&mut self, mood: Mood) -> Result<()> {
        ensure!(self.child.is_none(), "the gateway runs already");
        let mut command = self.command()?;
        command.args(["--bind", "tcp://127.0.0.1:*", "--clock-file"]);
        command
            .arg(&self.clock)
            .arg("--secret-file")
            .arg(self.secret());
        command.args(match mood {
            Mood::Fills => &[][..],
            Mood::FillsHalf => &["--fill-ratio", "0.5"],
            Mood::Requotes => &["--reject", "requote"],
            Mood::PlacesFirst => &["--placed", "2000"],
            Mood::PlacesAndCancels => &["--placed", "60000"],
        });
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.folder.join("gateway.log"))
            .context("the log of the gateway")?;
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .context("starting the gateway")?;
        let mut said = String::new();
        if let Some(output) = child.stdout.take() {
            BufReader::new(output)
                .read_line(&mut said)
                .context("the gateway's first line")?;
        }
        let pid = Pid::from_child(&child);
        self.child = Some(child);
        self.starts += 1;
        let address: SocketAddr = said
            .trim()
            .rsplit_once("tcp://")
            .and_then(|(_, address)| address.parse().ok())
            .with_context(|| format!("the gateway does not listen; it said '{}'", said.trim()))?;
        self.proxy.set_peer(Some((address, pid)));
        Ok(())
    }

    /// Whether it runs.
    ///
    /// # Errors
    /// The system cannot say.
    pub fn is_running(&mut self) -> Result<bool> {
        match &mut self.child {
            None => Ok(false),
            Some(child) => Ok(child.try_wait().context("the gateway's state")?.is_none()),
        }
    }

    /// Ends it as `kill -9` does, if it runs.
    ///
    /// # Errors
    /// It ended by itself before: a peer that fails proves nothing.
    pub fn kill(&mut self) -> Result<()> {
        self.proxy.set_peer(None);
        let Some(mut child) = self.child.take() else {
            return Ok(());
        };
        // Also one that stands still, and one that was killed already.
        let _ = child.kill();
        let status = child.wait().context("waiting for the gateway")?;
        if std::os::unix::process::ExitStatusExt::signal(&status) != Some(9) {
            bail!("the gateway ended by itself with {status}; see gateway.log");
        }
        Ok(())
    }

    /// Lets it go on after it was made to stand still.
    pub fn thaw(&self) {
        if let Some(child) = &self.child {
            let _ = kill_process(Pid::from_child(child), Signal::CONT);
        }
    }

    /// Switches its kill switch off, as a human at the gateway does. It must not run.
    ///
    /// # Errors
    /// The journal cannot be written.
    pub fn release_kill(&self) -> Result<()> {
        workspace::run(self.command()?.arg("--release-kill"))
    }

    /// What the peer's own journal adds up to.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn book(&self) -> Result<Value> {
        let output = self
            .command()?
            .args(["--book", "-"])
            .stderr(Stdio::inherit())
            .output()
            .context("asking for the gateway's book")?;
        ensure!(output.status.success(), "the gateway has no book");
        serde_json::from_slice(&output.stdout).context("the gateway's book")
    }

    fn command(&self) -> Result<Command> {
        let guard = std::env::current_exe().context("finding the running executable")?;
        // A test is no program that can guard; the one that it tests lies beside it.
        let guard = workspace::program("soak").unwrap_or(guard);
        let mut command = Command::new(guard);
        command
            .args([xtask::child::GUARDED, &std::process::id().to_string()])
            .arg(&self.python)
            .arg("-B")
            .arg(workspace::root().join("ops/gateway/peer.py"))
            .arg("--journal")
            .arg(self.folder.join("gateway.journal"))
            .arg("--prices")
            .arg(self.folder.join("prices.json"))
            .args(["--contract", &CONTRACT_SIZE.to_string()]);
        Ok(command)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.proxy.set_peer(None);
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
