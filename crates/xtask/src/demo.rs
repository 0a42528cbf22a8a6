//! `cargo xtask demo`: the product in two minutes. Builds, starts metricsd, runs a paper session over recorded candles, kills it with -9 half
//! way, shows that everything counted is still served, and runs a second session to its end. Lets the sentinel trade against the paper gateway
//! and shows that book, metrics and audit agree; by then the shards of both sessions are absorbed, and no total moved. Stays up for a look.
//!
//! Every claim that it prints is checked; a broken one ends the demo with exit code 1.

mod agreement;
pub(crate) mod trading;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::child::{Running, eventually, watch_for_interrupts};
use crate::run_folder::{RunFolder, usual_or_free_port};
use crate::scrape::{Scrape, get, scrape};
use crate::terminal::{OutputError, say};
use crate::{tools, workspace};

/// When the demo ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Stays up until Ctrl-C.
    OnInterrupt,
    /// Ends when all is shown.
    ByItself,
}

/// The port that Prometheus configurations expect; another free one is used when it is taken.
const USUAL_PORT: u16 = 9111;
/// Candles a second of the first session: slow enough to watch, and to be killed in the middle of the year.
const WATCHABLE_SPEED: &str = "400";
/// Where the first session is killed: about half of the 6,225 shipped hours.
const KILL_AFTER_STEPS: f64 = 2500.0;
/// Ten seconds after its process ended a shard is absorbed; a busy machine gets some more.
const RETIREMENT_TIME_MAX: Duration = Duration::from_secs(60);
const STEPS: &str = "shadow_session_steps_total";

/// Where the programs come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Programs {
    /// They are built first.
    Build,
    /// They lie beside this one: the tests have built them, with other features of some dependencies, so that building them here
    /// would build half of everything again.
    AsBuilt,
}

/// Builds these packages as a user would.
pub(crate) fn build(packages: &[&str]) -> Result<()> {
    tools::require_cpp()?;
    headline("building (the first time takes some minutes)")?;
    let mut command = workspace::cargo(&["build", "--release", "--locked"]);
    for package in packages {
        command.args(["--package", package]);
    }
    workspace::run(&mut command)
}

/// Runs the demo.
///
/// # Errors
/// When something cannot be built or started, or a claim does not hold.
pub fn run(ending: Ending, programs: Programs) -> Result<()> {
    let interrupted = watch_for_interrupts()?;
    if programs == Programs::Build {
        build(&["metricsd", "shadow-session", "sentinel"])?;
    }
    let stage = Stage::prepare()?;

    headline("metricsd owns the port; sessions never bind one")?;
    let mut daemon = stage.start_daemon()?;
    say(format_args!(
        "   http://127.0.0.1:{}/metrics is served by pid {}",
        stage.port,
        daemon.id()
    ))?;

    let before_kill = watch_and_kill(&stage, &interrupted)?;
    let after_kill = scrape(stage.port)?;
    headline("the session is dead; what it counted is not")?;
    show(&after_kill)?;
    nothing_went_back(&before_kill, &after_kill)?;
    say(format_args!(
        "   checked: {} counting series, none is missing or smaller than before the kill",
        before_kill.growing().count()
    ))?;

    headline("a second session runs to the end of the year")?;
    let summary = stage.run_second_session(&interrupted)?;
    say(&summary)?;
    let end = scrape(stage.port)?;
    nothing_went_back(&after_kill, &end)?;
    let steps = summary_number(&summary, "Steps").context("the summary has no line 'Steps'")?;
    let (first, both) = (
        after_kill.total(STEPS).unwrap_or(0.0),
        end.total(STEPS).unwrap_or(0.0),
    );
    ensure!(
        both == first + steps,
        "{STEPS} is {both} where {first} of the killed session and {steps} of the second one were expected"
    );
    say(format_args!(
        "   checked: {STEPS} = {first} (killed session) + {steps} (second session) = {both}"
    ))?;
    ensure!(
        daemon.ended()?.is_none(),
        "metricsd ended by itself; it printed:\n{}",
        daemon.output()
    );

    // Ten seconds pass before the shards are absorbed; the sentinel needs about as long.
    let mut trading = trading::Trading::start(stage.folder.path(), &interrupted)?;
    trading.compare()?;

    watch_retirement(&stage, &end, &interrupted)?;
    ensure!(
        daemon.ended()?.is_none(),
        "metricsd ended by itself; it printed:\n{}",
        daemon.output()
    );

    where_to_look(&stage, &trading)?;
    if ending == Ending::OnInterrupt {
        say(format_args!(
            "\n   The sentinel goes on trading on paper. Ctrl-C ends the demo."
        ))?;
        stay_up(&mut daemon, &mut trading, &interrupted)?;
    }
    trading.end()?;
    let status = daemon.terminate()?;
    ensure!(status.success(), "metricsd answered SIGTERM with {status}");
    Ok(())
}

