//! What is wrong at the other end is told as what it is, and nothing is sent.

use crate::world::{World, some_cycles, until_reconciled, until_why};

#[test]
fn another_account_is_refused_and_named() {
    let Some(mut world) = World::new("another_account") else {
        return;
    };
    world.account = "7001";
    let daemon = world.start();
    until_why(&daemon, "the gateway's account is not the armed one");
    some_cycles(&daemon);
    world.next_bar();
    some_cycles(&daemon);
    assert_eq!(world.fills(), 0);
    daemon.end();
}

#[test]
fn another_secret_is_told_as_what_it_is() {
    let Some(mut world) = World::new("another_secret") else {
        return;
    };
    world.secret = "another-secret-of-thirty-two-characters";
    let daemon = world.start();
    until_why(&daemon, "not signed with this secret");
    some_cycles(&daemon);
    assert_eq!(world.fills(), 0);
    let log = daemon.log();
    assert!(!log.contains(world.secret), "the secret is in the log");
    daemon.end();
}

#[test]
fn the_state_directory_of_one_account_is_not_used_for_another_one() {
    let Some(mut world) = World::new("the_state_directory_of_one_account") else {
        return;
    };
    let daemon = world.start();
    until_reconciled(&daemon, "position");
    daemon.end();
    world.account = "7001";
    let mut daemon = world.start();
    assert_eq!(daemon.wait().code(), Some(1), "{}", daemon.log());
    let log = daemon.log();
    assert!(
        log.contains("is that of account `1000001`, and arm.account is `7001`"),
        "{log}"
    );
}
