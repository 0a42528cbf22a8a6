//! Logs the complaints of one registry, away from the threads that record.
//! Invariant: to wake the journal takes no lock and never waits; a line is logged while no lock is held, because a subscriber
//! may record metrics of its own.
//! It must not count: the defects do.

use std::io;
use std::process;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::thread::{self, Thread};

use tracing::warn;

use crate::defects::{Complaints, Defects};

/// What is to be logged, and by whom.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    /// Whether something was met since the last look.
    dirty: AtomicBool,
    /// Those of every family. Locked on registration and by whoever logs, never by a handle.
    followed: Mutex<Vec<Weak<Complaints>>>,
    /// The thread that logs, and the process that it lives in: a forked child has none.
    thread: OnceLock<(Thread, u32)>,
}

impl Journal {
    pub(crate) fn follow(&self, complaints: &Arc<Complaints>) {
        self.followed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Arc::downgrade(complaints));
    }

    /// Has what was met logged soon: by the thread, else by the next registration or look at the status.
    pub(crate) fn wake(&self) {
        self.dirty.store(true, Ordering::Release);
        if let Some((thread, _)) = self.thread.get() {
            thread.unpark();
        }
    }

    /// Log here and now if there is no thread for it in this process. Callers hold no lock.
    pub(crate) fn log_unless_threaded(&self) {
        let threaded = self.thread.get();
        let is_threaded = threaded.is_some_and(|&(_, process)| process == process::id());
        if is_threaded || !self.dirty.load(Ordering::Acquire) {
            return;
        }
        // A fork can have left it taken, and no line is worth waiting for that.
        let followed = self.followed.try_lock().ok().map(|all| living(&all));
        if let Some(followed) = followed {
            self.log(followed);
        }
    }

    fn log_as_thread(&self) {
        let followed = living(&self.followed.lock().unwrap_or_else(PoisonError::into_inner));
        self.log(followed);
    }

    fn log(&self, followed: Vec<Arc<Complaints>>) {
        self.dirty.store(false, Ordering::Release);
        for complaints in followed {
            for defect in complaints.take() {
                let family = complaints.family();
                warn!(family, %defect, "telemetry call refused; later ones of this kind are only counted");
            }
        }
    }
}

fn living(followed: &[Weak<Complaints>]) -> Vec<Arc<Complaints>> {
    followed.iter().filter_map(Weak::upgrade).collect()
}

impl Drop for Journal {
    fn drop(&mut self) {
        if let Some((thread, _)) = self.thread.get() {
            thread.unpark();
        }
    }
}

/// Give `defects` a thread that logs for them until the last of its handles is gone.
pub(crate) fn start_thread(defects: &Arc<Defects>) -> io::Result<()> {
    let followed = Arc::downgrade(defects);
    let thread = thread::Builder::new()
        .name("metrics-journal".to_owned())
        .spawn(move || {
            while let Some(defects) = followed.upgrade() {
                defects.journal().log_as_thread();
                drop(defects);
                thread::park();
            }
        })?;
    let known = (thread.thread().clone(), process::id());
    // Set once, by whoever made the registry. What was met before has been stored, so one more look finds it.
    defects.journal().thread.get_or_init(|| known);
    thread.thread().unpark();
    Ok(())
}
