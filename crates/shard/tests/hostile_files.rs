//! Opening and reading files in a directory that somebody hostile may write to.
#![allow(
    clippy::unwrap_used,
    reason = "a test ends at the first thing that does not hold"
)]

mod python_env;

use std::fs::{self, File, OpenOptions};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use metricsd_shard::{
    Damage, FILE_LEN_MAX_BYTES, HEADER_LEN_BYTES, Key, OpenError, READ_LEN_MAX_BYTES, ShardFile,
    encode_entry, encode_header, parse_from,
};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::geteuid;
use tempfile::TempDir;

fn open(dir: &Path, name: &str) -> Result<ShardFile, OpenError> {
    ShardFile::open_at(File::open(dir).unwrap().as_fd(), name)
}

/// The words for metric and log line that an attempt to open ends with.
fn refusal(dir: &Path, name: &str) -> (Option<&'static str>, String) {
    let error = open(dir, name).expect_err("nothing here may be opened");
    assert!(error.to_string().starts_with(name), "{error}");
    (error.reason(), error.to_string())
}

fn shard_bytes(entry_count: usize) -> Vec<u8> {
    let key = Key {
        family: "f".into(),
        sample: "f".into(),
        labels: Vec::new(),
        help: "h".into(),
    }
    .encode();
    let entries = encode_entry(key.as_bytes(), 1.0, 0.0).repeat(entry_count);
    [
        encode_header(HEADER_LEN_BYTES + entries.len()).to_vec(),
        entries,
    ]
    .concat()
}

fn read(file: &ShardFile, buffer: &mut Vec<u8>) -> (usize, Option<Damage>) {
    file.read_used(buffer).unwrap();
    let parsed = parse_from(buffer, HEADER_LEN_BYTES);
    (parsed.entries.len(), parsed.damage)
}

#[test]
fn what_is_no_regular_file_is_refused_by_its_name_and_never_waited_for() {
    let dir = TempDir::new().unwrap();
    let path = |name: &str| dir.path().join(name);
    fs::create_dir(path("directory.db")).unwrap();
    mknodat(
        CWD,
        path("fifo.db"),
        FileType::Fifo,
        Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    let _listener = UnixListener::bind(path("socket.db")).unwrap();
    fs::write(path("real.db"), shard_bytes(1)).unwrap();
    symlink(path("real.db"), path("link.db")).unwrap();
    symlink(path("nowhere"), path("dangling.db")).unwrap();

    for (name, found) in [
        ("directory.db", "directory"),
        ("fifo.db", "FIFO"),
        ("socket.db", "socket"),
        ("link.db", "symbolic link"),
        ("dangling.db", "symbolic link"),
    ] {
        let (reason, message) = refusal(dir.path(), name);
        assert_eq!(reason, Some("not_regular"), "{message}");
        assert!(message.contains(found), "{message}");
    }
    assert_eq!(refusal(Path::new("/dev"), "null").0, Some("not_regular"));
    assert!(open(dir.path(), "real.db").is_ok());
}

#[test]
fn a_name_that_leads_elsewhere_is_refused() {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("real.db"), shard_bytes(1)).unwrap();
    fs::create_dir(dir.path().join("sub")).unwrap();
    for name in [
        "../real.db",
        "sub/real.db",
        "/etc/passwd",
        "real.db\0",
        "..",
        "",
    ] {
        assert!(open(&dir.path().join("sub"), name).is_err(), "{name:?}");
    }
}

#[test]
fn a_file_that_is_gone_is_nothing_to_report() {
    let dir = TempDir::new().unwrap();
    let error = open(dir.path(), "counter_1.db").unwrap_err();
    assert!(matches!(error, OpenError::Vanished { .. }));
    assert_eq!(error.reason(), None);
}

#[test]
fn a_file_longer_than_any_writer_makes_one_is_refused() {
    let dir = TempDir::new().unwrap();
    let file = File::create(dir.path().join("huge.db")).unwrap();
    file.set_len(FILE_LEN_MAX_BYTES + 1).unwrap();
    assert_eq!(refusal(dir.path(), "huge.db").0, Some("too_large"));
}

#[test]
fn of_a_huge_sparse_file_no_more_than_the_limit_is_read() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("sparse.db");
    let mut bytes = shard_bytes(3);
    bytes[..4].copy_from_slice(&i32::MAX.to_le_bytes());
    fs::write(&path, bytes).unwrap();
    OpenOptions::new()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(FILE_LEN_MAX_BYTES)
        .unwrap();

    let mut buffer = Vec::new();
    let (count, damage) = read(&open(dir.path(), "sparse.db").unwrap(), &mut buffer);
    assert_eq!(buffer.len(), READ_LEN_MAX_BYTES);
    assert_eq!((count, damage.unwrap().reason()), (3, "too_large"));
}

const SECRET_DIR: &str = "SECRET_DIR";

#[test]
fn permission_denied_has_its_own_reason() {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("secret.db"), shard_bytes(1)).unwrap();
    fs::set_permissions(
        dir.path().join("secret.db"),
        PermissionsExt::from_mode(0o000),
    )
    .unwrap();
    if !geteuid().is_root() {
        return assert_denied(dir.path());
    }
    // Root reads everything, and so asks as another user: this binary runs itself.
    fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap());
    child
        .args(["--exact", "is_denied_as_another_user", "--ignored"])
        .env(SECRET_DIR, dir.path())
        .current_dir("/");
    match child.uid(65534).gid(65534).stdout(Stdio::null()).status() {
        Ok(status) => assert!(status.success(), "{status}"),
        Err(error) => {
            let why = format!("cannot run this test as another user: {error}");
            python_env::record_skip("permission_denied_has_its_own_reason", &why);
        }
    }
}

