//! One notification in full. Invariant: every alert of it is named, with what is said about it, its labels, times and links.

use std::time::Duration;

use jiff::Timestamp;

use crate::config::Language;
use crate::own_alert;
use crate::payload::{Alert, Status};
use crate::queue::Waiting;

use super::Context;
use super::text::{link_url, one_line, plain};

/// `[FIRING:2] Down: what is said of it`.
pub(super) fn title(language: Language, alerts: &[Waiting]) -> String {
    let Some(first) = alerts.first() else {
        return String::new();
    };
    let count = |status| {
        alerts
            .iter()
            .filter(|one| one.alert.status == status)
            .count()
    };
    let counts: Vec<String> = [Status::Firing, Status::Resolved]
        .into_iter()
        .filter(|status| count(*status) > 0)
        .map(|status| match alerts.len() {
            1 => language.status(status).to_owned(),
            _ => format!("{}:{}", language.status(status), count(status)),
        })
        .collect();
    let mut names: Vec<&str> = alerts
        .iter()
        .map(|one| one.alert.label("alertname"))
        .collect();
    names.dedup();
    let mut title = format!("[{}] {}", counts.join(" "), names.join(", "));
    if alerts.len() == 1 && !first.alert.annotation("summary").is_empty() {
        title.push_str(&format!(": {}", first.alert.annotation("summary")));
    }
    one_line(&title)
}

/// All alerts, one after the other.
pub(super) fn content(context: Context<'_>, alerts: &[Waiting], with_links: bool) -> String {
    let mut parts: Vec<String> = alerts
        .iter()
        .map(|one| alert_text(context, one, with_links))
        .collect();
    if let Some(first) = alerts.first()
        && first.batch.header.truncated_alerts > 0
    {
        let truncated = first.batch.header.truncated_alerts;
        parts.push(context.target.language.truncated(truncated));
    }
    parts.join("\n\n---\n\n")
}

fn alert_text(context: Context<'_>, one: &Waiting, with_links: bool) -> String {
    let language = context.target.language;
    let alert = &*one.alert;
    let mut head = format!(
        "#### [{}] **{}**",
        language.status(alert.status),
        one_line(alert.label("alertname"))
    );
    if !alert.label("severity").is_empty() {
        head.push_str(&format!(" · {}", one_line(alert.label("severity"))));
    }
    let mut parts = vec![head];
    for name in ["summary", "description"] {
        let said = plain(alert.annotation(name).trim());
        if !said.is_empty() && !parts.contains(&said) {
            parts.push(said);
        }
    }
    let labels: Vec<String> = alert
        .labels
        .iter()
        .filter(|(name, _)| *name != "alertname" && *name != "severity")
        .map(|(name, value)| format!("- {}: {}", one_line(name), one_line(value)))
        .collect();
    if !labels.is_empty() {
        parts.push(labels.join("\n"));
    }
    parts.push(times(context, alert));
    let links = links(context, one);
    if with_links && !links.is_empty() {
        let links: Vec<String> = links
            .iter()
            .map(|(text, url)| format!("[{text}]({url})"))
            .collect();
        parts.push(links.join(" · "));
    }
    parts.retain(|part| !part.is_empty());
    parts.join("\n\n")
}

/// Since when, or from when to when.
fn times(context: Context<'_>, alert: &Alert) -> String {
    let language = context.target.language;
    let shown = |time: Timestamp| {
        let zoned = time.to_zoned(context.time_zone.clone());
        zoned.strftime("%Y-%m-%d %H:%M:%S %Z").to_string()
    };
    let begin: Option<Timestamp> = alert.starts_at.parse().ok();
    let end: Option<Timestamp> = alert.ends_at.parse().ok();
    match (alert.status, begin, end) {
        (Status::Firing, Some(begin), _) => language.since(&shown(begin)),
        (Status::Resolved, _, Some(end)) => language.resolved(&shown(end), lasted(alert)),
        // A time that cannot be read is shown as it came.
        (Status::Firing, None, _) => language.since(&one_line(&alert.starts_at)),
        (Status::Resolved, _, None) => language.resolved(&one_line(&alert.ends_at), None),
    }
}

/// How long a resolved alert was on.
pub(super) fn lasted(alert: &Alert) -> Option<Duration> {
    let begin: Timestamp = alert.starts_at.parse().ok()?;
    let end: Timestamp = alert.ends_at.parse().ok()?;
    let is_over = alert.status == Status::Resolved;
    Duration::try_from(end.duration_since(begin))
        .ok()
        .filter(|_| is_over)
}

/// The bridge, for rules on the same machine.
const OWN_ADDRESSES: [&str; 2] = ["http://127.0.0.1:8060", "http://localhost:8060"];

/// Texts and URLs: what to do about an alert, where it comes from, how to silence it.
pub(super) fn links(context: Context<'_>, one: &Waiting) -> Vec<(String, String)> {
    let language = context.target.language;
    let alert = &*one.alert;
    let runbook = alert.annotation("runbook_url");
    // The shipped rules name the bridge by its address on loopback, where no telephone is.
    let own = OWN_ADDRESSES
        .iter()
        .find_map(|own| runbook.strip_prefix(own));
    let runbook = match own.unwrap_or(runbook).strip_prefix('/') {
        Some(path) => link_url(&format!("{}/{path}", context.external_url)),
        None => link_url(runbook),
    };
    let silence = match alert.status {
        // Alertmanager cannot silence what it does not know.
        Status::Firing if !own_alert::is_own(&one.batch.header.group_key) => {
            (context.silence_link)(&alert.labels)
        }
        Status::Firing | Status::Resolved => None,
    };
    let links = [
        (language.runbook(), runbook),
        (language.graph(), link_url(&alert.generator_url)),
        (language.silence(), silence),
    ];
    links
        .into_iter()
        .filter_map(|(text, url)| Some((text.to_owned(), url?)))
        .collect()
}
