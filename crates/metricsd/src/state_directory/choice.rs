//! Which directory the state is in: flag, then environment, then configuration file, then a default for the shard directory.
//!
//! The default is `metricsd/HASH` below `$XDG_STATE_HOME`, else below `$HOME/.local/state`. HASH is the FNV-1a hash (64 bits, as
//! 16 lower-case hex digits) of the bytes of the shard directory's canonical path: absolute, without links and dots.
//!
//! Invariant: HASH is the same on every machine, in every version, and whether or not the shard directory exists yet, so that a
//! daemon finds its state again. The environment comes in through a closure. Must not create anything.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use thiserror::Error;

/// The variable in which systemd names the directories of `StateDirectory=`, separated by colons.
pub const STATE_DIRECTORY_VARIABLE: &str = "STATE_DIRECTORY";

/// Where a user's state belongs, by the XDG base directory specification.
const XDG_STATE_HOME_VARIABLE: &str = "XDG_STATE_HOME";

const HOME_VARIABLE: &str = "HOME";

/// The state directory and how it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateChoice {
    /// Absolute; it need not exist.
    pub path: PathBuf,
    /// What named it.
    pub source: StateSource,
    /// Sentences for the log, each to be warned of once at start.
    pub warnings: Vec<String>,
}

/// What named the state directory. Displays as a phrase for a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StateSource {
    /// The flag `--state-dir`.
    Flag,
    /// `STATE_DIRECTORY`.
    Variable,
    /// The configuration file.
    File,
    /// Nothing: the default, below the directory in this variable.
    Default(&'static str),
}

impl fmt::Display for StateSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StateSource::Flag => f.write_str("flag --state-dir"),
            StateSource::Variable => write!(f, "environment variable {STATE_DIRECTORY_VARIABLE}"),
            StateSource::File => f.write_str("configuration file"),
            StateSource::Default(variable) => write!(f, "default below {variable}"),
        }
    }
}

