//! What only the inside of the self-test shows: what it would say where it is not even tried, and how errors are told apart.

use std::fs::File;
use std::io::Write;
use std::process::Command;

use super::*;

/// Where the second process of a test looks; set by the first.
const DIRECTORY: &str = "METRICSD_SELF_TEST_DIRECTORY";

fn record_skip(test: &str, why: &str) {
    let line = format!("SKIPPED: {why}\n");
    std::io::stderr().write_all(line.as_bytes()).unwrap();
    if let Some(path) = std::env::var_os("METRICSD_TEST_SKIPS") {
        let mut file = File::options()
            .append(true)
            .create(true)
            .open(path)
            .unwrap();
        writeln!(file, "{test}: {why}").unwrap();
    }
}

#[test]
fn overlayfs_hides_a_writer_that_has_only_a_mapping() {
    const MOUNT: &str = "cd \"$1\" && mkdir lower upper work merged && mount -t overlay overlay -o lowerdir=lower,upperdir=upper,workdir=work merged";
    let test = "overlayfs_hides_a_writer_that_has_only_a_mapping";
    let in_namespaces = |script: &str, folder: &tempfile::TempDir| {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c", script]);
        command.arg("sh").arg(folder.path());
        command
    };
    let first = tempfile::tempdir().unwrap();
    let can = in_namespaces(MOUNT, &first).output();
    if !can.as_ref().is_ok_and(|output| output.status.success()) {
        return record_skip(test, &format!("overlayfs cannot be mounted here: {can:?}"));
    }
    let second = tempfile::tempdir().unwrap();
    let script = format!("{MOUNT} && exec \"$2\" --exact \"$3\" --ignored");
    let output = in_namespaces(&script, &second)
        .arg(std::env::current_exe().unwrap())
        .arg("liveness::self_test::tests::asks_on_overlayfs")
        .env(DIRECTORY, second.path().join("merged"))
        .output()
        .unwrap();
    assert!(
        output.status.success() && String::from_utf8_lossy(&output.stdout).contains("1 passed"),
        "{output:?}"
    );
}

#[test]
#[ignore = "the second process of overlayfs_hides_a_writer_that_has_only_a_mapping"]
fn asks_on_overlayfs() {
    let Some(path) = std::env::var_os(DIRECTORY) else {
        return;
    };
    let directory = File::open(path).unwrap();
    assert_eq!(
        self_test(directory.as_fd()),
        Err(SelfTestFailure::FileSystem(FileSystem::Overlay))
    );
    // A kernel that sees it there may come; until then this is why the list of file systems has no overlayfs.
    assert_eq!(
        ask_about_writers(directory.as_fd()),
        Err(SelfTestFailure::MappingUnseen)
    );
}

#[test]
fn errors_are_told_apart_by_what_can_be_done_about_them() {
    let numbers = |errnos: [Errno; 3]| errnos.map(|errno| cannot_make(errno).word());
    assert_eq!(
        numbers([Errno::ACCESS, Errno::PERM, Errno::ROFS]),
        ["not_writable"; 3]
    );
    assert_eq!(
        numbers([Errno::NOSPC, Errno::DQUOT, Errno::NOENT]),
        ["no_space", "no_space", "system"]
    );
}

#[test]
fn each_failure_has_a_word_of_the_list_and_a_sentence_of_its_own() {
    let all = [
        SelfTestFailure::FileSystem(FileSystem::Nfs),
        SelfTestFailure::NotWritable(Errno::ACCESS.raw_os_error()),
        SelfTestFailure::NoSpace(Errno::NOSPC.raw_os_error()),
        SelfTestFailure::LeaseRefused(Errno::INVAL.raw_os_error()),
        SelfTestFailure::WriterUnseen,
        SelfTestFailure::MappingUnseen,
        SelfTestFailure::AlwaysBusy,
        SelfTestFailure::System(Errno::MFILE.raw_os_error()),
    ];
    assert_eq!(all.map(SelfTestFailure::word), SelfTestFailure::WORDS);
    let mut sentences: Vec<String> = all.iter().map(ToString::to_string).collect();
    sentences.sort();
    sentences.dedup();
    assert_eq!(sentences.len(), all.len());
    assert!(sentences.iter().any(|sentence| sentence.contains("nfs")));
}

#[test]
fn a_file_that_stays_open_for_writing_is_not_called_idle() {
    let folder = tempfile::tempdir().unwrap();
    let directory = File::open(folder.path()).unwrap();
    if !FileSystem::of(directory.as_fd()).supports_leases() {
        return record_skip(
            "a_file_that_stays_open_for_writing_is_not_called_idle",
            "the temporary directory is on another file system",
        );
    }
    let (_writer, reader) = open_unnamed(directory.as_fd()).unwrap();
    assert_eq!(expect_idle(&reader), Err(SelfTestFailure::AlwaysBusy));
}
