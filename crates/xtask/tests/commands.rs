//! The program `xtask` itself: what becomes of it when nobody reads it, and of its children when it is killed.
#![allow(clippy::unwrap_used, reason = "a test stops where it cannot go on")]

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use xtask::child::Running;

#[test]
fn a_reader_that_went_away_ends_the_command_quietly_and_a_full_disk_is_said() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let help = |stdout: Stdio| {
        let output = Command::new(env!("CARGO_BIN_EXE_xtask"))
            .arg("help")
            .stdout(stdout)
            .output()
            .unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    assert_eq!(help(writer.into()), (Some(141), String::new()));
    let (code, said) = help(full.into());
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.starts_with("xtask: standard output cannot be written: No space left"),
        "{said}"
    );
}

#[test]
fn a_standard_error_that_cannot_be_written_is_no_panic() {
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let status = Command::new(env!("CARGO_BIN_EXE_xtask"))
        .arg("no-such-command")
        .stderr(full)
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(2));
}

#[test]
fn a_machine_without_a_cpp_compiler_is_told_in_one_sentence_before_anything_is_built() {
    let nothing = tempfile::tempdir().unwrap();
    for (variable, value) in [
        ("CXX", Path::new("/no/such/compiler")),
        ("PATH", nothing.path()),
    ] {
        for words in [&["demo", "--once"][..], &["test"], &["bench"]] {
            let output = Command::new(env!("CARGO_BIN_EXE_xtask"))
                .args(words)
                .env_remove("CXX")
                .env(variable, value)
                .output()
                .unwrap();
            let said = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(1), "{words:?}: {said}");
            assert!(
                said.contains("C++ compiler") && said.lines().count() == 1,
                "{words:?}: {said}"
            );
            assert!(output.stdout.is_empty(), "{words:?}");
        }
    }
}

/// In the state file of a process: not there at all, or a zombie that nobody has reaped yet.
fn has_ended(pid: i32) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return true;
    };
    stat.rsplit(')')
        .next()
        .is_some_and(|rest| rest.trim_start().starts_with('Z'))
}

/// None when it was waited for in vain.
fn eventually<T>(mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + Duration::from_secs(30);
    while Instant::now() < deadline {
        if let Some(found) = look() {
            return Some(found);
        }
        std::thread::park_timeout(Duration::from_millis(5));
    }
    None
}

const FOLDER: &str = "XTASK_TEST_FOLDER";

#[test]
fn kill_9_of_whoever_started_a_child_ends_the_child() {
    let folder = tempfile::tempdir().unwrap();
    let mut starter = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "starter", "--ignored"])
        .env(FOLDER, folder.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let child = eventually(|| {
        fs::read_to_string(folder.path().join("pid"))
            .ok()?
            .parse::<i32>()
            .ok()
    });
    starter.kill().unwrap();
    starter.wait().unwrap();
    let child = child.unwrap();
    let ended = eventually(|| has_ended(child).then_some(()));
    if ended.is_none() {
        let _ = kill_process(Pid::from_raw(child).unwrap(), Signal::KILL);
    }
    assert!(ended.is_some(), "the child outlived whoever started it");
}

#[test]
#[ignore = "the second process of kill_9_of_whoever_started_a_child_ends_the_child"]
fn starter() {
    let Some(folder) = std::env::var_os(FOLDER) else {
        return;
    };
    let folder = Path::new(&folder);
    let mut child = Running::start(Path::new("sleep"), &["600"], &[], &folder.join("log")).unwrap();
    // It is what it was to become, and not on the way to that any more.
    eventually(|| {
        let name = fs::read_to_string(format!("/proc/{}/comm", child.id())).ok()?;
        (name == "sleep\n").then_some(())
    })
    .unwrap();
    // Whole at once, for whoever waits for it.
    fs::write(folder.join("unfinished"), child.id().to_string()).unwrap();
    fs::rename(folder.join("unfinished"), folder.join("pid")).unwrap();
    child.wait(Duration::from_secs(120)).unwrap();
}

#[test]
fn a_program_that_cannot_be_started_is_a_child_that_ends_and_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = Running::start(
        Path::new("/no/such/program"),
        &[],
        &[],
        &folder.path().join("log"),
    )
    .unwrap();
    let status = child.wait(Duration::from_secs(30)).unwrap();
    assert_eq!(status.code(), Some(127));
    assert_eq!(
        child.output(),
        "xtask: starting /no/such/program: No such file or directory (os error 2)\n"
    );
}

#[test]
fn the_tools_lie_in_cargos_target_directory_wherever_that_is() {
    let folder = tempfile::tempdir().unwrap();
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "tool_teller", "--ignored"])
        .env(FOLDER, folder.path())
        .env("CARGO_TARGET_DIR", "/elsewhere")
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    assert_eq!(
        fs::read_to_string(folder.path().join("tools")).unwrap(),
        "/elsewhere/xtask"
    );
}

#[test]
#[ignore = "the second process of the_tools_lie_in_cargos_target_directory_wherever_that_is"]
fn tool_teller() {
    let Some(folder) = std::env::var_os(FOLDER) else {
        return;
    };
    let tools = xtask::workspace::tool_dir();
    fs::write(Path::new(&folder).join("tools"), tools.to_str().unwrap()).unwrap();
}
