//! `cargo xtask demo` as a process: on ports that are taken, and ended in the middle. That it shows what it says is a stage of
//! `cargo xtask test`.
#![allow(clippy::unwrap_used, reason = "a test stops where it cannot go on")]

use std::fs;
use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

/// None when it was waited for in vain.
fn eventually<T>(mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + Duration::from_secs(120);
    while Instant::now() < deadline {
        if let Some(found) = look() {
            return Some(found);
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
    None
}

#[test]
fn ctrl_c_in_the_middle_of_trading_leaves_no_process_and_busy_ports_are_no_matter() {
    // Whoever has them already keeps them as busy.
    let _taken = [9111, 8000].map(|port| TcpListener::bind(("127.0.0.1", port)));
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let output = fs::File::create(&log).unwrap();
    let mut demo = Command::new(env!("CARGO_BIN_EXE_xtask"))
        .args(["demo", "--once", "--built"])
        .process_group(0)
        .stdin(Stdio::null())
        .stderr(output.try_clone().unwrap())
        .stdout(output)
        .spawn()
        .unwrap();
    let said = || fs::read_to_string(&log).unwrap();
    // Once it has told which they are: metricsd, the killed session, gateway and sentinel.
    let told = eventually(|| {
        let is_trading = said().contains("sentinel: pid ");
        (is_trading || demo.try_wait().unwrap().is_some()).then_some(())
    });
    // As a terminal does.
    let _ = kill_process_group(
        Pid::from_raw(i32::try_from(demo.id()).unwrap()).unwrap(),
        Signal::INT,
    );
    let status = eventually(|| demo.try_wait().unwrap());
    if status.is_none() {
        let _ = demo.kill();
    }
    let said = said();
    assert!(told.is_some(), "{said}");
    assert_eq!(status.unwrap().code(), Some(1), "{said}");
    assert!(said.ends_with("xtask: interrupted\n"), "{said}");
    assert!(!said.contains("127.0.0.1:8000"), "{said}");
    let pids = said.split("pid ").skip(1).map(|rest| {
        let digits = rest.chars().take_while(char::is_ascii_digit);
        digits.collect::<String>()
    });
    let pids: Vec<String> = pids.collect();
    assert_eq!(pids.len(), 4, "{said}");
    for pid in pids {
        // Reaped by the demo, so not even a zombie; another process that got the number has another name.
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        let ours = ["metricsd\n", "sentinel\n", "shadow-session\n", "xtask\n"];
        assert!(!ours.contains(&name.as_str()), "{pid} {name}: {said}");
    }
}
