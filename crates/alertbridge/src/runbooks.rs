//! Runbooks: those of `docs/runbooks`, built in, and those of a directory, which win.
//!
//! Invariant: a name is letters, digits, `-` and `_`, so that no request leaves the directory; the text is escaped.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use metricsd_exporter::http::PageResponse;

use crate::html::{escaped, page, plain};

/// Names and texts.
static BUILT_IN: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/runbooks.rs"));

/// Longest runbook that is read.
const LEN_MAX_BYTES: u64 = 1 << 20;

/// What `/runbooks/NAME` shows, and `/runbooks/` without a name: all names.
pub(crate) fn answer(name: &str, directory: Option<&Path>) -> PageResponse {
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    if name.is_empty() {
        return index();
    }
    if !name.bytes().all(is_name) {
        return plain(404, "no such runbook");
    }
    let own = directory.and_then(|directory| {
        let path = directory.join(format!("{name}.md"));
        let metadata = fs::metadata(&path).ok()?;
        let is_fine = metadata.is_file() && metadata.len() <= LEN_MAX_BYTES;
        is_fine.then(|| fs::read_to_string(&path).ok()).flatten()
    });
    let built_in = || {
        let found = BUILT_IN.iter().find(|(built_in, _)| *built_in == name);
        found.map(|(_, text)| (*text).to_owned())
    };
    match own.or_else(built_in) {
        Some(text) => page(200, name, &format!("<pre>{}</pre>", escaped(&text))),
        None => plain(404, "no such runbook; /runbooks/ has a list"),
    }
}

fn index() -> PageResponse {
    let mut list = String::new();
    for (name, _) in BUILT_IN {
        let name = escaped(name);
        // Writing into a string cannot fail.
        let _ = writeln!(list, "<li><a href=\"/runbooks/{name}\">{name}</a></li>");
    }
    page(200, "Runbooks", &format!("<ul>\n{list}</ul>"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_leave_the_directory_and_a_text_cannot_become_html() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("inner");
        fs::create_dir(&inner).unwrap();
        fs::write(folder.path().join("secret.md"), "secret").unwrap();
        fs::write(inner.join("Own.md"), "<script>x</script>").unwrap();
        for name in [
            "../secret",
            "..%2fsecret",
            "/etc/passwd",
            "Own.md",
            ".",
            "Nothing",
        ] {
            assert_eq!(answer(name, Some(&inner)).status, 404, "{name}");
        }
        let own = answer("Own", Some(&inner));
        let html = String::from_utf8_lossy(&own.body).into_owned();
        assert_eq!(own.status, 200);
        assert!(
            html.contains("&lt;script&gt;x") && !html.contains("<script>"),
            "{html}"
        );
        assert_eq!(answer("AlertbridgeTargetRefuses", None).status, 200);
        assert_eq!(answer("", None).status, 200);
    }
}
