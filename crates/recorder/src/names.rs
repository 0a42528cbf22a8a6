//! Names of the facade, which are any text, as names that the format knows.
//! Invariant: what comes out is legal, or empty; a legal name comes out as it is.
//! It must not know which names are taken.

/// `[a-zA-Z_:][a-zA-Z0-9_:]*`.
pub(crate) fn metric_name(raw: &str) -> String {
    replaced(raw, |c| matches!(c, '_' | ':'))
}

/// `[a-zA-Z_][a-zA-Z0-9_]*`.
pub(crate) fn label_name(raw: &str) -> String {
    replaced(raw, |c| c == '_')
}

/// Every character that is not legal in its place becomes `_`, so the name has as many characters as it had.
fn replaced(raw: &str, is_sign: impl Fn(char) -> bool) -> String {
    let characters = raw.chars().enumerate().map(|(at, c)| {
        let is_legal = c.is_ascii_alphabetic() || is_sign(c) || (at > 0 && c.is_ascii_digit());
        if is_legal { c } else { '_' }
    });
    characters.collect()
}

/// A help text that the client takes: without control characters but line feeds, of at most 1024 bytes, with the unit at its end.
pub(crate) fn help(description: &str, unit: Option<metrics::Unit>) -> String {
    const LEN_MAX_BYTES: usize = 1024;
    let unit = match unit {
        None | Some(metrics::Unit::Count) => String::new(),
        Some(unit) => format!(" ({})", unit.as_str()),
    };
    let mut help = String::new();
    for c in description.chars() {
        let c = if c.is_control() && c != '\n' { ' ' } else { c };
        if help.len() + c.len_utf8() + unit.len() > LEN_MAX_BYTES {
            break;
        }
        help.push(c);
    }
    help.push_str(&unit);
    help.trim_start().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_keeps_its_legal_characters() {
        for (raw, metric, label) in [
            ("http.requests", "http_requests", "http_requests"),
            ("9lives", "_lives", "_lives"),
            ("a9:b", "a9:b", "a9_b"),
            ("größe\n", "gr__e_", "gr__e_"),
            ("", "", ""),
        ] {
            assert_eq!(metric_name(raw), metric);
            assert_eq!(label_name(raw), label);
        }
    }

    #[test]
    fn a_help_text_has_its_unit_and_is_cut_where_the_client_would_refuse_it() {
        assert_eq!(
            help("Time.", Some(metrics::Unit::Seconds)),
            "Time. (seconds)"
        );
        assert_eq!(help("Orders.", Some(metrics::Unit::Count)), "Orders.");
        assert_eq!(help("", Some(metrics::Unit::Bytes)), "(bytes)");
        assert_eq!(help("a\tb\nc", None), "a b\nc");
        let long = help(&"ü".repeat(2_000), Some(metrics::Unit::Bytes));
        assert!(
            long.len() <= 1024 && long.ends_with("ü (bytes)"),
            "{}",
            long.len()
        );
    }
}
