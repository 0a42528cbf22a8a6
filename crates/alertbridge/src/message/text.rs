//! Foreign text on its way into a message: one line, without links of its own, cut where it has to be.
//!
//! Invariant: a cut is between two characters and says how many were left out; the result is as short as was asked for, in bytes of JSON.

use crate::config::Language;

/// Bytes of a text within a JSON text, quotation marks apart.
pub(crate) fn json_len(text: &str) -> usize {
    text.chars().map(char_len).sum()
}

/// As serde_json writes it.
fn char_len(character: char) -> usize {
    match character {
        '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
        character if character < ' ' => 6,
        character => character.len_utf8(),
    }
}

/// The text, or its begin and how much is left out, in at most `max` bytes of JSON. Where not even the note fits, nothing.
pub(crate) fn cut(text: &str, max: usize, language: Language) -> String {
    let len = json_len(text);
    if len <= max {
        return text.to_owned();
    }
    let count = text.chars().count();
    let Some(room) = max.checked_sub(json_len(&language.left_out(count))) else {
        return String::new();
    };
    let mut used = 0;
    let mut kept = String::new();
    let mut kept_count = 0;
    for character in text.chars() {
        used += char_len(character);
        if used > room {
            break;
        }
        kept.push(character);
        kept_count += 1;
    }
    kept + &language.left_out(count - kept_count)
}

/// At most that many characters, the last one `…` where some are missing.
pub(super) fn shortened(text: &str, max: usize) -> String {
    if text.chars().count() <= max {
        return text.to_owned();
    }
    text.chars()
        .take(max.saturating_sub(1))
        .chain(['…'])
        .collect()
}

/// Text without control characters, and without the one sequence that makes a link or an image of what an alert's label says.
pub(crate) fn plain(text: &str) -> String {
    let is_kept = |character: &char| *character == '\n' || !character.is_control();
    let text: String = text.chars().filter(is_kept).collect();
    text.replace("](", "] (")
}

/// The same in one line.
pub(super) fn one_line(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    plain(&words.join(" "))
}

/// A foreign URL for a link: http or https, with percent signs for what would end the link early.
pub(super) fn link_url(text: &str) -> Option<String> {
    if !text.starts_with("http://") && !text.starts_with("https://") {
        return None;
    }
    let mut url = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_graphic() && !b"()<>\"\\[]`".contains(&byte) {
            url.push(char::from(byte));
        } else {
            url.push_str(&format!("%{byte:02X}"));
        }
    }
    Some(url)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn labels_cannot_make_links_and_links_cannot_be_ended_early() {
        assert_eq!(
            one_line("a [x](http://evil)\n\u{7}b"),
            "a [x] (http://evil) b"
        );
        assert_eq!(
            link_url("http://p/g?a=(b)\"c d").unwrap(),
            "http://p/g?a=%28b%29%22c%20d"
        );
        assert_eq!(link_url("javascript:alert(1)"), None);
    }

    proptest! {
        #[test]
        fn the_length_in_json_is_that_of_serde_json(text in "\\PC*|[\\x00-\\x7f]*") {
            prop_assert_eq!(json_len(&text) + 2, serde_json::to_string(&text).unwrap().len());
        }

        #[test]
        fn a_cut_text_fits_begins_as_the_text_does_and_counts_what_is_missing(
            text in "[\\u{4e00}-\\u{9fff}a\"\\n\u{1f600}-\u{1f64f}]{0,400}",
            max in 0usize..1_000,
            is_chinese in any::<bool>(),
        ) {
            let language = if is_chinese { Language::Chinese } else { Language::English };
            let cut = cut(&text, max, language);
            prop_assert!(json_len(&cut) <= max);
            if json_len(&text) <= max {
                prop_assert_eq!(cut, text);
            } else if !cut.is_empty() {
                let (kept, note) = cut.rsplit_once(" …").unwrap();
                prop_assert!(text.starts_with(kept));
                let digits: String = note.chars().filter(char::is_ascii_digit).collect();
                let missing: usize = digits.parse().unwrap();
                prop_assert_eq!(kept.chars().count() + missing, text.chars().count());
                // No more was left out than had to be.
                prop_assert!(max - json_len(&cut) < 10);
            }
        }
    }
}
