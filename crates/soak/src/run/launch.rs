//! The sentinel's configuration, as an operator writes it. Invariant: budgets and times in it are simulated ones. Must not touch: processes.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::Settings;
use super::world::RESET_SECRET;
use crate::gateway::{ACCOUNT, CONTRACT_SIZE, Gateway};
use crate::proxy::Proxy;
use crate::remotes::Remotes;
use crate::sentinel_process::Launch;
use crate::verdict::THRESHOLD;

/// The configuration of the sentinel, as an operator writes it, and how to start it.
pub(super) fn launch(
    settings: &Settings,
    clock: &Path,
    remotes: &Remotes,
    proxy: &Proxy,
    gateway: &Gateway,
) -> Result<Launch> {
    let folder = &settings.folder;
    let secret = folder.join("reset.secret");
    fs::write(&secret, RESET_SECRET).context("the reset secret")?;
    let state = folder.join("state");
    let hub = remotes.hub_address();
    let address = proxy.address();
    let text = format!(
        "[market]\nbase_url = \"{}\"\nsymbol = \"EURUSD\"\ninterval = \"1m\"\ncalendar = \"always\"\nstale_after = \"60s\"\ntimeout = \"6s\"\n\
         [hub]\nmodel = \"hub\"\nhost = \"{}\"\nport = {}\ntimeout = \"4s\"\n\
         [decide]\nthreshold = {THRESHOLD}\nmax_orders_per_day = 100000\nmax_orders_per_minute = 2\n\
         [gateway]\nhost = \"{}\"\nport = {}\nsecret_file = \"{}\"\nvolume = \"0.02\"\ntimeout = \"5s\"\nvalid_for = \"5s\"\nheartbeat_every = \"1s\"\n\
         [gateway.contract_sizes]\nEURUSD = \"{CONTRACT_SIZE}\"\n\
         [arm]\naccount = \"{ACCOUNT}\"\nconfirm = \"{ACCOUNT}\"\n\
         [limits]\nmax_order_notional = \"1000\"\nmax_total_exposure = \"1000000\"\nmax_daily_loss_abs = \"5000\"\n\
         [state]\ndir = \"{}\"\nreset_secret_file = \"{}\"\n\
         [telemetry]\nmode = \"B\"\nmultiproc_dir = \"{}\"\n",
        remotes.feed_url(),
        hub.ip(),
        hub.port(),
        address.ip(),
        address.port(),
        gateway.secret().display(),
        state.display(),
        secret.display(),
        folder.join("shards").display(),
    );
    let config = folder.join("sentinel.toml");
    fs::write(&config, text).context("the configuration of the sentinel")?;
    Ok(Launch {
        program: settings.program.clone(),
        config,
        clock: clock.to_owned(),
        log: folder.join("sentinel.log"),
        variables: vec![("EODHD_API_TOKEN".to_owned(), "soak".to_owned())],
    })
}
