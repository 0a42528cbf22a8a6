//! The kill switch: a file that exists, or SIGUSR1.
//!
//! Invariant: what cannot be looked at is on, and what was on once stays on until the process ends, whatever becomes of the file. Must not
//! touch: what is in the file, the intent log; whoever finds it on writes down that trading is halted.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::stop::Stop;

/// Why the kill switch is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Cause {
    /// The file is there, whatever it is and whatever is in it.
    File = 1,
    /// SIGUSR1 came.
    Signal = 2,
    /// Nobody can say whether the file is there.
    Unreadable = 3,
}

impl Cause {
    const ALL: [Cause; 3] = [Cause::File, Cause::Signal, Cause::Unreadable];

    /// The spelling in logs and `/health`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Cause::File => "file",
            Cause::Signal => "signal",
            Cause::Unreadable => "unreadable",
        }
    }
}

/// A look that takes longer has found nothing out: a file system over a network keeps whoever looks waiting for as long as it likes.
const LOOK_TIME_MAX: Duration = Duration::from_secs(5);

type Look = fn(&Path) -> Option<Cause>;

/// The switch. Clones are the same.
#[derive(Debug, Clone)]
pub struct KillSwitch {
    path: PathBuf,
    stop: Stop,
    /// The first cause that was found; 0 before.
    found: Arc<AtomicU8>,
    look_at: Look,
    time_max: Duration,
    eye: Arc<Mutex<Option<Eye>>>,
}

/// A thread that looks, so that it is not the loop that a file system keeps. Ends with the last switch.
#[derive(Debug)]
struct Eye {
    ask: SyncSender<()>,
    told: Receiver<Option<Cause>>,
}

impl Eye {
    fn open(path: PathBuf, look_at: Look) -> io::Result<Eye> {
        let (ask, asked) = sync_channel(1);
        let (tell, told) = sync_channel(1);
        std::thread::Builder::new()
            .name("kill-file".to_owned())
            .spawn(move || while asked.recv().is_ok() && tell.send(look_at(&path)).is_ok() {})?;
        Ok(Eye { ask, told })
    }
}

impl KillSwitch {
    /// A switch at that path, and on that stop's SIGUSR1.
    pub fn new(path: &Path, stop: Stop) -> KillSwitch {
        KillSwitch {
            path: path.to_owned(),
            stop,
            found: Arc::default(),
            look_at,
            time_max: LOOK_TIME_MAX,
            eye: Arc::default(),
        }
    }

    /// What the file says, or that nobody could say in time: it is on then for good, and not asked again.
    fn look_in_time(&self) -> Option<Cause> {
        let mut eye = self.eye.lock().unwrap_or_else(PoisonError::into_inner);
        if eye.is_none() {
            match Eye::open(self.path.clone(), self.look_at) {
                Ok(opened) => *eye = Some(opened),
                // No thread to be had says nothing about the file.
                Err(_) => return (self.look_at)(&self.path),
            }
        }
        let asked = eye.as_ref().filter(|eye| eye.ask.try_send(()).is_ok());
        match asked.map(|eye| eye.told.recv_timeout(self.time_max)) {
            Some(Ok(found)) => found,
            _ => Some(Cause::Unreadable),
        }
    }

    /// The file that switches it on by being there.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether nothing may be sent any more; looks at the file now.
    pub fn is_on(&self) -> bool {
        self.look().is_some()
    }

    /// The first cause that was found, and if none was, what is found now.
    pub fn look(&self) -> Option<Cause> {
        let known = self.found.load(Ordering::Acquire);
        if let Some(cause) = Cause::ALL.into_iter().find(|one| *one as u8 == known) {
            return Some(cause);
        }
        let cause = if self.stop.was_killed() {
            Some(Cause::Signal)
        } else {
            self.look_in_time()
        }?;
        self.found.store(cause as u8, Ordering::Release);
        Some(cause)
    }

    /// `file`, `signal` or `unreadable`; `none` while it is off.
    pub fn cause(&self) -> &'static str {
        self.look().map_or("none", Cause::as_str)
    }
}

/// What a file at this path, a link that leads nowhere included, means for trading.
pub fn look_at(path: &Path) -> Option<Cause> {
    match fs::symlink_metadata(path) {
        Ok(_) => Some(Cause::File),
        // It is not there only if the directory that it would be in is.
        Err(error) if error.kind() == io::ErrorKind::NotFound && has_directory(path) => None,
        Err(_) => Some(Cause::Unreadable),
    }
}

fn has_directory(path: &Path) -> bool {
    let parent = match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => return false,
    };
    parent.is_dir()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_a_dangling_link_a_directory_and_what_cannot_be_looked_at_are_on() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("file"), "").unwrap();
        fs::create_dir(at("directory")).unwrap();
        std::os::unix::fs::symlink("/nowhere/at/all", at("link")).unwrap();
        let long = "n".repeat(300);
        for (path, cause) in [
            (at("none"), "none"),
            (at("file"), "file"),
            (at("directory"), "file"),
            (at("link"), "file"),
            // Its directory is a file, is not there, or the name is none.
            (at("file/kill"), "unreadable"),
            (at("nowhere/kill"), "unreadable"),
            (at(&long), "unreadable"),
        ] {
            let switch = KillSwitch::new(&path, Stop::default());
            assert_eq!(switch.cause(), cause, "{}", path.display());
            assert_eq!(switch.is_on(), cause != "none");
        }
    }

    #[test]
    fn what_was_on_stays_on_for_every_clone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kill");
        let switch = KillSwitch::new(&path, Stop::default());
        let clone = switch.clone();
        assert!(!switch.is_on());
        fs::write(&path, "").unwrap();
        assert!(switch.is_on());
        fs::remove_file(&path).unwrap();
        assert!(clone.is_on() && clone.cause() == "file");
        // Another process begins anew.
        assert!(!KillSwitch::new(&path, Stop::default()).is_on());
    }

    #[test]
    fn a_file_system_that_keeps_whoever_looks_waiting_is_on_and_keeps_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let mut switch = KillSwitch::new(&folder.path().join("kill"), Stop::default());
        // As long as the test runs.
        switch.look_at = |_| loop {
            std::thread::park();
        };
        switch.time_max = Duration::from_millis(50);
        assert_eq!(switch.cause(), "unreadable");
        assert!(switch.is_on(), "it is not asked again");
    }

    #[test]
    fn the_signal_is_on_for_good() {
        let folder = tempfile::tempdir().unwrap();
        let stop = Stop::default();
        let switch = KillSwitch::new(&folder.path().join("kill"), stop.clone());
        assert!(!switch.is_on());
        stop.kill();
        assert_eq!(switch.cause(), "signal");
        assert!(!stop.is_requested(), "it ends no process");
    }
}
