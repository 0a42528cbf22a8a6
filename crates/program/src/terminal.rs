//! Strings that others wrote, made fit for a terminal: a label value may hold an escape sequence.
//!
//! Invariant: no control, format or unassigned character leaves as it came, and nothing else is changed. Pure.

use std::fmt::Write;

/// The text with every character that prints nothing as `\u{...}`, `\n`, `\t` and so on.
pub fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if is_printed(character) {
            out.push(character);
        } else {
            out.extend(character.escape_debug());
        }
    }
    out
}

/// JSON that says the same without such characters. Only strings can hold them, and there a `\u` escape means the same.
pub fn printable_json(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for character in json.chars() {
        // Line feeds stand between values; those in strings are escaped already.
        if character == '\n' || is_printed(character) {
            out.push(character);
        } else {
            for unit in character.encode_utf16(&mut [0; 2]) {
                // Writing to a string cannot fail.
                let _ = write!(out, "\\u{unit:04x}");
            }
        }
    }
    out
}

fn is_printed(character: char) -> bool {
    matches!(character, '"' | '\'' | '\\') || character.escape_debug().len() == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_a_cursor_is_spelled_out_and_the_rest_stays() {
        assert_eq!(printable("a\u{1b}[2Jb"), "a\\u{1b}[2Jb");
        assert_eq!(printable("\u{9b}\u{202e}\u{7f}"), "\\u{9b}\\u{202e}\\u{7f}");
        assert_eq!(printable("ü {\"a\": '\\'} 日"), "ü {\"a\": '\\'} 日");
    }

    #[test]
    fn json_keeps_its_meaning() {
        let text = "a\u{1b}\u{9b}\u{202e}\u{e0001}ü\"\n";
        let json = printable_json(&serde_json::to_string(text).unwrap());
        assert!(json.chars().all(is_printed), "{json}");
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
    }
}
