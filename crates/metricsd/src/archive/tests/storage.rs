//! The real directory and the simulated one do the same; what only the real one can do wrong; the archive on a real disk.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use super::crash::{SETTINGS, Step, script};
use crate::archive::storage::Storage;
use crate::archive::testing::{Dice, Simulated};
use crate::archive::{Archive, Disk, load};

#[test]
fn the_simulated_directory_answers_as_the_real_one() {
    for seed in 0..60 {
        let mut dice = Dice(seed);
        let directory = tempfile::tempdir().unwrap();
        let (real, simulated) = (Disk::open(directory.path()).unwrap(), Simulated::new());
        let mut files = Vec::new();
        for _ in 0..120 {
            let name = ["a", "b", "c", "d"][dice.below(4)];
            let other = ["a", "b", "c", "d"][dice.below(4)];
            match dice.below(9) {
                0 | 1 => match (real.create(name), simulated.create(name)) {
                    (Ok(left), Ok(right)) => files.push((left, right)),
                    (left, right) => same(left.map(drop), right.map(drop)),
                },
                2 => match (real.open_append(name), simulated.open_append(name)) {
                    (Ok(left), Ok(right)) => files.push((left, right)),
                    (left, right) => same(left.map(drop), right.map(drop)),
                },
                3 => same(real.rename(name, other), simulated.rename(name, other)),
                4 => same(real.remove(name), simulated.remove(name)),
                5 => {
                    let len_max = dice.below(60) as u64;
                    same(real.read(name, len_max), simulated.read(name, len_max));
                }
                6 => {
                    same(real.sync_dir(), simulated.sync_dir());
                    let (mut left, mut right) = (real.list().unwrap(), simulated.list().unwrap());
                    left.sort();
                    right.sort();
                    assert_eq!(left, right);
                }
                _ if files.is_empty() => {}
                at => {
                    let (left, right) = &files[dice.below(files.len())];
                    let bytes: Vec<u8> = (0..dice.below(20)).map(|it| it as u8).collect();
                    same(real.append(left, &bytes), simulated.append(right, &bytes));
                    if at == 8 {
                        same(real.sync_file(left), simulated.sync_file(right));
                        same(
                            real.preallocate(left, 4096),
                            simulated.preallocate(right, 4096),
                        );
                    }
                }
            }
        }
    }
}

fn same<T: PartialEq + std::fmt::Debug>(left: std::io::Result<T>, right: std::io::Result<T>) {
    assert_eq!(
        left.map_err(|error| error.kind()),
        right.map_err(|error| error.kind())
    );
}

#[test]
fn links_pipes_and_directories_are_not_opened_and_nothing_blocks() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    fs::write(path.join("target"), "x").unwrap();
    symlink("target", path.join("link")).unwrap();
    fs::create_dir(path.join("folder")).unwrap();
    assert!(
        Command::new("mkfifo")
            .arg(path.join("pipe"))
            .status()
            .unwrap()
            .success()
    );
    let disk = Disk::open(path).unwrap();
    for name in ["link", "folder", "pipe"] {
        assert!(disk.read(name, 100).is_err(), "{name}");
        assert!(disk.open_append(name).is_err(), "{name}");
        assert!(disk.create(name).is_err(), "{name}");
    }
    assert!(Disk::open(&path.join("target")).is_err());
    assert_eq!(disk.read("target", 100).unwrap(), b"x");
    assert!(disk.read("target", 0).is_err(), "longer than asked for");
}

#[test]
fn files_are_private_and_not_inherited_and_the_directory_is_held_whatever_its_name() {
    let directory = tempfile::tempdir().unwrap();
    let (first, second) = (
        directory.path().join("first"),
        directory.path().join("second"),
    );
    fs::create_dir(&first).unwrap();
    let disk = Disk::open(&first).unwrap();
    fs::rename(&first, &second).unwrap();
    fs::create_dir(&first).unwrap();
    let file = disk.create("x").unwrap();
    assert!(second.join("x").exists() && !first.join("x").exists());
    let mode = fs::metadata(second.join("x")).unwrap().permissions().mode();
    assert_eq!(mode & 0o137, 0, "{mode:o}");
    let flags = rustix::io::fcntl_getfd(&file).unwrap();
    assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
}

#[test]
fn a_reserve_takes_room_but_has_no_length() {
    let directory = tempfile::tempdir().unwrap();
    let disk = Disk::open(directory.path()).unwrap();
    let file = disk.create("reserve").unwrap();
    disk.preallocate(&file, 1 << 20).unwrap();
    let metadata = fs::metadata(directory.path().join("reserve")).unwrap();
    let blocks = std::os::unix::fs::MetadataExt::blocks(&metadata);
    assert_eq!((metadata.len(), blocks * 512 >= 1 << 20), (0, true));
}

#[test]
fn an_archive_on_a_real_disk_comes_back_as_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let mut expected = None;
    for life in 0..6 {
        let opened = Archive::open(
            Disk::open(directory.path()).unwrap(),
            SETTINGS,
            "boot",
            life as f64,
        );
        let (mut archive, report) = opened.unwrap();
        assert!(
            report.losses.is_empty() && report.write_failure.is_none(),
            "{report:?}"
        );
        assert_eq!(report.is_same_boot, life > 0);
        assert!(!report.may_have_lost_power());
        // Every second life was closed, the others were killed.
        assert_eq!(report.is_unclean(), life % 2 == 1, "{life}");
        if let Some(expected) = expected.replace(live_on(&mut archive, life)) {
            assert!(report.last_sequence >= expected);
        }
        if life % 2 == 1 {
            archive.close(life as f64).unwrap();
        }
        let before = beside(directory.path());
        assert_eq!(before, beside(directory.path()));
    }
}

/// Gives the last durable number.
fn live_on(archive: &mut Archive<Disk>, life: u64) -> u64 {
    for (number, step) in script(&mut Dice(life), 40).into_iter().enumerate() {
        match step {
            Step::Append(record) => archive.append(record).unwrap(),
            Step::Sync => archive.sync().unwrap(),
            Step::Tend => drop(archive.maybe_checkpoint(number as f64).unwrap()),
            Step::Checkpoint => archive.checkpoint(number as f64).unwrap(),
        }
    }
    archive.durable_sequence()
}

/// What somebody beside the daemon reads; nothing is changed by it.
fn beside(path: &Path) -> (u64, Vec<String>) {
    let disk = Disk::open(path).unwrap();
    let (_, report) = load(&disk).unwrap();
    let mut names = disk.list().unwrap();
    names.sort();
    (report.last_sequence, names)
}
