//! The units: systemd accepts them and finds them hardened, and the real programs do with their flags and configurations what they say.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use xtask::child::{Running, eventually, free_port};
use xtask::{tools, workspace};

use crate::unit::{self, UNITS, Unit};

/// The most exposure that each unit may have, in the tenths of `systemd-analyze security --threshold`. Releases of systemd do not count alike.
const EXPOSURE_MAX: [(&str, &str); 4] = [
    ("metricsd.service", "20"),
    ("shadow-session@.service", "12"),
    ("sentinel.service", "18"),
    ("alertbridge.service", "18"),
];

/// The release of which `docs/deployment.md` has the figures.
const MEASURED_WITH: &str = "systemd 252 ";

fn systemd_analyze(test: &str) -> Option<(Command, String)> {
    match Command::new("systemd-analyze").arg("--version").output() {
        Ok(output) if output.status.success() => Some((
            Command::new("systemd-analyze"),
            String::from_utf8_lossy(&output.stdout).into_owned(),
        )),
        _ => {
            tools::skip(
                test,
                "no systemd-analyze, which Debian's package systemd has",
            );
            None
        }
    }
}

#[test]
fn systemd_finds_nothing_wrong_in_any_unit() -> Result<()> {
    const NAME: &str = "systemd_finds_nothing_wrong_in_any_unit";
    let Some((mut verify, _)) = systemd_analyze(NAME) else {
        return Ok(());
    };
    let folder = tempfile::tempdir()?;
    verify.args(["verify", "--man=no", "--recursive-errors=no"]);
    for (unit, program) in UNITS {
        // It looks whether the programs are there.
        let built = workspace::program(program)?;
        let text = fs::read_to_string(unit::folder().join(unit))?
            .replace(&format!("/usr/bin/{program}"), &built.to_string_lossy());
        let instance = unit.replace('@', "@example");
        fs::write(folder.path().join(&instance), text)?;
        verify.arg(folder.path().join(instance));
    }
    let output = verify.output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    let ours: Vec<&str> = said
        .lines()
        .filter(|line| UNITS.iter().any(|(_, program)| line.contains(program)))
        .collect();
    // An unknown key is a warning to it, and a hole in the sandbox to us.
    ensure!(ours.is_empty(), "systemd-analyze verify:\n{said}");
    Ok(())
}

#[test]
fn every_unit_is_as_hardened_as_the_page_says() -> Result<()> {
    const NAME: &str = "every_unit_is_as_hardened_as_the_page_says";
    let page = fs::read_to_string(workspace::root().join("docs/deployment.md"))?;
    for (unit, most) in EXPOSURE_MAX {
        let Some((mut security, version)) = systemd_analyze(NAME) else {
            return Ok(());
        };
        let output = security
            .args(["security", "--offline=yes", "--no-pager", "--threshold"])
            .arg(most)
            .arg(unit::folder().join(unit))
            .output()?;
        let said = String::from_utf8_lossy(&output.stdout);
        ensure!(output.status.success(), "{unit} is exposed:\n{said}");
        if version.starts_with(MEASURED_WITH) {
            let figure = said
                .lines()
                .rev()
                .find_map(|line| {
                    line.split_once("Overall exposure level for ")?
                        .1
                        .split_once(": ")
                })
                .and_then(|(_, rest)| rest.split_whitespace().next())
                .context("no overall figure")?;
            let row = format!("| `{unit}` | {figure} |");
            ensure!(page.contains(&row), "docs/deployment.md lacks `{row}`");
        }
    }
    Ok(())
}

#[test]
fn every_program_runs_with_the_flags_and_the_configuration_of_its_unit() -> Result<()> {
    for (name, program) in UNITS {
        let folder = tempfile::tempdir()?;
        let unit = Unit::read(name)?;
        unit::install_configurations(folder.path())?;
        let command = unit.command(folder.path())?;
        let socket = folder.path().join("notify");
        let manager = UnixDatagram::bind(&socket)?;
        manager.set_read_timeout(Some(Duration::from_millis(200)))?;
        let mut variables = unit.environment(folder.path())?;
        let mut add = |name: &str, value: String| variables.push((name.to_owned(), value));
        // The ports of the units may be taken here, and no feed is asked.
        add("PEAK_TRADE_METRICSD_PORT", free_port()?.to_string());
        add("METRICS_PORT", free_port()?.to_string());
        add("ALERTBRIDGE_LISTEN", format!("127.0.0.1:{}", free_port()?));
        add("EODHD_BASE_URL", "http://127.0.0.1:9/api".to_owned());
        add("NOTIFY_SOCKET", socket.to_string_lossy().into_owned());
        if !unit.all("WatchdogSec").is_empty() {
            add("WATCHDOG_USEC", "30000000".to_owned());
        }
        let variables: Vec<(&str, &str)> = variables
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let words: Vec<&str> = command.iter().skip(1).map(String::as_str).collect();
        let mut running = Running::start(
            command[0].as_ref(),
            &words,
            &variables,
            &folder.path().join("log"),
        )?;
        match unit.one("Type")? {
            "notify" => hear(&manager, "READY=1", &mut running)?,
            "exec" => eventually(Duration::from_secs(20), "a shard of the session", || {
                let shards = fs::read_dir(folder.path().join("run/metricsd-shards"))?;
                ensure!(shards.count() > 0, "{name}:\n{}", running.output());
                Ok(())
            })?,
            other => bail!("{name}: nobody looks whether Type={other} is true"),
        }
        if !unit.all("WatchdogSec").is_empty() {
            hear(&manager, "WATCHDOG=1", &mut running)?;
        }
        ensure!(
            running.ended()?.is_none(),
            "{program} has ended:\n{}",
            running.output()
        );
    }
    Ok(())
}

/// Waits until the program tells the service manager this.
fn hear(manager: &UnixDatagram, word: &str, running: &mut Running) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(30);
    let mut message = [0_u8; 4096];
    while Instant::now() < deadline {
        if let Ok(len) = manager.recv(&mut message)
            && String::from_utf8_lossy(&message[..len])
                .lines()
                .any(|line| line == word)
        {
            return Ok(());
        }
        if let Some(status) = running.ended()? {
            bail!("ended with {status}:\n{}", running.output());
        }
    }
    bail!("no {word}:\n{}", running.output())
}