/// Until Ctrl-C.
fn stay_up(
    daemon: &mut Running,
    trading: &mut trading::Trading,
    interrupted: &AtomicBool,
) -> Result<()> {
    while !interrupted.load(Ordering::Relaxed) {
        if let Some(status) = daemon.ended()? {
            bail!(
                "metricsd ended with {status}; it printed:\n{}",
                daemon.output()
            );
        }
        trading.go_on()?;
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

/// The folder, port and programs of one run of the demo.
struct Stage {
    /// Held for the length of the demo.
    folder: RunFolder,
    shards: PathBuf,
    /// Where metricsd keeps what ended sessions counted.
    state: PathBuf,
    port: u16,
    metricsd: PathBuf,
    session: PathBuf,
}

impl Stage {
    fn prepare() -> Result<Stage> {
        let folder =
            RunFolder::claim("demo", &["prom_multiproc", "state", "live_runs", "trading"])?;
        let (shards, state) = (
            folder.path().join("prom_multiproc"),
            folder.path().join("state"),
        );
        let port = usual_or_free_port(USUAL_PORT)?;
        let (metricsd, session) = (
            workspace::program("metricsd")?,
            workspace::program("shadow-session")?,
        );
        Ok(Stage {
            folder,
            shards,
            state,
            port,
            metricsd,
            session,
        })
    }

    fn start_daemon(&self) -> Result<Running> {
        let port = self.port.to_string();
        let arguments = [
            "serve",
            "--port",
            &port,
            "--multiproc-dir",
            text(&self.shards)?,
            "--state-dir",
            text(&self.state)?,
        ];
        let mut daemon = Running::start(
            &self.metricsd,
            &arguments,
            &[],
            &self.folder.path().join("metricsd.log"),
        )?;
        eventually(Duration::from_secs(10), "metricsd to be ready", || {
            if let Some(status) = daemon.ended()? {
                bail!(
                    "metricsd ended with {status}; it printed:\n{}",
                    daemon.output()
                );
            }
            get(self.port, "/-/ready")
        })?;
        Ok(daemon)
    }

    /// How many shards lie in the directory, retiring ones too.
    fn shard_count(&self) -> Result<usize> {
        let entries = fs::read_dir(&self.shards)
            .with_context(|| format!("listing {}", self.shards.display()))?;
        let is_shard = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().contains(".db");
        Ok(entries.flatten().filter(is_shard).count())
    }

    fn start_session(&self, name: &str, speed: &str) -> Result<Running> {
        let runs = self.folder.path().join("live_runs");
        let arguments = [
            "--config",
            "config/shadow-session.toml",
            "--strategy",
            "ma_crossover",
            "--speed",
            speed,
            "--log-dir",
            text(&runs)?,
        ];
        let variables = [
            ("PEAKTRADE_METRICS_MODE", "B"),
            ("PEAKTRADE_METRICS_MULTIPROC_DIR", text(&self.shards)?),
        ];
        Running::start(
            &self.session,
            &arguments,
            &variables,
            &self.folder.path().join(format!("{name}.log")),
        )
    }

    /// Runs a session from the first candle to the last and gives its summary.
    fn run_second_session(&self, interrupted: &AtomicBool) -> Result<String> {
        let mut session = self.start_session("session-2", "max")?;
        let status = loop {
            if let Some(status) = session.ended()? {
                break status;
            }
            ensure!(!interrupted.load(Ordering::Relaxed), "interrupted");
            std::thread::sleep(Duration::from_millis(20));
        };
        ensure!(
            status.success(),
            "the session ended with {status}; it printed:\n{}",
            session.output()
        );
        let output = session.output();
        // The log lines come before; the summary begins with the steps.
        let start = output
            .lines()
            .position(|line| line.trim_start().starts_with("Steps"))
            .context("the session printed no summary")?;
        Ok(output
            .lines()
            .skip(start)
            .map(|line| format!("   {line}\n"))
            .collect())
    }
}

/// Shows a session at work, then ends it as the kernel ends a process that is out of memory. Gives the last scrape before the kill.
fn watch_and_kill(stage: &Stage, interrupted: &AtomicBool) -> Result<Scrape> {
    headline(
        "a paper session trades the EURUSD hours of 2017 (recorded candles, no order API in the program)",
    )?;
    let mut session = stage.start_session("session-1", WATCHABLE_SPEED)?;
    say(format_args!(
        "   pid {}, {WATCHABLE_SPEED} candles a second; it listens on nothing and writes to {}",
        session.id(),
        stage.shards.display()
    ))?;
    let mut pauses = 0_u32;
    loop {
        std::thread::sleep(Duration::from_millis(250));
        ensure!(!interrupted.load(Ordering::Relaxed), "interrupted");
        if let Some(status) = session.ended()? {
            bail!(
                "the session ended with {status} before it was killed; it printed:\n{}",
                session.output()
            );
        }
        let now = scrape(stage.port)?;
        if pauses.is_multiple_of(4) {
            progress(&now)?;
        }
        pauses += 1;
        if now
            .total(STEPS)
            .is_some_and(|steps| steps >= KILL_AFTER_STEPS)
        {
            show(&now)?;
            let before = scrape(stage.port)?;
            headline(&format!("kill -9 {}", session.id()))?;
            session.kill()?;
            return Ok(before);
        }
        ensure!(
            pauses < 400,
            "the session makes no progress; it printed:\n{}",
            session.output()
        );
    }
}

/// Waits until metricsd has absorbed the shards of both sessions, and compares.
fn watch_retirement(stage: &Stage, end: &Scrape, interrupted: &AtomicBool) -> Result<()> {
    headline(
        "ten seconds after the sessions ended, metricsd absorbs their shards into its state directory",
    )?;
    if end.total("metricsd_retirement_enabled") != Some(1.0) {
        say(
            "   not on this file system, as the log of metricsd says: the shards stay, and so do the totals",
        )?;
        return Ok(());
    }
    let before = stage.shard_count()?;
    let deadline = Instant::now() + RETIREMENT_TIME_MAX;
    while stage.shard_count()? > 0 {
        ensure!(!interrupted.load(Ordering::Relaxed), "interrupted");
        ensure!(
            Instant::now() < deadline,
            "{} shards of ended sessions are still there after {RETIREMENT_TIME_MAX:?}",
            stage.shard_count()?
        );
        std::thread::sleep(Duration::from_millis(100));
    }
    let now = scrape(stage.port)?;
    nothing_went_back(end, &now)?;
    for (series, was) in end.growing().filter(|(series, _)| is_of_a_session(series)) {
        let is = now.samples.get(series).copied();
        ensure!(
            is == Some(was),
            "{series} was {was} and is {is:?}, though nobody counts"
        );
    }
    say(format_args!(
        "   checked: {before} shards are gone from {}, and every total is what it was",
        stage.shards.display()
    ))?;
    Ok(())
}

/// Whether a series is of the sessions, and not of metricsd itself.
fn is_of_a_session(series: &str) -> bool {
    !series.starts_with("metricsd_") && !series.starts_with("process_")
}

fn progress(now: &Scrape) -> Result<(), OutputError> {
    let sum = |name: &str| now.total(name).unwrap_or(0.0);
    let equity = now
        .of("shadow_session_equity_ratio")
        .next()
        .map_or(1.0, |(_, value)| value);
    say(format_args!(
        "   candle {:>5}   signals {:>3}   fills {:>3}   risk checks {:>3}   equity {:.4} of the start",
        sum(STEPS),
        sum("peaktrade_strategy_signals_total"),
        sum("shadow_session_fills_total"),
        sum("peaktrade_risk_checks_total"),
        equity
    ))?;
    Ok(())
}

/// Prints the strategy and risk series, as `curl` would show them.
fn show(now: &Scrape) -> Result<(), OutputError> {
    for (series, value) in now
        .samples
        .iter()
        .filter(|(series, value)| series.starts_with("peaktrade_") && **value != 0.0)
    {
        say(format_args!("   {series} {value}"))?;
    }
    Ok(())
}

fn nothing_went_back(earlier: &Scrape, later: &Scrape) -> Result<()> {
    for (series, was) in earlier
        .growing()
        .filter(|(series, _)| is_of_a_session(series))
    {
        match later.samples.get(series) {
            None => bail!("{series} was {was} and is gone"),
            Some(is) if *is < was => bail!("{series} was {was} and is {is}"),
            Some(_) => {}
        }
    }
    Ok(())
}

fn where_to_look(stage: &Stage, trading: &trading::Trading) -> Result<()> {
    headline("where to look")?;
    say(format_args!(
        "   curl -s http://127.0.0.1:{}/metrics | grep ^peaktrade_",
        stage.port
    ))?;
    say(format_args!(
        "   http://127.0.0.1:{}/ in a browser",
        stage.port
    ))?;
    for words in trading.where_to_look()? {
        say(format_args!("   {words}"))?;
    }
    say(format_args!("   shards:   {}", stage.shards.display()))?;
    say(format_args!(
        "   run logs: {}",
        stage.folder.path().join("live_runs").display()
    ))?;
    say(format_args!(
        "   output:   {}, and {} of sentinel and gateway",
        stage.folder.path().join("metricsd.log").display(),
        stage.folder.path().join("trading").display()
    ))?;
    say(format_args!(
        "   totals of ended sessions: {}",
        stage.state.display()
    ))?;
    say(format_args!(
        "   Prometheus: ops/prometheus/prometheus.yml scrapes port {USUAL_PORT}"
    ))?;
    Ok(())
}

/// The number in the summary line that begins with `name`.
fn summary_number(summary: &str, name: &str) -> Option<f64> {
    let line = summary
        .lines()
        .find(|line| line.trim_start().starts_with(name))?;
    line.split_whitespace()
        .find_map(|word| word.replace(',', "").parse().ok())
}

pub(crate) fn text(path: &Path) -> Result<&str> {
    path.to_str()
        .with_context(|| format!("{} is not UTF-8", path.display()))
}

pub(crate) fn headline(words: &str) -> Result<(), OutputError> {
    say(format_args!("\n== {words}"))
}
