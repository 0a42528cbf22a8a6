//! `sentinel replay` as an operator meets it: what it says, and its exit status.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use sentinel::audit::Audit;
use tempfile::TempDir;

use super::made;

pub(crate) fn replay(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sentinel"))
        .arg("replay")
        .args(arguments)
        .output()
        .unwrap()
}

/// An audit of three decisions, and its only file.
fn written() -> (TempDir, PathBuf) {
    let temporary = tempfile::tempdir().unwrap();
    let mut audit = Audit::open(temporary.path(), &made::start()).unwrap();
    for index in 0..3 {
        made::decide_and_write(&mut audit, index).unwrap();
    }
    made::write_outcome(&mut audit, 0).unwrap();
    let file = files(temporary.path()).remove(0);
    (temporary, file)
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some()).collect()
}

fn run(path: &Path) -> (i32, String, String) {
    let output = replay(&[path.to_str().unwrap()]);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let (out, err) = (text(output.stdout), text(output.stderr));
    for said in [&out, &err] {
        assert!(
            said.chars().all(|c| c == '\n' || !c.is_control()),
            "{said:?}"
        );
    }
    (output.status.code().unwrap(), out, err)
}

#[test]
fn a_file_and_its_directory_are_replayed_and_the_files_are_nobody_elses() {
    let (directory, file) = written();
    for path in [directory.path(), &file] {
        let (status, out, err) = run(path);
        assert_eq!((status, &*err), (0, ""), "{out}");
        assert!(out.starts_with("3 decisions, 3 reproduced\n"), "{out}");
        assert!(out.contains("1 files, 5 lines, 0 damaged places; 0 orders permitted, 1 outcomes"));
    }
    let mode = fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let made = directory.path().join("deeper/audit");
    drop(Audit::open(&made, &made::start()).unwrap());
    let mode = fs::metadata(&made).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[test]
fn json_is_one_object_that_says_the_same() {
    let (directory, _) = written();
    let output = replay(&["--json", directory.path().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["decisions"], 3);
    assert_eq!(report["reproduced"], 3);
    assert_eq!(report["damaged"], 0);
    assert_eq!(report["last_seq"], 5);
}

#[test]
fn a_changed_file_is_told_with_its_line() {
    let (_directory, file) = written();
    let text = fs::read_to_string(&file).unwrap();
    let probability = text.match_indices("\"probabilities\":[").nth(2).unwrap().0;
    let mut bytes = text.clone().into_bytes();
    let digit = probability + "\"probabilities\":[0.".len();
    bytes[digit] = if bytes[digit] == b'9' { b'8' } else { b'9' };
    fs::write(&file, bytes).unwrap();
    let (status, out, _) = run(&file);
    assert_eq!(status, 1);
    let place = format!(
        "{}:4: damaged: its hash is not that of its bytes\n",
        file.display()
    );
    assert!(out.contains(&place), "{out}");
    assert!(out.contains("2 decisions, 2 reproduced\n"), "{out}");
}

#[test]
fn what_is_no_audit_is_said_in_a_sentence_with_status_1() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    fs::write(path("empty.jsonl"), "").unwrap();
    fs::write(path("garbage.jsonl"), "hello\n\u{1b}[31mworld\u{7}\n").unwrap();
    let binary: Vec<u8> = (0..60_000_u32).map(|i| ((i * i) >> 7) as u8).collect();
    fs::write(path("binary"), binary).unwrap();
    fs::create_dir(path("nothing")).unwrap();
    for (name, sentence) in [
        ("empty.jsonl", "no line of an audit in it"),
        ("nothing", "no line of an audit in it"),
        (
            "missing",
            "cannot read the audit: No such file or directory",
        ),
    ] {
        let (status, out, err) = run(&path(name));
        assert_eq!((status, &*out), (1, ""), "{name}");
        assert_eq!(err.lines().count(), 1, "{err}");
        assert!(
            err.starts_with("sentinel: ") && err.contains(sentence),
            "{err}"
        );
    }
    let (status, _, err) = run(Path::new("/dev/null"));
    assert_eq!(status, 1);
    assert!(err.contains("neither a file nor a directory"), "{err}");
    for name in ["garbage.jsonl", "binary"] {
        let (status, out, _) = run(&path(name));
        assert_eq!(status, 1, "{name}");
        assert!(out.contains("0 decisions, 0 reproduced"), "{out}");
        assert!(
            out.contains(":1: damaged: it does not begin with a hash"),
            "{out}"
        );
    }
}

#[test]
fn a_wrong_usage_has_status_2() {
    for arguments in [&[][..], &["--yaml", "x"], &["a", "b"]] {
        assert_eq!(replay(arguments).status.code(), Some(2), "{arguments:?}");
    }
    let with_flag = Command::new(env!("CARGO_BIN_EXE_sentinel"))
        .args(["--symbol", "EURUSD", "replay", "x"])
        .output()
        .unwrap();
    assert_eq!(with_flag.status.code(), Some(2));
}
