//! What the daemon runs on: flags, environment and configuration file, laid over one another.
//!
//! Invariant: flag > environment > file > default for every setting, and a bad value in the layer that wins is an error, never
//! a default. The environment comes in through a closure. Must not touch: anything but the configuration file.

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use metricsd_shard::{DirectoryChoice, DirectoryError, choose_directory};
use thiserror::Error;

use crate::cli::{CommonArgs, RenderArgs, ServeArgs};
use crate::config::{ConfigError, FileConfig};
use crate::policy::Policy;
use crate::retention::RetireAfter;
pub use crate::retention::{DeadGauges, RetirementSettings};
use crate::state_directory::StateChoiceError;
pub use crate::state_directory::{StateChoice, StateSource};

/// Where Prometheus configurations expect the daemon.
pub const DEFAULT_PORT: u16 = 9111;

/// The variable that names the port.
pub const PORT_VARIABLE: &str = "PEAK_TRADE_METRICSD_PORT";

/// Its older name, accepted with a warning.
pub const LEGACY_PORT_VARIABLE: &str = "PEAKTRADE_METRICS_PORT";

/// Looks up an environment variable.
pub type Environment<'a> = dyn Fn(&str) -> Option<OsString> + 'a;

/// What `serve` runs on.
#[derive(Debug, Clone)]
pub struct ServeSettings {
    /// Addresses to listen on, at least one.
    pub listen: Vec<SocketAddr>,
    /// Scrapes answered at the same time; 0 = no bound.
    pub max_requests: usize,
    /// What `render` runs on as well; the state directory is in it.
    pub merge: MergeSettings,
    /// When shards are retired, and how long gauges of ended processes stay.
    pub retirement: RetirementSettings,
    /// Programs of which one is expected to live.
    pub expected_programs: Vec<String>,
}

/// What a merge runs on.
#[derive(Debug, Clone)]
pub struct MergeSettings {
    /// The shard directory, and what named it.
    pub directory: DirectoryChoice,
    /// The state directory, and what named it.
    pub state: StateChoice,
    /// What becomes of `live*` gauges of ended processes; the same as in [`RetirementSettings`].
    pub dead_gauges: DeadGauges,
    /// What is refused.
    pub policy: Policy,
    /// The configuration file, if one was given.
    pub config_file: Option<PathBuf>,
    /// Sentences to be warned of once the log is up.
    pub warnings: Vec<String>,
}