#[test]
#[ignore = "the second process of permission_denied_has_its_own_reason"]
fn is_denied_as_another_user() {
    // Without the first process there is nothing to be denied.
    if let Some(dir) = std::env::var_os(SECRET_DIR) {
        assert_denied(Path::new(&dir));
    }
}

fn assert_denied(dir: &Path) {
    assert_eq!(refusal(dir, "secret.db").0, Some("permission"));
}

#[test]
fn a_file_cut_after_it_was_opened_is_truncated() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("counter_1.db");
    let bytes = shard_bytes(3);
    fs::write(&path, &bytes).unwrap();
    let file = open(dir.path(), "counter_1.db").unwrap();
    let mut buffer = Vec::new();
    assert_eq!(read(&file, &mut buffer), (3, None));

    let writer = OpenOptions::new().write(true).open(&path).unwrap();
    for (len, count, reason) in [
        (bytes.len() as u64 - 1, 2, "truncated"),
        (9, 0, "truncated"),
        (5, 0, "short"),
        (0, 0, "empty"),
    ] {
        writer.set_len(len).unwrap();
        let (found, damage) = read(&file, &mut buffer);
        assert_eq!(
            (found, damage.unwrap().reason()),
            (count, reason),
            "cut to {len}"
        );
    }
    // And it recovers when the writer writes again.
    fs::write(&path, &bytes).unwrap();
    assert_eq!(read(&file, &mut buffer), (3, None));
}

#[test]
fn a_deleted_file_stays_readable_and_says_so() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("counter_1.db");
    fs::write(&path, shard_bytes(2)).unwrap();
    let file = open(dir.path(), "counter_1.db").unwrap();
    assert_eq!(file.stat().unwrap().link_count, 1);
    fs::remove_file(&path).unwrap();
    assert_eq!(file.stat().unwrap().link_count, 0);
    assert_eq!(read(&file, &mut Vec::new()), (2, None));
}

#[test]
fn a_growing_file_is_read_to_its_new_end_each_time() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("counter_1.db");
    fs::write(&path, shard_bytes(0)).unwrap();
    let file = open(dir.path(), "counter_1.db").unwrap();
    // A buffer that was used for another, longer file.
    let mut buffer = vec![0xaa; 1 << 20];
    for entry_count in [0, 1, 2, 2, 5000, 5001, 7] {
        fs::write(&path, shard_bytes(entry_count)).unwrap();
        assert_eq!(read(&file, &mut buffer), (entry_count, None));
    }
}

#[test]
fn bytes_behind_the_used_length_are_not_read() {
    let dir = TempDir::new().unwrap();
    let mut bytes = shard_bytes(2);
    let used = bytes.len();
    bytes.resize(64 << 10, 0);
    fs::write(dir.path().join("counter_1.db"), bytes).unwrap();
    let mut buffer = Vec::new();
    open(dir.path(), "counter_1.db")
        .unwrap()
        .read_used(&mut buffer)
        .unwrap();
    assert_eq!(buffer.len(), used);
}

#[test]
fn stat_tells_length_time_and_owner() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("counter_1.db");
    fs::write(&path, shard_bytes(2)).unwrap();
    let stat = open(dir.path(), "counter_1.db").unwrap().stat().unwrap();
    let metadata = fs::metadata(&path).unwrap();
    assert_eq!(stat.len_bytes, metadata.len());
    assert_eq!(stat.modified, metadata.modified().unwrap());
    assert_eq!(stat.owner_uid, metadata.uid());
}

/// An inode number is given away again at once (ext4), mostly within the tick of the birth time.
#[test]
fn a_file_made_again_under_its_name_has_another_identity() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("counter_1.db");
    let mut seen = std::collections::HashSet::new();
    for round in 0..300 {
        fs::write(&path, shard_bytes(1)).unwrap();
        let identity = open(dir.path(), "counter_1.db").unwrap().identity();
        assert!(
            seen.insert(identity),
            "round {round}: {identity:?} was there before"
        );
        fs::remove_file(&path).unwrap();
    }
}

#[test]
fn identity_is_the_files_own_whatever_happens_to_name_and_content() {
    let dir = TempDir::new().unwrap();
    let name = "counter_77-aerukz4jvpg677w4xkmhmvbsca.db";
    fs::write(dir.path().join(name), shard_bytes(1)).unwrap();
    let first = open(dir.path(), name).unwrap().identity();
    assert!(first.instance.is_some());

    fs::write(dir.path().join(name), shard_bytes(9)).unwrap();
    assert_eq!(open(dir.path(), name).unwrap().identity(), first);
    let renamed = format!("{name}.retiring-00ff");
    fs::rename(dir.path().join(name), dir.path().join(&renamed)).unwrap();
    assert_eq!(open(dir.path(), &renamed).unwrap().identity(), first);
    fs::write(dir.path().join(name), shard_bytes(1)).unwrap();
    assert_ne!(open(dir.path(), name).unwrap().identity(), first);
}
