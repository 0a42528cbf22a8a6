//! The part of the known bridge's templates that is understood: its built-in ones by name, and fields of the notification.
//!
//! Invariant: what is not understood is refused when the configuration is read, never dropped from a message. There are no conditions,
//! loops or functions: a text that needs them is written by this program.

use crate::message::text::plain;
use crate::payload::Header;

/// What a template may hold, for messages.
pub(super) const ACCEPTED: &str = "text with {{ .Status }}, {{ .Receiver }}, {{ .ExternalURL }}, {{ .GroupLabels.NAME }}, {{ .CommonLabels.NAME }}, {{ .CommonAnnotations.NAME }}, \
     and {{ template \"ding.link.title\" . }}, {{ template \"ding.link.content\" . }} or those of \"legacy\", which stand for the texts of this program";

/// A text with places.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Title,
    Content,
    Status,
    Receiver,
    ExternalUrl,
    GroupLabel(String),
    CommonLabel(String),
    CommonAnnotation(String),
}

impl Template {
    /// Nothing if it holds anything else than [`ACCEPTED`] says.
    pub(super) fn parse(text: &str) -> Option<Template> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, behind)) = rest.split_once("{{") {
            let (inside, after) = behind.split_once("}}")?;
            parts.push(Part::Text(before.to_owned()));
            parts.push(part(inside.trim_matches(['-', ' ', '\t']))?);
            rest = after;
        }
        parts.push(Part::Text(rest.to_owned()));
        Some(Template(parts))
    }

    /// The text for a notification of which `title` and `content` are this program's own texts.
    pub fn filled(&self, header: &Header, status: &str, title: &str, content: &str) -> String {
        let parts = self.0.iter().map(|part| match part {
            Part::Text(text) => text.clone(),
            Part::Title => title.to_owned(),
            Part::Content => content.to_owned(),
            Part::Status => status.to_owned(),
            Part::Receiver => plain(&header.receiver),
            Part::ExternalUrl => plain(&header.external_url),
            Part::GroupLabel(name) => value(&header.group_labels, name),
            Part::CommonLabel(name) => value(&header.common_labels, name),
            Part::CommonAnnotation(name) => value(&header.common_annotations, name),
        });
        parts.collect()
    }
}

/// Foreign text, which must make no link here either.
fn value(values: &std::collections::BTreeMap<String, String>, name: &str) -> String {
    values
        .get(name)
        .map_or_else(String::new, |text| plain(text))
}

fn part(inside: &str) -> Option<Part> {
    let words: Vec<&str> = inside.split_whitespace().collect();
    match words.as_slice() {
        ["template", name, "."] => match name.trim_matches('"') {
            "ding.link.title" | "legacy.title" => Some(Part::Title),
            "ding.link.content" | "legacy.content" => Some(Part::Content),
            _ => None,
        },
        [".Status"] => Some(Part::Status),
        [".Receiver"] => Some(Part::Receiver),
        [".ExternalURL"] => Some(Part::ExternalUrl),
        [field] => {
            let (table, name) = field.strip_prefix('.')?.split_once('.')?;
            let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
            if name.is_empty() || !name.bytes().all(is_name) {
                return None;
            }
            let name = name.to_owned();
            match table {
                "GroupLabels" => Some(Part::GroupLabel(name)),
                "CommonLabels" => Some(Part::CommonLabel(name)),
                "CommonAnnotations" => Some(Part::CommonAnnotation(name)),
                _ => None,
            }
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_and_built_in_names_are_filled_in_and_anything_else_is_refused() {
        let header = Header {
            receiver: "team".into(),
            group_labels: [("alertname".to_owned(), "Down".to_owned())].into(),
            ..Header::default()
        };
        let template = Template::parse(
            "{{ .Status }}/{{.Receiver}} {{ .GroupLabels.alertname }}{{ .CommonLabels.none }}: {{ template \"legacy.title\" . }}!",
        );
        let filled = template.unwrap().filled(&header, "firing", "T", "C");
        assert_eq!(filled, "firing/team Down: T!");
        let header = Header {
            common_annotations: [("summary".to_owned(), "[x](http://evil)\u{7}".to_owned())].into(),
            ..Header::default()
        };
        let template = Template::parse("{{ .CommonAnnotations.summary }}");
        let filled = template.unwrap().filled(&header, "firing", "", "");
        assert_eq!(filled, "[x] (http://evil)", "a label made a link");
        for refused in [
            "{{ range .Alerts }}x{{ end }}",
            "{{ .Status | toUpper }}",
            "{{ template \"mine\" . }}",
            "{{ .Status",
            "{{ .GroupLabels }}",
            "{{ .GroupLabels.a.b }}",
        ] {
            assert_eq!(Template::parse(refused), None, "{refused}");
        }
    }
}
