//! SIGHUP: a configuration that can be used is, one that cannot changes nothing, and what waits stays.

use std::fs;

use crate::process::*;

#[test]
fn a_broken_file_keeps_the_old_configuration_and_says_why() {
    let robot = robot();
    let config = format!("{}{QUICK}", target(&robot, ""));
    let bridge = Bridge::start(&config);
    let path = bridge.folder.path().join("config.yml");
    fs::write(&path, format!("{config}tragets: 1\n")).unwrap();
    bridge.signal("HUP");
    eventually("the fault to be logged", || {
        bridge
            .log()
            .contains("tragets: found an unknown key")
            .then_some(())
    });
    assert_eq!(
        bridge.metric("alertbridge_config_last_reload_successful "),
        0.0
    );
    assert_eq!(bridge.send(&one("firing", "Still")), 200);
    eventually("the old target to work", || {
        texts(&robot).concat().contains("Still").then_some(())
    });
    // Put right, with another language.
    fs::write(
        &path,
        config.replace("    timeout: 1s\n", "    timeout: 1s\n    language: zh\n"),
    )
    .unwrap();
    bridge.signal("HUP");
    eventually("the reload", || {
        (bridge.metric("alertbridge_config_last_reload_successful ") == 1.0).then_some(())
    });
    assert_eq!(bridge.send(&one("firing", "Anders")), 200);
    eventually("the new language", || {
        texts(&robot)
            .concat()
            .contains("[告警] **Anders**")
            .then_some(())
    });
}

#[test]
fn alerts_of_a_target_that_is_taken_out_wait_until_it_is_back() {
    let robot = robot();
    robot.set_fault(Some(stand_in::Fault::Status(500)));
    let config = format!("{}{QUICK}", target(&robot, ""));
    let bridge = Bridge::start(&config);
    assert_eq!(bridge.send(&one("firing", "Orphan")), 200);
    let path = bridge.folder.path().join("config.yml");
    fs::write(&path, "targets: {other: {type: log}}\n").unwrap();
    bridge.signal("HUP");
    eventually("the orphan to be counted", || {
        (bridge.metric("alertbridge_orphaned_alerts ") == 1.0).then_some(())
    });
    assert_eq!(bridge.send(&one("firing", "Refused")), 503);
    robot.set_fault(None);
    fs::write(&path, &config).unwrap();
    bridge.signal("HUP");
    eventually("the orphan to arrive", || {
        texts(&robot).concat().contains("Orphan").then_some(())
    });
}
