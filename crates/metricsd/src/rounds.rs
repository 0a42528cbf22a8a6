//! Sharing collections between concurrent scrapes.
//!
//! Invariant: a request gets the result of a round that began after the request arrived, so a scrape shows everything that was
//! recorded before it was asked; and at any time at most one round runs and one more is waited for, whatever the number of
//! requests. Must not touch: what a round does.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Runs rounds, one at a time, and hands their results to all who may share them.
#[derive(Debug)]
pub struct Rounds<T> {
    state: Mutex<State<T>>,
    finished: Condvar,
}

#[derive(Debug)]
struct State<T> {
    /// Number of the last round that began.
    begun: u64,
    running: bool,
    /// The last round that finished, with its result.
    last: Option<(u64, T)>,
    /// Callers that wait for a round to end.
    waiting: usize,
}

impl<T> Default for Rounds<T> {
    fn default() -> Rounds<T> {
        Rounds {
            state: Mutex::new(State {
                begun: 0,
                running: false,
                last: None,
                waiting: 0,
            }),
            finished: Condvar::new(),
        }
    }
}

impl<T: Clone> Rounds<T> {
    /// The result of a round that begins now or later: of one that another caller runs, or of an own one.
    pub fn join(&self, round: impl FnOnce() -> T) -> T {
        let mut state = self.lock();
        let needed = state.begun + 1;
        loop {
            if let Some((number, result)) = &state.last
                && *number >= needed
            {
                return result.clone();
            }
            if !state.running {
                break;
            }
            state.waiting += 1;
            state = self
                .finished
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
            state.waiting -= 1;
        }
        state.running = true;
        state.begun += 1;
        let number = state.begun;
        // Nobody waits for the round before: what came of it can go, so that its memory serves this one.
        let outdated = match state.waiting {
            0 => state.last.take(),
            _ => None,
        };
        drop(state);
        drop(outdated);

        // If the round panics, those who wait for it must find out and run their own.
        let running = Running { rounds: self };
        let result = round();
        self.lock().last = Some((number, result.clone()));
        drop(running);
        result
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // Rounds run outside the lock, so whoever panicked left the state whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends a round, whichever way it ends.
struct Running<'a, T: Clone> {
    rounds: &'a Rounds<T>,
}

impl<T: Clone> Drop for Running<'_, T> {
    fn drop(&mut self) {
        self.rounds.lock().running = false;
        self.rounds.finished.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[test]
    fn each_request_sees_what_was_recorded_before_it() {
        let rounds = Arc::new(Rounds::default());
        let recorded = Arc::new(AtomicU64::new(0));
        let threads: Vec<_> = (0..8)
            .map(|_| {
                let (rounds, recorded) = (Arc::clone(&rounds), Arc::clone(&recorded));
                std::thread::spawn(move || {
                    for _ in 0..200 {
                        let before = recorded.fetch_add(1, Ordering::SeqCst) + 1;
                        let seen = rounds.join(|| {
                            let value = recorded.load(Ordering::SeqCst);
                            std::thread::yield_now();
                            value
                        });
                        assert!(seen >= before, "saw {seen}, had recorded {before}");
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
    }

    #[test]
    fn requests_that_wait_while_a_round_runs_share_one_more() {
        let rounds: Arc<Rounds<u64>> = Arc::default();
        let run = Arc::new(AtomicU64::new(0));
        let gate = Arc::new(Mutex::new(()));
        let held = gate.lock().unwrap();
        let spawn = |count: usize| -> Vec<_> {
            (0..count)
                .map(|_| {
                    let (rounds, run, gate) =
                        (Arc::clone(&rounds), Arc::clone(&run), Arc::clone(&gate));
                    std::thread::spawn(move || {
                        rounds.join(|| {
                            let number = run.fetch_add(1, Ordering::SeqCst);
                            drop(gate.lock());
                            number
                        })
                    })
                })
                .collect()
        };
        let first = spawn(1);
        while run.load(Ordering::SeqCst) == 0 {
            std::thread::yield_now();
        }
        let others = spawn(20);
        while rounds.lock().waiting < 20 {
            std::thread::yield_now();
        }
        drop(held);
        for thread in first.into_iter().chain(others) {
            thread.join().unwrap();
        }
        // None may use the result of the round that ran when it came, and one more is enough for all.
        assert_eq!(run.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn a_round_that_panics_blocks_nobody() {
        let rounds: Rounds<u64> = Rounds::default();
        let panicked = catch_unwind(AssertUnwindSafe(|| rounds.join(|| panic!("on purpose"))));
        assert!(panicked.is_err());
        assert_eq!(rounds.join(|| 7), 7);
    }
}
