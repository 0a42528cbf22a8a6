//! Which file it is, whatever its name: what the counts of a shard are tied to.
//!
//! Invariant: two different files have different identities although an inode number is used again at once, although a
//! process ID is used again, and whatever the files are called; a rename changes nothing.

use std::os::fd::BorrowedFd;

use rustix::fs::{AtFlags, Statx, StatxFlags, fstatvfs, statx};
use rustix::io::{self, retry_on_intr};

use crate::map;
use crate::name::{Instance, WriterId};

/// A file's identity. Neither the path nor (device, inode) alone would do: ext4 gives a freed inode number away at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Identity {
    /// File system ID of `statvfs`, which survives a reboot; the device number where there is none.
    pub file_system: u64,
    /// Inode number.
    pub inode: u64,
    /// When the inode was created, where the file system tells.
    pub birth: Option<BirthTime>,
    /// The inode's generation, where the file system tells (ext4, xfs, btrfs). Before Linux 6.13 birth times are only as fine
    /// as the kernel's tick; a file that is deleted and made again within one is then told apart by this alone.
    pub generation: Option<u32>,
    /// The random part of the name, for files of our own writer.
    pub instance: Option<Instance>,
}

/// When an inode was created.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BirthTime {
    /// Whole unix seconds.
    pub unix_seconds: i64,
    /// Nanoseconds of the second.
    pub nanoseconds: u32,
}

impl Identity {
    /// Asks the kernel about an open file. `inode` and `device` are those of its `fstat`.
    pub(crate) fn of(file: BorrowedFd<'_>, inode: u64, device: u64, file_name: &str) -> Identity {
        let file_system = retry_on_intr(|| fstatvfs(file)).map_or(0, |answer| answer.f_fsid);
        Identity {
            file_system: if file_system == 0 {
                device
            } else {
                file_system
            },
            inode,
            birth: birth_time(file).unwrap_or(None),
            generation: map::lease::generation(file),
            instance: instance_of(file_name),
        }
    }
}

fn birth_time(file: BorrowedFd<'_>) -> io::Result<Option<BirthTime>> {
    let answer: Statx = retry_on_intr(|| statx(file, c"", AtFlags::EMPTY_PATH, StatxFlags::BTIME))?;
    let is_known = answer.stx_mask & StatxFlags::BTIME.bits() != 0;
    Ok(is_known.then_some(BirthTime {
        unix_seconds: answer.stx_btime.tv_sec,
        nanoseconds: answer.stx_btime.tv_nsec,
    }))
}

/// The instance in a name of our own writer, also if something has been appended to the name: a renamed file is the same file.
fn instance_of(file_name: &str) -> Option<Instance> {
    let (stem, _) = file_name.split_once(".db")?;
    let (_, id) = stem.rsplit_once('_')?;
    id.parse().ok().map(|writer: WriterId| writer.instance)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instance_survives_a_suffix_and_is_absent_in_names_of_python() {
        let instance = Instance::from_bits(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef);
        let writer = WriterId { pid: 77, instance };
        for name in [
            format!("counter_{writer}.db"),
            format!("gauge_livemax_{writer}.db.retiring-1f"),
            format!("counter_{writer}-3.db"),
        ] {
            assert_eq!(instance_of(&name), Some(instance), "{name}");
        }
        for name in ["counter_77.db", "gauge_all_77-rs.db", "counter_.db", "x"] {
            assert_eq!(instance_of(name), None, "{name}");
        }
    }
}
