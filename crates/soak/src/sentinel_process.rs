//! The sentinel as a child process: one line asks it for something, one line says what it did; it can be killed at any moment.
//!
//! Invariant: whoever waits for a line has a limit, and a child that ended in a way that nobody ordered is an error, never a restart. A dropped
//! child has ended.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

/// Longest wait for an answer in the machine's time: far beyond all budgets together, so that only a child that hangs reaches it.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// What the child says of itself after each thing that it was asked for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Said {
    /// `active`, `reducing` or `halted`.
    pub trading: String,
    /// Orders whose outcome is not known.
    pub open: usize,
    /// Orders that the broker has and has not executed.
    pub placed: usize,
    /// Whether open orders and the position are known to be what the gateway says.
    pub is_reconciled: bool,
    /// Net lots that its own executions lead to, once it is known.
    pub position: Option<String>,
}

/// What is asked of the child.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// One cycle.
    Cycle,
    /// Signs of life, as while the loop waits; that many.
    Beats(u32),
    /// Kill yourself right behind the next time that this step of an order was made; none: do not.
    DieAt(Option<String>),
    /// End.
    Quit,
}

/// What came of asking.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// It did it.
    Did(Said),
    /// It was killed.
    Died,
}

/// How to start the child.
#[derive(Debug, Clone)]
pub struct Launch {
    /// The program `soak`.
    pub program: PathBuf,
    /// The configuration of the sentinel.
    pub config: PathBuf,
    /// The file of the simulated time.
    pub clock: PathBuf,
    /// Where it logs.
    pub log: PathBuf,
    /// Variables of the sentinel.
    pub variables: Vec<(String, String)>,
}

/// A running child.
#[derive(Debug)]
pub struct Sentinel {
    child: Child,
    input: ChildStdin,
    lines: Receiver<String>,
    /// What it said last.
    pub said: Said,
}

impl Sentinel {
    /// Starts it and waits until it is ready; `None` when it was killed before.
    ///
    /// # Errors
    /// It does not start.
    pub fn start(launch: &Launch) -> Result<Option<Sentinel>> {
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(&launch.log)
            .context("the log of the sentinel")?;
        let mut command = Command::new(&launch.program);
        command
            .args(["child", "--parent", &std::process::id().to_string()])
            .arg("--config")
            .arg(&launch.config)
            .arg("--clock")
            .arg(&launch.clock);
        let mut child = command
            // What is set for the person who runs this is not set for the sentinel.
            .env_clear()
            .envs(launch.variables.iter().cloned())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .context("starting the sentinel")?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            bail!("a piped child without pipes");
        };
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let mut sentinel = Sentinel {
            child,
            input,
            lines,
            said: Said::default(),
        };
        Ok(match sentinel.answer()? {
            Answer::Did(_) => Some(sentinel),
            Answer::Died => None,
        })
    }

    /// Its process.
    pub fn id(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// It hangs, ended by itself, or says what cannot be read.
    pub fn ask(&mut self, request: &Request) -> Result<Answer> {
        let line = serde_json::to_string(request).context("a request")?;
        // One that was killed meanwhile reads nothing; that is found below.
        let _ = writeln!(self.input, "{line}").and_then(|()| self.input.flush());
        self.answer()
    }

    /// The kill switch.
    ///
    /// # Errors
    /// There is no such process any more.
    pub fn signal_kill_switch(&self) -> Result<()> {
        kill_process(self.id(), Signal::USR1).context("signalling the sentinel")
    }

    /// Ends it by its own end.
    ///
    /// # Errors
    /// It does not end well.
    pub fn quit(mut self) -> Result<()> {
        let line = serde_json::to_string(&Request::Quit).context("a request")?;
        let _ = writeln!(self.input, "{line}");
        match self.lines.recv_timeout(ANSWER_MAX) {
            Err(RecvTimeoutError::Disconnected) => {}
            other => bail!("the sentinel does not end: {other:?}"),
        }
        let status = self.child.wait().context("waiting for the sentinel")?;
        ensure!(status.success(), "the sentinel ended with {status}");
        Ok(())
    }

    fn answer(&mut self) -> Result<Answer> {
        match self.lines.recv_timeout(ANSWER_MAX) {
            Ok(line) => {
                let said: Said = serde_json::from_str(&line)
                    .with_context(|| format!("the sentinel said '{line}'"))?;
                self.said = said.clone();
                Ok(Answer::Did(said))
            }
            Err(RecvTimeoutError::Timeout) => bail!("the sentinel hangs; see sentinel.log"),
            Err(RecvTimeoutError::Disconnected) => {
                let status = self.child.wait().context("waiting for the sentinel")?;
                ensure!(
                    status.signal() == Some(Signal::KILL.as_raw()),
                    "the sentinel ended by itself with {status}; see sentinel.log"
                );
                Ok(Answer::Died)
            }
        }
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Kills a process after a while, unless it is told in time that this is not wanted any more.
#[derive(Debug)]
pub struct Assassin {
    cancel: Sender<()>,
    thread: JoinHandle<()>,
}

impl Assassin {
    /// From now on. The process is held by a descriptor, so that no other one is ever hit.
    ///
    /// # Errors
    /// The process is not there.
    pub fn after(time: Duration, victim: Pid) -> Result<Assassin> {
        let victim = pidfd_open(victim, PidfdFlags::empty()).context("a handle of the sentinel")?;
        let (cancel, cancelled) = channel();
        let thread = std::thread::spawn(move || {
            if cancelled.recv_timeout(time) == Err(RecvTimeoutError::Timeout) {
                let _ = pidfd_send_signal(&victim, Signal::KILL);
            }
        });
        Ok(Assassin { cancel, thread })
    }

    /// Not wanted any more.
    pub fn cancel(self) {
        let _ = self.cancel.send(());
        let _ = self.thread.join();
    }
}
