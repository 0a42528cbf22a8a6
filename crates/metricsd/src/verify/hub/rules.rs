//! The rules: those that are expected are loaded, and every loaded one is evaluated.
//!
//! Invariant: expected is what was shipped with this program, whose text is in it, or the files that were named; a file in which no rule is
//! found is an error. Reads these files only.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::asks::{age_seconds, listed, step, time};
use super::yaml::{self, Node};
use super::{Hub, Party, ids};
use crate::settings::SettingsError;
use crate::verify::evidence::Finding;
use crate::verify::record::{Book, Probe};

/// The files of `ops/rules`, as they were when this program was built.
const SHIPPED: [(&str, &str); 5] = [
    (
        "alertbridge.rules.yml",
        include_str!("../../../../../ops/rules/alertbridge.rules.yml"),
    ),
    (
        "meta.rules.yml",
        include_str!("../../../../../ops/rules/meta.rules.yml"),
    ),
    (
        "metricsd.rules.yml",
        include_str!("../../../../../ops/rules/metricsd.rules.yml"),
    ),
    (
        "sentinel.rules.yml",
        include_str!("../../../../../ops/rules/sentinel.rules.yml"),
    ),
    (
        "sessions.rules.yml",
        include_str!("../../../../../ops/rules/sessions.rules.yml"),
    ),
];

/// A rule may miss so many of its turns.
const TURNS_MAX: f64 = 3.0;

/// Names in a sentence.
const NAMES_MAX: usize = 80;

const LOAD_THEM: &str = "name the file that has them in rule_files and reload Prometheus; a site that does not run all of it says with --rules FILE what it expects";

/// Alert or recording, and name.
type Rule = (&'static str, String);

/// A group of rules that is expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) name: String,
    pub(super) rules: Vec<Rule>,
}

impl Group {
    pub(super) fn has_alert(&self, name: &str) -> bool {
        self.rules
            .iter()
            .any(|(kind, found)| *kind == "alerting" && found == name)
    }
}

/// The groups that have to be loaded.
///
/// # Errors
/// A named file cannot be read or has no rules.
pub(super) fn expected(files: &[impl AsRef<Path>]) -> Result<Vec<Group>, SettingsError> {
    let mut groups = Vec::new();
    let failed = |path: &Path, reason| SettingsError::Rules {
        path: path.to_owned(),
        reason,
    };
    for path in files.iter().map(AsRef::as_ref) {
        let text = fs::read_to_string(path)
            .map_err(|err| failed(path, format!("cannot be read: {err}")))?;
        groups.extend(read(&text).map_err(|reason| failed(path, reason))?);
    }
    if files.is_empty() {
        for (name, text) in SHIPPED {
            groups.extend(read(text).map_err(|reason| failed(Path::new(name), reason))?);
        }
    }
    Ok(groups)
}

/// The groups of a file of rules.
fn read(text: &str) -> Result<Vec<Group>, String> {
    let mut groups = Vec::new();
    for document in yaml::parse(text)? {
        for group in document.list("groups") {
            let name = group.text("name").ok_or("found a group without a name")?;
            let rules = group.list("rules").iter().map(|rule| rule_of(rule, name));
            groups.push(Group {
                name: name.to_owned(),
                rules: rules.collect::<Result<_, _>>()?,
            });
        }
    }
    if groups.iter().all(|group| group.rules.is_empty()) {
        return Err("found no rule, accepted is a file of rules as Prometheus reads it".to_owned());
    }
    Ok(groups)
}

fn rule_of(rule: &Node, group: &str) -> Result<Rule, String> {
    for (key, kind) in [("alert", "alerting"), ("record", "recording")] {
        if let Some(name) = rule.text(key) {
            return Ok((kind, name.to_owned()));
        }
    }
    Err(format!(
        "found a rule of the group {group} that is neither an alert nor a record"
    ))
}