/// Settings that cannot be used. The exit code is 2.
#[derive(Debug, Error)]
pub enum SettingsError {
    /// The configuration file.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The shard directory.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The state directory.
    #[error(transparent)]
    State(#[from] StateChoiceError),
    /// Two ways to say where to listen.
    #[error("--port and --web.listen-address both say where to listen; give one of them")]
    PortAndAddress,
    /// One address given twice.
    #[error("--web.listen-address {address}: given twice; give each address once")]
    AddressTwice {
        /// The address.
        address: SocketAddr,
    },
    /// A variable that is no port.
    #[error("{variable}={value:?}: not a port; accepted: a whole number from 1 to 65535")]
    Port {
        /// The variable.
        variable: &'static str,
        /// Its value.
        value: OsString,
    },
    /// A file of rules.
    #[error("{}: {reason}", .path.display())]
    Rules {
        /// The file.
        path: PathBuf,
        /// Where it fails, what was found and what is accepted.
        reason: String,
    },
}

impl ServeSettings {
    /// Lays the flags over the environment over the file.
    ///
    /// # Errors
    /// A contradiction, or a bad value in the layer that wins.
    pub fn resolve(
        args: &ServeArgs,
        env: &Environment<'_>,
    ) -> Result<ServeSettings, SettingsError> {
        let (mut merge, file) = resolve_common(&args.common, env)?;
        let loopback = |port: u16| vec![SocketAddr::from((Ipv4Addr::LOCALHOST, port))];
        let listen = match (args.port, args.listen_addresses.as_slice()) {
            (Some(_), [_, ..]) => return Err(SettingsError::PortAndAddress),
            (Some(port), []) => loopback(port),
            (None, addresses @ [_, ..]) => each_once(addresses)?,
            (None, []) => loopback(default_port(env, &mut merge.warnings)?),
        };
        let defaults = RetirementSettings::default();
        let after = args.retire_after.or(file.retire_after);
        let retain_ended = args.retain_ended.or(file.retain_ended);
        let retirement = RetirementSettings {
            after: after.map_or(defaults.after, |RetireAfter(after)| after),
            retain_ended: retain_ended.unwrap_or(defaults.retain_ended),
            dead_gauges: merge.dead_gauges,
        };
        Ok(ServeSettings {
            listen,
            max_requests: args.max_requests,
            merge,
            retirement,
            expected_programs: file.expected_programs,
        })
    }
}

impl MergeSettings {
    /// Lays the flags over the environment over the file.
    ///
    /// # Errors
    /// A contradiction, or a bad value in the layer that wins.
    pub fn resolve(
        args: &RenderArgs,
        env: &Environment<'_>,
    ) -> Result<MergeSettings, SettingsError> {
        resolve_common(&args.common, env).map(|(merge, _)| merge)
    }
}

fn resolve_common(
    args: &CommonArgs,
    env: &Environment<'_>,
) -> Result<(MergeSettings, FileConfig), SettingsError> {
    let file = args
        .config_file
        .as_deref()
        .map(FileConfig::read)
        .transpose()?
        .unwrap_or_default();
    let mut directory = choose_directory(
        args.multiproc_dir.as_deref(),
        env,
        file.directory.as_deref(),
    )?;
    let mut state = StateChoice::resolve(
        args.state_dir.as_deref(),
        env,
        file.state_directory.as_deref(),
        &directory.path,
    )?;
    let mut warnings = std::mem::take(&mut directory.warnings);
    warnings.append(&mut state.warnings);
    let merge = MergeSettings {
        directory,
        state,
        dead_gauges: args.dead_gauges.or(file.dead_gauges).unwrap_or_default(),
        policy: file.policy.clone(),
        config_file: args.config_file.clone(),
        warnings,
    };
    Ok((merge, file))
}

/// The port where no flag says another.
///
/// # Errors
/// A variable that is no port.
pub(crate) fn default_port(
    env: &Environment<'_>,
    warnings: &mut Vec<String>,
) -> Result<u16, SettingsError> {
    Ok(port_from(env, warnings)?.unwrap_or(DEFAULT_PORT))
}

fn each_once(addresses: &[SocketAddr]) -> Result<Vec<SocketAddr>, SettingsError> {
    let repeated = |&(index, address): &(usize, &SocketAddr)| {
        // Port 0 is another port each time.
        address.port() != 0 && addresses[..index].contains(address)
    };
    match addresses.iter().enumerate().find(repeated) {
        Some((_, &address)) => Err(SettingsError::AddressTwice { address }),
        None => Ok(addresses.to_vec()),
    }
}

fn port_from(
    env: &Environment<'_>,
    warnings: &mut Vec<String>,
) -> Result<Option<u16>, SettingsError> {
    let value_of = |variable: &'static str| {
        env(variable)
            .filter(|value| !value.is_empty())
            .map(|value| (variable, value))
    };
    let legacy = value_of(LEGACY_PORT_VARIABLE);
    let named = match (value_of(PORT_VARIABLE), legacy) {
        (Some(named), legacy) => {
            if legacy.is_some() {
                warnings.push(format!(
                    "{LEGACY_PORT_VARIABLE} is ignored, because {PORT_VARIABLE} is set"
                ));
            }
            named
        }
        (None, Some(legacy)) => {
            warnings.push(format!(
                "{LEGACY_PORT_VARIABLE} is deprecated; set {PORT_VARIABLE} instead"
            ));
            legacy
        }
        (None, None) => return Ok(None),
    };
    let (variable, value) = named;
    let port = value
        .to_str()
        .and_then(|text| text.trim().parse().ok())
        .filter(|&port: &u16| port != 0);
    port.map(Some)
        .ok_or(SettingsError::Port { variable, value })
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::path::Path;
    use std::time::Duration;

    use super::*;

    fn resolve(args: &ServeArgs, variables: &[(&str, &str)]) -> Result<ServeSettings, String> {
        let env = |name: &str| {
            variables
                .iter()
                .chain(&[("HOME", "/home/test")])
                .find(|(variable, _)| *variable == name)
                .map(|(_, value)| value.into())
        };
        ServeSettings::resolve(args, &env).map_err(|err| err.to_string())
    }

