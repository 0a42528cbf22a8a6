//! The accounts and permissions that units, sysusers and tmpfiles give: the daemon reads, absorbs and removes the shards of another account.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use xtask::child::{Running, eventually, free_port};
use xtask::scrape::get;
use xtask::tools;

use crate::unit::{self, Unit};

/// IDs that nobody here has.
const DAEMON: u32 = 64_201;
const SESSION: u32 = 64_202;
const SHARD_GROUP: u32 = 64_210;

#[test]
fn the_daemon_serves_and_retires_the_shards_of_another_account() -> Result<()> {
    const NAME: &str = "the_daemon_serves_and_retires_the_shards_of_another_account";
    if !rustix::process::geteuid().is_root() {
        tools::skip(NAME, "only root can start programs as other accounts");
        return Ok(());
    }
    if Command::new("setpriv").arg("--version").output().is_err() {
        tools::skip(NAME, "no setpriv, which Debian's package util-linux has");
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let root = folder.path();
    fs::set_permissions(root, Permissions::from_mode(0o755))?;
    unit::install_configurations(root)?;
    let (daemon, session) = (
        Unit::read("metricsd.service")?,
        Unit::read("shadow-session@.service")?,
    );
    let mut of_daemon = daemon.environment(root)?;
    let port = free_port()?;
    of_daemon.push(("PEAK_TRADE_METRICSD_PORT".to_owned(), port.to_string()));
    let of_session = session.environment(root)?;
    let shards = root.join("run/metricsd-shards");
    chown(&shards, Some(DAEMON), Some(SHARD_GROUP))?;
    fs::set_permissions(&shards, Permissions::from_mode(mode_of_directory()?))?;
    chown(root.join("var/lib/metricsd"), Some(DAEMON), Some(DAEMON))?;
    chown(
        root.join("var/lib/shadow-session/example"),
        Some(SESSION),
        Some(SESSION),
    )?;

    let _daemon = start(
        root,
        &daemon,
        DAEMON,
        &["--retire-after", "100ms"],
        &of_daemon,
    )?;
    eventually(Duration::from_secs(20), "metricsd to be ready", || {
        get(port, "/-/ready")
    })?;
    let running = start(root, &session, SESSION, &[], &of_session)?;
    let steps = || -> Result<String> {
        let page = get(port, "/metrics")?;
        let live = r#"metricsd_sessions{program="shadow-session",state="live"} 1"#;
        ensure!(
            page.contains(live),
            "no live session:\n{page}\n{}",
            running.output()
        );
        let served = page.lines().find(|line| line.starts_with("peaktrade_"));
        Ok(served.context("nothing of it is served")?.to_owned())
    };
    eventually(Duration::from_secs(30), "the session to be served", steps)?;
    drop(running);
    eventually(Duration::from_secs(30), "the shards to be absorbed", || {
        let left: Vec<_> = fs::read_dir(&shards)?.flatten().collect();
        ensure!(left.is_empty(), "still there: {left:?}");
        Ok(())
    })?;
    let page = get(port, "/metrics")?;
    ensure!(
        page.contains("\npeaktrade_"),
        "its totals are gone:\n{page}"
    );
    Ok(())
}

/// The mode that the shipped `tmpfiles.d` gives the directory.
fn mode_of_directory() -> Result<u32> {
    let text = fs::read_to_string(unit::folder().join("metricsd.tmpfiles.conf"))?;
    let line = text
        .lines()
        .find(|line| line.starts_with("d /run/metricsd-shards"));
    let mode = line
        .and_then(|line| line.split_whitespace().nth(2))
        .context("tmpfiles.d makes no shard directory")?;
    Ok(u32::from_str_radix(mode, 8)?)
}

/// Starts what a unit starts, as this account, with the unit's umask, groups and capabilities.
fn start(
    root: &Path,
    unit: &Unit,
    account: u32,
    flags: &[&str],
    variables: &[(String, String)],
) -> Result<Running> {
    let command = unit.command(root)?;
    // The build may be where no other account may go.
    let built = Path::new(&command[0]);
    let name = built.file_name().context("a program")?;
    let program = root.join(name);
    fs::copy(built, &program)?;
    let capabilities = match unit.one("CapabilityBoundingSet")? {
        "" => "-all".to_owned(),
        set => {
            ensure!(
                unit.one("AmbientCapabilities")? == set,
                "not ambient: {set}"
            );
            format!("-all,+{}", set.trim_start_matches("CAP_").to_lowercase())
        }
    };
    ensure!(unit.one("SupplementaryGroups")? == "metrics-shards");
    let script = r#"umask "$1"; shift; exec "$@""#;
    let mut words = vec!["-c".to_owned(), script.to_owned(), "sh".to_owned()];
    words.push(unit.one("UMask")?.to_owned());
    words.extend(["setpriv".to_owned(), "--no-new-privs".to_owned()]);
    words.push(format!("--reuid={account}"));
    words.push(format!("--regid={account}"));
    words.push(format!("--groups={SHARD_GROUP}"));
    words.push(format!("--inh-caps={capabilities}"));
    words.push(format!("--ambient-caps={capabilities}"));
    words.push(format!("--bounding-set={capabilities}"));
    words.push(program.to_string_lossy().into_owned());
    words.extend(command.iter().skip(1).cloned());
    words.extend(flags.iter().map(|&flag| flag.to_owned()));
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let variables: Vec<(&str, &str)> = variables
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let log = root.join(format!("{account}.log"));
    Running::start(Path::new("/bin/sh"), &words, &variables, &log)
}
