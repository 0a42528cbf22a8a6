//! Opening and reading files in a directory that somebody hostile may write to.
#![allow(
    clippy::unwrap_used,
    reason = "a test ends at the first thing that does not hold"
)]

mod python_env;

use std::fs::{self, File, OpenOptions};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
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

/// A file with these pieces at these places, holes between, that claims to be in use to its end.
fn sparse(dir: &Path, name: &str, len: usize, pieces: &[(usize, &[u8])]) -> ShardFile {
    let file = File::create(dir.join(name)).unwrap();
    file.set_len(len as u64).unwrap();
    file.write_all_at(&i32::try_from(len).unwrap_or(i32::MAX).to_le_bytes(), 0)
        .unwrap();
    for (at, bytes) in pieces {
        file.write_all_at(bytes, *at as u64).unwrap();
    }
    open(dir, name).unwrap()
}

/// How much of a sparse file may be read beyond its entries.
const SLACK: usize = 256 << 10;

#[test]
fn of_a_sparse_file_little_more_than_its_entries_is_read() {
    let dir = TempDir::new().unwrap();
    let entries = &shard_bytes(3)[HEADER_LEN_BYTES..];
    for len in [READ_LEN_MAX_BYTES, 1 << 31] {
        for (count, pieces) in [(0, &[][..]), (3, &[(HEADER_LEN_BYTES, entries)][..])] {
            let file = sparse(dir.path(), "sparse.db", len, pieces);
            for _ in 0..3 {
                let mut buffer = Vec::new();
                let (found, damage) = read(&file, &mut buffer);
                assert_eq!((found, damage.unwrap().reason()), (count, "bad_key"));
                assert!(buffer.capacity() < SLACK, "{}", buffer.capacity());
            }
        }
    }
}

#[test]
fn keys_that_are_holes_do_not_lead_a_reader_on() {
    let dir = TempDir::new().unwrap();
    // A length at the start of every page or megabyte, which is all that the file has on disk.
    for key_len in [4000_usize, 1 << 20, (1 << 20) + 1, 60 << 20] {
        let entry_len = metricsd_shard::entry_len_bytes(key_len);
        let length = i32::try_from(key_len).unwrap().to_le_bytes();
        let pieces: Vec<_> = (HEADER_LEN_BYTES..READ_LEN_MAX_BYTES - 8)
            .step_by(entry_len)
            .map(|at| (at, &length[..]))
            .collect();
        let file = sparse(dir.path(), "holes.db", READ_LEN_MAX_BYTES, &pieces);
        for _ in 0..2 {
            let mut buffer = Vec::new();
            let (found, damage) = read(&file, &mut buffer);
            assert_eq!((found, damage.is_some()), (0, true), "keys of {key_len}");
            assert!(buffer.capacity() < SLACK, "keys of {key_len}");
        }
    }
}

#[test]
fn a_file_that_led_nowhere_is_read_on_when_it_does() {
    let dir = TempDir::new().unwrap();
    let all = shard_bytes(40_000);
    let half = HEADER_LEN_BYTES + (all.len() - HEADER_LEN_BYTES) / 2;
    let len = all.len();
    let file = sparse(dir.path(), "f.db", len, &[(8, &all[8..half])]);
    let mut buffer = Vec::new();
    assert_eq!(read(&file, &mut buffer).0, 20_000);
    assert!(buffer.len() < half + SLACK);
    fs::write(dir.path().join("f.db"), &all).unwrap();
    assert_eq!(read(&file, &mut buffer), (40_000, None));
    // Written anew with other entries, so that the old end is in the middle of one.
    let other = encode_entry(br#"["other", "other", {}, "longer help"]"#, 1.0, 0.0).repeat(50_000);
    let other = [encode_header(8 + other.len()).to_vec(), other].concat();
    fs::write(dir.path().join("f.db"), &other).unwrap();
    assert_eq!(read(&file, &mut buffer), (50_000, None));
}

#[test]
fn a_dense_file_is_read_to_its_end_or_to_the_limit() {
    let dir = TempDir::new().unwrap();
    let key = format!(r#"["f", "f", {{}}, "{}"]"#, "h".repeat(1 << 16));
    let entry = encode_entry(key.as_bytes(), 1.0, 0.0);
    let whole = (READ_LEN_MAX_BYTES - HEADER_LEN_BYTES) / entry.len();
    for (entry_count, expected) in [(whole, None), (whole + 10, Some("too_large"))] {
        let entries = entry.repeat(entry_count);
        let header = encode_header(HEADER_LEN_BYTES + entries.len());
        let bytes = [header.to_vec(), entries].concat();
        fs::write(dir.path().join("dense.db"), &bytes).unwrap();
        let file = open(dir.path(), "dense.db").unwrap();
        let mut buffer = Vec::new();
        for _ in 0..2 {
            let (found, damage) = read(&file, &mut buffer);
            assert_eq!(
                (found, damage.as_ref().map(Damage::reason)),
                (whole, expected)
            );
            assert_eq!(buffer.len(), bytes.len().min(READ_LEN_MAX_BYTES));
        }
    }
}

#[test]
fn bad_keys_do_not_end_the_reading_of_a_file() {
    let dir = TempDir::new().unwrap();
    let bad = encode_entry(&[b'x'; 5000], 1.0, 0.0).repeat(100);
    let hollow = encode_entry(&[0; 5000], 1.0, 0.0).repeat(10);
    let good = &shard_bytes(7)[HEADER_LEN_BYTES..];
    let body = [&bad, good, &hollow, good].concat();
    let bytes = [encode_header(HEADER_LEN_BYTES + body.len()).to_vec(), body].concat();
    fs::write(dir.path().join("bad.db"), &bytes).unwrap();
    let (found, damage) = read(&open(dir.path(), "bad.db").unwrap(), &mut Vec::new());
    assert!(
        matches!(damage, Some(Damage::BadKey { count: 110, .. })),
        "{damage:?}"
    );
    assert_eq!(found, 14);
}

/// Old files longer than one step of reading, where a writer of that time left them.
#[test]
fn a_long_old_file_is_refused_without_being_read() {
    let dir = TempDir::new().unwrap();
    for old_key in [
        &br#"["f", "f", {}, "h"]"#[..],
        br#"["f", "f", {}]"#,
        br#"["f", "f", [], []]"#,
    ] {
        let mut entry = encode_entry(old_key, 1.0, 0.0);
        entry.truncate(entry.len() - 8);
        let body = entry.repeat((8 << 20) / entry.len());
        let bytes = [encode_header(HEADER_LEN_BYTES + body.len()).to_vec(), body].concat();
        fs::write(dir.path().join("old.db"), &bytes).unwrap();
        let mut buffer = Vec::new();
        let read = read(&open(dir.path(), "old.db").unwrap(), &mut buffer);
        assert_eq!(read, (0, Some(Damage::OldFormat)));
        assert!(buffer.len() < SLACK);
    }
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
