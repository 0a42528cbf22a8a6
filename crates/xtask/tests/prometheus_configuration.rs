//! The two configurations in `ops/prometheus`: promtool accepts them, rules and jobs match, and a real Prometheus of the HUB scrapes what the
//! lines of its target files say, also after one was added or broken.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use xtask::child::{Running, eventually, free_port};
use xtask::prometheus::{self, Edition, JOBS, Pace, Ports};
use xtask::scrape::{get, query};
use xtask::{rules, tools, workspace};

const LONG: Duration = Duration::from_secs(90);

fn check(promtool: &Path, config: &Path) -> Result<(bool, String)> {
    let output = Command::new(promtool)
        .args(["check", "config"])
        .arg(config)
        .output()?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    Ok((output.status.success(), said))
}

#[test]
fn promtool_accepts_both_configurations_and_refuses_a_broken_list_of_targets() -> Result<()> {
    const NAME: &str = "promtool_accepts_both_configurations_and_refuses_a_broken_list_of_targets";
    let Some(promtool) = tools::prometheus_program("promtool") else {
        tools::skip(NAME, "no promtool");
        return Ok(());
    };
    let shipped = workspace::root().join("ops/prometheus");
    for edition in [Edition::Local, Edition::Hub] {
        let (is_good, said) = check(&promtool, &shipped.join(edition.file()))?;
        ensure!(is_good, "{edition:?}: {said}");
        let rules = said.matches(" rules found").count();
        ensure!(rules == rules::files()?.len(), "{edition:?}: {said}");
    }
    let folder = tempfile::tempdir()?;
    for (job, usual) in JOBS {
        let ports = JOBS.map(|(_, port)| port);
        let config = prometheus::write(folder.path(), Edition::Hub, Pace::Shipped, &ports)?;
        let file = folder.path().join(prometheus::targets(job));
        fs::write(&file, format!("- {{targets: [\"127.0.0.1:{usual}\"\n"))?;
        let (is_good, said) = check(&promtool, &config)?;
        ensure!(!is_good, "a broken {job}.yml is accepted: {said}");
    }
    Ok(())
}

/// What stands in a text after `before`, up to the closing quotation mark.
fn quoted_after<'a>(text: &'a str, before: &str) -> Vec<&'a str> {
    let found = text.split(before).skip(1);
    found.filter_map(|rest| rest.split('"').next()).collect()
}

fn jobs(edition: Edition) -> Result<BTreeSet<String>> {
    let file = workspace::root()
        .join("ops/prometheus")
        .join(edition.file());
    let text = fs::read_to_string(file)?;
    let names = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- job_name: "));
    Ok(names.map(str::to_owned).collect())
}

#[test]
fn both_configurations_have_the_same_jobs_and_every_job_that_a_rule_names() -> Result<()> {
    let expected: BTreeSet<String> = JOBS.iter().map(|(job, _)| (*job).to_owned()).collect();
    for edition in [Edition::Local, Edition::Hub] {
        let found = jobs(edition)?;
        ensure!(found == expected, "{edition:?}: {found:?}");
    }
    let mut named = BTreeSet::new();
    for file in rules::files()? {
        let text = rules::text(&file)?;
        for operator in ["job=~", "job!~", "job!="] {
            ensure!(
                !text.contains(operator),
                "{file}.rules.yml selects by {operator}, which this test does not read"
            );
        }
        named.extend(quoted_after(&text, "job=\"").into_iter().map(str::to_owned));
    }
    let missing: Vec<_> = named.difference(&expected).collect();
    ensure!(missing.is_empty(), "rules name {missing:?}");
    ensure!(named.len() >= 4, "rules name only {named:?}");
    Ok(())
}

/// Existing queries know the sentinel by four labels. Other targets have none, so that none hides one that a program exposes.
#[test]
fn both_configurations_give_a_target_the_same_labels() -> Result<()> {
    let ops = workspace::root().join("ops");
    let local = fs::read_to_string(ops.join("prometheus/prometheus.yml"))?;
    let labels = "labels: {instance: inf-sentinel, component: trading, node: inf, region: local}";
    let hub = fs::read_to_string(ops.join(prometheus::targets("sentinel-metrics")))?;
    ensure!(local.contains(labels), "prometheus.yml has other labels");
    ensure!(
        hub.contains(labels),
        "sentinel-metrics.yml has other labels"
    );
    for (job, _) in JOBS.iter().filter(|(job, _)| *job != "sentinel-metrics") {
        let text = fs::read_to_string(ops.join(prometheus::targets(job)))?;
        ensure!(!text.contains("labels:"), "{job}.yml gives labels");
    }
    ensure!(
        local.matches("labels:").count() == 1,
        "prometheus.yml gives labels to another job"
    );
    Ok(())
}

