//! The one time of a soak: it runs as many times faster than the machine's while something is waited for, stands still while processes are
//! started, and jumps over the hours in which nothing happens.
//!
//! Invariant: all processes read the same file and so agree to the millisecond, and time never goes back. It is what `peer.py --clock-file`
//! takes: at the monotonic nanosecond B it was A, in Unix milliseconds, and since then time passes C times as fast.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use sentinel::clock::{Clock, Now};

/// By how much simulated time runs faster than the machine's, and so by how much budgets of sockets are shorter.
pub const SPEED: u32 = 20;

/// A budget of simulated time in the machine's.
pub fn real(simulated: Duration) -> Duration {
    simulated / SPEED
}

/// One line of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Reading {
    unix_ms: i64,
    monotonic_ns: i64,
    speed: i64,
}

impl Reading {
    fn parse(text: &str) -> Option<Reading> {
        let mut words = text.split_whitespace().map(str::parse::<i64>);
        let mut next = || words.next().and_then(Result::ok);
        Some(Reading {
            unix_ms: next()?,
            monotonic_ns: next()?,
            speed: next()?,
        })
    }

    /// Microseconds since the epoch.
    fn unix_us(self) -> i64 {
        let passed_us = (monotonic_ns() - self.monotonic_ns).max(0) * self.speed / 1_000;
        self.unix_ms * 1_000 + passed_us
    }
}

/// The clock that all processes of a machine share.
fn monotonic_ns() -> i64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec * 1_000_000_000 + now.tv_nsec
}

/// The hand on the clock; only the one that runs the soak has it.
#[derive(Debug, Clone)]
pub struct SimulatedTime {
    path: PathBuf,
    reading: Arc<Mutex<Reading>>,
}

impl SimulatedTime {
    /// A clock that stands still at this time.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn begin(path: &Path, unix_ms: i64) -> io::Result<SimulatedTime> {
        let reading = Reading {
            unix_ms,
            monotonic_ns: monotonic_ns(),
            speed: 0,
        };
        let time = SimulatedTime {
            path: path.to_owned(),
            reading: Arc::new(Mutex::new(reading)),
        };
        time.write(reading)?;
        Ok(time)
    }

    /// Unix milliseconds.
    pub fn now_ms(&self) -> i64 {
        self.read().unix_us() / 1_000
    }

    /// Let it run.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn run(&self) -> io::Result<()> {
        self.set(self.now_ms(), i64::from(SPEED))
    }

    /// Let it stand still.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn pause(&self) -> io::Result<()> {
        self.set(self.now_ms(), 0)
    }

    /// Leave out the time until then, where it is not over already.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn jump_to(&self, unix_ms: i64) -> io::Result<()> {
        let speed = self.read().speed;
        self.set(unix_ms.max(self.now_ms()), speed)
    }

    fn read(&self) -> Reading {
        *self.reading.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, unix_ms: i64, speed: i64) -> io::Result<()> {
        let reading = Reading {
            unix_ms,
            monotonic_ns: monotonic_ns(),
            speed,
        };
        *self.reading.lock().unwrap_or_else(PoisonError::into_inner) = reading;
        self.write(reading)
    }

    /// By a rename, so that nobody reads half a line.
    fn write(&self, reading: Reading) -> io::Result<()> {
        let new = self.path.with_extension("new");
        let (unix_ms, monotonic_ns, speed) = (reading.unix_ms, reading.monotonic_ns, reading.speed);
        fs::write(&new, format!("{unix_ms} {monotonic_ns} {speed}\n"))?;
        fs::rename(&new, &self.path)
    }
}

/// The sentinel's clock in another process, from the file.
///
/// # Errors
/// The file cannot be read.
pub fn follow(path: &Path) -> io::Result<Clock> {
    let path = path.to_owned();
    let read = move || -> io::Result<Reading> {
        let text = fs::read_to_string(&path)?;
        Reading::parse(&text).ok_or_else(|| io::ErrorKind::InvalidData.into())
    };
    let begin = (read()?.unix_us(), Instant::now());
    let newest = Mutex::new(begin.0);
    Ok(Clock::told_by(move || {
        let mut newest = newest.lock().unwrap_or_else(PoisonError::into_inner);
        // Two threads may read before and after a jump and come here the other way round.
        *newest = read().map_or(*newest, |reading| reading.unix_us().max(*newest));
        let passed = u64::try_from(*newest - begin.0).unwrap_or(0);
        Now {
            unix: *newest as f64 / 1e6,
            monotonic: begin.1 + Duration::from_micros(passed),
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_follows_sees_jumps_and_a_clock_that_stands_still_and_never_one_that_goes_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("clock");
        let time = SimulatedTime::begin(&path, 1_000_000).unwrap();
        let clock = follow(&path).unwrap();
        let begin = clock.now();
        assert_eq!((begin.unix, time.now_ms()), (1_000.0, 1_000_000));
        time.jump_to(4_600_000).unwrap();
        let later = clock.now();
        assert_eq!(later.unix, 4_600.0);
        let passed = later.monotonic - begin.monotonic;
        assert_eq!(passed, Duration::from_secs(3_600));
        time.jump_to(2_000_000).unwrap();
        assert_eq!(clock.now().unix, 4_600.0);
        time.run().unwrap();
        while clock.now().unix < 4_600.5 {
            std::thread::yield_now();
        }
        time.pause().unwrap();
        let (ours, theirs) = (time.now_ms(), clock.now().unix);
        assert!((theirs * 1_000.0 - ours as f64).abs() < 1.0);
        assert_eq!(clock.now().unix, theirs);
    }
}
