//! The kill switch, by file and by signal.

use rustix::process::Signal;

use crate::world::{World, some_cycles, until_executed, until_why};

#[test]
fn the_kill_file_and_sigusr1_halt_for_good_and_kill_the_gateway_too() {
    for by_signal in [true, false] {
        let Some(world) = World::new("the_kill_file_and_sigusr1") else {
            return;
        };
        let daemon = world.start();
        until_executed(&daemon, 1.0);
        let file = world.folder.path().join("state/kill");
        if by_signal {
            daemon.send(Signal::USR1);
        } else {
            std::fs::write(&file, "").unwrap();
        }
        until_why(&daemon, "trading is halted: kill_switch");
        until_why(&daemon, "the gateway's kill switch is on");
        world.next_bar();
        some_cycles(&daemon);
        let suppressed = "sentinel_signals_suppressed_total{reason=\"halted\"}";
        assert_eq!(daemon.metrics().unwrap().get(suppressed), Some(1.0));
        daemon.end();
        // A restart, with the file gone, is halted still.
        let _ = std::fs::remove_file(&file);
        let daemon = world.start();
        until_why(&daemon, "trading is halted: kill_switch");
        world.next_bar();
        some_cycles(&daemon);
        assert_eq!(world.fills(), 1);
        daemon.end();
    }
}

#[test]
fn a_kill_that_is_followed_by_the_end_of_the_process_at_once_is_not_lost() {
    let Some(world) = World::new("a_kill_that_is_followed_by_the_end") else {
        return;
    };
    let mut daemon = world.start();
    until_executed(&daemon, 1.0);
    daemon.send(Signal::USR1);
    daemon.terminate();
    assert_eq!(daemon.wait().code(), Some(0), "{}", daemon.log());
    let daemon = world.start();
    until_why(&daemon, "trading is halted: kill_switch");
    until_why(&daemon, "the gateway's kill switch is on");
    daemon.end();
}
