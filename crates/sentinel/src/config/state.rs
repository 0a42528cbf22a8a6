//! Where the program keeps what it decided and sent, and what stops and releases it.
//!
//! Invariant: the settings of the daemon and of `sentinel reset` are the same ones. Must not touch: the directory.

use std::path::PathBuf;

use program::config::{ConfigError, Environment, Placed};

use super::keys::State;
use super::{ConfigFile, Layers, secrets};
use crate::cli::ResetArguments;
use crate::gateway::guards::reset::ResetSecret;

/// The variable of the state directory.
pub const STATE_DIR_VARIABLE: &str = "SENTINEL_STATE_DIR";

/// Where state is kept.
#[derive(Debug)]
pub struct StateSettings {
    /// The directory; each run mode has its own below it.
    pub dir: Placed<PathBuf>,
    /// The file that switches the kill switch on by being there; `kill` in the directory if nobody named another.
    pub kill_file: Placed<PathBuf>,
    /// The file with the secret that leaves halted; without one halted is not left.
    pub reset_secret_file: Option<Placed<PathBuf>>,
}

impl StateSettings {
    pub(super) fn resolve(
        flag: Option<&str>,
        layers: &Layers<'_>,
        keys: &State,
    ) -> Result<StateSettings, ConfigError> {
        let path = |text: &str| (!text.trim().is_empty()).then(|| PathBuf::from(text));
        let dir = layers
            .setting("state.dir", ".ops_local/sentinel")
            .flag("--state-dir", flag)
            .variable(STATE_DIR_VARIABLE)
            .key(&keys.dir)
            .resolve("a directory", path)?;
        let kill_file = layers
            .setting("state.kill_file", "")
            .key(&keys.kill_file)
            .given("a path", path)?;
        let reset_secret_file = layers
            .setting("state.reset_secret_file", "")
            .key(&keys.reset_secret_file)
            .given("a file", path)?;
        Ok(StateSettings {
            kill_file: kill_file.unwrap_or_else(|| Placed {
                value: dir.value.join("kill"),
                place: dir.place.clone(),
            }),
            dir,
            reset_secret_file,
        })
    }

    /// What `sentinel reset` goes by: the file's section, the variable and its own flags. Other sections are not looked at, so that an account
    /// that must not read the daemon's secrets can reset.
    ///
    /// # Errors
    /// The file cannot be read, has an unknown key, or a value of this section is not accepted.
    pub fn for_reset(
        arguments: &ResetArguments,
        environment: Environment<'_>,
    ) -> Result<StateSettings, ConfigError> {
        let file = ConfigFile::find(arguments.config_file.as_deref())?;
        let layers = Layers {
            file: &file,
            environment,
        };
        StateSettings::resolve(arguments.state_dir.as_deref(), &layers, &file.keys.state)
    }

    /// What the operator of a live run should know of it.
    pub(super) fn warnings(&self) -> Vec<String> {
        match &self.reset_secret_file {
            None => vec!["state.reset_secret_file is not set: trading that is halted stays halted until it is".to_owned()],
            Some(file) => {
                // Better known now than when halted has to be left.
                let fault = ResetSecret::read(&file.value).err();
                let fault = fault.map(|error| format!("{error}; trading that is halted stays halted with it"));
                fault.into_iter().chain(secrets::warn_of(&file.value)).collect()
            }
        }
    }
}
