//! The end, as in every program of ours, and SIGHUP, which asks for the configuration to be read again.
//!
//! Invariant: what was asked for ends any wait at once.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use program::stop;
use signal_hook::consts::SIGHUP;

/// The signals, caught and kept until [`Stop::on_signals`] takes them up.
#[derive(Debug)]
pub struct CaughtSignals(stop::CaughtSignals);

impl CaughtSignals {
    /// To be called first thing in `main`: a signal that comes before it ends the process as if nobody handled signals.
    ///
    /// # Errors
    /// The handlers cannot be set up.
    pub fn catch() -> io::Result<CaughtSignals> {
        stop::CaughtSignals::catch(&[SIGHUP]).map(CaughtSignals)
    }
}

/// Whether the program is to end or to read its configuration again. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    stop: stop::Stop,
    reload: Arc<AtomicBool>,
}

impl Stop {
    /// A stop that signals request: see [`stop::Stop::on_signals`]. SIGHUP asks for a reload.
    ///
    /// # Errors
    /// Their thread cannot be started.
    pub fn on_signals(CaughtSignals(signals): CaughtSignals) -> io::Result<Stop> {
        let reload = Arc::<AtomicBool>::default();
        let asked = reload.clone();
        let stop = stop::Stop::on_signals(signals, move |stop, _| {
            asked.store(true, Ordering::Release);
            stop.ring();
        })?;
        Ok(Stop { stop, reload })
    }

    /// Whether the end was asked for.
    pub fn is_requested(&self) -> bool {
        self.stop.is_requested()
    }

    /// Whether a reload was asked for since the last time this was.
    pub fn take_reload(&self) -> bool {
        self.reload.swap(false, Ordering::AcqRel)
    }

    /// Wait that long, or until a signal asks for something.
    pub fn wait(&self, time: Duration) {
        self.stop.wait(time, || self.reload.load(Ordering::Acquire));
    }
}
