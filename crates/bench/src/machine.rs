//! The machine's class, the date and the versions: what a figure means nothing without.

use std::fs;
use std::path::Path;
use std::process::Command;

use xtask::workspace;

use crate::report::Report;

/// The crates whose versions are named.
const NAMED: [&str; 6] = [
    "prometheus",
    "prometheus-client",
    "metrics",
    "metrics-exporter-prometheus",
    "measured",
    "fastmetrics",
];

/// The head of the report.
pub(crate) fn describe(python: &Path, report: &mut Report) {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let line = cpu.lines().find_map(|line| line.strip_prefix(name));
        line.map_or("unknown", |line| line.trim_start_matches([' ', '\t', ':']))
    };
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let virtual_machine = if field("flags").split(' ').any(|flag| flag == "hypervisor") {
        ", virtual machine"
    } else {
        ""
    };
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kibibytes: u64 = memory
        .lines()
        .find_map(|line| {
            line.strip_prefix("MemTotal:")?
                .split_whitespace()
                .next()?
                .parse()
                .ok()
        })
        .unwrap_or(0);
    report.line(&format!(
        "- Machine: {}, {} processors, {} GiB of memory{virtual_machine}, Linux {}.",
        field("model name"),
        crate::rounds::processors().len(),
        (kibibytes as f64 / f64::from(1 << 20)).round(),
        kernel.trim()
    ));
    report.line(&format!(
        "- Date: {}.",
        jiff::Timestamp::now().strftime("%F")
    ));
    report.line(&format!(
        "- Built by {} in the release profile that ships (opt-level 3, overflow checks on, no LTO, no target-cpu), other crates included.",
        first_line(Command::new("rustc").arg("--version"))
    ));
    report.line(&format!(
        "- This: metricsd {}{}.",
        env!("CARGO_PKG_VERSION"),
        revision()
    ));
    report.line(&format!("- Beside: {}.", peers()));
    report.line(&format!(
        "- Python: prometheus_client {}.",
        first_line(Command::new(python).args([
            "-c",
            "import importlib.metadata as m, platform as p; print(m.version('prometheus_client'), 'on', p.python_implementation(), p.python_version())",
        ]))
    ));
}

fn first_line(command: &mut Command) -> String {
    let output = command
        .output()
        .map(|output| output.stdout)
        .unwrap_or_default();
    let text = String::from_utf8_lossy(&output);
    let line = text.lines().next().unwrap_or_default().trim().to_owned();
    if line.is_empty() {
        "unknown".to_owned()
    } else {
        line
    }
}

fn revision() -> String {
    let mut command = Command::new("git");
    command
        .args(["rev-parse", "--short=12", "HEAD"])
        .current_dir(workspace::root());
    match first_line(&mut command).as_str() {
        "unknown" => String::new(),
        revision => format!(", revision {revision}"),
    }
}

/// Names and versions, from the lock file that they were built by.
fn peers() -> String {
    if !cfg!(feature = "peers") {
        return "no other crate (built without the feature `peers`)".to_owned();
    }
    let lock = fs::read_to_string(workspace::root().join("Cargo.lock")).unwrap_or_default();
    let version = |name: &str| {
        let (_, rest) = lock.split_once(&format!("name = \"{name}\"\nversion = \""))?;
        rest.split('"').next()
    };
    NAMED
        .map(|name| format!("{name} {}", version(name).unwrap_or("?")))
        .join(", ")
}
