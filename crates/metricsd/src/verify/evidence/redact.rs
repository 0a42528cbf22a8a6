//! Command lines and answers without their secrets: they end up in a document that is filed and mailed.
//!
//! Invariant: the value of an argument whose name sounds like a secret, and user information in an address, never come out.

use std::borrow::Cow;

/// Parts of names whose values are not shown.
const SECRET_WORDS: [&str; 7] = [
    "pass",
    "token",
    "secret",
    "key",
    "auth",
    "credential",
    "bearer",
];

const HIDDEN: &str = "[hidden]";

/// The words of a command line, quoted where they have blanks, without what sounds like a secret: `--x-token=VALUE`,
/// `--x-token VALUE`, `X_TOKEN=VALUE` and `//USER:PASSWORD@`.
pub fn redact<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let mut shown: Vec<String> = Vec::new();
    let mut hide_next = false;
    for word in words {
        let hide = std::mem::take(&mut hide_next);
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (word, None),
        };
        let sounds_secret = sounds_secret(name);
        let text = match value {
            _ if hide && !word.starts_with("--") => HIDDEN.to_owned(),
            Some(_) if sounds_secret => format!("{name}={HIDDEN}"),
            None if sounds_secret && word.starts_with('-') => {
                hide_next = true;
                word.to_owned()
            }
            _ => without_user_information(word),
        };
        shown.push(quoted(&text));
    }
    shown.join(" ")
}

/// A text of somebody else's without the users of its addresses (`//USER:PASSWORD@`) and the values of their parameters that sound
/// like a secret (`?access_token=VALUE`), also where JSON has `\u0026` for `&`.
pub fn redact_addresses(text: &str) -> Cow<'_, str> {
    let mut shown = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, address) = rest.split_at(at + "://".len());
        shown.push_str(before);
        let end = address.find(ends_address).unwrap_or(address.len());
        let (address, behind) = address.split_at(end);
        redact_address(address, &mut shown);
        rest = behind;
    }
    if shown.is_empty() {
        return Cow::Borrowed(text);
    }
    shown.push_str(rest);
    Cow::Owned(shown)
}

fn ends_address(c: char) -> bool {
    c.is_whitespace() || matches!(c, '"' | '\'' | '<' | '>' | '`' | ')' | '}')
}

/// An address behind its scheme.
fn redact_address(address: &str, shown: &mut String) {
    let end = address.find(['/', '?', '#']).unwrap_or(address.len());
    let (authority, mut rest) = address.split_at(end);
    match authority.rsplit_once('@') {
        Some((_, host)) => shown.extend([HIDDEN, "@", host]),
        None => shown.push_str(authority),
    }
    while let Some(at) = rest.find('=') {
        let (before, value) = rest.split_at(at + 1);
        shown.push_str(before);
        let begin = before.rfind(['?', '&', ';']).map_or(0, |at| at + 1);
        let name = before[begin..].rsplit("u0026").next().unwrap_or_default();
        let end = value.find(['&', ';', '#', '\\']).unwrap_or(value.len());
        let (value, behind) = value.split_at(end);
        shown.push_str(if sounds_secret(name) { HIDDEN } else { value });
        rest = behind;
    }
    shown.push_str(rest);
}

fn sounds_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRET_WORDS.iter().any(|word| name.contains(word))
}

fn without_user_information(word: &str) -> String {
    let Some((scheme, rest)) = word.split_once("://") else {
        return word.to_owned();
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    match authority.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://{HIDDEN}@{host}{path}"),
        None => word.to_owned(),
    }
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@,+%[]".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}
