//! Directories and what they lie on: missing, closed, somebody else's, too small.

use std::fs;
use std::fs::File;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::common::shards::{counter, write_shard};
use crate::common::{Daemon, metricsd};
use crate::full::Small;
use crate::outsider::{NOBODY, Outsider, skip};
use crate::place::{Place, Report, inside};

#[test]
fn a_directory_that_is_missing_or_closed_is_named() {
    let test = "directories::a_directory_that_is_missing_or_closed_is_named";
    if !inside(test) {
        return;
    }
    let Some(place) = Place::new(test) else {
        return;
    };
    fs::remove_dir(&place.shards).unwrap();
    let report = place.examine();
    report.has("FAIL", "shard_directory", "does not exist", "mkdir -p");
    report.has(
        "WARN",
        "daemon",
        "no daemon",
        "metricsd serve --multiproc-dir",
    );
    assert_eq!((report.found().len(), report.code), (2, 1), "{report:#?}");
    let mut by_default = metricsd(&["doctor"]);
    let report = Report::of(by_default.current_dir(place.folder.path()));
    report.has(
        "FAIL",
        "shard_directory",
        "default below the working directory",
        "--multiproc-dir",
    );
    fs::write(&place.shards, "").unwrap();
    place.examine().has(
        "FAIL",
        "shard_directory",
        "not a directory",
        "name the directory that the programs use",
    );
}

#[test]
fn tight_permissions_and_other_owners_are_named() {
    let test = "directories::tight_permissions_and_other_owners_are_named";
    if !inside(test) {
        return;
    }
    if fs::read_to_string("/proc/self/uid_map")
        .unwrap()
        .split_whitespace()
        .nth(2)
        == Some("1")
    {
        return skip(test, "only root can start a process of another user");
    }
    // The folder of the project may be closed to that user.
    let small = PathBuf::from("/mnt");
    let Ok(_mount) = Small::mount(&small, 256 << 20, 1000) else {
        return skip(test, "nothing can be mounted");
    };
    let Some(mut place) = Place::new(test) else {
        return;
    };
    (place.shards, place.state) = (small.join("shards"), small.join("state"));
    for path in [&place.shards, &place.state] {
        fs::create_dir(path).unwrap();
        chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
        fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
    }
    let program = small.join("metricsd");
    fs::copy(env!("CARGO_BIN_EXE_metricsd"), &program).unwrap();
    fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    let mut command = Command::new(&program);
    command
        .args(["serve", "--multiproc-dir"])
        .arg(&place.shards)
        .arg("--state-dir")
        .arg(&place.state);
    command
        .args(["--web.listen-address", "127.0.0.1:0"])
        .env_clear()
        .current_dir("/")
        .uid(NOBODY)
        .gid(NOBODY);
    place.daemon = Some(Daemon::spawn(command.stderr(Stdio::piped())));
    // On a tmpfs, so its state does not last; apart from that:
    let examine = || {
        let mut report = place.examine();
        report.lines.retain(|line| line.id != "state_durable");
        report.code = i32::from(report.lines.iter().any(|line| line.outcome == "FAIL"));
        report
    };
    assert!(examine().found().is_empty(), "{:#?}", examine().found());

    let shard = write_shard(&place.shards, "counter_1.db", &[(counter("a"), 1.0)]);
    let other = "counter_1.db (uid 0)";
    examine().only("FAIL", "shard_owner", other, "CAP_LEASE");
    fs::set_permissions(&shard, PermissionsExt::from_mode(0o600)).unwrap();
    let report = examine();
    report.has(
        "FAIL",
        "shard_access",
        "counter_1.db (uid 0, gid 0, mode 0600)",
        "umask",
    );
    assert_eq!(report.found().len(), 2, "{report:#?}");
    chown(&shard, Some(NOBODY), Some(NOBODY)).unwrap();
    assert!(examine().found().is_empty());

    chown(&place.shards, Some(0), Some(0)).unwrap();
    examine().only(
        "FAIL",
        "directory_access",
        "may not read, write and enter",
        "chown 65534",
    );
    fs::set_permissions(&place.shards, PermissionsExt::from_mode(0o1777)).unwrap();
    write_shard(&place.shards, "counter_2.db", &[]);
    let report = examine();
    report.has("FAIL", "shard_owner", "is sticky", "chmod -t");
    fs::remove_file(place.shards.join("counter_2.db")).unwrap();
    fs::set_permissions(&place.shards, PermissionsExt::from_mode(0o777)).unwrap();
    assert!(examine().found().is_empty());

    // A writer of a third user, and a state that is not the daemon's any more.
    chown(&place.shards, Some(NOBODY), Some(NOBODY)).unwrap();
    fs::set_permissions(&place.shards, PermissionsExt::from_mode(0o755)).unwrap();
    let directory = place.shards.to_str().unwrap();
    let mut command = Command::new("sleep");
    command
        .arg("600")
        .env_clear()
        .env("PROMETHEUS_MULTIPROC_DIR", directory)
        .current_dir("/")
        .uid(1234)
        .gid(1234);
    let writer = Outsider::start(&mut command);
    examine().only(
        "FAIL",
        "writer_access",
        &format!("process {}", writer.id()),
        "chmod 2770",
    );
    drop(writer);
    chown(&place.state, Some(0), Some(0)).unwrap();
    examine().only("FAIL", "state_access", "uid 0", "chown -R 65534");
}

