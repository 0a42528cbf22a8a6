//! A shard, its keys, its name, and the sidecar of a process: written by other people's processes.

use metricsd_shard::{HEADER_LEN_BYTES, Key, ProcessFile, ShardName, parse_from, read_value};

/// Any bytes as a file; the bytes behind the first entry's length as a key; all of them as a name and as a sidecar.
pub fn check(data: &[u8]) {
    check_file(data);
    check_key(data);
    if let Ok(text) = std::str::from_utf8(data) {
        check_name(text);
    }
    // It ends, with a file or a sentence.
    if let Err(err) = ProcessFile::parse(data) {
        assert!(!err.to_string().is_empty());
    }
}

fn check_file(bytes: &[u8]) {
    let whole = parse_from(bytes, HEADER_LEN_BYTES);
    let mut end = HEADER_LEN_BYTES;
    for entry in &whole.entries {
        assert!(
            entry.value_offset >= end && entry.value_offset + 16 <= bytes.len(),
            "an entry lies within the file, behind the one before"
        );
        assert!(Key::check(entry.key).is_ok(), "a key that is shown is one");
        read_value(bytes, entry.value_offset);
        check_key(entry.key);
        end = entry.value_offset + 16;
    }
    assert!(whole.end >= end);
    // Parsing goes on where it stopped, and finds nothing twice.
    let rest = parse_from(bytes, whole.end);
    assert!(
        rest.entries.is_empty(),
        "what was parsed is not parsed again"
    );
    // A file that is cut anywhere shows a prefix of its entries: a reader may come while a writer appends.
    let cut = bytes.len() / 2;
    let prefix = parse_from(&bytes[..cut], HEADER_LEN_BYTES);
    assert!(
        whole.entries.starts_with(&prefix.entries) || whole.entries.is_empty(),
        "a cut file shows the first entries of the whole one"
    );
}

fn check_key(bytes: &[u8]) {
    let parsed = Key::parse(bytes);
    assert_eq!(
        Key::check(bytes).is_ok(),
        parsed.is_ok(),
        "checking and parsing agree"
    );
    if let Ok(key) = parsed {
        let spelled = key.encode();
        assert!(spelled.is_ascii());
        assert_eq!(
            Key::parse(spelled.as_bytes()).as_ref(),
            Ok(&key),
            "what is spelled reads back"
        );
    }
}

fn check_name(text: &str) {
    if let Ok(name) = ShardName::parse(text) {
        assert_eq!(
            ShardName::parse(&name.file_name()),
            Ok(name),
            "a name that is understood is spelled so that it is understood again"
        );
    }
}
