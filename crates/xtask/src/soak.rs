//! `cargo xtask soak`: builds the soak, which stays out of the default build, and runs it with the real peer over pyzmq.

use std::process::{Command, ExitStatus};

use anyhow::{Context, Result, bail};

use crate::{tools, workspace};

/// Runs it with these words of the command line; how it ended.
///
/// # Errors
/// When there is no Python with pyzmq, or the soak cannot be built or started.
pub fn run(words: &[&str]) -> Result<ExitStatus> {
    tools::install_gateway().context("Python's pyzmq")?;
    let Some(python) = tools::gateway_python() else {
        bail!("the soak needs a Python with pyzmq, which is missing")
    };
    workspace::run(&mut workspace::cargo(&[
        "build",
        "--release",
        "--package",
        "soak",
    ]))?;
    Command::new(workspace::program("soak")?)
        .arg("run")
        .args(words)
        .arg("--python")
        .arg(python)
        .arg("--folder")
        .arg(workspace::target_dir().join("soak"))
        .current_dir(workspace::root())
        .status()
        .context("starting the soak")
}
