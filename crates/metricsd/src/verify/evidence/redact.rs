//! Command lines without their secrets: they end up in a document that is filed and mailed.
//!
//! Invariant: the value of an argument whose name sounds like a secret, and user information in an address, never come out.

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
