//! The sidecar as hostile input: whatever stands under its name is a typed error or a whole process file.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::AsFd;
use std::path::Path;

use metricsd_shard::{
    PROCESS_FILE_LEN_MAX_BYTES, ProcessFile, ProcessFileError, process_file_id, process_file_name,
};

const GOOD: &str = r#"{"program":"shadow-session","version":"1.0","mode":"paper","pid":7,
    "started_at_unix_seconds":1700000000.5,"start_ticks":99,"boot_id":"b","labels":{"desk":"fx"},"degraded":true}"#;

fn read(dir: &Path, name: &str) -> Result<ProcessFile, ProcessFileError> {
    ProcessFile::read_at(fs::File::open(dir).unwrap().as_fd(), name)
}

#[test]
fn a_whole_file_is_read_and_unknown_fields_are_passed_over() {
    let expected = ProcessFile {
        program: "shadow-session".to_owned(),
        version: "1.0".to_owned(),
        mode: "paper".to_owned(),
        pid: 7,
        started_at_unix_seconds: 1_700_000_000.5,
        start_ticks: 99,
        boot_id: "b".to_owned(),
        pid_namespace: None,
        labels: BTreeMap::from([("desk".to_owned(), "fx".to_owned())]),
        degraded: true,
    };
    assert_eq!(ProcessFile::parse(GOOD.as_bytes()).unwrap(), expected);
    let newer = GOOD.replacen('{', r#"{"cpu":[1,{}],"#, 1);
    assert_eq!(ProcessFile::parse(newer.as_bytes()).unwrap(), expected);
}

#[test]
fn cut_at_any_byte_it_is_an_error() {
    for len in 0..GOOD.len() {
        let error = ProcessFile::parse(&GOOD.as_bytes()[..len]).unwrap_err();
        assert!(
            matches!(error, ProcessFileError::Shape { .. }),
            "{len}: {error}"
        );
    }
}

#[test]
fn with_any_byte_replaced_it_is_whole_or_an_error() {
    for index in 0..GOOD.len() {
        for byte in [0, b'"', b'{', b'9', 0x80, 0xff] {
            let mut bytes = GOOD.as_bytes().to_vec();
            bytes[index] = byte;
            if let Ok(file) = ProcessFile::parse(&bytes) {
                assert!(file.started_at_unix_seconds.is_finite());
                assert!(!file.program.chars().any(char::is_control));
            }
        }
    }
}

#[test]
fn values_beyond_the_limits_are_refused_by_field() {
    let long = "x".repeat(257);
    let many: String = (0..65).map(|index| format!(r#""l{index}":"","#)).collect();
    for (from, to, field) in [
        ("shadow-session", long.as_str(), "program"),
        ("1.0", "a\\nb", "version"),
        ("paper", "\\u0000", "mode"),
        ("1700000000.5", "-1.0", "started_at_unix_seconds"),
        ("\"desk\"", "\"a-b\"", "labels"),
        ("\"desk\"", "\"\"", "labels"),
        ("\"fx\"", "\"\\u001b[2J\"", "labels"),
        ("\"desk\":", &format!("{many}\"desk\":"), "labels"),
    ] {
        let text = GOOD.replacen(from, to, 1);
        match ProcessFile::parse(text.as_bytes()).unwrap_err() {
            ProcessFileError::Field { field: found, .. } => assert_eq!(found, field, "{to}"),
            other => panic!("{to}: {other}"),
        }
    }
    for (from, to) in [
        ("1700000000.5", "1e999"),
        ("\"pid\":7", "\"pid\":-7"),
        ("true", "1"),
    ] {
        let text = GOOD.replacen(from, to, 1);
        assert!(ProcessFile::parse(text.as_bytes()).is_err(), "{to}");
    }
}

#[test]
fn only_a_regular_file_of_bounded_length_is_read() {
    let temp = tempfile::tempdir().unwrap();
    let path = |name: &str| temp.path().join(name);
    fs::write(path("good"), GOOD).unwrap();
    read(temp.path(), "good").unwrap();

    std::os::unix::fs::symlink(path("good"), path("link")).unwrap();
    fs::create_dir(path("directory")).unwrap();
    let status = std::process::Command::new("mkfifo")
        .arg(path("fifo"))
        .status();
    assert!(status.unwrap().success());
    let _socket = std::os::unix::net::UnixListener::bind(path("socket")).unwrap();
    for name in ["link", "directory", "fifo", "socket"] {
        let error = read(temp.path(), name).unwrap_err();
        assert!(
            matches!(error, ProcessFileError::NotRegular { .. }),
            "{name}: {error}"
        );
    }

    let long = fs::File::create(path("long")).unwrap();
    long.set_len(1 << 40).unwrap();
    let error = read(temp.path(), "long").unwrap_err();
    assert!(matches!(error, ProcessFileError::TooLong), "{error}");
    let blanks = " ".repeat(PROCESS_FILE_LEN_MAX_BYTES - GOOD.len());
    fs::write(path("fits"), format!("{GOOD}{blanks}")).unwrap();
    read(temp.path(), "fits").unwrap();

    match read(temp.path(), "gone").unwrap_err() {
        ProcessFileError::Read { source, .. } => {
            assert_eq!(source.kind(), std::io::ErrorKind::NotFound);
        }
        other => panic!("{other}"),
    }
}

#[test]
fn names_and_ids_are_one_to_one() {
    let id = "12-abcdefghijklmnopqrstuvwxyz";
    assert_eq!(process_file_id(&process_file_name(id)), Some(id));
    for name in [
        "process_1.db",
        "counter_1.json",
        ".process_1.json.new",
        "process_1.json.new",
    ] {
        assert_eq!(process_file_id(name), None, "{name}");
    }
}
