//! Programs of ours that a verification starts, and that never outlive it.
//!
//! Invariant: whatever way the verification ends, a child is asked to end, then made to, and reaped; the kernel kills it when the
//! verification is killed itself. Only children are signalled, by the process ID that the kernel keeps for us until they are reaped.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::fs::Access;
use rustix::process::{Pid, Signal, kill_process};
use thiserror::Error;

use super::guard::guarded;
use super::record::Stop;
use crate::settings::Environment;

/// The session's program.
pub const SESSION_PROGRAM: &str = "shadow-session";

/// How long a child may take to end when it is asked to.
const POLITE_TIME_MAX: Duration = Duration::from_secs(5);

/// A child that cannot be started or signalled.
#[derive(Debug, Error)]
pub enum ChildError {
    /// There is no such program.
    #[error("{SESSION_PROGRAM}: neither beside {} nor on the path; name it with --session-bin", .beside.display())]
    NoSession {
        /// Our own program.
        beside: PathBuf,
    },
    /// It cannot be started, or its log not made.
    #[error("{}: cannot start", .program.display())]
    Start {
        /// The program.
        program: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Something else that the system refuses.
    #[error("cannot {what}")]
    System {
        /// What.
        what: &'static str,
        /// The system's error.
        source: io::Error,
    },
}

/// The session's program: `named`, else beside our own, else on the path.
///
/// # Errors
/// It is nowhere.
pub fn session_program(named: Option<&Path>, env: &Environment<'_>) -> Result<PathBuf, ChildError> {
    if let Some(named) = named {
        return Ok(named.to_owned());
    }
    let own = own_program()?;
    let path = env("PATH").unwrap_or_default();
    let beside = own.parent().map(|folder| folder.join(SESSION_PROGRAM));
    beside
        .into_iter()
        .chain(std::env::split_paths(&path).map(|folder| folder.join(SESSION_PROGRAM)))
        .find(|program| program.is_file())
        .ok_or(ChildError::NoSession { beside: own })
}

/// Our own program, as a child is started from it.
///
/// # Errors
/// The system does not tell.
pub fn own_program() -> Result<PathBuf, ChildError> {
    std::env::current_exe().map_err(|source| ChildError::System {
        what: "find the running program",
        source,
    })
}

/// A running child, ended when dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    log: PathBuf,
    command: String,
}

