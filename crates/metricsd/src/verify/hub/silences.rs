//! Silences: one that was forgotten, and hides everything.
//!
//! Invariant: a pattern is judged only if any value matches it; what else a silence hides is for Alertmanager to say of the test alert.

use serde_json::Value;

use super::asks::{listed, step};
use super::path::test_labels;
use super::{Hub, Party, ids};
use crate::verify::evidence::Finding;
use crate::verify::record::Book;

/// Patterns that any value matches.
const ANYTHING: [&str; 4] = [".*", ".+", "^.*$", "^.+$"];

impl Hub<'_> {
    pub(super) fn silences(&self, book: &mut Book<'_>) {
        let title = "No silence hides every alert, or the test alert";
        let check = self.check(ids::SILENCES, title, &[Party::Alertmanager]);
        step(book, check, self.retry(), |probe| {
            let file = Some("alertmanager-silences.json");
            let silences = self.alertmanager("silences", &[], file, probe)?;
            let active: Vec<&Value> = silences
                .as_array()
                .into_iter()
                .flatten()
                .filter(|silence| silence["status"]["state"] == "active")
                .collect();
            let labels = test_labels(self.args, "-");
            let hiding: Vec<String> = active
                .iter()
                .filter(|silence| hides(silence, &labels))
                .map(|silence| in_words(silence))
                .collect();
            if hiding.is_empty() {
                return Ok(Finding::pass(match active.len() {
                    0 => "none is active".to_owned(),
                    count => format!("{count} are active, and none of them is that wide"),
                }));
            }
            Err(Finding::fail(
                format!("hidden by {}", listed(&hiding, 5)),
                "end it (amtool silence expire ID) if nobody needs it any more",
            ))
        });
    }
}

/// Whether every matcher of a silence takes any value, or the one that the test alert has.
fn hides(silence: &Value, labels: &[(String, String)]) -> bool {
    let matchers = silence["matchers"].as_array().into_iter().flatten();
    let mut matchers = matchers.peekable();
    matchers.peek().is_some()
        && matchers.all(|matcher| {
            let text = |name: &str| matcher[name].as_str().unwrap_or_default();
            let (name, value) = (text("name"), text("value"));
            let is_equal = matcher["isEqual"].as_bool().unwrap_or(true);
            let own = labels.iter().find(|(label, _)| label == name);
            let own = own.map_or("", |(_, value)| value.as_str());
            match (matcher["isRegex"] == true, is_equal) {
                (true, true) => ANYTHING.contains(&value),
                (true, false) => false,
                (false, true) => own == value,
                (false, false) => own != value,
            }
        })
}

/// A silence as a person finds it again.
pub(super) fn in_words(silence: &Value) -> String {
    let text = |name: &str| silence[name].as_str().unwrap_or_default();
    format!(
        "silence {} of {:?} until {} ({})",
        text("id"),
        text("createdBy"),
        text("endsAt"),
        text("comment")
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_silence_hides_if_all_of_its_matchers_take_the_alert() {
        let labels = [("severity".to_owned(), "critical".to_owned())];
        let matcher = |name: &str, value: &str, is_regex: bool, is_equal: bool| json!({"name": name, "value": value, "isRegex": is_regex, "isEqual": is_equal});
        for (matchers, expected) in [
            (vec![], false),
            (vec![matcher("alertname", ".*", true, true)], true),
            (vec![matcher("severity", "critical", false, true)], true),
            (vec![matcher("severity", "warning", false, true)], false),
            (vec![matcher("severity", "none", false, false)], true),
            (
                vec![
                    matcher("severity", ".+", true, true),
                    matcher("host", "x", false, true),
                ],
                false,
            ),
        ] {
            let silence = json!({ "matchers": matchers });
            assert_eq!(hides(&silence, &labels), expected, "{silence}");
        }
    }
}