#[test]
fn overlays_and_small_file_systems_are_named() {
    let test = "directories::overlays_and_small_file_systems_are_named";
    if !inside(test) {
        return;
    }
    let Some(mut place) = Place::new(test) else {
        return;
    };
    {
        let Ok(_small) = Small::mount(&place.shards, 64 << 10, 100) else {
            return skip(test, "nothing can be mounted");
        };
        place.serve();
        place.examine().only(
            "FAIL",
            "shard_room",
            "65536 bytes are free",
            "remount,size=",
        );
        place.daemon = None;
    }
    {
        let _small = Small::mount(&place.shards, 64 << 20, 4).unwrap();
        place.serve();
        place
            .examine()
            .only("FAIL", "shard_room", "inodes are free", "nr_inodes=0");
        place.daemon = None;
    }
    {
        // A shard as Python makes one: with holes that need more than there is.
        let _small = Small::mount(&place.shards, 1 << 20, 100).unwrap();
        let shard = write_shard(&place.shards, "counter_1.db", &[]);
        File::options()
            .write(true)
            .open(&shard)
            .unwrap()
            .set_len(1 << 20)
            .unwrap();
        let _writer = File::options().write(true).open(&shard).unwrap();
        place.serve();
        place
            .examine()
            .only("FAIL", "shard_room", "claimed by holes", "remount,size=");
        place.daemon = None;
    }
    let base = place.folder.path().join("overlay");
    for name in ["lower", "upper", "work"] {
        fs::create_dir_all(base.join(name)).unwrap();
    }
    let mounted = Command::new("mount")
        .args([
            "-t",
            "overlay",
            "overlay",
            "-o",
            "lowerdir=lower,upperdir=upper,workdir=work",
        ])
        .arg(&place.shards)
        .current_dir(&base)
        .status();
    if !mounted.is_ok_and(|status| status.success()) {
        return skip(test, "overlayfs cannot be mounted");
    }
    place.serve();
    place
        .examine()
        .only("FAIL", "file_system", "overlayfs", "docker run --tmpfs");
    place.daemon = None;
    // The state on such a layer does not last either.
    let apart = place.folder.path().join("apart");
    fs::create_dir(&apart).unwrap();
    (place.state, place.shards) = (place.shards.join("state"), apart);
    place.serve();
    place.examine().only(
        "FAIL",
        "state_durable",
        "container's own layer",
        "--state-dir /var/lib/metricsd",
    );
}
