//! Where a program's telemetry goes: a pure function of the environment and the configuration file.
//! Invariant: the same variables and keys give the same answer; nothing here reads the process's environment except through the
//! closure it is given.
//! It must not open files, bind ports or log.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use metricsd_shard::{DirectoryError, any_directory_variable_set, choose_directory};

/// Decides between the modes: `A` or `B`. Wins over the configuration file.
pub const MODE_VARIABLE: &str = "PEAKTRADE_METRICS_MODE";
/// Port of the metrics endpoint on loopback, 1..=65535.
pub const PORT_VARIABLE: &str = "PEAK_TRADE_METRICSD_PORT";
/// Older name of [`PORT_VARIABLE`], accepted with a warning.
pub const LEGACY_PORT_VARIABLE: &str = "PEAKTRADE_METRICS_PORT";
/// Where Mode A listens when nothing else is said.
pub const LISTEN_DEFAULT: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9111);

/// Who owns the port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The process serves its own metrics.
    A,
    /// The process writes shards and never binds a port; `metricsd` serves them.
    B,
}

impl Mode {
    /// `A` or `B`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Mode::A => "A",
            Mode::B => "B",
        }
    }
}

impl std::fmt::Display for Mode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that names no mode.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{found:?} is no mode; A (this process serves its own metrics) and B (it writes shards for metricsd) are accepted"
)]
pub struct ModeError {
    /// What was found.
    pub found: String,
}

impl FromStr for Mode {
    type Err = ModeError;

    /// Blanks around it and its case do not matter.
    fn from_str(text: &str) -> Result<Mode, ModeError> {
        match text.trim() {
            "A" | "a" => Ok(Mode::A),
            "B" | "b" => Ok(Mode::B),
            _ => Err(ModeError {
                found: text.to_owned(),
            }),
        }
    }
}

/// What a configuration file's `[telemetry]` says; everything may be absent. Checked by the program that read the file, since
/// only it can name the line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileSettings {
    /// Key `mode`.
    pub mode: Option<Mode>,
    /// Key `multiproc_dir`; relative to the working directory.
    pub multiproc_dir: Option<PathBuf>,
    /// Key `listen`: address and port of Mode A.
    pub listen: Option<SocketAddr>,
}

/// Where the metrics go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Mode A: an endpoint of this process.
    Endpoint {
        /// Address to listen on.
        listen: SocketAddr,
    },
    /// Mode B: shards in a directory.
    Shards {
        /// Absolute.
        directory: PathBuf,
    },
}

/// What a [`Registry`](crate::Registry) starts on. Made by [`Settings::resolve`], or by hand in tests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The program's name, such as `shadow-session`.
    pub program: String,
    /// The program's version, for the sessions table; `unknown` unless the program sets it.
    pub version: String,
    /// What it runs as, in its own words, such as `paper`; for the sessions table; may be empty.
    pub runs_as: String,
    /// Where the metrics go.
    pub target: Target,
    /// Facts about this run for the sessions table; they never become metric labels.
    pub labels: BTreeMap<String, String>,
    /// Sentences for the operator, logged when the registry starts.
    pub warnings: Vec<String>,
}

/// A variable that cannot be used. Programs that are strict about their environment exit with 2 on it.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The mode variable names no mode.
    #[error("{MODE_VARIABLE}: {0}")]
    Mode(ModeError),
    /// A port variable is no port.
    #[error("{variable}: {found:?} is no port; a whole number from 1 to 65535 is accepted")]
    Port {
        /// Which of the two variables.
        variable: &'static str,
        /// Its value.
        found: String,
    },
    /// The shard directory cannot be decided on.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
}

