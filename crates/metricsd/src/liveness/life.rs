//! Whether the process that made a shard lives, as far as `live*` gauges are concerned: the kernel's answer about the file, and the
//! process table where that can know better.
//!
//! Invariant: process IDs only turn "somebody has it open" into "its writer is dead", and only when they mean what they say: in our
//! own PID namespace, since this boot, and with the start time. They decide nothing about what is retired. Must not touch: anything
//! but procfs.

use std::fs;
use std::os::unix::fs::MetadataExt;

use metricsd_shard::{Liveness, ProcessFile};
use procfs::process::Process;
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

/// What a writer has said of the process that it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim<'a> {
    /// Process ID in its own PID namespace.
    pub pid: u32,
    /// Field 22 of `/proc/PID/stat`; 0 where it could not be read.
    pub start_ticks: u64,
    /// Empty where it could not be read.
    pub boot_id: &'a str,
    /// Inode number of its `/proc/self/ns/pid`; none where it did not say.
    pub pid_namespace: Option<u64>,
}

/// Where this process looks from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outlook {
    boot_id: String,
    pid_namespace: Option<u64>,
}

/// What the process table has under a process ID.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Looked {
    /// A process that runs, and when it started.
    Runs {
        /// Field 22 of `/proc/PID/stat`.
        start_ticks: u64,
    },
    /// No process, or one that has ended and was not waited for yet.
    Nobody,
    /// A process that procfs shows nothing of.
    Hidden,
}

impl<'a> Claim<'a> {
    /// From its sidecar, and the PID namespace that it names there.
    pub fn new(file: &'a ProcessFile, pid_namespace: Option<u64>) -> Claim<'a> {
        Claim {
            pid: file.pid,
            start_ticks: file.start_ticks,
            boot_id: &file.boot_id,
            pid_namespace,
        }
    }
}

impl Outlook {
    /// Of this process. Neither part changes while it runs.
    pub fn of_this_process() -> Outlook {
        let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        Outlook {
            boot_id: boot_id.trim().to_owned(),
            pid_namespace: fs::metadata("/proc/self/ns/pid")
                .ok()
                .map(|metadata| metadata.ino()),
        }
    }

    /// Whether a process ID of this claim means the same process here as where it was written down.
    fn understands(&self, claim: &Claim<'_>) -> bool {
        self.pid_namespace.is_some()
            && self.pid_namespace == claim.pid_namespace
            && !self.boot_id.is_empty()
            && self.boot_id == claim.boot_id
    }
}

/// Whether a shard counts as a live process's for `live*` gauges: somebody has it open for writing, and its own writer, if `claim`
/// says who that is, is not known to be dead. A child that its writer forked may hold the file for ever.
pub fn is_live(
    liveness: Liveness,
    claim: Option<&Claim<'_>>,
    outlook: &Outlook,
    look: impl FnOnce(u32) -> Looked,
) -> bool {
    liveness == Liveness::Busy
        && !claim.is_some_and(|claim| outlook.understands(claim) && is_dead(claim, look(claim.pid)))
}

fn is_dead(claim: &Claim<'_>, looked: Looked) -> bool {
    match looked {
        Looked::Nobody => true,
        // Another process has its number by now.
        Looked::Runs { start_ticks } => claim.start_ticks != 0 && claim.start_ticks != start_ticks,
        Looked::Hidden => false,
    }
}

/// Looks a process up in our own PID namespace. procfs can be mounted so that it hides processes of others; that they exist the
/// kernel tells everybody.
pub fn look(pid: u32) -> Looked {
    let Some(id) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
        return Looked::Nobody;
    };
    let stat = Process::new(id.as_raw_nonzero().get()).and_then(|process| process.stat());
    match (stat, test_kill_process(id)) {
        (_, Err(Errno::SRCH)) => Looked::Nobody,
        // A leader that has ended before its other threads is shown as a zombie, too, but not alone.
        (Ok(stat), _) if matches!(stat.state, 'Z' | 'X') && stat.num_threads <= 1 => Looked::Nobody,
        (Ok(stat), _) => Looked::Runs {
            start_ticks: stat.starttime,
        },
        (Err(_), _) => Looked::Hidden,
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use metricsd_shard::UnknownReason;

    use super::*;

    const TICKS: u64 = 4711;

    fn outlook() -> Outlook {
        Outlook {
            boot_id: "this boot".into(),
            pid_namespace: Some(7),
        }
    }

    fn claim() -> Claim<'static> {
        Claim {
            pid: 41,
            start_ticks: TICKS,
            boot_id: "this boot",
            pid_namespace: Some(7),
        }
    }

    fn live(claim: &Claim<'_>, looked: Looked) -> bool {
        is_live(Liveness::Busy, Some(claim), &outlook(), |pid| {
            assert_eq!(pid, 41);
            looked
        })
    }

    #[test]
    fn a_busy_shard_is_live_unless_its_writer_is_known_to_be_dead() {
        let runs = |start_ticks| Looked::Runs { start_ticks };
        assert!(live(&claim(), runs(TICKS)));
        assert!(!live(&claim(), Looked::Nobody));
        assert!(!live(&claim(), runs(TICKS + 1)), "another process");
        assert!(live(&claim(), Looked::Hidden));
        let without_start = Claim {
            start_ticks: 0,
            ..claim()
        };
        assert!(live(&without_start, runs(TICKS)));
        assert!(!live(&without_start, Looked::Nobody));
        assert!(is_live(Liveness::Busy, None, &outlook(), |_| {
            Looked::Nobody
        }));
    }

    #[test]
    fn process_ids_of_elsewhere_say_nothing() {
        for elsewhere in [
            Claim {
                boot_id: "another boot",
                ..claim()
            },
            Claim {
                boot_id: "",
                ..claim()
            },
            Claim {
                pid_namespace: Some(8),
                ..claim()
            },
            Claim {
                pid_namespace: None,
                ..claim()
            },
        ] {
            assert!(live(&elsewhere, Looked::Nobody), "{elsewhere:?}");
        }
        let blind = Outlook {
            boot_id: String::new(),
            pid_namespace: None,
        };
        let unsaid = Claim {
            boot_id: "",
            pid_namespace: None,
            ..claim()
        };
        assert!(is_live(Liveness::Busy, Some(&unsaid), &blind, |_| {
            Looked::Nobody
        }));
    }

    #[test]
    fn nothing_but_busy_is_live() {
        let runs = |_| Looked::Runs { start_ticks: TICKS };
        for liveness in [Liveness::Idle, Liveness::Unknown(UnknownReason::NotOwner)] {
            assert!(!is_live(liveness, Some(&claim()), &outlook(), runs));
        }
    }

    #[test]
    fn a_process_is_looked_up_while_it_runs_as_a_zombie_and_when_it_is_gone() {
        let own = Process::myself().unwrap().stat().unwrap();
        assert_eq!(
            look(std::process::id()),
            Looked::Runs {
                start_ticks: own.starttime
            }
        );
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let pid = child.id();
        assert!(matches!(look(pid), Looked::Runs { .. }));
        child.kill().unwrap();
        // Nobody waits for it yet.
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while look(pid) != Looked::Nobody {
            assert!(std::time::Instant::now() < deadline, "{:?}", look(pid));
            std::thread::yield_now();
        }
        assert!(fs::exists(format!("/proc/{pid}")).unwrap(), "a zombie");
        child.wait().unwrap();
        assert_eq!(look(pid), Looked::Nobody);
        for nonsense in [0, u32::MAX] {
            assert_eq!(look(nonsense), Looked::Nobody);
        }
    }
}
