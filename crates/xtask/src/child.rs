//! Real child processes that are always ended, by their id, also when a check fails half way.

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

/// Variables that would change what our programs do; a child gets only those its test gives it.
const PRODUCT_VARIABLES: [&str; 9] = [
    "PEAKTRADE_METRICS_MODE",
    "PEAKTRADE_METRICS_MULTIPROC_DIR",
    "PROMETHEUS_MULTIPROC_DIR",
    "prometheus_multiproc_dir",
    "PEAK_TRADE_METRICSD_PORT",
    "PEAKTRADE_METRICS_PORT",
    "PEAK_TRADE_LIVE_ENABLED",
    "PEAK_TRADE_LIVE_ARMED",
    "PT_LIVE_CONFIRM_TOKEN",
];

/// A running child; killed and reaped when dropped.
#[derive(Debug)]
pub struct Running {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Running {
    /// Starts `program` with both of its output streams going to the file `log`.
    ///
    /// # Errors
    /// When the log cannot be created or the program cannot be started.
    pub fn start(
        program: &Path,
        arguments: &[&str],
        variables: &[(&str, &str)],
        log: &Path,
    ) -> Result<Running> {
        let output = File::create(log).with_context(|| format!("creating {}", log.display()))?;
        let mut command = Command::new(program);
        for variable in PRODUCT_VARIABLES {
            command.env_remove(variable);
        }
        command
            .args(arguments)
            .envs(variables.iter().copied())
            .current_dir(crate::workspace::root());
        command
            .stdin(Stdio::null())
            .stderr(output.try_clone().context("sharing the log file")?)
            .stdout(output);
        let child = command
            .spawn()
            .with_context(|| format!("starting {}", program.display()))?;
        let name = program
            .file_name()
            .map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        Ok(Running {
            name,
            child,
            log: log.to_owned(),
        })
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What the child has printed so far.
    pub fn output(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The exit status, if the child has ended.
    ///
    /// # Errors
    /// When the kernel cannot say.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.child
            .try_wait()
            .with_context(|| format!("asking for the state of {}", self.name))
    }

    /// Waits for the child to end by itself.
    ///
    /// # Errors
    /// When it is still running after `limit`.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            if Instant::now() > deadline {
                bail!(
                    "{} (pid {}) still runs after {limit:?}; it printed:\n{}",
                    self.name,
                    self.id(),
                    self.output()
                );
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Ends the child as `kill -9` does, and reaps it.
    ///
    /// # Errors
    /// When the signal cannot be sent or the child does not end.
    pub fn kill(&mut self) -> Result<ExitStatus> {
        self.child
            .kill()
            .with_context(|| format!("killing {}", self.name))?;
        self.wait(Duration::from_secs(10))
    }

    /// Asks the child to stop with SIGTERM and waits.
    ///
    /// # Errors
    /// When the signal cannot be sent or the child is still there after ten seconds.
    pub fn terminate(&mut self) -> Result<ExitStatus> {
        let pid = i32::try_from(self.id())
            .ok()
            .and_then(Pid::from_raw)
            .context("the child has no process id")?;
        kill_process(pid, Signal::TERM).with_context(|| format!("stopping {}", self.name))?;
        self.wait(Duration::from_secs(10))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // A child that has already ended answers with an error, which is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A loopback port that is free now. Another process may take it before it is used: callers start at once and report a busy port.
///
/// # Errors
/// When no port can be bound at all.
pub fn free_port() -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").context("binding a loopback port")?;
    Ok(listener
        .local_addr()
        .context("reading the bound address")?
        .port())
}

/// Waits until `check` gives a value.
///
/// # Errors
/// The last error of `check`, when `limit` has passed.
pub fn eventually<T>(
    limit: Duration,
    what: &str,
    mut check: impl FnMut() -> Result<T>,
) -> Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        match check() {
            Ok(value) => return Ok(value),
            Err(error) if Instant::now() > deadline => {
                return Err(error.context(format!("waited {limit:?} for: {what}")));
            }
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}
