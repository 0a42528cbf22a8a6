//! The end, as in every program of ours, and SIGUSR1, the kill switch, which ends trading and not the process.
//!
//! Invariant: a kill is never taken back.

use std::io;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use program::stop;
use signal_hook::consts::{SIGHUP, SIGUSR1};

/// SIGINT, SIGTERM, SIGHUP and SIGUSR1, caught and kept until [`Stop::on_signals`] takes them up.
#[derive(Debug)]
pub struct CaughtSignals(stop::CaughtSignals);

impl CaughtSignals {
    /// To be called first thing in `main`: a signal that comes before it ends the process as if nobody handled signals.
    ///
    /// # Errors
    /// The handlers cannot be set up.
    pub fn catch() -> io::Result<CaughtSignals> {
        stop::CaughtSignals::catch(&[SIGHUP, SIGUSR1]).map(CaughtSignals)
    }
}

/// Whether the daemon is to end, the bell that wakes whoever waits, and whether trading is to end. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    stop: stop::Stop,
    killed: Arc<AtomicBool>,
}

impl Stop {
    /// A stop that signals request: see [`stop::Stop::on_signals`]. SIGHUP is logged and ends nothing; SIGUSR1 is the kill switch.
    ///
    /// # Errors
    /// Their thread cannot be started.
    pub fn on_signals(CaughtSignals(signals): CaughtSignals) -> io::Result<Stop> {
        let killed = Arc::<AtomicBool>::default();
        let kill = killed.clone();
        let stop = stop::Stop::on_signals(signals, move |stop, signal| {
            if signal == SIGUSR1 {
                kill.store(true, Ordering::Release);
                stop.ring();
                // Of a daemon; a paper gateway gets it too where somebody signals all programs of this name, and goes on.
                tracing::warn!(
                    "SIGUSR1: the kill switch of a sentinel that decides is on, it sends no order any more; a paper gateway does not mind it"
                );
            } else {
                // Taken, so that a terminal that closes, or whoever rotates logs, does not end the daemon.
                tracing::info!("SIGHUP: the configuration is read at start only");
            }
        })?;
        Ok(Stop { stop, killed })
    }

    /// Switch the kill switch on, for good.
    pub fn kill(&self) {
        self.killed.store(true, Ordering::Release);
        self.stop.ring();
    }

    /// Whether SIGUSR1 came since the process began.
    pub fn was_killed(&self) -> bool {
        self.killed.load(Ordering::Acquire)
    }
}

/// The end is asked for and waited for as everywhere.
impl Deref for Stop {
    type Target = stop::Stop;

    fn deref(&self) -> &stop::Stop {
        &self.stop
    }
}
