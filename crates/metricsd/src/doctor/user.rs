//! On whose behalf a process acts, and what file permissions allow it: owner, group, others and capabilities.
//!
//! Invariant: nothing is tried out on a file. Access control lists are not looked at. Must not touch: anything but procfs.

use std::fmt;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

use rustix::fs::Stat;

use super::processes::read_bounded;

const CAP_DAC_OVERRIDE: u32 = 1;
const CAP_DAC_READ_SEARCH: u32 = 2;
const CAP_FOWNER: u32 = 3;
const CAP_LEASE: u32 = 28;

/// Longest `/proc/PID/status` that is read; one with thousands of groups is shorter.
const STATUS_LEN_MAX_BYTES: u64 = 1 << 20;

/// Read, of the three permission bits.
pub(super) const READ: u32 = 4;
/// Write.
pub(super) const WRITE: u32 = 2;
/// Search, for directories.
pub(super) const SEARCH: u32 = 1;

/// Effective user, groups and capabilities of a process. Displays as `uid N`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct User {
    pub(super) uid: u32,
    groups: Vec<u32>,
    capabilities: u64,
}

/// Owner and permission bits of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Owned {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mode: u32,
}

impl From<&Stat> for Owned {
    fn from(stat: &Stat) -> Owned {
        Owned {
            uid: stat.st_uid,
            gid: stat.st_gid,
            mode: stat.st_mode & 0o7777,
        }
    }
}

impl From<&Metadata> for Owned {
    fn from(metadata: &Metadata) -> Owned {
        Owned {
            uid: metadata.uid(),
            gid: metadata.gid(),
            mode: metadata.mode() & 0o7777,
        }
    }
}

/// Who the doctor itself is.
pub(super) fn own_user() -> User {
    User::of("self").map(|(user, ..)| user).unwrap_or_default()
}

impl User {
    /// That of a process, with its parent's process ID and its name. `pid` may be `self`.
    pub(super) fn of(pid: &str) -> Option<(User, u32, String)> {
        let raw = read_bounded(&format!("/proc/{pid}/status"), STATUS_LEN_MAX_BYTES).ok()?;
        User::parse(&String::from_utf8_lossy(&raw))
    }

    fn parse(status: &str) -> Option<(User, u32, String)> {
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.map(str::trim)
        };
        // Real, effective, saved, file system: it is the last that files are judged by.
        let fourth = |name: &str| field(name)?.split_whitespace().nth(3)?.parse().ok();
        let mut groups: Vec<u32> = vec![fourth("Gid:")?];
        let others = field("Groups:").unwrap_or_default().split_whitespace();
        groups.extend(others.filter_map(|group| group.parse::<u32>().ok()));
        let user = User {
            uid: fourth("Uid:")?,
            groups,
            capabilities: u64::from_str_radix(field("CapEff:")?, 16).ok()?,
        };
        let parent = field("PPid:")?.parse().ok()?;
        Some((user, parent, field("Name:")?.to_owned()))
    }

    fn has(&self, capability: u32) -> bool {
        self.capabilities & (1 << capability) != 0
    }

    /// Whether it may take leases on files of others.
    pub(super) fn may_lease_others(&self) -> bool {
        self.has(CAP_LEASE)
    }

    /// Whether it may do all of `wanted` with a file or directory.
    pub(super) fn may(&self, file: Owned, wanted: u32) -> bool {
        if self.has(CAP_DAC_OVERRIDE) {
            return true;
        }
        let is_looking = wanted & WRITE == 0;
        if is_looking && self.has(CAP_DAC_READ_SEARCH) {
            return true;
        }
        let shift = if file.uid == self.uid {
            6
        } else if self.groups.contains(&file.gid) {
            3
        } else {
            0
        };
        (file.mode >> shift) & wanted == wanted
    }

    /// Whether it may remove or rename a file of this owner from a directory that it may write: a sticky one asks for more.
    pub(super) fn may_remove(&self, directory: Owned, owner: u32) -> bool {
        const STICKY: u32 = 0o1000;
        directory.mode & STICKY == 0
            || [directory.uid, owner].contains(&self.uid)
            || self.has(CAP_FOWNER)
    }
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "uid {}", self.uid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = "Name:\tpy thon\nPPid:\t7\nUid:\t1\t2\t3\t1000\nGid:\t5\t5\t5\t50\nGroups:\t60 70 \nCapEff:\t0000000010000000\n";

    #[test]
    fn the_status_of_a_process_is_read() {
        let (user, parent, name) = User::parse(STATUS).unwrap();
        assert_eq!((user.uid, parent, name.as_str()), (1000, 7, "py thon"));
        assert_eq!(user.groups, [50, 60, 70]);
        assert!(user.may_lease_others());
        assert!(User::parse("").is_none());
    }

    #[test]
    fn permission_bits_are_those_of_the_first_class_that_fits() {
        let (user, ..) = User::parse(STATUS).unwrap();
        let file = |uid, gid, mode| Owned { uid, gid, mode };
        assert!(user.may(file(1000, 0, 0o600), READ | WRITE));
        assert!(
            !user.may(file(1000, 0, 0o066), READ),
            "the owner's bits decide"
        );
        assert!(user.may(file(0, 60, 0o640), READ));
        assert!(!user.may(file(0, 60, 0o640), WRITE));
        assert!(!user.may(file(0, 0, 0o750), SEARCH));
        let root = User {
            capabilities: 1 << CAP_DAC_OVERRIDE,
            ..User::default()
        };
        assert!(root.may(file(1, 1, 0), READ | WRITE));
        let sticky = file(0, 0, 0o1777);
        assert!(!user.may_remove(sticky, 1));
        assert!(user.may_remove(sticky, 1000));
        assert!(user.may_remove(file(0, 0, 0o777), 1));
    }
}