impl Settings {
    /// Resolve by precedence: environment, then file, then default. An empty variable counts as unset.
    ///
    /// - Mode: [`MODE_VARIABLE`], else `file.mode`, else B if any directory variable or `file.multiproc_dir` is set, else A.
    /// - Directory (Mode B): `PEAKTRADE_METRICS_MULTIPROC_DIR`, `PROMETHEUS_MULTIPROC_DIR` (two that disagree are an error), else
    ///   `file.multiproc_dir`, else `.ops_local/prom_multiproc`; always made absolute.
    /// - Address (Mode A): a port variable moves the port on loopback and replaces `file.listen` as a whole; else `file.listen`,
    ///   else `127.0.0.1:9111`. A port variable is checked in both modes, so that a typing error shows on the day it is made.
    pub fn resolve(
        program: &str,
        file: &FileSettings,
        env: &dyn Fn(&str) -> Option<OsString>,
    ) -> Result<Settings, SettingsError> {
        let mut warnings = Vec::new();
        let listen = resolve_listen(file, env, &mut warnings);
        Settings::assemble(program, file, env, listen, warnings)
    }

    /// As [`resolve`](Self::resolve), but what a port variable says is no error in Mode B, which has no port.
    pub(crate) fn resolve_leniently(
        program: &str,
        file: &FileSettings,
        env: &dyn Fn(&str) -> Option<OsString>,
    ) -> Result<Settings, SettingsError> {
        let mut warnings = Vec::new();
        let listen = match (
            resolve_listen(file, env, &mut warnings),
            resolve_mode(file, env),
        ) {
            (Err(error @ SettingsError::Port { .. }), Ok(Mode::B)) => {
                warnings.push(format!("{error}; ignored, since Mode B opens no port"));
                Ok(LISTEN_DEFAULT)
            }
            (listen, _) => listen,
        };
        Settings::assemble(program, file, env, listen, warnings)
    }

    fn assemble(
        program: &str,
        file: &FileSettings,
        env: &dyn Fn(&str) -> Option<OsString>,
        listen: Result<SocketAddr, SettingsError>,
        mut warnings: Vec<String>,
    ) -> Result<Settings, SettingsError> {
        let listen = listen?;
        let target = match resolve_mode(file, env)? {
            Mode::A => Target::Endpoint { listen },
            Mode::B => {
                let choice = choose_directory(None, env, file.multiproc_dir.as_deref())?;
                warnings.extend(choice.warnings);
                Target::Shards {
                    directory: choice.path,
                }
            }
        };
        Ok(Settings {
            program: program.to_owned(),
            version: "unknown".to_owned(),
            runs_as: String::new(),
            target,
            labels: BTreeMap::new(),
            warnings,
        })
    }

    /// [`resolve`](Self::resolve) with the variables of this process.
    pub fn from_env(program: &str, file: &FileSettings) -> Result<Settings, SettingsError> {
        Settings::resolve(program, file, &|name| std::env::var_os(name))
    }

    /// The mode that the target stands for.
    pub fn mode(&self) -> Mode {
        match self.target {
            Target::Endpoint { .. } => Mode::A,
            Target::Shards { .. } => Mode::B,
        }
    }
}

fn resolve_mode(
    file: &FileSettings,
    env: &dyn Fn(&str) -> Option<OsString>,
) -> Result<Mode, SettingsError> {
    if let Some(text) = variable(env, MODE_VARIABLE) {
        return text.parse().map_err(SettingsError::Mode);
    }
    let directory_named = any_directory_variable_set(env) || file.multiproc_dir.is_some();
    Ok(file
        .mode
        .unwrap_or(if directory_named { Mode::B } else { Mode::A }))
}

fn resolve_listen(
    file: &FileSettings,
    env: &dyn Fn(&str) -> Option<OsString>,
    warnings: &mut Vec<String>,
) -> Result<SocketAddr, SettingsError> {
    let port = port(env, PORT_VARIABLE)?;
    let legacy = port_of_legacy(env, port, warnings)?;
    Ok(match port.or(legacy) {
        Some(port) => SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port),
        None => file.listen.unwrap_or(LISTEN_DEFAULT),
    })
}

