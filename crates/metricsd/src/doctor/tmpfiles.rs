//! `tmpfiles.d`: what systemd-tmpfiles does with a directory by age, and at each boot.
//!
//! Invariant: as tmpfiles.d(5): a file hides those of its name in later directories, and of the lines for a directory and the ones
//! above it the most specific decides about age. Must not touch: anything but the files of rules.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::scripts::read_text;

/// Where rules are, the first one with a name wins.
const DIRECTORIES: [&str; 4] = [
    "/etc/tmpfiles.d",
    "/run/tmpfiles.d",
    "/usr/local/lib/tmpfiles.d",
    "/usr/lib/tmpfiles.d",
];

/// Most files of rules that are read.
const FILES_MAX: usize = 1000;

/// What is done to a directory, each with the rule's place and words.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Fate {
    /// Old files in it are removed while it is in use.
    pub(super) aged: Option<String>,
    /// It is emptied at boot.
    pub(super) emptied: Option<String>,
}

struct Rule {
    kind: char,
    path: String,
    age: Option<String>,
    place: String,
}

/// By the rules of this system.
pub(super) fn fate_of(directory: &Path) -> Fate {
    judge(directory, &rules())
}

fn rules() -> Vec<Rule> {
    let mut files: BTreeMap<String, PathBuf> = BTreeMap::new();
    for directory in DIRECTORIES {
        for entry in fs::read_dir(directory)
            .into_iter()
            .flatten()
            .flatten()
            .take(FILES_MAX)
        {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.ends_with(".conf") {
                files.entry(name).or_insert(entry.path());
            }
        }
    }
    let texts = files
        .values()
        .filter_map(|path| Some((path, read_text(path)?)));
    texts
        .flat_map(|(path, text)| parse(&path.display().to_string(), &text))
        .collect()
}

fn parse(file: &str, text: &str) -> Vec<Rule> {
    let of_line = |(number, line): (usize, &str)| {
        let line = line.trim();
        let mut fields = line.split_whitespace();
        let kind = fields
            .next()?
            .chars()
            .next()
            .filter(char::is_ascii_alphabetic)?;
        let path = fields.next()?.trim_matches(['"', '\'']);
        let path = path
            .replace("%t", "/run")
            .replace("%T", "/tmp")
            .replace("%V", "/var/tmp")
            .replace("%%", "%");
        let age = fields.nth(3).filter(|age| *age != "-").map(str::to_owned);
        let place = format!("{file}:{}: {line}", number + 1);
        Some(Rule {
            kind,
            path: path.trim_end_matches('/').to_owned(),
            age,
            place,
        })
    };
    text.lines().enumerate().filter_map(of_line).collect()
}

fn judge(directory: &Path, rules: &[Rule]) -> Fate {
    let mut fate = Fate::default();
    // A line that spares what is in the directory spares it from every other line.
    let inside = format!("{}/counter_1.db", directory.display());
    let mut is_settled = rules
        .iter()
        .any(|rule| rule.kind.eq_ignore_ascii_case(&'x') && matches(&rule.path, &inside));
    for place in directory.ancestors() {
        let place = place.to_string_lossy();
        let here: Vec<&Rule> = rules
            .iter()
            .filter(|rule| matches(&rule.path, &place))
            .collect();
        if fate.emptied.is_none() {
            let emptying = here.iter().find(|rule| matches!(rule.kind, 'R' | 'D'));
            fate.emptied = emptying.map(|rule| rule.place.clone());
        }
        let is_about_age =
            |rule: &&&Rule| matches!(rule.kind, 'd' | 'D' | 'e' | 'v' | 'q' | 'Q' | 'x');
        if !is_settled && here.iter().any(|rule| is_about_age(&rule)) {
            is_settled = true;
            let aging = here
                .iter()
                .filter(is_about_age)
                .find(|rule| rule.kind != 'x' && rule.age.is_some());
            fate.aged = aging.map(|rule| rule.place.clone());
        }
    }
    fate
}

/// A path pattern of glob(7): `*` and `?` stop at a slash.
fn matches(pattern: &str, path: &str) -> bool {
    fn go(pattern: &[u8], path: &[u8]) -> bool {
        match (pattern.split_first(), path.split_first()) {
            (None, None) => true,
            (Some((b'*', rest)), _) => {
                let end = path
                    .iter()
                    .position(|byte| *byte == b'/')
                    .unwrap_or(path.len());
                (0..=end).any(|taken| go(rest, &path[taken..]))
            }
            (Some((b'?', rest)), Some((byte, left))) => *byte != b'/' && go(rest, left),
            (Some((b'[', rest)), Some((byte, left))) => {
                match rest.iter().position(|it| *it == b']') {
                    Some(close) => in_class(&rest[..close], *byte) && go(&rest[close + 1..], left),
                    None => *byte == b'[' && go(rest, left),
                }
            }
            (Some((expected, rest)), Some((byte, left))) => expected == byte && go(rest, left),
            _ => false,
        }
    }
    // A pattern with many stars could take long; none of a real system has more.
    pattern.matches('*').count() <= 6 && go(pattern.as_bytes(), path.as_bytes())
}

fn in_class(class: &[u8], byte: u8) -> bool {
    let (is_negated, class) = match class.split_first() {
        Some((b'!' | b'^', rest)) => (true, rest),
        _ => (false, class),
    };
    let is_range = |it: &[u8]| it.len() == 3 && it[1] == b'-' && (it[0]..=it[2]).contains(&byte);
    let is_in = class.contains(&byte) || class.windows(3).any(is_range);
    is_in != is_negated
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fate(directory: &str, text: &str) -> (bool, bool) {
        let fate = judge(Path::new(directory), &parse("f", text));
        (fate.aged.is_some(), fate.emptied.is_some())
    }

    #[test]
    fn age_covers_what_is_below_unless_a_closer_line_says_otherwise() {
        let shards = "/tmp/app/prom";
        for (text, expected) in [
            ("", (false, false)),
            ("# q /tmp 1777 root root 10d", (false, false)),
            ("q /tmp 1777 root root 10d", (true, false)),
            ("D! /tmp/ 1777 root root -", (false, true)),
            ("q /tmp 1777 root root 10d\nx /tmp/app", (false, false)),
            (
                "q /tmp 1777 root root 10d\nx /tmp/app/prom*",
                (false, false),
            ),
            ("q /tmp 1777 root root 10d\nX /tmp/app", (true, false)),
            ("x /tmp/app/prom\ne /tmp/app/prom - - - 1h", (true, false)),
            (
                "x /tmp/app/prom/*\ne /tmp/app/prom - - - 1h",
                (false, false),
            ),
            (
                "q /tmp 1777 root root 10d\nd /tmp/app 0755 a a -",
                (false, false),
            ),
            ("d /tmp 0755 a a -\ne /tmp/*/pr?m - - - 1h", (true, false)),
            ("e /tmp/[a-b]pp - - - 1h", (true, false)),
            ("e /tmp/[!a]pp - - - 1h", (false, false)),
            ("e %T/app - - - 1h", (true, false)),
            ("R /tmp/app", (false, true)),
            ("r /tmp/other\nq /var/tmp - - - 30d", (false, false)),
        ] {
            assert_eq!(fate(shards, text), expected, "{text:?}");
        }
    }
}