impl Hub<'_> {
    pub(super) fn rules_loaded(&self, book: &mut Book<'_>) {
        let title = "Prometheus has loaded the expected rules";
        let check = self.check(ids::RULES_LOADED, title, &[Party::Prometheus]);
        step(book, check, self.retry(), |probe| {
            let groups = self.groups(Some("prometheus-rules.json"), probe)?;
            let loaded: BTreeSet<(&str, &str)> = groups
                .iter()
                .flat_map(|group| group["rules"].as_array().into_iter().flatten())
                .filter_map(|rule| Some((rule["type"].as_str()?, rule["name"].as_str()?)))
                .collect();
            let missing: Vec<String> = self
                .expected
                .iter()
                .filter_map(|group| missing(group, &loaded))
                .collect();
            let rules: usize = self.expected.iter().map(|group| group.rules.len()).sum();
            if missing.is_empty() {
                return Ok(Finding::pass(format!(
                    "all {rules} expected rules of {} groups are loaded, {} groups in all",
                    self.expected.len(),
                    groups.len()
                )));
            }
            Err(Finding::fail(
                format!("not loaded: {}", missing.join("; ")),
                LOAD_THEM,
            ))
        });
    }

    pub(super) fn rules_healthy(&mut self, book: &mut Book<'_>) {
        let title = "Every rule is evaluated, and was lately";
        let check = self.check(ids::RULES_HEALTHY, title, &[Party::Prometheus]);
        let mut interval_max = Duration::ZERO;
        let clock = Instant::now();
        // How long is known from the groups.
        let retry = self.retry_for(Duration::MAX);
        step(book, check, retry, |probe| {
            let groups = self
                .groups(None, probe)
                .inspect_err(|_| probe.do_not_retry())?;
            let (mut broken, mut late) = (Vec::new(), Vec::new());
            let mut rules = 0;
            for group in &groups {
                let name = group["name"].as_str().unwrap_or_default();
                let interval = group["interval"].as_f64().unwrap_or_default();
                interval_max =
                    interval_max.max(Duration::try_from_secs_f64(interval).unwrap_or_default());
                for rule in group["rules"].as_array().into_iter().flatten() {
                    rules += 1;
                    broken.extend(defect(rule, name));
                }
                if let Some(seconds) = self.overdue(group, interval) {
                    late.push(format!("{name} {seconds}"));
                }
            }
            // What has just been loaded has its first turn within an interval.
            if clock.elapsed()
                > interval_max
                    .saturating_mul(2)
                    .saturating_add(self.retry().whole())
            {
                probe.do_not_retry();
            }
            if let Some(text) = told("rules fail", &broken) {
                probe.do_not_retry();
                return Err(Finding::fail(
                    text,
                    "mend the rule's expression (promtool check rules, promtool test rules), then reload Prometheus",
                ));
            }
            if let Some(text) = told("groups are not evaluated", &late) {
                return Err(Finding::fail(
                    text,
                    "look at Prometheus' /rules and at its load: groups that take longer than their interval miss turns",
                ));
            }
            if rules == 0 {
                return Err(Finding::fail("no rule is loaded", LOAD_THEM));
            }
            Ok(Finding::pass(format!(
                "{rules} rules of {} groups, each evaluated without a fault within {TURNS_MAX} of its intervals",
                groups.len()
            )))
        });
        self.evaluation_interval = interval_max;
    }

    fn groups(&self, file: Option<&str>, probe: &mut Probe) -> Result<Vec<Value>, Finding> {
        let mut data = self.prometheus("rules", &[], file, probe)?;
        match data.get_mut("groups").map(Value::take) {
            Some(Value::Array(groups)) => Ok(groups),
            _ => Err(Finding::fail(
                "no groups of rules in the answer",
                "name Prometheus' own address with --prometheus",
            )),
        }
    }

    /// How long ago a group had its turn, if that is too long.
    fn overdue(&self, group: &Value, interval: f64) -> Option<String> {
        let Some(last) = time(&group["lastEvaluation"]) else {
            return Some("never".to_owned());
        };
        let age = age_seconds(last, self.prometheus_ahead);
        (age > TURNS_MAX * interval).then(|| format!("{age:.1} s ago, expected every {interval} s"))
    }
}

fn missing(group: &Group, loaded: &BTreeSet<(&str, &str)>) -> Option<String> {
    let missing: Vec<&str> = group
        .rules
        .iter()
        .filter(|(kind, name)| !loaded.contains(&(*kind, name.as_str())))
        .map(|(_, name)| name.as_str())
        .collect();
    if missing.is_empty() {
        return None;
    }
    let what = if missing.len() == group.rules.len() {
        format!("the whole group {}", group.name)
    } else {
        format!("of {}", group.name)
    };
    Some(format!("{what}: {}", listed(&missing, NAMES_MAX)))
}

/// What is wrong with a rule; nothing while it waits for its first turn.
fn defect(rule: &Value, group: &str) -> Option<String> {
    if matches!(rule["health"].as_str(), Some("ok" | "unknown")) {
        return None;
    }
    Some(format!(
        "{} of {group}: {}",
        rule["name"].as_str().unwrap_or_default(),
        rule["lastError"].as_str().unwrap_or("no reason is told")
    ))
}

fn told(what: &str, faults: &[String]) -> Option<String> {
    (!faults.is_empty()).then(|| format!("{} {what}: {}", faults.len(), listed(faults, 5)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by it")]

    use super::*;

    #[test]
    fn every_shipped_file_of_rules_is_expected() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../ops/rules");
        let mut files: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.ends_with(".rules.yml"))
            .collect();
        files.sort();
        assert_eq!(files, SHIPPED.map(|(name, _)| name));
        let groups = expected(&[] as &[&Path]).unwrap();
        for (_, text) in SHIPPED {
            for line in text.lines() {
                if let Some(alert) = line.trim().strip_prefix("- alert: ") {
                    assert!(groups.iter().any(|group| group.has_alert(alert)), "{alert}");
                }
            }
        }
    }

    #[test]
    fn what_is_no_file_of_rules_is_refused() {
        for (text, word) in [
            ("", "no rule"),
            ("groups: []", "no rule"),
            ("scrape_configs: []", "no rule"),
            ("groups: [{name: a, rules: [{expr: 1}]}]", "neither"),
            ("groups: [{rules: [{alert: A}]}]", "without a name"),
            ("groups: [", "line "),
            ("groups: &a []", "an anchor"),
        ] {
            let reason = read(text).unwrap_err();
            assert!(reason.contains(word), "{text}: {reason}");
        }
        let flow = read("groups: [{name: a, rules: [{alert: A}, {record: 'b:c'}]}]").unwrap();
        assert!(flow[0].has_alert("A") && !flow[0].has_alert("b:c"));
    }
}
