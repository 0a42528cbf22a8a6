//! The end: SIGINT and SIGTERM, and waits that they interrupt. What other signals ask for is the program's.
//!
//! Invariant: a signal ends any wait at once, and the process within a second, whatever the rest of it does; nothing sleeps where a signal
//! could not reach it.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::iterator::Signals;

/// From a signal to the end of the process; a supervisor expects about that.
const END_TIME_MAX: Duration = Duration::from_millis(900);

/// The signals, caught and kept until [`Stop::on_signals`] takes them up.
#[derive(Debug)]
pub struct CaughtSignals(Signals);

impl CaughtSignals {
    /// SIGINT, SIGTERM and those others. To be called first thing in `main`: a signal that comes before it ends the process as if nobody
    /// handled signals.
    ///
    /// # Errors
    /// The handlers cannot be set up.
    pub fn catch(others: &[i32]) -> io::Result<CaughtSignals> {
        // A file that may not grow beyond a limit of the process is a full disk, not a reason to die.
        Signals::new([&[SIGINT, SIGTERM, SIGXFSZ], others].concat()).map(CaughtSignals)
    }
}

/// Whether the program is to end, and the bell that wakes whoever waits. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<Bell>);

#[derive(Debug, Default)]
struct Bell {
    requested: AtomicBool,
    /// Holds nothing, since each waiter looks at its own condition.
    lock: Mutex<()>,
    changed: Condvar,
}

impl Stop {
    /// A stop that SIGINT and SIGTERM request, also those that came since they were caught. A process that has not ended by itself
    /// 900 ms later ends with status 1, and a second signal ends it as if nobody handled signals. The others that were
    /// caught are told to `on_other`, which must not wait for anything.
    ///
    /// # Errors
    /// Their thread cannot be started.
    pub fn on_signals(
        CaughtSignals(mut signals): CaughtSignals,
        on_other: impl Fn(&Stop, i32) + Send + 'static,
    ) -> io::Result<Stop> {
        let stop = Stop::default();
        let requested = stop.clone();
        std::thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || {
                for signal in signals.forever() {
                    match signal {
                        SIGXFSZ => continue,
                        SIGINT | SIGTERM => {}
                        other => {
                            on_other(&requested, other);
                            continue;
                        }
                    }
                    if requested.is_requested() {
                        let _ = signal_hook::low_level::emulate_default_handler(signal);
                    }
                    requested.request();
                    end_in_time();
                }
            })?;
        Ok(stop)
    }

    /// Asks for the end.
    pub fn request(&self) {
        self.0.requested.store(true, Ordering::Release);
        self.ring();
    }

    /// Whether the end was asked for.
    pub fn is_requested(&self) -> bool {
        self.0.requested.load(Ordering::Acquire)
    }

    /// Wakes whoever waits, to look at its condition.
    pub fn ring(&self) {
        let _held = self.0.lock.lock().unwrap_or_else(PoisonError::into_inner);
        self.0.changed.notify_all();
    }

    /// Waits that long, or until the end is asked for, or until `is_over` after a [`ring`](Self::ring).
    pub fn wait(&self, time: Duration, is_over: impl Fn() -> bool) {
        let held = self.0.lock.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self
            .0
            .changed
            .wait_timeout_while(held, time, |()| !self.is_requested() && !is_over());
        drop(waited);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_ends_a_wait_that_has_begun_and_a_ring_one_whose_condition_holds() {
        for ends in [true, false] {
            let stop = Stop::default();
            let over = Arc::new(AtomicBool::new(false));
            let (waits, is_over) = (stop.clone(), over.clone());
            let waiter = std::thread::spawn(move || {
                waits.wait(Duration::from_secs(3_600), || {
                    is_over.load(Ordering::Acquire)
                });
            });
            if ends {
                stop.request();
            } else {
                over.store(true, Ordering::Release);
                stop.ring();
            }
            waiter.join().unwrap();
            assert_eq!(stop.is_requested(), ends);
        }
    }
}
