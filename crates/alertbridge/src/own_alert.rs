//! What the bridge itself has to say, as a notification like any other. Must not touch: the queue, clocks.

use jiff::Timestamp;

use crate::payload::{Alert, Header, Labels, Notification, Status, fingerprint};

/// The group of the dead-man's alert.
pub const WATCHDOG_GROUP: &str = "alertbridge:watchdog";

/// The group of targets that refuse what they are sent.
pub const REFUSED_GROUP: &str = "alertbridge:refused";

/// The group of the queue's own alert.
pub const QUEUE_GROUP: &str = "alertbridge:queue";

/// Whether that group is one of this program's own, of which Alertmanager knows nothing.
pub fn is_own(group_key: &str) -> bool {
    [WATCHDOG_GROUP, REFUSED_GROUP, QUEUE_GROUP].contains(&group_key)
}

fn of(pairs: &[(&str, &str)]) -> Labels {
    let pairs = pairs.iter();
    pairs
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn notification(
    group_key: &str,
    labels: Labels,
    annotations: Labels,
    status: Status,
    since: Option<Timestamp>,
) -> Notification {
    let now = Timestamp::now();
    let alert = Alert {
        status,
        fingerprint: fingerprint(&labels),
        starts_at: since.unwrap_or(now).to_string(),
        ends_at: match status {
            Status::Firing => "0001-01-01T00:00:00Z".to_owned(),
            Status::Resolved => now.to_string(),
        },
        generator_url: String::new(),
        labels: labels.clone(),
        annotations: annotations.clone(),
    };
    Notification {
        header: Header {
            receiver: "alertbridge".to_owned(),
            group_key: group_key.to_owned(),
            group_labels: labels.clone(),
            common_labels: labels,
            common_annotations: annotations,
            ..Header::default()
        },
        alerts: vec![alert],
    }
}

fn watchdog_labels(alertname: &str) -> Labels {
    of(&[
        ("alertname", "AlertbridgeWatchdogMissing"),
        ("severity", "critical"),
        ("watchdog", alertname),
    ])
}

/// Identity of the dead-man's alert.
pub fn watchdog_fingerprint(alertname: &str) -> String {
    fingerprint(&watchdog_labels(alertname))
}

/// The always-firing alert stays away since then, or came back.
pub fn watchdog(alertname: &str, status: Status, since: Option<Timestamp>) -> Notification {
    let summary = format!("{alertname} does not arrive any more: alerting is broken");
    let annotations = of(&[
        ("summary", &summary),
        (
            "description",
            "Prometheus, its rules, Alertmanager or the way from there to this bridge does not work; other alerts may be missing too.",
        ),
        ("runbook_url", "/runbooks/AlertbridgeWatchdogMissing"),
    ]);
    notification(
        WATCHDOG_GROUP,
        watchdog_labels(alertname),
        annotations,
        status,
        since,
    )
}

fn refused_labels(name: &str) -> Labels {
    of(&[
        ("alertname", "AlertbridgeTargetRefuses"),
        ("severity", "critical"),
        ("robot", name),
    ])
}

/// Identity of the alert on a target that refuses what it is sent.
pub fn refused_fingerprint(name: &str) -> String {
    fingerprint(&refused_labels(name))
}

/// A target refuses what it is sent since then, or takes it again.
pub fn refused_target(
    name: &str,
    status: Status,
    since: Option<Timestamp>,
    text: &str,
) -> Notification {
    let labels = refused_labels(name);
    let summary = format!("{name} refuses messages; its alerts wait");
    let annotations = of(&[
        ("summary", &summary),
        ("description", text),
        ("runbook_url", "/runbooks/AlertbridgeTargetRefuses"),
    ]);
    notification(REFUSED_GROUP, labels, annotations, status, since)
}

fn queue_labels() -> Labels {
    of(&[
        ("alertname", "AlertbridgeQueueNotWritable"),
        ("severity", "critical"),
    ])
}

/// Identity of the alert on the queue.
pub fn queue_fingerprint() -> String {
    fingerprint(&queue_labels())
}

/// Nothing can be taken in since then, or can again.
pub fn queue(status: Status, since: Option<Timestamp>, text: &str) -> Notification {
    let annotations = of(&[
        (
            "summary",
            "The bridge refuses alerts: it cannot keep them on disk",
        ),
        ("description", text),
        ("runbook_url", "/runbooks/AlertbridgeQueueNotWritable"),
    ]);
    notification(QUEUE_GROUP, queue_labels(), annotations, status, since)
}
