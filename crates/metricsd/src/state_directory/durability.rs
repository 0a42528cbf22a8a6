//! Whether what is synced in the state directory stays, and whether the machine lost power since.
//!
//! Invariant: when in doubt, it does not and it has. Must not touch: the state.

use std::fmt;
use std::os::fd::BorrowedFd;

use rustix::fs::fstatfs;
use rustix::io::retry_on_intr;

/// Whether the state survives a power cut and the end of the shard directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// It is on a local disk, apart from the shards.
    Durable,
    /// It may be gone.
    NotDurable {
        /// Why.
        reason: NotDurableReason,
    },
}

/// Why the state may be gone. Displays as a phrase for a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotDurableReason {
    /// It is in memory.
    Tmpfs,
    /// It goes with the shards when their directory is removed.
    InsideShardDirectory,
    /// Another machine keeps it, or does not.
    Network,
    /// A file system of which nothing is known, such as the writable layer of a container, which goes with it.
    Unknown,
}

impl NotDurableReason {
    /// The word for messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            NotDurableReason::Tmpfs => "tmpfs",
            NotDurableReason::InsideShardDirectory => "inside_shard_directory",
            NotDurableReason::Network => "network",
            NotDurableReason::Unknown => "unknown",
        }
    }
}

impl fmt::Display for NotDurableReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NotDurableReason::Tmpfs => "it is in memory, not on a disk",
            NotDurableReason::InsideShardDirectory => {
                "it is inside the shard directory and goes with it"
            }
            NotDurableReason::Network => "it is on a network file system",
            NotDurableReason::Unknown => {
                "its file system is none that is known to survive a power cut"
            }
        })
    }
}

/// Whether what is synced on the file system of an open file stays.
pub(super) fn of_file_system(file: BorrowedFd<'_>) -> Durability {
    match retry_on_intr(|| fstatfs(file)) {
        // The field's type differs between targets; a magic number has 32 bits.
        #[allow(clippy::unnecessary_cast, reason = "i64, u32 or u64, by target")]
        Ok(answer) => by_magic(answer.f_type as u64 & 0xffff_ffff),
        Err(_) => Durability::NotDurable {
            reason: NotDurableReason::Unknown,
        },
    }
}

/// By the magic numbers of `statfs(2)`.
const fn by_magic(magic: u64) -> Durability {
    let reason = match magic {
        // ext2, ext3 and ext4; xfs; btrfs; zfs; f2fs; bcachefs.
        0xef53 | 0x5846_5342 | 0x9123_683e | 0x2fc1_2fc1 | 0xf2f5_2010 | 0xca45_1a4e => {
            return Durability::Durable;
        }
        // tmpfs; ramfs.
        0x0102_1994 | 0x8584_58f6 => NotDurableReason::Tmpfs,
        // NFS; SMB, its second version and CIFS; 9P; Ceph; AFS; Coda.
        0x6969 | 0x517b | 0xfe53_4d42 | 0xff53_4d42 | 0x0102_1997 | 0x00c3_6400 | 0x5346_414f
        | 0x7375_7245 => NotDurableReason::Network,
        _ => NotDurableReason::Unknown,
    };
    Durability::NotDurable { reason }
}

/// The present boot of the machine, as the kernel names it. Empty where it cannot be read.
pub fn boot_id() -> String {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    text.trim().to_owned()
}

/// Whether both are known to be the same boot, so that no power was lost between them. One that could not be read is never
/// the same as another: a power cut too many is checked for, and costs little where there was none; one too few loses counts.
pub fn is_same_boot(before: &str, now: &str) -> bool {
    !before.is_empty() && before == now
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boot_that_is_not_known_is_never_the_same() {
        assert!(is_same_boot("a", "a"));
        assert!(!is_same_boot("a", "b"));
        assert!(!is_same_boot("", ""));
        assert!(!is_same_boot("", "a"));
        assert!(!is_same_boot("a", ""));
    }

    #[test]
    fn the_boot_is_the_kernels_word_without_blanks() {
        let id = boot_id();
        assert_eq!(id, boot_id());
        assert_eq!(id, id.trim());
        // Where there is no such file there is no word, and no start counts as one of the same boot.
        let is_there = std::path::Path::new("/proc/sys/kernel/random/boot_id").exists();
        assert_eq!(!id.is_empty(), is_there);
    }

    #[test]
    fn only_file_systems_that_are_known_to_keep_their_word_are_durable() {
        for magic in [0xef53, 0x5846_5342, 0x9123_683e, 0x2fc1_2fc1, 0xf2f5_2010] {
            assert_eq!(by_magic(magic), Durability::Durable, "{magic:#x}");
        }
        for (magic, reason) in [
            (0x0102_1994, NotDurableReason::Tmpfs),
            (0x8584_58f6, NotDurableReason::Tmpfs),
            (0x6969, NotDurableReason::Network),
            (0xff53_4d42, NotDurableReason::Network),
            // overlayfs, FUSE, FAT, procfs.
            (0x794c_7630, NotDurableReason::Unknown),
            (0x6573_5546, NotDurableReason::Unknown),
            (0x4d44, NotDurableReason::Unknown),
            (0x9fa0, NotDurableReason::Unknown),
        ] {
            assert_eq!(
                by_magic(magic),
                Durability::NotDurable { reason },
                "{magic:#x}"
            );
        }
    }
}