fn port_of_legacy(
    env: &dyn Fn(&str) -> Option<OsString>,
    port: Option<u16>,
    warnings: &mut Vec<String>,
) -> Result<Option<u16>, SettingsError> {
    if port.is_some() {
        if variable(env, LEGACY_PORT_VARIABLE).is_some() {
            warnings.push(format!(
                "{LEGACY_PORT_VARIABLE} is ignored, since {PORT_VARIABLE} is set; unset it"
            ));
        }
        return Ok(None);
    }
    let legacy = self::port(env, LEGACY_PORT_VARIABLE)?;
    if legacy.is_some() {
        warnings.push(format!(
            "{LEGACY_PORT_VARIABLE} is an old name and still works; use {PORT_VARIABLE}"
        ));
    }
    Ok(legacy)
}

fn port(
    env: &dyn Fn(&str) -> Option<OsString>,
    name: &'static str,
) -> Result<Option<u16>, SettingsError> {
    let Some(found) = variable(env, name) else {
        return Ok(None);
    };
    match found.trim().parse() {
        Ok(port) if port >= 1 => Ok(Some(port)),
        _ => Err(SettingsError::Port {
            variable: name,
            found,
        }),
    }
}

/// A variable's text; blank is unset. Bytes that are no UTF-8 stay visible in the error that they cause.
fn variable(env: &dyn Fn(&str) -> Option<OsString>, name: &str) -> Option<String> {
    env(name)
        .map(|value| value.to_string_lossy().into_owned())
        .filter(|value| !value.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIRECTORY: &str = "PEAKTRADE_METRICS_MULTIPROC_DIR";
    const PYTHONS: &str = "PROMETHEUS_MULTIPROC_DIR";
    const LEGACY_DIRECTORY: &str = "prometheus_multiproc_dir";

    /// The answer in one line: target, then the number of warnings; or the error.
    fn resolved(variables: &[(&str, &str)], file: &FileSettings) -> String {
        let env = |name: &str| {
            variables
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(_, value)| OsString::from(value))
        };
        match Settings::resolve("judge-me", file, &env) {
            Err(err) => format!("error {err}"),
            Ok(settings) => {
                let target = match &settings.target {
                    Target::Endpoint { listen } => format!("A {listen}"),
                    Target::Shards { directory } => format!("B {}", directory.display()),
                };
                format!("{target} {}", settings.warnings.len())
            }
        }
    }

    fn file(mode: Option<Mode>, multiproc_dir: Option<&str>, listen: Option<&str>) -> FileSettings {
        FileSettings {
            mode,
            multiproc_dir: multiproc_dir.map(PathBuf::from),
            listen: listen.map(|text| text.parse().unwrap()),
        }
    }

    /// Variables, file, answer.
    type Case<'a> = (&'a [(&'a str, &'a str)], FileSettings, &'a str);

    fn check(table: &[Case<'_>]) {
        for (variables, file, expected) in table {
            assert_eq!(
                resolved(variables, file),
                *expected,
                "{variables:?} {file:?}"
            );
        }
    }

    #[test]
    fn the_mode_is_the_variables_then_the_files_then_what_the_directories_say() {
        let nothing = || file(None, None, None);
        check(&[
            (&[], nothing(), "A 127.0.0.1:9111 0"),
            (
                &[(MODE_VARIABLE, "A"), (DIRECTORY, "/d")],
                nothing(),
                "A 127.0.0.1:9111 0",
            ),
            (
                &[(MODE_VARIABLE, " b ")],
                file(None, Some("/f"), None),
                "B /f 0",
            ),
            (
                &[(MODE_VARIABLE, "a")],
                file(Some(Mode::B), Some("/f"), None),
                "A 127.0.0.1:9111 0",
            ),
            (
                &[(MODE_VARIABLE, "B"), (DIRECTORY, "/d")],
                file(Some(Mode::A), Some("/f"), None),
                "B /d 0",
            ),
            (&[(MODE_VARIABLE, " ")], nothing(), "A 127.0.0.1:9111 0"),
            (&[(DIRECTORY, "/d")], nothing(), "B /d 0"),
            (&[(PYTHONS, "/p")], nothing(), "B /p 0"),
            (&[(LEGACY_DIRECTORY, "/l")], nothing(), "B /l 1"),
            (&[(DIRECTORY, "")], nothing(), "A 127.0.0.1:9111 0"),
            (&[], file(None, Some("/f"), None), "B /f 0"),
            (
                &[(DIRECTORY, "/d")],
                file(Some(Mode::A), None, None),
                "A 127.0.0.1:9111 0",
            ),
            // A contradiction in what is not used is none.
            (
                &[(MODE_VARIABLE, "A"), (DIRECTORY, "/d"), (PYTHONS, "/p")],
                nothing(),
                "A 127.0.0.1:9111 0",
            ),
        ]);
        for found in ["C", "AB", "mode b", "1"] {
            let error = resolved(&[(MODE_VARIABLE, found)], &nothing());
            assert!(
                error.starts_with("error PEAKTRADE_METRICS_MODE: ")
                    && error.contains(found)
                    && error.contains("A (")
                    && error.contains("B (")
            );
        }
    }

    #[test]
    fn a_port_variable_moves_the_port_on_loopback_and_replaces_the_files_address() {
        let listening = || file(None, None, Some("0.0.0.0:7000"));
        check(&[
            (&[], listening(), "A 0.0.0.0:7000 0"),
            (
                &[(PORT_VARIABLE, "9222")],
                listening(),
                "A 127.0.0.1:9222 0",
            ),
            (
                &[(PORT_VARIABLE, " 9222 ")],
                file(None, None, None),
                "A 127.0.0.1:9222 0",
            ),
            (&[(PORT_VARIABLE, "")], listening(), "A 0.0.0.0:7000 0"),
            (
                &[(LEGACY_PORT_VARIABLE, "9333")],
                listening(),
                "A 127.0.0.1:9333 1",
            ),
            (
                &[(PORT_VARIABLE, "9222"), (LEGACY_PORT_VARIABLE, "9333")],
                listening(),
                "A 127.0.0.1:9222 1",
            ),
            (&[(PORT_VARIABLE, "1")], listening(), "A 127.0.0.1:1 0"),
            (
                &[(PORT_VARIABLE, "65535")],
                listening(),
                "A 127.0.0.1:65535 0",
            ),
            (
                &[(PORT_VARIABLE, "9222"), (DIRECTORY, "/d")],
                listening(),
                "B /d 0",
            ),
        ]);
        for name in [PORT_VARIABLE, LEGACY_PORT_VARIABLE] {
            for found in ["0", "65536", "-1", "http", "9111x", "1.0"] {
                for mode in ["A", "B"] {
                    let error = resolved(
                        &[(name, found), (MODE_VARIABLE, mode)],
                        &file(None, None, None),
                    );
                    assert!(
                        error.starts_with(&format!("error {name}: "))
                            && error.contains("1 to 65535"),
                        "{error}"
                    );
                }
            }
        }
    }

    #[test]
    fn directories_that_disagree_are_an_error_and_relative_ones_become_absolute() {
        let error = resolved(
            &[(DIRECTORY, "/one"), (PYTHONS, "/two")],
            &file(None, Some("/three"), None),
        );
        for part in ["error ", DIRECTORY, PYTHONS, "/one", "/two"] {
            assert!(error.contains(part), "{part}: {error}");
        }
        let here = std::env::current_dir().unwrap();
        let absolute = |relative: &str| format!("B {} 0", here.join(relative).display());
        assert_eq!(
            resolved(&[(PYTHONS, "rel/d")], &file(None, None, None)),
            absolute("rel/d")
        );
        assert_eq!(
            resolved(&[(MODE_VARIABLE, "B")], &file(None, None, None)),
            absolute(".ops_local/prom_multiproc")
        );
        assert_eq!(
            resolved(&[], &file(Some(Mode::B), None, None)),
            absolute(".ops_local/prom_multiproc")
        );
        assert_eq!(
            resolved(
                &[(DIRECTORY, "/same"), (PYTHONS, "/same/")],
                &file(None, None, None)
            ),
            "B /same 0"
        );
    }
}
