//! `cargo xtask test`: installs the judges, runs every stage even when one fails, and closes with the counts of the test runners.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::terminal::{OutputError, say};
use crate::{tools, workspace};

/// How long the storms (kills, forks, races) are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// Sized for a commit: minutes on two cores.
    Short,
    /// At full length.
    Long,
}

/// What the test runners said, added up.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    passed: u64,
    failed: u64,
    skipped: u64,
}

/// Runs all stages.
///
/// # Errors
/// When there is no C++ compiler to build with, or when a stage failed, after all of them have run.
pub fn run(length: Length) -> Result<()> {
    tools::require_cpp()?;
    let skips = workspace::tool_dir().join("skips");
    fs::create_dir_all(workspace::tool_dir())
        .with_context(|| format!("creating {}", workspace::tool_dir().display()))?;
    fs::write(&skips, "").with_context(|| format!("writing {}", skips.display()))?;
    let mut missing = tools::install();
    let path = tools::search_path().context("putting the unpacked tools on the path")?;

    let mut counts = Counts::default();
    let mut failed_stages = Vec::new();
    for (name, mut command) in stages(length) {
        say(format_args!("\n== {name}"))?;
        if let Some(sentence) = tools::missing_component(&command) {
            say(format_args!("== {name}: skipped, {sentence}"))?;
            missing.push(format!("{name}: {sentence}"));
            counts.skipped += 1;
            continue;
        }
        let started = Instant::now();
        command
            .env("METRICSD_TEST_SKIPS", &skips)
            .env("PATH", &path);
        // Where cargo's target directory is elsewhere, the tests would not find the interpreters by themselves.
        if let Some(python) = tools::python() {
            command.env("METRICSD_TEST_PYTHON", python);
        }
        if let Some(python) = tools::mlflow_python() {
            command.env("METRICSD_TEST_MLFLOW_PYTHON", python);
        }
        if let Some(python) = tools::gateway_python() {
            command.env("METRICSD_TEST_GATEWAY_PYTHON", python);
        }
        if let Some(python) = tools::training_python() {
            command.env("METRICSD_TEST_TRAINING_PYTHON", python);
        }
        match run_counting(&mut command, &mut counts) {
            Ok(true) => {}
            Ok(false) => failed_stages.push(name),
            Err(error) if error.is::<OutputError>() => return Err(error),
            // A command that cannot be started must not hide what the later ones say.
            Err(error) => {
                say(format_args!("== {name}: {error:#}"))?;
                failed_stages.push(name);
            }
        }
        say(format_args!("== {name}: {} s", started.elapsed().as_secs()))?;
    }

    say("")?;
    for sentence in missing
        .iter()
        .map(String::as_str)
        .chain(read_skips(&skips)?.lines())
    {
        say(format_args!("skipped: {sentence}"))?;
    }
    counts.skipped += read_skips(&skips)?.lines().count() as u64;
    if !failed_stages.is_empty() {
        say(format_args!("failed: {}", failed_stages.join(", ")))?;
        // A stage without tests of its own (format, lints) that failed must show in the counts too.
        counts.failed = counts.failed.max(failed_stages.len() as u64);
    }
    say(format_args!(
        "{} passed, {} failed, {} skipped",
        counts.passed, counts.failed, counts.skipped
    ))?;
    if counts.failed > 0 {
        bail!("the tests do not pass");
    }
    Ok(())
}

/// Each stage is one command. All but the model check share the build output of the release profile.
fn stages(length: Length) -> Vec<(&'static str, Command)> {
    let mut tests = workspace::cargo(&["test", "--release", "--workspace", "--no-fail-fast"]);
    if length == Length::Long {
        tests.env("METRICSD_TEST_LONG", "1");
    }
    let mut docs = workspace::cargo(&[
        "doc",
        "--release",
        "--workspace",
        "--no-deps",
        "--document-private-items",
        "--quiet",
    ]);
    docs.env("RUSTDOCFLAGS", "-D warnings");
    // Loom replaces the atomics by a compile-time switch, so it has a build of its own.
    let loom_target = workspace::target_dir().join("loom");
    let mut model = workspace::cargo(&[
        "test",
        "--release",
        "--package",
        "metricsd-shard",
        "--test",
        "loom",
        "--test",
        "loom_gauges",
    ]);
    model
        .env("RUSTFLAGS", "--cfg loom")
        .env("CARGO_TARGET_DIR", loom_target);
    let mut demo = Command::new(std::env::current_exe().unwrap_or_else(|_| "xtask".into()));
    demo.args(["demo", "--once", "--built"])
        .current_dir(workspace::root());
    vec![
        ("format", workspace::cargo(&["fmt", "--all", "--check"])),
        (
            "lints",
            workspace::cargo(&[
                "clippy",
                "--release",
                "--workspace",
                "--all-targets",
                // The fuzz targets build, without the fuzzer.
                "--features",
                "fuzz/targets",
                "--quiet",
                "--",
                "-D",
                "warnings",
            ]),
        ),
        ("unit, differential, end-to-end and doc tests", tests),
        ("documentation", docs),
        ("model check of the shard's cells", model),
        ("demo", demo),
    ]
}

/// Runs one command, passing its output through, and adds up the closing lines of the test runners in it. False when it failed.
fn run_counting(command: &mut Command, counts: &mut Counts) -> Result<bool> {
    let shown = format!("{command:?}");
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting {shown}"))?;
    let passed_on = pass_on(&mut child, counts);
    if passed_on.is_err() {
        // What nobody reads is not run to its end.
        let _ = child.kill();
    }
    let status = child
        .wait()
        .with_context(|| format!("waiting for {shown}"))?;
    passed_on.with_context(|| format!("the output of {shown}"))?;
    Ok(status.success())
}

/// Shows what a child prints, until it has closed its output.
fn pass_on(child: &mut Child, counts: &mut Counts) -> Result<()> {
    let output = child
        .stdout
        .take()
        .context("a piped child without output")?;
    for line in BufReader::new(output).split(b'\n') {
        let line = line.context("reading")?;
        let line = String::from_utf8_lossy(&line);
        say(&line)?;
        add_closing_line(&line, counts);
    }
    Ok(())
}

/// Reads `test result: ok. 3 passed; 0 failed; 1 ignored; …`.
fn add_closing_line(line: &str, counts: &mut Counts) {
    let Some(rest) = line.strip_prefix("test result: ") else {
        return;
    };
    for part in rest.split(['.', ';']) {
        let mut words = part.split_whitespace();
        let (Some(number), Some(what)) = (words.next(), words.next()) else {
            continue;
        };
        let Ok(number) = number.parse::<u64>() else {
            continue;
        };
        match what {
            "passed" => counts.passed += number,
            "failed" => counts.failed += number,
            // "ignored" are the second processes of other tests, which those start themselves; a skipped test leaves a line in
            // the file of skips instead.
            _ => {}
        }
    }
}

fn read_skips(file: &Path) -> Result<String> {
    fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_lines_add_up_and_other_lines_count_nothing() {
        let mut counts = Counts::default();
        add_closing_line(
            "test result: ok. 12 passed; 0 failed; 2 ignored; 0 measured; 3 filtered out; finished in 0.11s",
            &mut counts,
        );
        add_closing_line(
            "test result: FAILED. 4 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s",
            &mut counts,
        );
        add_closing_line("running 7 tests", &mut counts);
        assert_eq!(
            counts,
            Counts {
                passed: 16,
                failed: 1,
                skipped: 0
            }
        );
    }
}
