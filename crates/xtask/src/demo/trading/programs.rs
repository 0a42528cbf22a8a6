//! The paper gateway and the sentinel: how they are configured and started.
//!
//! Invariant: the secret is readable by its owner alone, and another one at each start.

use std::fs::{self, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::{ACCOUNT, TOKEN, VOLUME};
use crate::child::{Running, eventually};
use crate::demo::text;
use crate::feed::Feed;
use crate::workspace;

/// Another one at each start, and nobody else's business.
pub(super) fn write_secret(path: &Path) -> Result<()> {
    let mut random = [0_u8; 32];
    fs::File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(&mut random))
        .context("reading /dev/urandom")?;
    let digits: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(digits.as_bytes()))
        .with_context(|| format!("writing {}", path.display()))
}

/// On a port that the system chose, which is in its first line.
pub(super) fn start_gateway(folder: &Path) -> Result<(Running, u16)> {
    let (secret, journal, prices) = (
        folder.join("gateway.secret"),
        folder.join("gateway.journal"),
        folder.join("prices.json"),
    );
    let arguments = [
        "paper-gateway",
        "--bind",
        "127.0.0.1:0",
        "--account",
        ACCOUNT,
        "--secret-file",
        text(&secret)?,
        "--journal",
        text(&journal)?,
        "--prices",
        text(&prices)?,
    ];
    let mut gateway = Running::start(
        &workspace::program("sentinel")?,
        &arguments,
        &[],
        &folder.join("gateway.log"),
    )?;
    let port = eventually(Duration::from_secs(10), "the gateway to listen", || {
        let output = gateway.output();
        if let Some(status) = gateway.ended()? {
            bail!("it ended with {status}");
        }
        let line = output
            .lines()
            .find_map(|line| line.strip_prefix("listening on tcp://127.0.0.1:"));
        Ok(line.context("it does not say where")?.parse::<u16>()?)
    })
    .with_context(|| format!("the gateway printed:\n{}", gateway.output()))?;
    Ok((gateway, port))
}

pub(super) fn write_configuration(
    folder: &Path,
    feed: &Feed,
    hub_port: u16,
    gateway_port: u16,
) -> Result<()> {
    // A string of JSON is one of TOML.
    let quoted =
        |name: &str| -> Result<String> { Ok(Value::from(text(&folder.join(name))?).to_string()) };
    let configuration = format!(
        r#"[market]
base_url = "{feed}"
interval = "1m"
calendar = "always"
lookback_bars = 300               # the recorded market begins an hour ago
stale_after = "2h"
[hub]
port = {hub_port}
[decide]
max_orders_per_minute = 60        # a bar a second
max_orders_per_day = 1000
[gateway]
port = {gateway_port}
secret_file = {secret}
volume = "{VOLUME}"
contract_sizes = {{ EURUSD = "100000" }}
[arm]
account = "{ACCOUNT}"
confirm = "{ACCOUNT}"
[limits]
max_symbol_exposure = "2800"      # two orders, and not three
max_daily_loss_abs = "500"
[state]
dir = {state}
[schedule]
every = "1s"
"#,
        feed = feed.url(),
        secret = quoted("gateway.secret")?,
        state = quoted("state")?,
    );
    let path = folder.join("sentinel.toml");
    fs::write(&path, configuration).with_context(|| format!("writing {}", path.display()))
}

pub(super) fn start_sentinel(folder: &Path, port: u16) -> Result<Running> {
    let (config, port) = (folder.join("sentinel.toml"), port.to_string());
    let arguments = [
        "--live",
        "--config.file",
        text(&config)?,
        "--metrics-port",
        &port,
    ];
    let variables = [("PEAKTRADE_METRICS_MODE", "A"), ("EODHD_API_TOKEN", TOKEN)];
    let log = folder.join("sentinel.log");
    Running::start(
        &workspace::program("sentinel")?,
        &arguments,
        &variables,
        &log,
    )
}
