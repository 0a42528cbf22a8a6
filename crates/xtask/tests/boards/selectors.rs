//! The selectors of a PromQL expression: enough of the language to say what each of them asks for and what stands around it.
//!
//! Invariant: a name that stands as a metric is found, with or without braces. Whether the expression is PromQL at all is Prometheus' to say.

/// What stands between an expression's functions and its data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Selector {
    /// The metric's.
    pub(crate) name: String,
    /// What is between the braces; empty without any.
    pub(crate) matchers: String,
    /// What is between the brackets of a range.
    pub(crate) range: Option<String>,
    /// The function or aggregation whose parentheses are the nearest; empty for none.
    pub(crate) within: String,
}

/// Words that stand before a list of labels.
const BEFORE_LABELS: [&str; 6] = [
    "by",
    "without",
    "on",
    "ignoring",
    "group_left",
    "group_right",
];
/// Words that stand between two operands.
const OPERATORS: [&str; 6] = ["and", "or", "unless", "bool", "offset", "atan2"];

/// All selectors of an expression, in its order.
pub(crate) fn selectors(expression: &str) -> Vec<Selector> {
    let mut found = Vec::new();
    let mut around: Vec<String> = Vec::new();
    let mut rest = expression;
    while let Some(first) = rest.chars().next() {
        if first.is_ascii_alphabetic() || first == '_' {
            let (word, after) = split_word(rest);
            let next = after.trim_start();
            if BEFORE_LABELS.contains(&word) {
                rest = next.split_once(')').map_or("", |(_, after)| after);
            } else if OPERATORS.contains(&word) {
                rest = after;
            } else if let Some(inside) = next.strip_prefix('(') {
                around.push(word.to_owned());
                rest = inside;
            } else if next.starts_with("by") && next[2..].trim_start().starts_with('(') {
                // `sum by (le) (…)`: the aggregation's own parentheses come after its labels.
                let inside = next.split_once(')').map_or("", |(_, after)| after);
                around.push(word.to_owned());
                rest = inside.trim_start().strip_prefix('(').unwrap_or(inside);
            } else {
                let (matchers, after) = between(after, '{', '}').unwrap_or(("", after));
                let (range, after) = between(after, '[', ']')
                    .map_or((None, after), |(range, after)| {
                        (Some(range.to_owned()), after)
                    });
                found.push(Selector {
                    name: word.to_owned(),
                    matchers: matchers.to_owned(),
                    range,
                    within: around.last().cloned().unwrap_or_default(),
                });
                rest = after;
            }
            continue;
        }
        match first {
            '(' => around.push(String::new()),
            ')' => drop(around.pop()),
            _ => {}
        }
        // Behind a number there is no name: `1e3` is one word.
        let number = rest
            .find(|c: char| !c.is_ascii_alphanumeric() && c != '.')
            .unwrap_or(rest.len());
        rest = &rest[number.max(first.len_utf8())..];
    }
    found
}

fn split_word(text: &str) -> (&str, &str) {
    let end = text
        .find(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':')
        .unwrap_or(text.len());
    text.split_at(end)
}

/// What is between an opening character at the begin and the closing one that is in no string.
fn between(text: &str, open: char, close: char) -> Option<(&str, &str)> {
    let inside = text.strip_prefix(open)?;
    let mut quoted = false;
    for (at, c) in inside.char_indices() {
        if c == '"' {
            quoted = !quoted;
        } else if c == close && !quoted {
            return Some((&inside[..at], &inside[at + close.len_utf8()..]));
        }
    }
    None
}

#[test]
fn selectors_are_found_with_what_stands_around_them() {
    let expression = r#"histogram_quantile(0.95, sum by (job, le) (rate(a_bucket{x="}", job=~"$job"}[$__rate_interval]))) unless on (job) (b:c{j="k"} > 1e3) or d"#;
    let found: Vec<_> = selectors(expression)
        .into_iter()
        .map(|s| (s.name, s.matchers, s.range.unwrap_or_default(), s.within))
        .collect();
    let expected = [
        (
            "a_bucket",
            r#"x="}", job=~"$job""#,
            "$__rate_interval",
            "rate",
        ),
        ("b:c", r#"j="k""#, "", ""),
        ("d", "", "", ""),
    ]
    .map(|(a, b, c, d)| (a.to_owned(), b.to_owned(), c.to_owned(), d.to_owned()));
    assert_eq!(found, expected);
}
