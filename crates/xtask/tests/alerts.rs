//! The shipped alerts, judged without running them: promtool accepts and tests the rules, amtool the tree of Alertmanager, and every alert has
//! its cases, its runbook, its row in `docs/alerts.md` and metrics that exist. `METRICSD_WRITE_DOCS=1` writes the rows anew.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use xtask::rules::{self, Alert};
use xtask::{tools, workspace};

const RUNBOOKS: &str = "http://127.0.0.1:8060/runbooks/";
/// Pages about alerts that the bridge makes by itself, which no rule has.
const OF_THE_BRIDGE: [&str; 1] = ["AlertbridgeWatchdogMissing"];
/// What every page about an alert has, in this order.
const HEADINGS: [&str; 5] = [
    "## What it means",
    "## What it costs",
    "## Look",
    "## Do",
    "## Verify",
];

#[test]
fn promtool_accepts_the_rules_and_every_case_of_their_tests_holds() -> Result<()> {
    const NAME: &str = "promtool_accepts_the_rules_and_every_case_of_their_tests_holds";
    let Some(promtool) = tools::prometheus_program("promtool") else {
        tools::skip(NAME, "no promtool");
        return Ok(());
    };
    let mut check = Command::new(&promtool);
    check.args(["check", "rules", "--lint=all", "--lint-fatal"]);
    for file in rules::files()? {
        check.arg(rules::folder().join(format!("{file}.rules.yml")));
    }
    workspace::run(&mut check)?;
    let running = rules::tests()?
        .into_iter()
        .map(|(file, _)| {
            let path = rules::folder().join("tests").join(&file);
            let mut test = Command::new(&promtool);
            test.args(["test", "rules"]).arg(path);
            Ok((file, std::thread::spawn(move || test.output())))
        })
        .collect::<Result<Vec<_>>>()?;
    for (file, output) in running {
        let output = output
            .join()
            .map_err(|_| anyhow::anyhow!("a thread of {file} panicked"))??;
        ensure!(
            output.status.success(),
            "{file}:\n{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(())
}

#[test]
fn every_alert_is_tested_firing_quiet_and_without_its_series() -> Result<()> {
    let tests = rules::tests()?;
    let alerts = rules::alerts()?;
    for alert in &alerts {
        let of = |wanted: &str| {
            tests
                .iter()
                .flat_map(|(_, text)| rules::cases(text, &alert.name))
                .find(|(name, _)| *name == wanted)
                .map(|(_, case)| case)
        };
        let name = &alert.name;
        let fires = of("fires, and ends").with_context(|| format!("{name}: no case that fires"))?;
        let absent =
            of("series absent").with_context(|| format!("{name}: no case of absent series"))?;
        ensure!(
            fires.contains("exp_labels:"),
            "{name}: the case that fires expects nothing"
        );
        ensure!(
            fires.matches("exp_annotations:").count() == fires.matches("exp_labels:").count(),
            "{name}: an expected alert without its text"
        );
        let own = metrics(&alert.condition);
        if let Some(main) = own.first() {
            let has_series = absent
                .lines()
                .any(|line| line.contains(&format!("series: '{main}{{")));
            ensure!(
                !has_series || main == "metricsd_build_info",
                "{name}: the case of absent series has {main}"
            );
        }
        // What always fires has nothing to be quiet about.
        if name == "Watchdog" {
            continue;
        }
        let quiet = of("quiet at its threshold")
            .with_context(|| format!("{name}: no case that is quiet"))?;
        ensure!(
            quiet.contains("exp_alerts: []") && !quiet.contains("exp_labels:"),
            "{name}: the quiet case is not quiet"
        );
        ensure!(
            fires.contains("exp_alerts: []"),
            "{name}: the case that fires does not end"
        );
    }
    let names: BTreeSet<&str> = alerts.iter().map(|alert| alert.name.as_str()).collect();
    for (file, text) in &tests {
        for case in text.split("\n  - name: '").skip(1) {
            let alert = case.split(':').next().unwrap_or(case);
            ensure!(names.contains(alert), "{file}: no alert `{alert}`");
        }
    }
    Ok(())
}

#[test]
fn every_alert_says_what_how_bad_and_where_to_read_on() -> Result<()> {
    let alerts = rules::alerts()?;
    let mut names = BTreeSet::new();
    for alert in &alerts {
        let name = &alert.name;
        ensure!(names.insert(name.clone()), "{name} is there twice");
        let severities: &[&str] = if name == "Watchdog" {
            &["none"]
        } else {
            &["critical", "warning", "info"]
        };
        ensure!(
            severities.contains(&alert.severity.as_str()),
            "{name}: severity `{}`",
            alert.severity
        );
        // The start of a sentence is a capital, or the name of a program.
        ensure!(
            alert.summary.ends_with('.') && !alert.summary.contains("{{"),
            "{name}: the summary is no sentence without values: `{}`",
            alert.summary
        );
        ensure!(
            alert.description.contains("{{"),
            "{name}: the description has no value"
        );
        ensure!(
            alert.runbook == format!("{RUNBOOKS}{name}"),
            "{name}: runbook_url is `{}`",
            alert.runbook
        );
        let page = workspace::root().join(format!("docs/runbooks/{name}.md"));
        let page =
            fs::read_to_string(&page).with_context(|| format!("reading {}", page.display()))?;
        ensure!(
            page.starts_with(&format!("# {name}\n")),
            "{name}: the runbook has another title"
        );
        let mut rest = page.as_str();
        for heading in HEADINGS {
            let (_, after) = rest
                .split_once(&format!("\n{heading}\n"))
                .with_context(|| format!("{name}: no `{heading}` in the runbook, in its place"))?;
            rest = after;
        }
    }
    for entry in fs::read_dir(workspace::root().join("docs/runbooks"))? {
        let file = entry?.file_name().to_string_lossy().into_owned();
        let stem = file.trim_end_matches(".md");
        ensure!(
            names.contains(stem) || OF_THE_BRIDGE.contains(&stem),
            "docs/runbooks/{file} is of no alert"
        );
    }
    Ok(())
}

#[test]
fn the_page_of_alerts_has_the_thresholds_of_the_rules() -> Result<()> {
    let path = workspace::root().join("docs/alerts.md");
    let page = fs::read_to_string(&path)?;
    let (before, rest) = page
        .split_once("<!-- generated: alerts -->\n")
        .context("docs/alerts.md has no generated part")?;
    let (_, after) = rest
        .split_once("<!-- end -->")
        .context("the generated part of docs/alerts.md has no end")?;
    let mut rows = String::new();
    for file in rules::files()? {
        rows.push_str(&format!("\n`{file}.rules.yml`\n\n| alert | severity | fires when | for | goes on for | means |\n|---|---|---|---|---|---|\n"));
        for alert in rules::alerts()?.iter().filter(|alert| alert.file == file) {
            rows.push_str(&row(alert));
        }
    }
    let written = format!("{before}<!-- generated: alerts -->\n{rows}\n<!-- end -->{after}");
    if std::env::var_os("METRICSD_WRITE_DOCS").is_some() {
        return Ok(fs::write(&path, written)?);
    }
    for (ours, rules) in page.lines().zip(written.lines()) {
        ensure!(
            ours == rules,
            "docs/alerts.md says\n{ours}\nthe rules\n{rules}\nMETRICSD_WRITE_DOCS=1 writes it anew"
        );
    }
    ensure!(page == written, "docs/alerts.md has other rows");
    Ok(())
}

fn row(alert: &Alert) -> String {
    let or_none = |text: &str| {
        if text.is_empty() {
            "-".to_owned()
        } else {
            text.to_owned()
        }
    };
    format!(
        "| [{0}](runbooks/{0}.md) | {1} | `{2}` | {3} | {4} | {5} |\n",
        alert.name,
        alert.severity,
        alert.condition.replace('|', "\\|"),
        or_none(&alert.hold),
        or_none(&alert.keep),
        alert.summary
    )
}

#[test]
fn rules_name_only_metrics_that_a_program_has() -> Result<()> {
    let page = fs::read_to_string(workspace::root().join("docs/metrics.md"))?;
    let mut known: BTreeMap<&str, &str> = BTreeMap::new();
    for line in page.lines() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        if let [_, name, kind @ ("counter" | "gauge" | "histogram"), ..] = cells.as_slice() {
            known.insert(name.trim_matches('`'), kind);
        }
    }
    ensure!(known.len() > 80, "{} families", known.len());
    for file in rules::files()? {
        let text = rules::text(&file)?;
        let mut recorded: BTreeSet<&str> = BTreeSet::new();
        for line in text.lines() {
            if let Some(name) = line.trim().strip_prefix("- record: ") {
                recorded.insert(name);
            }
        }
        for name in metrics(&text) {
            // Of Prometheus and Alertmanager themselves; the end-to-end test looks for them where they are served.
            let foreign = ["prometheus_", "alertmanager_"];
            if recorded.contains(name.as_str())
                || foreign.iter().any(|prefix| name.starts_with(prefix))
            {
                continue;
            }
            let of_histogram = name
                .strip_suffix("_bucket")
                .is_some_and(|family| known.get(family) == Some(&"histogram"));
            ensure!(
                of_histogram || known.contains_key(name.as_str()),
                "{file}.rules.yml: no program has {name}"
            );
        }
    }
    Ok(())
}

/// The metrics of ours that a text of expressions names, in their order.
fn metrics(text: &str) -> Vec<String> {
    const OURS: [&str; 8] = [
        "metricsd_",
        "peaktrade_",
        "shadow_session_",
        "sentinel_",
        "alertbridge_",
        "prometheus_",
        "alertmanager_",
        "process_",
    ];
    let lines = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.starts_with('#'));
    let prose = ["summary:", "description:", "runbook_url:", "- name:"];
    lines
        .filter(|line| !prose.iter().any(|key| line.starts_with(key)))
        .flat_map(|line| line.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':')))
        .filter(|word| !word.contains(':') && OURS.iter().any(|prefix| word.starts_with(prefix)))
        .map(str::to_owned)
        .collect()
}

