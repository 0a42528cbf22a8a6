//! The flags of `metricsd doctor`.
//!
//! Invariant: what is looked at is chosen as `serve` chooses it, so that the same flags find the same directories. Must not touch:
//! files, the environment.

use std::path::PathBuf;

use clap::Args;

use crate::cli::{CommonArgs, parse_path};

/// The flags of `doctor`.
#[derive(Debug, Clone, Default, Args)]
pub struct DoctorArgs {
    /// Directory of the shards, as the daemon has it [env: PEAKTRADE_METRICS_MULTIPROC_DIR, PROMETHEUS_MULTIPROC_DIR] [default:
    /// .ops_local/prom_multiproc].
    #[arg(long = "multiproc-dir", value_name = "DIR", value_parser = parse_path)]
    pub multiproc_dir: Option<PathBuf>,
    /// The state directory, as the daemon has it [env: STATE_DIRECTORY] [default: metricsd/HASH in XDG_STATE_HOME or
    /// ~/.local/state, HASH being that of the shard directory's path].
    #[arg(long = "state-dir", value_name = "DIR", value_parser = parse_path)]
    pub state_dir: Option<PathBuf>,
    /// The daemon's configuration file (TOML).
    #[arg(long = "config.file", value_name = "FILE", value_parser = parse_path)]
    pub config_file: Option<PathBuf>,
    /// Print one JSON object instead of lines.
    #[arg(long)]
    pub json: bool,
}

impl DoctorArgs {
    /// The flags that `serve` has as well.
    pub(super) fn common(&self) -> CommonArgs {
        CommonArgs {
            multiproc_dir: self.multiproc_dir.clone(),
            state_dir: self.state_dir.clone(),
            config_file: self.config_file.clone(),
            ..CommonArgs::default()
        }
    }
}
