//! Where metrics go.
//!
//! Invariant: it is the same for every program of this project, but for the port, which has a variable of its own here. Must not touch: files.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use metricsd_client::{FileSettings, LEGACY_PORT_VARIABLE, Mode, PORT_VARIABLE, Settings};

use program::config::{self, port};

use super::parse::parse_listen;
use super::{ConfigFile, Layers, LoadError};
use crate::cli::Cli;

/// Where metrics go. The port variables of `metricsd` are not this program's: its own is `METRICS_PORT`.
pub(super) fn telemetry(
    cli: &Cli,
    layers: &Layers<'_>,
    file: &ConfigFile,
) -> Result<Settings, LoadError> {
    let keys = &file.keys.telemetry;
    let mode = match &keys.mode {
        None => None,
        Some(_) => Some(
            layers
                .setting("telemetry.mode", "A")
                .key(&keys.mode)
                .resolve("A B", |text| text.parse::<Mode>().ok())?
                .value,
        ),
    };
    let in_file = layers
        .setting("telemetry.listen", "127.0.0.1:8000")
        .key(&keys.listen)
        .resolve("an address and port, as 127.0.0.1:8000", parse_listen)?
        .value;
    let given = layers
        .setting("--metrics-port", "")
        .flag("--metrics-port", cli.metrics_port.as_deref())
        .variable("METRICS_PORT")
        .given(config::PORT, port)?;
    let listen = given.map_or(in_file, |port| {
        SocketAddr::from((Ipv4Addr::LOCALHOST, port.value))
    });
    let from_file = FileSettings {
        mode,
        multiproc_dir: keys
            .multiproc_dir
            .as_ref()
            .map(|dir| PathBuf::from(dir.get_ref())),
        listen: Some(listen),
    };
    let environment = |name: &str| match name {
        PORT_VARIABLE | LEGACY_PORT_VARIABLE => None,
        _ => (layers.environment)(name),
    };
    let mut settings = Settings::resolve("sentinel", &from_file, &environment)?;
    env!("CARGO_PKG_VERSION").clone_into(&mut settings.version);
    if cli.live { "live" } else { "dry-run" }.clone_into(&mut settings.runs_as);
    Ok(settings)
}
