//! Signals: SIGINT and SIGTERM end the program, SIGHUP asks for a reload, SIGXFSZ becomes an error of the write that caused it.
//!
//! Invariant: a signal ends any wait at once, and the process within a second, whatever the rest of it does.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::iterator::Signals;

/// From a signal to the end of the process; a supervisor expects about that.
const END_TIME_MAX: Duration = Duration::from_millis(900);

/// The signals, caught and kept until [`Stop::on_signals`] takes them up.
#[derive(Debug)]
pub struct CaughtSignals(Signals);

impl CaughtSignals {
    /// To be called first thing in `main`: a signal that comes before it ends the process as if nobody handled signals.
    ///
    /// # Errors
    /// The handlers cannot be set up.
    pub fn catch() -> io::Result<CaughtSignals> {
        // A file that may not grow beyond a limit of the process is a full disk, not a reason to die.
        Signals::new([SIGINT, SIGTERM, SIGHUP, SIGXFSZ]).map(CaughtSignals)
    }
}

/// Whether the program is to end or to read its configuration again, and the bell that wakes whoever waits. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<Bell>);

#[derive(Debug, Default)]
struct Bell {
    requested: AtomicBool,
    reload: AtomicBool,
    /// Holds nothing, since each waiter looks at its own condition.
    lock: Mutex<()>,
    changed: Condvar,
}

impl Stop {
    /// A stop that SIGINT and SIGTERM request, also those that came since they were caught. A process that has not ended by itself
    /// 900 ms later ends with status 1, and a second signal ends it as if nobody handled signals. SIGHUP asks for a reload.
    ///
    /// # Errors
    /// Their thread cannot be started.
    pub fn on_signals(CaughtSignals(mut signals): CaughtSignals) -> io::Result<Stop> {
        let stop = Stop::default();
        let requested = stop.clone();
        std::thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || {
                for signal in signals.forever() {
                    match signal {
                        SIGXFSZ => continue,
                        SIGHUP => {
                            requested.0.reload.store(true, Ordering::Release);
                            requested.ring();
                            continue;
                        }
                        _ => {}
                    }
                    if requested.is_requested() {
                        let _ = signal_hook::low_level::emulate_default_handler(signal);
                    }
                    requested.0.requested.store(true, Ordering::Release);
                    requested.ring();
                    end_in_time();
                }
            })?;
        Ok(stop)
    }

    /// Whether the end was asked for.
    pub fn is_requested(&self) -> bool {
        self.0.requested.load(Ordering::Acquire)
    }

    /// Whether a reload was asked for since the last time this was.
    pub fn take_reload(&self) -> bool {
        self.0.reload.swap(false, Ordering::AcqRel)
    }

    /// Wait that long, or until a signal asks for something.
    pub fn wait(&self, time: Duration) {
        let held = self.0.lock.lock().unwrap_or_else(PoisonError::into_inner);
        let is_quiet = || !self.is_requested() && !self.0.reload.load(Ordering::Acquire);
        let waited = self
            .0
            .changed
            .wait_timeout_while(held, time, |()| is_quiet());
        drop(waited);
    }

    fn ring(&self) {
        let _held = self.0.lock.lock().unwrap_or_else(PoisonError::into_inner);
        self.0.changed.notify_all();
    }
}

/// A lock, a disk or a library may keep the rest of the program waiting for ever.
fn end_in_time() {
    // Without a thread to spare there is still the second signal.
    let _ = std::thread::Builder::new()
        .name("end".to_owned())
        .spawn(|| {
            std::thread::sleep(END_TIME_MAX);
            std::process::exit(1);
        });
}
