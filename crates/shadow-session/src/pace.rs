//! Waiting: for the next candle's time, for the end of the session, for a signal.
//!
//! Invariant: a signal ends any wait at once; nothing sleeps where a signal could not reach it.

use std::io;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use market::Timeframe;
use signal_hook::consts::{SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::iterator::Signals;

/// How fast candles of a feed come.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Speed {
    /// As fast as they can be worked on.
    Max,
    /// One per timeframe.
    Realtime,
    /// That many a second.
    CandlesPerSecond(f64),
}

impl FromStr for Speed {
    type Err = String;

    fn from_str(text: &str) -> Result<Speed, String> {
        match text {
            "max" => Ok(Speed::Max),
            "realtime" => Ok(Speed::Realtime),
            _ => text
                .parse()
                .ok()
                // The lower bound is a candle in eleven days; beyond it the interval leaves the range of the clock.
                .filter(|speed: &f64| speed.is_finite() && *speed >= 1e-6)
                .map(Speed::CandlesPerSecond)
                .ok_or_else(|| {
                    "accepted: max, realtime, or candles per second from 0.000001".to_owned()
                }),
        }
    }
}

impl Speed {
    /// Time between two candles; zero for `max`.
    pub fn interval(self, timeframe: Timeframe) -> Duration {
        match self {
            Speed::Max => Duration::ZERO,
            Speed::Realtime => Duration::from_secs(timeframe.seconds().unsigned_abs()),
            Speed::CandlesPerSecond(speed) => Duration::from_secs_f64(1.0 / speed),
        }
    }
}

/// The times at which candles are due: the first at once, each following one an interval later.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    interval: Duration,
    due: Instant,
}

impl Pace {
    /// Beginning now.
    pub fn new(interval: Duration, now: Instant) -> Pace {
        Pace { interval, due: now }
    }

    /// How long until the next candle is due; zero when it is. A session that fell behind catches up rather than losing candles.
    #[inline]
    pub fn until_due(&self, now: Instant) -> Duration {
        if self.interval.is_zero() {
            Duration::ZERO
        } else {
            self.due.saturating_duration_since(now)
        }
    }

    /// A candle was taken; the next one is due an interval after it was.
    #[inline]
    pub fn advance(&mut self) {
        self.due += self.interval;
    }
}

/// From a signal to the end of the process, whatever the rest of the program does; a supervisor expects about that.
const END_TIME_MAX: Duration = Duration::from_millis(900);

/// SIGINT and SIGTERM, caught and kept until [`Stop::on_signals`] takes them up.
#[derive(Debug)]
pub struct CaughtSignals(Signals);

impl CaughtSignals {
    /// To be called first thing in `main`: a signal that comes before it ends the process as if nobody handled signals.
    ///
    /// A write beyond the limit of a file's size sends SIGXFSZ too, which would end the session in the middle of a trade. Caught, it
    /// does nothing, and the write is an error like that of a full disk.
    ///
    /// # Errors
    /// The handlers cannot be set up.
    pub fn catch() -> io::Result<CaughtSignals> {
        // Nobody looks at the flag: there is no safe way to ignore a signal, and a handler that only sets a flag is as good.
        signal_hook::flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false)))?;
        Signals::new([SIGINT, SIGTERM]).map(CaughtSignals)
    }
}

/// Whether the session is to end. Clones are the same request.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<Request>);

#[derive(Debug, Default)]
struct Request {
    /// The signal's number, 0 while there is none: read at every step, so no lock.
    signal: AtomicI32,
    /// Whether there is a session that can end in order.
    started: Mutex<bool>,
    changed: Condvar,
}

