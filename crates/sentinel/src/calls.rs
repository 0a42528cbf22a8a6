//! Calls of remotes, each on a thread of its own, with a deadline that holds whatever the call does.
//!
//! Invariant: the loop waits for the answer, the deadline or the end, whichever comes first. A call that does not come back by its deadline
//! is left to itself, its late answer is dropped, and the number of such threads is bounded.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use market::eodhd::RawBar;

use crate::eodhd::Eodhd;
use crate::error_code::ErrorCode;
use crate::features::Features;
use crate::http::CallError;
use crate::model::hub::HubModel;
use crate::model::{ModelIdentity, Probabilities};
use crate::pulse::{BEAT, Pulse};
use crate::stop::Stop;

/// What the calls' own clocks may be late.
const MARGIN: Duration = Duration::from_millis(250);

/// Calls that were left behind and have not ended yet; beyond that no new one is made.
const LEFT_BEHIND_MAX: usize = 8;

/// Why there is no answer.
#[derive(Debug, PartialEq)]
pub enum NoAnswer {
    /// The call failed.
    Failed(CallError),
    /// The end was asked for while the call was under way.
    Stopped,
}

/// The remotes of a cycle: the network, or what a test makes up.
pub trait Remotes {
    /// Bars from `from` on, both in Unix seconds.
    fn fetch(&mut self, from: i64, to: i64, deadline: Instant) -> Result<Vec<RawBar>, NoAnswer>;
    /// Probabilities for these features.
    fn predict(
        &mut self,
        features: &Features,
        deadline: Instant,
    ) -> Result<Probabilities, NoAnswer>;
    /// What is known of the model server, asked anew.
    fn identify(&mut self, deadline: Instant) -> Result<ModelIdentity, NoAnswer>;
}

/// The network.
#[derive(Debug)]
pub struct Calls {
    eodhd: Arc<Eodhd>,
    hub: Arc<HubModel>,
    stop: Stop,
    pulse: Pulse,
    running: Arc<AtomicUsize>,
}

impl Calls {
    /// Calls that `stop` interrupts and under which `pulse` goes on.
    pub fn new(eodhd: Eodhd, hub: HubModel, stop: Stop, pulse: Pulse) -> Calls {
        Calls {
            eodhd: Arc::new(eodhd),
            hub: Arc::new(hub),
            stop,
            pulse,
            running: Arc::default(),
        }
    }

    fn call<T: Send + 'static>(
        &self,
        name: &str,
        deadline: Instant,
        work: impl FnOnce() -> Result<T, CallError> + Send + 'static,
    ) -> Result<T, NoAnswer> {
        if self.running.load(Ordering::Acquire) >= LEFT_BEHIND_MAX {
            let detail = format!("{LEFT_BEHIND_MAX} earlier calls have not come back");
            return Err(failed(ErrorCode::Other, &detail));
        }
        let place: Arc<Mutex<Option<Result<T, CallError>>>> = Arc::default();
        let (result, running, stop) = (place.clone(), self.running.clone(), self.stop.clone());
        running.fetch_add(1, Ordering::AcqRel);
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn({
            let running = Running(running);
            move || {
                let _running = running;
                let answer = work();
                *result.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer);
                stop.ring();
            }
        });
        if let Err(error) = thread {
            return Err(failed(
                ErrorCode::Other,
                &format!("no thread for the call: {error}"),
            ));
        }
        let answered = || {
            place
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .is_some()
        };
        loop {
            let left = (deadline + MARGIN).saturating_duration_since(self.pulse.now());
            self.stop.wait(left.min(BEAT), answered);
            if let Some(answer) = place.lock().unwrap_or_else(PoisonError::into_inner).take() {
                return answer.map_err(NoAnswer::Failed);
            }
            if self.stop.is_requested() {
                return Err(NoAnswer::Stopped);
            }
            if left.is_zero() {
                return Err(failed(
                    ErrorCode::Timeout,
                    "the call did not come back by its deadline and was left behind",
                ));
            }
            self.pulse.beat();
        }
    }
}

/// Counts a call's thread until it ends, also by a panic or where it could not be started.
struct Running(Arc<AtomicUsize>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

fn failed(code: ErrorCode, detail: &str) -> NoAnswer {
    NoAnswer::Failed(CallError::new(code, detail))
}

impl Remotes for Calls {
    fn fetch(&mut self, from: i64, to: i64, deadline: Instant) -> Result<Vec<RawBar>, NoAnswer> {
        let eodhd = self.eodhd.clone();
        self.call("fetch", deadline, move || {
            eodhd.fetch(Some(from), to, deadline)
        })
    }

    fn predict(
        &mut self,
        features: &Features,
        deadline: Instant,
    ) -> Result<Probabilities, NoAnswer> {
        let (hub, features) = (self.hub.clone(), *features);
        self.call("predict", deadline, move || {
            hub.predict(&features, deadline)
        })
    }

    fn identify(&mut self, deadline: Instant) -> Result<ModelIdentity, NoAnswer> {
        let hub = self.hub.clone();
        self.call("identify", deadline, move || {
            // The protocol does not tell which model is served, only the version of the server.
            let version = hub.server_version(deadline)?;
            Ok(ModelIdentity {
                model: "mlflow".to_owned(),
                version,
            })
        })
    }
}
