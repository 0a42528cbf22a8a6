//! Alertmanager's webhook body, version 4, as typed values.
//!
//! Invariant: a body either is read as a whole or refused as a whole; nothing of an alert is dropped that a message shows. Times stay as
//! they were written: an alert with a strange one is still an alert.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Names and values.
pub type Labels = BTreeMap<String, String>;

/// Whether an alert is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// On.
    Firing,
    /// Over.
    Resolved,
}

impl Status {
    /// As Alertmanager spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Status::Firing => "firing",
            Status::Resolved => "resolved",
        }
    }
}

/// One alert of a notification.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Alert {
    /// On or over.
    pub status: Status,
    /// What it is.
    pub labels: Labels,
    /// What is said about it.
    #[serde(default)]
    pub annotations: Labels,
    /// When it began, RFC 3339.
    #[serde(default)]
    pub starts_at: String,
    /// When it ended, RFC 3339; of one that fires, year 1.
    #[serde(default)]
    pub ends_at: String,
    /// The expression in Prometheus.
    #[serde(default, rename = "generatorURL")]
    pub generator_url: String,
    /// Identity of the labels.
    #[serde(default)]
    pub fingerprint: String,
}

impl Alert {
    /// A label's value; empty if there is none.
    pub fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }

    /// An annotation; empty if there is none.
    pub fn annotation(&self, name: &str) -> &str {
        self.annotations.get(name).map_or("", String::as_str)
    }
}

/// What a notification says besides its alerts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Header {
    /// Alertmanager's receiver.
    #[serde(default)]
    pub receiver: String,
    /// Identity of the group within Alertmanager.
    #[serde(default)]
    pub group_key: String,
    /// What the alerts were grouped by.
    #[serde(default)]
    pub group_labels: Labels,
    /// What all of them have in common.
    #[serde(default)]
    pub common_labels: Labels,
    /// What is said of all of them.
    #[serde(default)]
    pub common_annotations: Labels,
    /// Alertmanager, for links.
    #[serde(default, rename = "externalURL")]
    pub external_url: String,
    /// Alerts that Alertmanager left out (`max_alerts`).
    #[serde(default)]
    pub truncated_alerts: u64,
}

/// A notification: header and alerts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notification {
    /// What it says besides its alerts.
    #[serde(flatten)]
    pub header: Header,
    /// The alerts.
    pub alerts: Vec<Alert>,
}

impl Notification {
    /// Reads a body. An alert without a fingerprint, as old versions send it, gets one from its labels.
    ///
    /// # Errors
    /// What is wrong with the body, in one sentence.
    pub fn parse(body: &[u8]) -> Result<Notification, String> {
        let mut notification: Notification =
            serde_json::from_slice(body).map_err(|error| error.to_string())?;
        for alert in &mut notification.alerts {
            if alert.fingerprint.is_empty() {
                alert.fingerprint = fingerprint(&alert.labels);
            }
        }
        Ok(notification)
    }
}

/// Sixteen hexadecimal digits that stand for these labels.
pub fn fingerprint(labels: &Labels) -> String {
    let mut hash = Sha256::new();
    for (name, value) in labels {
        for text in [name, value] {
            hash.update((text.len() as u64).to_le_bytes());
            hash.update(text);
        }
    }
    let hash = hash.finalize();
    hash[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A body as Alertmanager 0.25 sends it.
    const BODY: &str = r#"{"receiver":"ding","status":"firing","alerts":[{"status":"firing","labels":{"alertname":"Down","a":"x\u0026y"},
        "annotations":{"summary":"s"},"startsAt":"2026-11-22T10:00:00.123Z","endsAt":"0001-01-01T00:00:00Z","generatorURL":"http://p/graph?g0","fingerprint":"c0ffee"}],
        "groupLabels":{"alertname":"Down"},"commonLabels":{"alertname":"Down"},"commonAnnotations":{},"externalURL":"http://am","version":"4","groupKey":"{}:{alertname=\"Down\"}","truncatedAlerts":0}"#;

    #[test]
    fn a_body_of_alertmanager_is_read_and_a_body_in_part_is_refused() {
        let read = Notification::parse(BODY.as_bytes()).unwrap();
        assert_eq!(read.alerts[0].label("a"), "x&y");
        assert_eq!(read.header.group_key, "{}:{alertname=\"Down\"}");
        for end in 0..BODY.len() {
            assert!(
                Notification::parse(&BODY.as_bytes()[..end]).is_err(),
                "{end}"
            );
        }
        for wrong in [
            "[]",
            "{}",
            "{\"alerts\":[{}]}",
            "{\"alerts\":[{\"status\":\"on\",\"labels\":{}}]}",
            "{\"alerts\":[{\"status\":\"firing\",\"labels\":{\"a\":1}}]}",
        ] {
            assert!(Notification::parse(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn alerts_without_a_fingerprint_get_different_ones_for_different_labels() {
        let of = |pairs: &[(&str, &str)]| {
            fingerprint(
                &pairs
                    .iter()
                    .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
                    .collect(),
            )
        };
        assert_ne!(of(&[("a", "bc")]), of(&[("ab", "c")]));
        assert_ne!(of(&[("a", "1"), ("b", "")]), of(&[("a", "1")]));
        let read = Notification::parse(br#"{"alerts":[{"status":"resolved","labels":{"a":"1"}}]}"#);
        assert_eq!(read.unwrap().alerts[0].fingerprint, of(&[("a", "1")]));
    }
}