impl Stop {
    /// A stop that SIGINT and SIGTERM request, also those that came since they were caught. Before [`Stop::start`] there is nothing to end in order, and the process ends at once
    /// with status 0; after it, a process that has not ended by itself within a second ends with status 1, and a second signal ends
    /// it as if nobody handled signals. `last_words` takes a sentence and must return within a fraction of a second.
    ///
    /// # Errors
    /// Their thread cannot be started.
    pub fn on_signals(
        CaughtSignals(mut signals): CaughtSignals,
        last_words: impl Fn(&str) + Send + Sync + 'static,
    ) -> io::Result<Stop> {
        let last_words = Arc::new(last_words);
        let stop = Stop::default();
        let requested = stop.clone();
        std::thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || {
                for signal in signals.forever() {
                    let name = signal_hook::low_level::signal_name(signal).unwrap_or("signal");
                    if requested.signal().is_some() {
                        last_words(&format!(
                            "second signal ({name}); ended at once, without a summary"
                        ));
                        let _ = signal_hook::low_level::emulate_default_handler(signal);
                    }
                    requested.end_unless_started(|| {
                        last_words(&format!(
                            "{name} during the start; ended, nothing was traded"
                        ));
                    });
                    requested.request(signal);
                    end_in_time(last_words.clone());
                }
            })?;
        Ok(stop)
    }

    /// The preparations are over: from here on a signal ends the session in order.
    pub fn start(&self) {
        *self.lock() = true;
    }

    /// Holds the lock while it ends the process, so that no session begins meanwhile.
    fn end_unless_started(&self, last_words: impl Fn()) {
        let started = self.lock();
        if !*started {
            last_words();
            std::process::exit(0);
        }
    }

    fn lock(&self) -> MutexGuard<'_, bool> {
        self.0
            .started
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Ask for the end, as the signal of that number does.
    pub fn request(&self, signal: i32) {
        let _held = self.lock();
        // Relaxed: nothing else is published with it, and the lock orders it for those who wait.
        self.0.signal.store(signal, Ordering::Relaxed);
        self.0.changed.notify_all();
    }

    /// The signal that asked for the end.
    #[inline]
    pub fn signal(&self) -> Option<i32> {
        match self.0.signal.load(Ordering::Relaxed) {
            0 => None,
            signal => Some(signal),
        }
    }

    /// Wait that long, or until the end is asked for.
    pub fn wait(&self, time: Duration) {
        let waited = self
            .0
            .changed
            .wait_timeout_while(self.lock(), time, |_| self.signal().is_none());
        drop(waited);
    }
}

/// Standard output, a disk or a lock may keep the rest of the program waiting for ever.
fn end_in_time(last_words: Arc<impl Fn(&str) + Send + Sync + 'static>) {
    // Without a thread to spare there is still the second signal.
    let _ = std::thread::Builder::new()
        .name("end".to_owned())
        .spawn(move || {
            std::thread::sleep(END_TIME_MAX);
            last_words("the session did not end in time; ended without its last words");
            std::process::exit(1);
        });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_speed_is_a_word_or_candles_per_second() {
        let hour = Duration::from_secs(3_600);
        for (text, interval) in [
            ("max", Duration::ZERO),
            ("realtime", hour),
            ("2", Duration::from_millis(500)),
            ("0.5", Duration::from_secs(2)),
            ("400", Duration::from_micros(2_500)),
        ] {
            assert_eq!(
                text.parse::<Speed>().unwrap().interval(Timeframe::H1),
                interval,
                "{text}"
            );
        }
        for text in ["", "0", "-1", "nan", "inf", "Max", "1/2"] {
            assert!(text.parse::<Speed>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_first_candle_is_due_at_once_and_the_others_by_the_schedule_however_late_one_was_taken() {
        let begin = Instant::now();
        let second = Duration::from_secs(1);
        let mut pace = Pace::new(second, begin);
        assert_eq!(pace.until_due(begin), Duration::ZERO);
        pace.advance();
        assert_eq!(pace.until_due(begin), second);
        assert_eq!(pace.until_due(begin + 3 * second), Duration::ZERO);
        pace.advance();
        pace.advance();
        assert_eq!(pace.until_due(begin + second), 2 * second);
    }

    #[test]
    fn a_request_ends_a_wait_that_has_begun() {
        let stop = Stop::default();
        let requester = stop.clone();
        let waiter = std::thread::spawn(move || stop.wait(Duration::from_secs(3_600)));
        requester.request(SIGTERM);
        waiter.join().unwrap();
        assert_eq!(requester.signal(), Some(SIGTERM));
    }
}
