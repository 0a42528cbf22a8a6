//! Where the checkout, its build output and its programs are, whatever directory the command was started from.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// The root of the checkout. Known at compile time, so every command works from any directory below or beside it.
pub fn root() -> &'static Path {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.ancestors().nth(2).unwrap_or(manifest)
}

/// Where cargo puts what it builds: `$CARGO_TARGET_DIR`, else `target` in the checkout.
pub fn target_dir() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => root().join(dir),
        None => root().join("target"),
    }
}

/// Files of these commands that outlive a run: the virtual environment and the unpacked tools.
pub fn tool_dir() -> PathBuf {
    target_dir().join("xtask")
}

/// The path of one of our programs: beside the running executable, where cargo put it in the same build.
///
/// # Errors
/// When it has not been built.
pub fn program(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe().context("finding the running executable")?;
    // A test executable lies in `<profile>/deps`, a program in `<profile>`.
    for folder in own.ancestors().skip(1).take(2) {
        let candidate = folder.join(name);
        if candidate.is_file() {
            return Ok(candidate);
        }
    }
    bail!(
        "{name} is not built beside {}; run `cargo build --release` first",
        own.display()
    )
}

/// A cargo command in the root of the checkout, with the same cargo that runs us.
pub fn cargo(arguments: &[&str]) -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(arguments).current_dir(root());
    command
}

/// Runs a command to its end, showing its output.
///
/// # Errors
/// When it cannot be started or ends with another status than 0; the sentence names the command.
pub fn run(command: &mut Command) -> Result<()> {
    let shown = format!("{command:?}");
    let status = command
        .status()
        .with_context(|| format!("starting {shown}"))?;
    if !status.success() {
        bail!("{shown} ended with {status}");
    }
    Ok(())
}