/// No state directory can be chosen. The exit code is 2.
#[derive(Debug, Error)]
pub enum StateChoiceError {
    /// Nothing names one, and there is no home to put the default in.
    #[error(
        "no state directory: neither {STATE_DIRECTORY_VARIABLE}, {XDG_STATE_HOME_VARIABLE} nor {HOME_VARIABLE} is set to an absolute path; name one with --state-dir"
    )]
    NoHome,
    /// A relative path, and the working directory is gone or unreadable.
    #[error("{}: relative, and the working directory cannot be read; give --state-dir an absolute path", .path.display())]
    WorkingDirectory {
        /// The relative path.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

impl StateChoice {
    /// Chooses the directory: `flag`, else the first one in `$STATE_DIRECTORY`, else `file`, else the default for the shard
    /// directory `shards`. Empty values are unset ones. Nothing is created.
    ///
    /// # Errors
    /// No home for the default; a relative path without a working directory.
    pub fn resolve(
        flag: Option<&Path>,
        env: &dyn Fn(&str) -> Option<OsString>,
        file: Option<&Path>,
        shards: &Path,
    ) -> Result<StateChoice, StateChoiceError> {
        let mut warnings = Vec::new();
        let (path, source) = if let Some(path) = flag.filter(|path| !path.as_os_str().is_empty()) {
            (path.to_owned(), StateSource::Flag)
        } else if let Some(path) = env(STATE_DIRECTORY_VARIABLE).and_then(first_of_list) {
            (path, StateSource::Variable)
        } else if let Some(path) = file.filter(|path| !path.as_os_str().is_empty()) {
            (path.to_owned(), StateSource::File)
        } else {
            default_directory(env, shards, &mut warnings)?
        };
        let path = std::path::absolute(&path)
            .map_err(|source| StateChoiceError::WorkingDirectory { path, source })?;
        Ok(StateChoice {
            path,
            source,
            warnings,
        })
    }
}

/// systemd separates several directories by colons; the first one is the unit's own.
fn first_of_list(list: OsString) -> Option<PathBuf> {
    let list = list.into_vec();
    let first = list.split(|&byte| byte == b':').find(|it| !it.is_empty())?;
    Some(OsString::from_vec(first.to_vec()).into())
}

fn default_directory(
    env: &dyn Fn(&str) -> Option<OsString>,
    shards: &Path,
    warnings: &mut Vec<String>,
) -> Result<(PathBuf, StateSource), StateChoiceError> {
    let path_in = |variable: &str| {
        env(variable)
            .map(PathBuf::from)
            .filter(|path| !path.as_os_str().is_empty())
    };
    let mut found = None;
    if let Some(path) = path_in(XDG_STATE_HOME_VARIABLE) {
        // The specification has relative paths ignored.
        if path.is_absolute() {
            found = Some((path, XDG_STATE_HOME_VARIABLE));
        } else {
            warnings.push(format!(
                "{XDG_STATE_HOME_VARIABLE}={} is ignored, because it is relative",
                path.display()
            ));
        }
    }
    let in_home = || {
        let home = path_in(HOME_VARIABLE).filter(|path| path.is_absolute())?;
        Some((home.join(".local/state"), HOME_VARIABLE))
    };
    let (base, variable) = found.or_else(in_home).ok_or(StateChoiceError::NoHome)?;
    let hash = fnv_1a(canonical(shards).as_os_str().as_bytes());
    let path = base.join("metricsd").join(format!("{hash:016x}"));
    Ok((path, StateSource::Default(variable)))
}

/// FNV-1a with 64 bits: neither versions of a library nor a random seed change it.
fn fnv_1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// The path without links and dots, as far as it exists; what does not exist yet is taken as it is written, which is what it
/// will be once it was made.
fn canonical(path: &Path) -> PathBuf {
    for ancestor in path.ancestors() {
        if let (Ok(mut known), Ok(missing)) = (ancestor.canonicalize(), path.strip_prefix(ancestor))
        {
            for component in missing.components() {
                match component {
                    Component::ParentDir => {
                        known.pop();
                    }
                    component => known.push(component),
                }
            }
            return known;
        }
    }
    path.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose(
        flag: Option<&str>,
        variables: &[(&str, &str)],
        file: Option<&str>,
        shards: &Path,
    ) -> Result<StateChoice, String> {
        let env = |name: &str| {
            let mut found = variables.iter().filter(|(variable, _)| *variable == name);
            found.next().map(|(_, value)| value.into())
        };
        StateChoice::resolve(flag.map(Path::new), &env, file.map(Path::new), shards)
            .map_err(|err| err.to_string())
    }

    #[test]
    fn the_hash_is_fnv_1a() {
        assert_eq!(fnv_1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv_1a(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv_1a(b"foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn flag_wins_over_the_variable_over_the_file_over_the_default() {
        let variables = [
            (STATE_DIRECTORY_VARIABLE, "/variable"),
            (XDG_STATE_HOME_VARIABLE, "/xdg"),
            (HOME_VARIABLE, "/home/a"),
        ];
        let shards = Path::new("/nonexistent/shards");
        // The hash of "/nonexistent/shards", computed elsewhere: it must never change.
        let hash = "702fc4d1d391cffb";
        for (flag, variables, file, path, source) in [
            (
                Some("/flag"),
                &variables[..],
                Some("/file"),
                "/flag".to_owned(),
                "flag --state-dir",
            ),
            (
                None,
                &variables[..],
                Some("/file"),
                "/variable".to_owned(),
                "environment variable STATE_DIRECTORY",
            ),
            (
                None,
                &variables[1..],
                Some("/file"),
                "/file".to_owned(),
                "configuration file",
            ),
            (
                None,
                &variables[1..],
                None,
                format!("/xdg/metricsd/{hash}"),
                "default below XDG_STATE_HOME",
            ),
            (
                None,
                &variables[2..],
                Some(""),
                format!("/home/a/.local/state/metricsd/{hash}"),
                "default below HOME",
            ),
        ] {
            let choice = choose(flag, variables, file, shards).unwrap();
            assert_eq!(choice.path, PathBuf::from(path));
            assert_eq!(choice.source.to_string(), source);
            assert_eq!(choice.warnings, Vec::<String>::new());
        }
    }

    #[test]
    fn the_first_directory_that_systemd_names_is_taken() {
        let chosen = |list| {
            let variables = [(STATE_DIRECTORY_VARIABLE, list), (HOME_VARIABLE, "/h")];
            choose(None, &variables, None, Path::new("/s")).unwrap()
        };
        assert_eq!(
            chosen("/var/lib/a:/var/lib/b").path,
            Path::new("/var/lib/a")
        );
        assert_eq!(chosen(":/var/lib/b").path, Path::new("/var/lib/b"));
        for empty in ["", ":", "::"] {
            assert_eq!(
                chosen(empty).source,
                StateSource::Default(HOME_VARIABLE),
                "{empty:?}"
            );
        }
    }

    #[test]
    fn without_a_home_the_sentence_names_the_flag() {
        let sentence = "no state directory: neither STATE_DIRECTORY, XDG_STATE_HOME nor HOME is set to an absolute path; name one with --state-dir";
        let shards = Path::new("/s");
        for variables in [
            &[][..],
            &[(HOME_VARIABLE, "")],
            &[(HOME_VARIABLE, "home")],
            &[(XDG_STATE_HOME_VARIABLE, "state")],
        ] {
            let refused = choose(None, variables, None, shards).unwrap_err();
            assert_eq!(refused, sentence, "{variables:?}");
        }
        assert!(choose(Some("/x"), &[], None, shards).is_ok());
        assert!(choose(None, &[], Some("/x"), shards).is_ok());
    }

    #[test]
    fn a_relative_xdg_state_home_is_ignored_with_a_warning() {
        let variables = [(XDG_STATE_HOME_VARIABLE, "state"), (HOME_VARIABLE, "/h")];
        let choice = choose(None, &variables, None, Path::new("/s")).unwrap();
        assert_eq!(choice.source, StateSource::Default(HOME_VARIABLE));
        assert_eq!(
            choice.warnings,
            ["XDG_STATE_HOME=state is ignored, because it is relative"]
        );
    }

    #[test]
    fn relative_paths_become_absolute() {
        let here = std::env::current_dir().unwrap();
        let choice = choose(Some("some/state"), &[], None, Path::new("/s")).unwrap();
        assert_eq!(choice.path, here.join("some/state"));
    }

    #[test]
    fn one_shard_directory_has_one_default_however_it_is_named_and_before_it_is_made() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().canonicalize().unwrap();
        let default = |shards: &Path| {
            choose(None, &[(HOME_VARIABLE, "/h")], None, shards)
                .unwrap()
                .path
        };
        let shards = folder.join("a/shards");
        let before = default(&shards);
        let winding = default(&folder.join("b/../a/./shards/x/.."));
        assert_eq!(winding, before);
        std::fs::create_dir_all(&shards).unwrap();
        assert_eq!(default(&shards), before);
        let link = folder.join("link");
        std::os::unix::fs::symlink(&shards, &link).unwrap();
        assert_eq!(default(&link), before);
        assert_eq!(default(&folder.join("link/../shards")), before);
        assert_ne!(default(&folder.join("a/other")), before);
        let name = before.file_name().unwrap().to_str().unwrap();
        assert_eq!(name.len(), 16);
    }
}