#[test]
fn alertmanager_sends_each_alert_to_the_receiver_of_its_severity() -> Result<()> {
    const NAME: &str = "alertmanager_sends_each_alert_to_the_receiver_of_its_severity";
    let Some(amtool) = tools::prometheus_program("amtool") else {
        tools::skip(NAME, "no amtool");
        return Ok(());
    };
    let config = workspace::root().join("ops/alertmanager/alertmanager.yml");
    workspace::run(Command::new(&amtool).arg("check-config").arg(&config))?;
    let receiver = |labels: &[String]| -> Result<String> {
        let output = Command::new(&amtool)
            .args(["config", "routes", "test", "--config.file"])
            .arg(&config)
            .args(labels)
            .output()?;
        ensure!(output.status.success(), "{output:?}");
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    for alert in rules::alerts()? {
        let expected = match alert.severity.as_str() {
            "none" => "watchdog",
            severity => severity,
        };
        let labels = [
            format!("alertname={}", alert.name),
            format!("severity={}", alert.severity),
            "job=peak_trade_metricsd".to_owned(),
        ];
        let found = receiver(&labels)?;
        ensure!(
            found == expected,
            "{}: {found}, expected {expected}",
            alert.name
        );
    }
    for labels in [
        &["alertname=SomebodyElses"][..],
        &["alertname=Odd", "severity=page"],
    ] {
        let labels: Vec<String> = labels.iter().map(|label| (*label).to_owned()).collect();
        ensure!(
            receiver(&labels)? == "critical",
            "{labels:?} falls through to {}",
            receiver(&labels)?
        );
    }
    Ok(())
}

#[test]
fn alertmanager_sends_to_targets_that_the_shipped_bridge_has() -> Result<()> {
    let read = |path: &str| fs::read_to_string(workspace::root().join(path));
    let config = read("ops/alertmanager/alertmanager.yml")?;
    let bridge = read("config/alertbridge.yml")?;
    let (_, targets) = bridge
        .split_once("\ntargets:\n")
        .context("config/alertbridge.yml without targets")?;
    let mut count = 0;
    for url in config.lines().filter_map(|line| line.split_once("- url: ")) {
        let target = url
            .1
            .strip_prefix("http://127.0.0.1:8060/dingtalk/")
            .and_then(|rest| rest.strip_suffix("/send"))
            .with_context(|| format!("{} is not of the bridge", url.1))?;
        ensure!(
            targets.lines().any(|line| line == format!("  {target}:")),
            "config/alertbridge.yml has no target {target}"
        );
        count += 1;
    }
    ensure!(count == 4, "{count} receivers with a URL");
    Ok(())
}

#[test]
fn what_alertmanager_holds_back_are_alerts_that_there_are() -> Result<()> {
    let config = fs::read_to_string(workspace::root().join("ops/alertmanager/alertmanager.yml"))?;
    let names: Vec<String> = rules::alerts()?
        .into_iter()
        .map(|alert| alert.name)
        .collect();
    let mut seen = 0;
    for matcher in config.split("'alertname ").skip(1) {
        let (operator, rest) = matcher.split_once(" \"").context("no quoted name")?;
        let pattern = rest.split('"').next().unwrap_or(rest);
        let matches = |name: &String| match operator {
            "=" => name == pattern,
            // `A|B`, or `(A|B).+`: the only two shapes in use.
            _ => match pattern.strip_suffix(").+") {
                Some(heads) => heads
                    .trim_start_matches('(')
                    .split('|')
                    .any(|head| name.starts_with(head)),
                None => pattern
                    .split('|')
                    .any(|part| match part.strip_suffix(".+") {
                        Some(head) => name.starts_with(head),
                        None => name == part,
                    }),
            },
        };
        ensure!(
            names.iter().any(matches),
            "ops/alertmanager/alertmanager.yml: no alert is `{pattern}`"
        );
        seen += 1;
    }
    ensure!(seen > 15, "{seen} matchers");
    Ok(())
}

/// One thing about an alert that is wrong on purpose.
struct Mutant {
    what: String,
    text: String,
}

#[test]
fn a_rule_with_another_threshold_time_or_operator_fails_its_tests() -> Result<()> {
    const NAME: &str = "a_rule_with_another_threshold_time_or_operator_fails_its_tests";
    // Half a minute of two cores, and nothing but a change of rules or of their tests can change the answer.
    if std::env::var_os("METRICSD_TEST_LONG").is_none() {
        tools::skip(NAME, "only with --long");
        return Ok(());
    }
    let Some(promtool) = tools::prometheus_program("promtool") else {
        tools::skip(NAME, "no promtool");
        return Ok(());
    };
    let tests = rules::tests()?;
    let folder = tempfile::tempdir()?;
    let alerts = rules::alerts()?;
    let (left, right) = alerts.split_at(alerts.len() / 2);
    let outcome = std::thread::scope(|scope| {
        let halves = [left, right].map(|half| {
            let (promtool, tests, folder) = (&promtool, &tests, folder.path());
            scope.spawn(move || -> Result<(usize, Vec<String>)> {
                let (mut count, mut survivors) = (0, Vec::new());
                for alert in half {
                    let (tried, survived) = survivors_of(alert, tests, promtool, folder)
                        .with_context(|| alert.name.clone())?;
                    count += tried;
                    survivors.extend(survived);
                }
                Ok((count, survivors))
            })
        });
        halves.map(|half| half.join())
    });
    let (mut count, mut survivors) = (0, Vec::new());
    for half in outcome {
        let (tried, survived) = half.map_err(|_| anyhow::anyhow!("a thread panicked"))??;
        count += tried;
        survivors.extend(survived);
    }
    ensure!(
        survivors.is_empty(),
        "{} of {count} changed rules pass the tests:\n{}",
        survivors.len(),
        survivors.join("\n")
    );
    ensure!(count > 200, "only {count} changed rules");
    Ok(())
}

/// How many mutants an alert has, and those that no case notices. They run side by side, under names of their own.
fn survivors_of(
    alert: &Alert,
    tests: &[(String, String)],
    promtool: &Path,
    folder: &Path,
) -> Result<(usize, Vec<String>)> {
    let mutants = mutants(alert);
    let whole = rules::text(&alert.file)?;
    let records: String = whole
        .split_inclusive("\n      - ")
        .collect::<Vec<_>>()
        .join("");
    let head = records
        .split("\n      - alert: ")
        .next()
        .context("no group")?;
    let mut rule_text = format!("{head}\n");
    for (number, mutant) in mutants.iter().enumerate() {
        let named = mutant.text.replacen(
            &format!("alert: {}", alert.name),
            &format!("alert: {}X{number}X", alert.name),
            1,
        );
        rule_text.push_str(&named);
    }
    let rule_file = folder.join(format!("{}.rules.yml", alert.name));
    fs::write(&rule_file, rule_text)?;
    let mut caught: BTreeSet<usize> = BTreeSet::new();
    for (file, text) in tests {
        let cases = rules::cases(text, &alert.name);
        if cases.is_empty() {
            continue;
        }
        let interval = text
            .lines()
            .find(|line| line.starts_with("evaluation_interval:"))
            .context("no evaluation_interval")?;
        let mut test_text = format!(
            "rule_files: ['{}']\n{interval}\ntests:\n",
            rule_file.display()
        );
        for (_, case) in cases {
            test_text.push_str(&multiplied(case, &alert.name, mutants.len()));
        }
        let test_file = folder.join(format!("{}-{file}", alert.name));
        fs::write(&test_file, test_text)?;
        let output = Command::new(promtool)
            .args(["test", "rules"])
            .arg(&test_file)
            .output()?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        for part in said.split(&format!("alertname: {}X", alert.name)).skip(1) {
            let number = part
                .split('X')
                .next()
                .and_then(|number| number.parse().ok());
            caught.insert(number.with_context(|| format!("promtool said:\n{said}"))?);
        }
    }
    let survivors = mutants
        .iter()
        .enumerate()
        .filter(|(number, _)| !caught.contains(number))
        .map(|(_, mutant)| format!("{}: {}", alert.name, mutant.what));
    Ok((mutants.len(), survivors.collect()))
}

/// A case in which each expectation is there once for each mutant.
fn multiplied(case: &str, alert: &str, count: usize) -> String {
    let mut parts = case.split("\n      - eval_time:");
    let mut written = format!("  - name: '{}", parts.next().unwrap_or_default());
    for part in parts {
        let part = part.trim_end();
        for number in 0..count {
            let named = part.replacen(
                &format!("alertname: {alert}"),
                &format!("alertname: {alert}X{number}X"),
                1,
            );
            written.push_str(&format!("\n      - eval_time:{named}"));
        }
    }
    written.push('\n');
    written
}

fn mutants(alert: &Alert) -> Vec<Mutant> {
    let mut all = Vec::new();
    let text = &alert.text;
    let start = text.find("expr:").unwrap_or(0);
    let end = [
        "\n        for:",
        "\n        keep_firing_for:",
        "\n        labels:",
    ]
    .iter()
    .filter_map(|key| text.find(key))
    .min()
    .unwrap_or(text.len());
    let mut replace = |at: usize, was: &str, by: &str| {
        all.push(Mutant {
            what: format!("`{}` by `{}` at byte {}", was.trim(), by.trim(), at - start),
            text: format!("{}{by}{}", &text[..at], &text[at + was.len()..]),
        });
    };
    for operator in ["> ", ">= ", "== "] {
        for (at, _) in text[start..end].match_indices(operator) {
            let at = start + at + operator.len();
            let number: String = text[at..]
                .chars()
                .take_while(|c| c.is_ascii_digit() || *c == '.')
                .collect();
            let Ok(value) = number.parse::<f64>() else {
                continue;
            };
            // Counts move by one: between two whole numbers nothing changes.
            let step = if value.fract() == 0.0 {
                (value * 0.3).round().max(1.0)
            } else {
                value * 0.3
            };
            let (more, less) = (value + step, value - step);
            replace(at, &number, &more.to_string());
            replace(at, &number, &less.to_string());
        }
    }
    for (was, by) in [
        (" unless ", " and "),
        (" and ", " unless "),
        (" or ", " and "),
    ] {
        for (at, _) in text[start..end].match_indices(was) {
            replace(start + at, was, by);
        }
    }
    if alert.hold.is_empty() {
        replace(end, "", "\n        for: 1m");
    } else {
        let line = format!("\n        for: {}", alert.hold);
        let at = text.find(&line).unwrap_or(end);
        replace(at, &line, "");
        replace(at, &line, &format!("\n        for: {}", twice(&alert.hold)));
    }
    if !alert.keep.is_empty() {
        let line = format!("\n        keep_firing_for: {}", alert.keep);
        replace(text.find(&line).unwrap_or(end), &line, "");
    }
    all
}

fn twice(duration: &str) -> String {
    let digits = duration.trim_end_matches(|c: char| c.is_alphabetic());
    let unit = &duration[digits.len()..];
    digits.parse::<u64>().map_or_else(
        |_| duration.to_owned(),
        |value| format!("{}{unit}", value * 2),
    )
}
