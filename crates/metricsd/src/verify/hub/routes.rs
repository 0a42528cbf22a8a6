//! Alertmanager's tree of routes: which an alert may take, how long these wait, and whether their receivers are of use.
//!
//! Invariant: who receives an alert is for Alertmanager to say. Here is only read how long it may take; a pattern that is not evaluated
//! leaves both ways open, so that a time is too long at worst. Pure.

use std::time::Duration;

use super::yaml::Node;
use crate::retention::parse_duration;

/// What Alertmanager waits by default.
const GROUP_WAIT: Duration = Duration::from_secs(30);
const GROUP_INTERVAL: Duration = Duration::from_secs(300);

/// A route that an alert may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) receiver: String,
    pub(super) group_wait: Duration,
    pub(super) group_interval: Duration,
}

/// The routes that an alert with these labels may take.
pub(super) fn routes(config: &Node, labels: &[(String, String)]) -> Vec<Route> {
    let default = Route {
        receiver: String::new(),
        group_wait: GROUP_WAIT,
        group_interval: GROUP_INTERVAL,
    };
    let mut found = Vec::new();
    match config.get("route") {
        Some(root) => descend(root, &default, labels, &mut found),
        None => found.push(default),
    }
    found
}

fn descend(node: &Node, parent: &Route, labels: &[(String, String)], found: &mut Vec<Route>) {
    let time = |key: &str, inherited| node.text(key).and_then(parse_duration).unwrap_or(inherited);
    let route = Route {
        receiver: node.text("receiver").unwrap_or(&parent.receiver).to_owned(),
        group_wait: time("group_wait", parent.group_wait),
        group_interval: time("group_interval", parent.group_interval),
    };
    let mut is_open = true;
    for child in node.list("routes") {
        match matches(child, labels) {
            Some(false) => {}
            certainly => {
                descend(child, &route, labels, found);
                if certainly == Some(true) {
                    is_open = false;
                    if child.text("continue") != Some("true") {
                        return;
                    }
                }
            }
        }
    }
    if is_open {
        found.push(route);
    }
}

/// Whether a route takes these labels; none if a pattern decides that.
fn matches(route: &Node, labels: &[(String, String)]) -> Option<bool> {
    let texts = route.list("matchers").iter().map(|matcher| match matcher {
        Node::Scalar(text) => one(text, labels),
        _ => None,
    });
    let pairs = |key: &str| route.get(key).map_or(&[][..], Node::pairs);
    let equal = pairs("match").iter().map(|(name, value)| match value {
        Node::Scalar(value) => Some(value_of(name, labels) == value),
        _ => None,
    });
    let patterns = pairs("match_re").iter().map(|_| None);
    let mut is_certain = true;
    for each in texts.chain(equal).chain(patterns) {
        match each {
            Some(false) => return Some(false),
            Some(true) => {}
            None => is_certain = false,
        }
    }
    is_certain.then_some(true)
}

/// `name="value"` and its kind.
fn one(matcher: &str, labels: &[(String, String)]) -> Option<bool> {
    let at = matcher.find(['=', '!'])?;
    let (name, rest) = matcher.split_at(at);
    let name = name.trim().trim_matches('"');
    for (operator, wanted) in [
        ("=~", None),
        ("!~", None),
        ("!=", Some(false)),
        ("=", Some(true)),
    ] {
        if let Some(value) = rest.strip_prefix(operator) {
            let value = value.trim();
            let value = value
                .strip_prefix('"')
                .and_then(|it| it.strip_suffix('"'))
                .unwrap_or(value);
            let is_plain = !value.contains('\\');
            return wanted
                .filter(|_| is_plain)
                .map(|wanted| (value_of(name, labels) == value) == wanted);
        }
    }
    None
}

fn value_of<'a>(name: &str, labels: &'a [(String, String)]) -> &'a str {
    let found = labels.iter().find(|(label, _)| label == name);
    found.map_or("", |(_, value)| value)
}

/// The kinds of integrations that a receiver has, such as `webhook`.
pub(super) fn integrations(config: &Node, receiver: &str) -> Vec<String> {
    let mut receivers = config.list("receivers").iter();
    let Some(found) = receivers.find(|it| it.text("name") == Some(receiver)) else {
        return Vec::new();
    };
    let kinds = found.pairs().iter().filter_map(|(key, value)| {
        let kind = key.strip_suffix("_configs")?;
        matches!(value, Node::List(configs) if !configs.is_empty()).then(|| kind.to_owned())
    });
    kinds.collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by it")]

    use super::super::yaml::parse;
    use super::*;

    const CONFIG: &str = r#"
route:
  receiver: root
  group_wait: 30s
  routes:
  - receiver: dog
    matchers: ['alertname="Watchdog"']
    group_wait: 0s
  - match: {severity: critical}
    receiver: loud
    group_wait: 5s
    group_interval: 1m30s
  - matchers: ['severity=~"warn.*"']
    receiver: quiet
receivers:
- name: root
- name: loud
  webhook_configs: [{send_resolved: true}]
  email_configs: []
"#;

    fn labels(severity: &str) -> Vec<(String, String)> {
        vec![
            ("alertname".to_owned(), "HubVerification".to_owned()),
            ("severity".to_owned(), severity.to_owned()),
        ]
    }

    #[test]
    fn an_alert_takes_the_first_route_that_has_its_labels() {
        let config = &parse(CONFIG).unwrap()[0];
        let loud = Route {
            receiver: "loud".to_owned(),
            group_wait: Duration::from_secs(5),
            group_interval: Duration::from_secs(90),
        };
        assert_eq!(routes(config, &labels("critical")), [loud]);
        // A pattern may take it or not.
        let names = |severity| -> Vec<String> {
            let found = routes(config, &labels(severity)).into_iter();
            found.map(|route| route.receiver).collect()
        };
        assert_eq!(names("none"), ["quiet", "root"]);
    }

    #[test]
    fn matchers_are_read_as_alertmanager_writes_them() {
        let labels = labels("critical");
        for (matcher, expected) in [
            (r#"severity="critical""#, Some(true)),
            (r#"severity = critical"#, Some(true)),
            (r#""severity"!="critical""#, Some(false)),
            (r#"host!="x""#, Some(true)),
            (r#"severity=~"crit.*""#, None),
            (r#"severity!~"crit.*""#, None),
            ("severity", None),
        ] {
            assert_eq!(one(matcher, &labels), expected, "{matcher}");
        }
    }

    #[test]
    fn a_receiver_without_an_integration_has_none() {
        let config = &parse(CONFIG).unwrap()[0];
        assert_eq!(integrations(config, "loud"), ["webhook"]);
        assert!(integrations(config, "root").is_empty());
        assert!(integrations(config, "other").is_empty());
    }
}
