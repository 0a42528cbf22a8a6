//! Which directory the shards are in: flag, then environment, then configuration file, then the default.
//!
//! Invariant: programs that are started alike choose alike; a contradiction is an error, never a guess. The environment comes
//! in through a closure, so that nothing here reads it.

use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};
use std::{fmt, io};

use thiserror::Error;

/// Where shards are when nothing says otherwise; relative to the working directory.
pub const DEFAULT_DIRECTORY: &str = ".ops_local/prom_multiproc";

/// Python's spelling of its variable before 0.10: accepted with a warning.
pub const LEGACY_DIRECTORY_VARIABLE: &str = "prometheus_multiproc_dir";

/// Python's variable.
const PYTHON_DIRECTORY_VARIABLE: &str = "PROMETHEUS_MULTIPROC_DIR";

/// Every variable that names the directory. All that are set must agree; the first of them is named as the source.
pub const DIRECTORY_VARIABLES: [&str; 3] = [
    "PEAKTRADE_METRICS_MULTIPROC_DIR",
    PYTHON_DIRECTORY_VARIABLE,
    LEGACY_DIRECTORY_VARIABLE,
];

/// The directory and how it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectoryChoice {
    /// Absolute; it need not exist.
    pub path: PathBuf,
    /// What named it.
    pub source: DirectorySource,
    /// Sentences for the log, each to be warned of once at start.
    pub warnings: Vec<String>,
}

/// What named the directory. Displays as a phrase for a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DirectorySource {
    /// The flag `--multiproc-dir`.
    Flag,
    /// This environment variable.
    Variable(&'static str),
    /// The configuration file.
    File,
    /// Nothing: the default.
    Default,
}

impl fmt::Display for DirectorySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DirectorySource::Flag => "flag --multiproc-dir",
            DirectorySource::Variable(name) => return write!(f, "environment variable {name}"),
            DirectorySource::File => "configuration file",
            DirectorySource::Default => "default",
        })
    }
}

/// No directory can be chosen.
#[derive(Debug, Error)]
pub enum DirectoryError {
    /// Two variables name different directories.
    #[error(
        "{first}={} and {second}={} name different directories; unset one of them, or set both to the same one",
        .first_path.display(), .second_path.display()
    )]
    Disagreement {
        /// The one that would win.
        first: &'static str,
        /// Its value.
        first_path: PathBuf,
        /// The other one.
        second: &'static str,
        /// Its value.
        second_path: PathBuf,
    },
    /// The flag is there and says nothing, as when a script's variable is unset.
    #[error("--multiproc-dir is empty; give a directory, or leave the flag out")]
    EmptyFlag,
    /// A relative path, and the working directory is gone or unreadable.
    #[error("{}: relative, and the working directory cannot be read; give an absolute path", .path.display())]
    WorkingDirectory {
        /// The relative path.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

/// Chooses the directory: `flag`, else a variable (`env` looks one up; an empty value is an unset one), else `file`, else
/// [`DEFAULT_DIRECTORY`]. It is not created, and need not exist.
///
/// # Errors
/// Two variables that name different directories without a flag to decide; an empty flag; a relative path without a working
/// directory.
pub fn choose_directory(
    flag: Option<&Path>,
    env: &dyn Fn(&str) -> Option<OsString>,
    file: Option<&Path>,
) -> Result<DirectoryChoice, DirectoryError> {
    let (path, source) = if let Some(path) = flag {
        if path.as_os_str().is_empty() {
            return Err(DirectoryError::EmptyFlag);
        }
        (path.to_owned(), DirectorySource::Flag)
    } else if let Some((name, path)) = from_variables(env)? {
        (path, DirectorySource::Variable(name))
    } else if let Some(path) = file.filter(|path| !path.as_os_str().is_empty()) {
        (path.to_owned(), DirectorySource::File)
    } else {
        (DEFAULT_DIRECTORY.into(), DirectorySource::Default)
    };
    let warnings = match source {
        DirectorySource::Variable(LEGACY_DIRECTORY_VARIABLE) => vec![format!(
            "{LEGACY_DIRECTORY_VARIABLE} is the old spelling of the variable; set {PYTHON_DIRECTORY_VARIABLE} instead"
        )],
        _ => Vec::new(),
    };
    Ok(DirectoryChoice {
        path: absolute(path)?,
        source,
        warnings,
    })
}

/// Whether any variable names a directory: programs whose mode is not set then write shards.
pub fn any_directory_variable_set(env: &dyn Fn(&str) -> Option<OsString>) -> bool {
    set_variables(env).next().is_some()
}

fn set_variables(
    env: &dyn Fn(&str) -> Option<OsString>,
) -> impl Iterator<Item = (&'static str, PathBuf)> {
    DIRECTORY_VARIABLES
        .into_iter()
        .filter_map(move |name| Some((name, env(name)?)))
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| (name, value.into()))
}

/// The first variable that is set, after all others were seen to agree with it.
fn from_variables(
    env: &dyn Fn(&str) -> Option<OsString>,
) -> Result<Option<(&'static str, PathBuf)>, DirectoryError> {
    let mut set = set_variables(env);
    let Some((first, first_path)) = set.next() else {
        return Ok(None);
    };
    let first_canonical = canonical(&absolute(first_path.clone())?);
    for (second, second_path) in set {
        if canonical(&absolute(second_path.clone())?) != first_canonical {
            return Err(DirectoryError::Disagreement {
                first,
                first_path,
                second,
                second_path,
            });
        }
    }
    Ok(Some((first, first_path)))
}

fn absolute(path: PathBuf) -> Result<PathBuf, DirectoryError> {
    std::path::absolute(&path).map_err(|source| DirectoryError::WorkingDirectory { path, source })
}

/// The path without links and dots, as far as it exists; what does not exist yet is taken as it is written.
fn canonical(path: &Path) -> PathBuf {
    for ancestor in path.ancestors() {
        if let (Ok(existing), Ok(missing)) = (ancestor.canonicalize(), path.strip_prefix(ancestor))
        {
            return lexically_joined(existing, missing);
        }
    }
    path.to_owned()
}

fn lexically_joined(mut base: PathBuf, rest: &Path) -> PathBuf {
    for component in rest.components() {
        match component {
            Component::ParentDir => {
                base.pop();
            }
            Component::CurDir => {}
            other => base.push(other),
        }
    }
    base
}
