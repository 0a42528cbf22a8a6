//! Real child processes that are always ended, by their id, also when a check fails half way, and by the kernel when whoever started
//! them is killed.
//!
//! Invariant: no child outlives the thread that started it. To ask the kernel for that is up to the child, and what is started here
//! does not know of us: the program `xtask` is started in its place, asks, and becomes it.

use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use rustix::process::{Pid, Signal, getppid, kill_process, set_parent_process_death_signal};

/// Variables that would change what our programs do; a child gets only those its test gives it.
const PRODUCT_VARIABLES: [&str; 19] = [
    "PEAKTRADE_METRICS_MODE",
    "PEAKTRADE_METRICS_MULTIPROC_DIR",
    "PROMETHEUS_MULTIPROC_DIR",
    "prometheus_multiproc_dir",
    "PEAK_TRADE_METRICSD_PORT",
    "PEAKTRADE_METRICS_PORT",
    "STATE_DIRECTORY",
    "PEAK_TRADE_LIVE_ENABLED",
    "PEAK_TRADE_LIVE_ARMED",
    "PT_LIVE_CONFIRM_TOKEN",
    "EODHD_API_TOKEN",
    "EODHD_BASE_URL",
    "GTW_HOST",
    "GTW_PORT",
    "HUB_HOST",
    "HUB_PORT",
    "METRICS_PORT",
    "SENTINEL_CALENDAR",
    "SENTINEL_STATE_DIR",
];

/// The word before `PARENT PROGRAM ARGUMENTS...` on a command line of `xtask` that is not for people: become that program, which the
/// kernel ends with the process PARENT.
pub const GUARDED: &str = "guarded-by";

/// Becomes the program that the words name. Gives what kept it from that.
pub fn become_guarded_program(words: &[String]) -> anyhow::Error {
    let [parent, program, arguments @ ..] = words else {
        return anyhow!("{GUARDED}: expected PARENT PROGRAM ARGUMENTS...");
    };
    if let Err(error) = set_parent_process_death_signal(Some(Signal::KILL)) {
        return anyhow!(error).context("asking to be ended with the parent");
    }
    // Whoever started us may have gone before we asked; then somebody else is the parent.
    let now = getppid().map_or(0, |parent| parent.as_raw_nonzero().get());
    if now.to_string() != *parent {
        return anyhow!("{program}: not started, because process {parent} that wanted it is gone");
    }
    let error = Command::new(program).args(arguments).exec();
    anyhow!(error).context(format!("starting {program}"))
}

/// A running child; killed and reaped when dropped.
#[derive(Debug)]
pub struct Running {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Running {
    /// Starts `program` with both of its output streams going to the file `log`. It ends with the calling thread at the latest.
    ///
    /// # Errors
    /// When the log cannot be created, or `xtask`, which starts the program, cannot be started. A program that cannot be started is
    /// a child that ends at once, with the reason in the log.
    pub fn start(
        program: &Path,
        arguments: &[&str],
        variables: &[(&str, &str)],
        log: &Path,
    ) -> Result<Running> {
        let output = File::create(log).with_context(|| format!("creating {}", log.display()))?;
        let mut command = Command::new(crate::workspace::program("xtask")?);
        command
            .args([GUARDED, &std::process::id().to_string()])
            .arg(program);
        for variable in PRODUCT_VARIABLES {
            command.env_remove(variable);
        }
        command
            .args(arguments)
            .envs(variables.iter().copied())
            .current_dir(crate::workspace::root());
        command
            // Ctrl-C at a terminal is for us alone, who end the children in order: to some of them a second signal means at once.
            .process_group(0)
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

    /// The file name of its program.
    pub fn name(&self) -> &str {
        &self.name
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

/// A flag that Ctrl-C and SIGTERM set: whoever looks at it ends in order, with its children.
///
/// # Errors
/// When the signals cannot be watched for.
pub fn watch_for_interrupts() -> Result<Arc<AtomicBool>> {
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&interrupted))
            .context("watching for Ctrl-C")?;
    }
    Ok(interrupted)
}

/// A loopback port that is free now. Another process may take it before it is used: callers start at once and report a busy port.
///
/// # Errors
/// When no port can be bound at all.
pub fn free_port() -> Result<u16> {
    stand_in::free_port().context("no loopback port from 12000 to 31999 is free")
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
