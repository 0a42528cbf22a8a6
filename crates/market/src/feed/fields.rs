//! The fields of one line of CSV. Invariant: what stands between two separators is one field, and a separator inside of quotes is none;
//! nothing is guessed of a quote that is not closed: it is a character like others.

/// The fields without the blanks and the quotes around them, as spreadsheets and R write them. A quote inside of a quoted field stays doubled:
/// no column of ours has one.
pub(super) fn split(line: &str) -> Vec<&str> {
    if !line.contains('"') {
        return line.split(',').map(str::trim).collect(); // the usual case
    }
    let (mut fields, mut rest) = (Vec::new(), Some(line));
    while let Some(line) = rest {
        let (field, behind) = quoted(line).unwrap_or_else(|| match line.split_once(',') {
            Some((field, behind)) => (field, Some(behind)),
            None => (line, None),
        });
        fields.push(field.trim());
        rest = behind;
    }
    fields
}

/// The inside of the quoted field that the line begins with, and what is behind its separator.
fn quoted(line: &str) -> Option<(&str, Option<&str>)> {
    let inside = line.trim_start().strip_prefix('"')?;
    let mut from = 0;
    let end = loop {
        let quote = from + inside[from..].find('"')?;
        if !inside[quote + 1..].starts_with('"') {
            break quote;
        }
        from = quote + 2;
    };
    let behind = inside[end + 1..].trim_start();
    match behind.strip_prefix(',') {
        Some(behind) => Some((&inside[..end], Some(behind))),
        None => behind.is_empty().then_some((&inside[..end], None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_separator_inside_of_quotes_is_none_and_a_quote_that_is_not_closed_is_a_character() {
        let table: [(&str, &[&str]); 12] = [
            ("", &[""]),
            ("a,b", &["a", "b"]),
            (" a , b ,", &["a", "b", ""]),
            (r#""a","b""#, &["a", "b"]),
            (r#" "a" , " b " "#, &["a", "b"]),
            (r#"a,"b,c",d"#, &["a", "b,c", "d"]),
            (r#""a""b",c"#, &[r#"a""b"#, "c"]),
            ("\",\",\"\"", &[",", ""]),
            (r#""a,b"#, &[r#""a"#, "b"]),
            (r#""a"x,b"#, &[r#""a"x"#, "b"]),
            (r#"a"b,c"#, &[r#"a"b"#, "c"]),
            ("\"\",\"", &["", "\""]),
        ];
        for (line, fields) in table {
            assert_eq!(split(line), fields, "{line}");
        }
    }
}