    fn listen(args: &ServeArgs, variables: &[(&str, &str)]) -> Vec<String> {
        resolve(args, variables)
            .unwrap()
            .listen
            .iter()
            .map(SocketAddr::to_string)
            .collect()
    }

    #[test]
    fn port_and_addresses_are_one_setting_of_which_the_highest_layer_wins() {
        let nothing = ServeArgs::default();
        let port = ServeArgs {
            port: Some(1),
            ..ServeArgs::default()
        };
        let addresses = ["0.0.0.0:2".parse().unwrap(), "[::1]:3".parse().unwrap()].to_vec();
        let address = ServeArgs {
            listen_addresses: addresses,
            ..ServeArgs::default()
        };
        assert_eq!(listen(&nothing, &[]), ["127.0.0.1:9111"]);
        assert_eq!(listen(&nothing, &[(PORT_VARIABLE, "4")]), ["127.0.0.1:4"]);
        assert_eq!(listen(&nothing, &[(PORT_VARIABLE, "")]), ["127.0.0.1:9111"]);
        assert_eq!(listen(&port, &[(PORT_VARIABLE, "4")]), ["127.0.0.1:1"]);
        assert_eq!(
            listen(&address, &[(PORT_VARIABLE, "x")]),
            ["0.0.0.0:2", "[::1]:3"]
        );
        let both = ServeArgs {
            port: Some(1),
            ..address
        };
        assert!(
            resolve(&both, &[])
                .unwrap_err()
                .contains("give one of them")
        );
    }

    #[test]
    fn a_variable_that_is_no_port_is_an_error_that_names_it() {
        for value in ["x", "0", "65536", "-1", "1.5"] {
            let sentence = resolve(&ServeArgs::default(), &[(PORT_VARIABLE, value)]).unwrap_err();
            assert_eq!(
                sentence,
                format!(
                    "PEAK_TRADE_METRICSD_PORT={value:?}: not a port; accepted: a whole number from 1 to 65535"
                )
            );
        }
    }

    #[test]
    fn the_legacy_port_works_with_a_warning_and_loses_to_the_new_one() {
        let legacy = resolve(&ServeArgs::default(), &[(LEGACY_PORT_VARIABLE, "5")]).unwrap();
        assert_eq!(legacy.listen[0].port(), 5);
        assert_eq!(
            legacy.merge.warnings,
            ["PEAKTRADE_METRICS_PORT is deprecated; set PEAK_TRADE_METRICSD_PORT instead"]
        );
        let both = resolve(
            &ServeArgs::default(),
            &[(LEGACY_PORT_VARIABLE, "5"), (PORT_VARIABLE, "6")],
        )
        .unwrap();
        assert_eq!(both.listen[0].port(), 6);
        assert_eq!(both.merge.warnings.len(), 1);
    }