fn start_metricsd(folder: &Path, port: u16) -> Result<Running> {
    let path = |name: &str| folder.join(name).display().to_string();
    let (port_text, shards, state) = (port.to_string(), path("shards"), path("state"));
    let arguments = [
        "serve",
        "--port",
        &port_text,
        "--multiproc-dir",
        &shards,
        "--state-dir",
        &state,
    ];
    let daemon = Running::start(
        &workspace::program("metricsd")?,
        &arguments,
        &[],
        &folder.join("metricsd.log"),
    )?;
    eventually(LONG, "metricsd to be ready", || get(port, "/-/ready"))?;
    Ok(daemon)
}

/// Labels of the targets of a job that answer, without `__name__`.
fn up(port: u16, job: &str) -> Result<Vec<BTreeMap<String, String>>> {
    let series = query(port, &format!("up{{job=\"{job}\"}} == 1"))?;
    let without_name = |(mut labels, _): (BTreeMap<String, String>, f64)| {
        labels.remove("__name__");
        labels
    };
    Ok(series.into_iter().map(without_name).collect())
}

fn one(port: u16, expression: &str) -> Result<f64> {
    let series = query(port, expression)?;
    ensure!(
        series.len() == 1,
        "{expression} gave {} series",
        series.len()
    );
    Ok(series[0].1)
}

fn set<const LEN: usize>(pairs: [(&str, &str); LEN]) -> BTreeMap<String, String> {
    let pairs = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
    pairs.into()
}

#[test]
fn a_line_makes_a_target_of_the_hub_without_a_reload_and_a_broken_file_takes_none_away()
-> Result<()> {
    const NAME: &str =
        "a_line_makes_a_target_of_the_hub_without_a_reload_and_a_broken_file_takes_none_away";
    if tools::prometheus_program("prometheus").is_none() {
        tools::skip(NAME, "no prometheus");
        return Ok(());
    }
    const JOB: &str = "peak_trade_metricsd";
    let folder = tempfile::tempdir()?;
    let (metricsd, own, nobody) = (free_port()?, free_port()?, free_port()?);
    let _daemon = start_metricsd(folder.path(), metricsd)?;
    // The sentinel's target is metricsd as well: its labels are of interest here, not its families.
    let ports: Ports = [metricsd, metricsd, nobody, nobody, nobody, own];
    prometheus::write(folder.path(), Edition::Hub, Pace::EverySecond, &ports)?;
    let mut running = prometheus::start(folder.path(), Edition::Hub, own)?;
    eventually(LONG, "the first scrapes", || {
        ensure!(running.ended()?.is_none(), "{}", running.output());
        for job in [JOB, "sentinel-metrics", "prometheus"] {
            ensure!(up(own, job)?.len() == 1, "{job}: {:?}", up(own, job)?);
        }
        Ok(())
    })?;
    let address = format!("127.0.0.1:{metricsd}");
    let first = set([("job", JOB), ("instance", &address)]);
    ensure!(up(own, JOB)? == [first.clone()], "{:?}", up(own, JOB)?);
    let sentinel = set([
        ("job", "sentinel-metrics"),
        ("instance", "inf-sentinel"),
        ("component", "trading"),
        ("node", "inf"),
        ("region", "local"),
    ]);
    let found = up(own, "sentinel-metrics")?;
    ensure!(found == [sentinel], "{found:?}");

    // A node more: a line more.
    let reloaded = "prometheus_config_last_reload_success_timestamp_seconds";
    let loaded = one(own, reloaded)?;
    let file = folder.path().join(prometheus::targets(JOB));
    let shipped = fs::read_to_string(&file)?;
    let another = format!("localhost:{metricsd}");
    let longer = format!("{shipped}- {{targets: [\"{another}\"]}}\n");
    fs::write(&file, &longer)?;
    let both = [first.clone(), set([("job", JOB), ("instance", &another)])];
    let both_are_up = || {
        let found = up(own, JOB)?;
        let found: BTreeSet<_> = found.into_iter().collect();
        ensure!(found == both.clone().into(), "{found:?}");
        Ok(())
    };
    eventually(LONG, "the added line to be scraped", both_are_up)?;
    ensure!(
        one(own, reloaded)? == loaded,
        "the configuration was read again"
    );

    // A slip of the pen: nothing is lost, and it can be seen.
    let errors = "prometheus_sd_file_read_errors_total";
    let before = one(own, errors)?;
    fs::write(&file, format!("{longer}- {{targets: [\"127.0\n"))?;
    let seen = eventually(LONG, "the broken file to be read", || {
        let now = one(own, errors)?;
        ensure!(now > before, "{now} errors");
        one(own, &format!("timestamp({errors})"))
    })?;
    eventually(LONG, "scrapes after that", || {
        let newer = query(
            own,
            &format!("timestamp(up{{job=\"{JOB}\"}}) > {}", seen + 2.0),
        )?;
        ensure!(newer.len() == 2, "{newer:?}");
        both_are_up()
    })?;

    // A line less: a node less.
    fs::write(&file, &shipped)?;
    eventually(LONG, "the line that was taken out to be gone", || {
        let found = up(own, JOB)?;
        ensure!(found == [first.clone()], "{found:?}");
        Ok(())
    })
}