impl Running {
    /// Starts a program with its output going to a new file `log`. `variables` are set, or taken away where there is no value. It ends
    /// with the calling thread at the latest.
    ///
    /// # Errors
    /// It is not there or no program. One that the kernel refuses all the same ends at once, with the reason in its log.
    pub fn start(
        program: &Path,
        arguments: &[OsString],
        variables: &[(&str, Option<&OsStr>)],
        log: PathBuf,
    ) -> Result<Running, ChildError> {
        let failed = |source| ChildError::Start {
            program: program.to_owned(),
            source,
        };
        let output = File::create(&log).map_err(failed)?;
        // A name without a directory is looked for on the path, by whom we start.
        if program.components().count() > 1 {
            rustix::fs::access(program, Access::EXEC_OK).map_err(|errno| failed(errno.into()))?;
        }
        // Our own file, also when it was replaced by a newer one meanwhile.
        let mut command = Command::new("/proc/self/exe");
        command
            .args(guarded(program))
            .args(arguments)
            .stdin(Stdio::null())
            .stderr(output.try_clone().map_err(failed)?)
            .stdout(output);
        for (name, value) in variables {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        let child = command.spawn().map_err(failed)?;
        let set = variables.iter().filter_map(|(name, value)| {
            let mut word = OsString::from(format!("{name}="));
            word.push((*value)?);
            Some(word)
        });
        let words: Vec<String> = set
            .chain([program.into()])
            .chain(arguments.iter().cloned())
            .map(|word| word.to_string_lossy().into_owned())
            .collect();
        Ok(Running {
            child,
            log,
            command: super::evidence::redact(words.iter().map(String::as_str)),
        })
    }

    /// The process ID.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The command line that started it, with the variables that were set for it.
    pub fn command(&self) -> &str {
        &self.command
    }

    /// What it has printed.
    pub fn output(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        // An error means that it was reaped, which only this object does.
        self.child.try_wait().ok().flatten()
    }

    /// Waits for its end; none if it still runs after `limit` or somebody asks to stop.
    pub fn wait(&mut self, stop: &Stop, limit: Duration) -> Option<ExitStatus> {
        let mut status = None;
        stop.wait(limit, || {
            status = self.ended();
            status.is_some()
        });
        status
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn signal(&self, signal: Signal) -> Result<(), ChildError> {
        let failed = |source| ChildError::System {
            what: "signal a child",
            source,
        };
        let pid = i32::try_from(self.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| failed(io::ErrorKind::InvalidInput.into()))?;
        kill_process(pid, signal).map_err(|errno| failed(errno.into()))
    }

    /// `kill -9`, and reaps it.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn kill(&mut self) -> Result<(), ChildError> {
        let failed = |source| ChildError::System {
            what: "kill a child",
            source,
        };
        self.child.kill().map_err(failed)?;
        self.child.wait().map_err(failed)?;
        Ok(())
    }

    /// Asks it to end with SIGTERM, and makes it after some seconds. How it ended.
    pub fn end(&mut self) -> Option<ExitStatus> {
        if let Some(status) = self.ended() {
            return Some(status);
        }
        // A child that cannot be asked is made to.
        let _ = self.signal(Signal::TERM);
        if let Some(status) = self.wait(&Stop::default(), POLITE_TIME_MAX) {
            return Some(status);
        }
        let _ = self.child.kill();
        self.child.wait().ok()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

/// The number of steps in a session's last words.
pub fn steps_in(output: &str) -> Option<f64> {
    let line = output
        .lines()
        .find_map(|line| line.strip_prefix("Steps:"))?;
    line.trim().parse().ok()
}

/// A configuration for a session that needs no file of candles and breaks no limit.
pub const SESSION_CONFIG: &str = r#"# Made for one verification: synthetic candles, so that no file of recorded ones is needed.
[environment]
mode = "paper"

[session]
symbol = "EUR/USD"
timeframe = "1h"

[feed]
source = "synthetic"
seed = 7

[risk]
max_order_notional = "1500"
max_total_exposure = "5000"
max_symbol_exposure = "2000"
max_open_positions = 5
max_daily_loss_abs = "500"
max_daily_loss_pct = 5.0

[telemetry]
mode = "B"

[run_log]
enabled = false
"#;

/// What a session is started with.
#[derive(Debug, Clone, Copy)]
pub struct SessionPlan<'a> {
    /// The program.
    pub program: &'a Path,
    /// The shard directory.
    pub shards: &'a Path,
    /// The configuration file; the made one if none.
    pub config: Option<&'a Path>,
    /// Candles per second.
    pub speed: u32,
    /// Wall time after which it ends.
    pub time: Duration,
}

impl SessionPlan<'_> {
    /// Starts it with its log, and the configuration that was made, in `folder`. The mode is left to the environment and the
    /// configuration: whether that is B is what is verified.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(&self, folder: &Path) -> Result<Running, ChildError> {
        let config = match self.config {
            Some(config) => config.to_owned(),
            None => {
                let path = folder.join("shadow-session.toml");
                fs::write(&path, SESSION_CONFIG).map_err(|source| ChildError::System {
                    what: "write the session's configuration",
                    source,
                })?;
                path
            }
        };
        let arguments: [OsString; 9] = [
            "--config".into(),
            config.into(),
            "--speed".into(),
            self.speed.to_string().into(),
            "--duration".into(),
            format!("{:.4}", self.time.as_secs_f64() / 60.0).into(),
            "--no-logging".into(),
            "--log-level".into(),
            "warn".into(),
        ];
        let variables = [
            (
                "PEAKTRADE_METRICS_MULTIPROC_DIR",
                Some(self.shards.as_os_str()),
            ),
            ("PROMETHEUS_MULTIPROC_DIR", None),
            ("prometheus_multiproc_dir", None),
        ];
        Running::start(
            self.program,
            &arguments,
            &variables,
            folder.join("session.log"),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_read_from_a_sessions_last_words() {
        assert_eq!(
            steps_in("x\nSteps:             4800\nFees: 1\n"),
            Some(4800.0)
        );
        assert_eq!(steps_in("no summary"), None);
    }
}
