//! The compose file, the Dockerfile and the Kubernetes manifests: published schemas accept them, and they keep this project's own rules
//! (`manifests.py`). Neither a container nor a cluster is started here.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, ensure};
use xtask::{tools, workspace};

/// The files of `ops/rules` that a cluster needs for what its manifests run.
const RULES: [&str; 2] = ["metricsd", "sessions"];

/// A program of the judges' virtual environment, or the test is skipped.
fn judge(test: &str, program: &str) -> Option<Command> {
    let folder = tools::manifests_folder();
    let path = folder.join("bin").join(program);
    if path.is_file() {
        return Some(Command::new(path));
    }
    tools::skip(test, &format!("no {program} in {}", folder.display()));
    None
}

fn accepted(output: &Output) -> Result<()> {
    ensure!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

#[test]
fn the_compose_file_is_one_by_the_published_schema() -> Result<()> {
    const NAME: &str = "the_compose_file_is_one_by_the_published_schema";
    let Some(mut check) = judge(NAME, "check-jsonschema") else {
        return Ok(());
    };
    check.args(["--builtin-schema", "vendor.compose-spec"]);
    let output = check
        .arg(workspace::root().join("ops/compose/compose.yaml"))
        .output()?;
    accepted(&output)
}

#[test]
fn hadolint_finds_nothing_in_the_dockerfile() -> Result<()> {
    const NAME: &str = "hadolint_finds_nothing_in_the_dockerfile";
    let Some(mut lint) = judge(NAME, "hadolint") else {
        return Ok(());
    };
    let output = lint
        .arg("--no-color")
        .arg(workspace::root().join("ops/compose/Dockerfile"))
        .output()?;
    accepted(&output)
}

#[test]
fn manifests_are_accepted_by_the_api_and_keep_our_rules() -> Result<()> {
    const NAME: &str = "manifests_are_accepted_by_the_api_and_keep_our_rules";
    let Some(mut python) = judge(NAME, "python") else {
        return Ok(());
    };
    let script = workspace::root().join("crates/xtask/tests/deployment/manifests.py");
    accepted(&python.arg(script).arg(workspace::root()).output()?)
}

#[test]
fn the_prometheus_operator_accepts_monitor_and_rules() -> Result<()> {
    const NAME: &str = "the_prometheus_operator_accepts_monitor_and_rules";
    let Some(mut python) = judge(NAME, "python") else {
        return Ok(());
    };
    let models = tools::manifests_folder();
    if !models.join("node_modules").is_dir() {
        tools::skip(
            NAME,
            "no @kubernetes-models/prometheus-operator, or no node",
        );
        return Ok(());
    }
    let files = ["servicemonitor.yaml", "prometheusrule.yaml"].map(kubernetes);
    let to_json = "import sys, json, yaml; print(json.dumps([yaml.safe_load(open(f)) for f in sys.argv[1:]]))";
    let json = python.args(["-c", to_json]).args(files).output()?;
    accepted(&json)?;
    let script = workspace::root().join("crates/xtask/tests/deployment/operator.mjs");
    let mut node = Command::new("node")
        .arg(script)
        .arg(&models)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut input = node.stdin.take().context("a piped child without input")?;
    std::io::Write::write_all(&mut input, &json.stdout)?;
    drop(input);
    accepted(&node.wait_with_output()?)
}

/// `METRICSD_WRITE_DOCS=1` writes it anew.
#[test]
fn the_rules_of_a_cluster_are_those_of_ops() -> Result<()> {
    let mut wanted = "# For the Prometheus Operator: the rules of ops/rules, made from them by the test `deployment` with METRICSD_WRITE_DOCS=1.\n\
        apiVersion: monitoring.coreos.com/v1\n\
        kind: PrometheusRule\n\
        metadata:\n  name: metricsd\n  labels:\n    app.kubernetes.io/name: metricsd\n\
        spec:\n  groups:\n"
        .to_owned();
    for name in RULES {
        let file = workspace::root().join(format!("ops/rules/{name}.rules.yml"));
        let text = fs::read_to_string(&file)?;
        let (_, groups) = text
            .split_once("groups:\n")
            .with_context(|| format!("{} has no groups", file.display()))?;
        for line in groups.lines() {
            match line {
                "" => wanted.push('\n'),
                line => writeln!(wanted, "  {line}")?,
            }
        }
    }
    let path = kubernetes("prometheusrule.yaml");
    if std::env::var_os("METRICSD_WRITE_DOCS").is_some() {
        fs::write(&path, &wanted)?;
    }
    ensure!(
        fs::read_to_string(&path)? == wanted,
        "{}: it is not what ops/rules says; METRICSD_WRITE_DOCS=1 writes it",
        path.display()
    );
    Ok(())
}

fn kubernetes(file: &str) -> PathBuf {
    workspace::root().join("ops/kubernetes").join(file)
}
