//! Halted is left by a person with the secret, and by nothing else; then it trades again.

use std::process::{Command, Output};

use rustix::process::Signal;

use crate::world::{World, some_cycles, until_executed, until_reconciled, until_why};

fn reset(world: &World, attempt: &str) -> Output {
    let at = |name: &str| world.folder.path().join(name);
    std::fs::write(at("reset-secret"), "correct horse battery\n").unwrap();
    std::fs::write(at("attempt"), attempt).unwrap();
    let secret = at("reset-secret").display().to_string();
    let text = format!("[state]\nreset_secret_file = \"{secret}\"\n");
    std::fs::write(at("reset.toml"), text).unwrap();
    Command::new(env!("CARGO_BIN_EXE_sentinel"))
        .arg("reset")
        .arg("--config")
        .arg(at("reset.toml"))
        .arg("--state-dir")
        .arg(at("state"))
        .arg("--reset-secret-file")
        .arg(at("attempt"))
        .env_clear()
        .output()
        .unwrap()
}

/// A person switches the gateway's own kill switch off, which takes a restart of it.
fn release(world: &mut World) {
    world.site.kill();
    let output = world.site.command().arg("--release-kill").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    world.site.run();
}

#[test]
fn halted_is_left_with_the_secret_while_nothing_runs_and_what_is_held_is_taken_over() {
    let Some(mut world) = World::new("halted_is_left_with_the_secret") else {
        return;
    };
    let daemon = world.start();
    until_executed(&daemon, 1.0);
    daemon.send(Signal::USR1);
    until_why(&daemon, "the gateway's kill switch is on");
    let beside = reset(&world, "correct horse battery");
    assert_eq!(beside.status.code(), Some(1));
    let text = String::from_utf8(beside.stderr).unwrap();
    assert!(text.contains("has to be stopped first"), "{text}");
    daemon.end();
    assert_eq!(reset(&world, "another horse").status.code(), Some(1));
    // The gateway's switch is off and the sentinel's halt still there.
    release(&mut world);
    let daemon = world.start();
    until_why(&daemon, "trading is halted: kill_switch");
    world.next_bar();
    some_cycles(&daemon);
    assert_eq!(world.fills(), 1);
    // It has told the gateway again: its halt is that of a kill switch.
    until_why(&daemon, "the gateway's kill switch is on");
    daemon.end();
    let right = reset(&world, "correct horse battery");
    assert_eq!(right.status.code(), Some(0));
    let text = String::from_utf8(right.stdout).unwrap();
    assert!(text.contains("it was halted by kill_switch"), "{text}");
    release(&mut world);
    let daemon = world.start();
    until_reconciled(&daemon, "taken over");
    world.next_bar();
    until_executed(&daemon, 1.0);
    assert_eq!(world.fills(), 2);
    daemon.end();
}