    #[test]
    fn the_file_is_the_lowest_layer_above_the_default() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        write!(
            file,
            "[shards]\ndir = '/from/file'\n[expect]\nprograms = ['a']"
        )
        .unwrap();
        let common = CommonArgs {
            config_file: Some(file.path().to_owned()),
            ..CommonArgs::default()
        };
        let args = ServeArgs {
            common,
            ..ServeArgs::default()
        };
        let settings = resolve(&args, &[]).unwrap();
        assert_eq!(settings.merge.directory.path, PathBuf::from("/from/file"));
        assert_eq!(settings.expected_programs, ["a"]);
        let settings =
            resolve(&args, &[("PROMETHEUS_MULTIPROC_DIR", "/from/environment")]).unwrap();
        assert_eq!(
            settings.merge.directory.path,
            PathBuf::from("/from/environment")
        );
    }

    fn file(text: &str) -> (tempfile::NamedTempFile, CommonArgs) {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        write!(file, "{text}").unwrap();
        let common = CommonArgs {
            config_file: Some(file.path().to_owned()),
            ..CommonArgs::default()
        };
        (file, common)
    }

    #[test]
    fn retirement_has_its_defaults() {
        let settings = resolve(&ServeArgs::default(), &[]).unwrap();
        let defaults = RetirementSettings {
            after: Some(Duration::from_secs(10)),
            retain_ended: Duration::from_secs(24 * 3600),
            dead_gauges: DeadGauges::Keep,
        };
        assert_eq!(settings.retirement, defaults);
        assert_eq!(settings.merge.dead_gauges, DeadGauges::Keep);
    }

    #[test]
    fn flags_about_retirement_win_over_keys_one_by_one() {
        let (_file, common) =
            file("[retire]\nafter = 'off'\nretain_ended = '2h'\ndead_gauges = 'drop'");
        let from_file = ServeArgs {
            common: common.clone(),
            ..ServeArgs::default()
        };
        let settings = resolve(&from_file, &[]).unwrap();
        let expected = RetirementSettings {
            after: None,
            retain_ended: Duration::from_secs(7200),
            dead_gauges: DeadGauges::Drop,
        };
        assert_eq!(settings.retirement, expected);
        assert_eq!(settings.merge.dead_gauges, DeadGauges::Drop);

        let second = Duration::from_secs(1);
        let after = ServeArgs {
            retire_after: Some(RetireAfter(Some(second))),
            ..from_file.clone()
        };
        let expected = RetirementSettings {
            after: Some(second),
            ..expected
        };
        assert_eq!(resolve(&after, &[]).unwrap().retirement, expected);
        let all = ServeArgs {
            common: CommonArgs {
                dead_gauges: Some(DeadGauges::For(second)),
                ..common
            },
            retain_ended: Some(second),
            ..after
        };
        let settings = resolve(&all, &[]).unwrap();
        let expected = RetirementSettings {
            after: Some(second),
            retain_ended: second,
            dead_gauges: DeadGauges::For(second),
        };
        assert_eq!(settings.retirement, expected);
        assert_eq!(settings.merge.dead_gauges, DeadGauges::For(second));

        let off = ServeArgs {
            retire_after: Some(RetireAfter(None)),
            ..ServeArgs::default()
        };
        assert_eq!(resolve(&off, &[]).unwrap().retirement.after, None);
    }

    #[test]
    fn the_state_directory_comes_from_the_highest_layer_for_both_commands() {
        let (_file, common) = file("[state]\ndir = '/from/file'");
        let flag = CommonArgs {
            state_dir: Some("/from/flag".into()),
            ..common.clone()
        };
        let variable = [("STATE_DIRECTORY", "/from/environment:/second")];
        let nothing = CommonArgs::default();
        for (common, variables, path) in [
            (&flag, &variable[..], "/from/flag"),
            (&common, &variable, "/from/environment"),
            (&common, &[], "/from/file"),
            (&nothing, &variable, "/from/environment"),
        ] {
            let serve = ServeArgs {
                common: common.clone(),
                ..ServeArgs::default()
            };
            let settings = resolve(&serve, variables).unwrap();
            assert_eq!(settings.merge.state.path, Path::new(path));
            let render = RenderArgs {
                common: common.clone(),
            };
            let env = |name: &str| {
                let mut found = variables.iter().filter(|(variable, _)| *variable == name);
                found.next().map(|(_, value)| value.into())
            };
            let settings = MergeSettings::resolve(&render, &env).unwrap();
            assert_eq!(settings.state.path, Path::new(path));
        }
    }

    #[test]
    fn the_default_state_directory_follows_the_shard_directory() {
        let of = |shards: &str| {
            let args = ServeArgs {
                common: CommonArgs {
                    multiproc_dir: Some(shards.into()),
                    ..CommonArgs::default()
                },
                ..ServeArgs::default()
            };
            resolve(&args, &[]).unwrap().merge.state
        };
        let state = of("/nonexistent/a");
        assert_eq!(state.source, StateSource::Default("HOME"));
        assert!(state.path.starts_with("/home/test/.local/state/metricsd"));
        assert_ne!(state.path, of("/nonexistent/b").path);
        let relative = [("XDG_STATE_HOME", "relative")];
        let settings = resolve(&ServeArgs::default(), &relative).unwrap();
        let warning = "XDG_STATE_HOME=relative is ignored, because it is relative";
        assert_eq!(settings.merge.warnings, [warning]);
    }
}
