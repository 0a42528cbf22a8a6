//! The feed and the model server of a soak: the stand-ins on the simulated time, and the notes of what the model was asked and said.
//!
//! Invariant: what the model was asked is compared with features of the true bars, here and not in the sentinel; to an input that is not made of
//! true bars it says a sure BUY, so that an order from malformed input would be sent if nothing kept it back. A remote that was killed
//! comes back on the same port with the same bars.

mod notes;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use market::Bar;
use sentinel::features;
use serde_json::json;
use stand_in::{Clock, Eodhd, Fault, Mlflow, PlainBar, Predict, Replay, RowFault};

pub use notes::Asked;
use notes::Notes;

use crate::simulated::SimulatedTime;
use crate::verdict::Verdict;

/// Length of a bar in seconds.
pub const INTERVAL: i64 = 60;

/// Where the model is asked.
const PREDICT_PATH: &str = "/invocations";
/// Where bars are asked for.
const FETCH_PATH: &str = "/api/intraday/EURUSD.FOREX";

/// Both remotes.
#[derive(Debug)]
pub struct Remotes {
    seed: u64,
    time: SimulatedTime,
    /// Bars as they are; also while the feed is away.
    truth: Eodhd,
    eodhd: Option<Eodhd>,
    hub: Option<Mlflow>,
    addresses: [SocketAddr; 2],
    notes: Arc<Notes>,
}

impl Remotes {
    /// Starts them.
    ///
    /// # Errors
    /// No port can be had.
    pub fn start(seed: u64, time: SimulatedTime) -> io::Result<Remotes> {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let mut remotes = Remotes {
            seed,
            truth: feed(any, &time)?,
            time,
            eodhd: None,
            hub: None,
            addresses: [any; 2],
            notes: Arc::default(),
        };
        remotes.raise_eodhd()?;
        remotes.raise_hub()?;
        Ok(remotes)
    }

    /// The address of the feed, as `EODHD_BASE_URL` takes it.
    pub fn feed_url(&self) -> String {
        format!("http://{}/api", self.addresses[0])
    }

    /// The address of the model server.
    pub fn hub_address(&self) -> SocketAddr {
        self.addresses[1]
    }

    /// Starts the feed again, where it was.
    ///
    /// # Errors
    /// The port is taken.
    pub fn raise_eodhd(&mut self) -> io::Result<()> {
        if self.eodhd.is_none() {
            let feed = feed(self.addresses[0], &self.time)?;
            self.addresses[0] = feed.address();
            self.eodhd = Some(feed);
        }
        Ok(())
    }

    /// Starts the model server again, where it was.
    ///
    /// # Errors
    /// The port is taken.
    pub fn raise_hub(&mut self) -> io::Result<()> {
        if self.hub.is_some() {
            return Ok(());
        }
        let (seed, notes) = (self.seed, Arc::clone(&self.notes));
        let (time, truth) = (self.time.clone(), self.truth_source());
        let answer = move |numbers: &[f64]| {
            let at_ms = time.now_ms();
            let bar = notes.take(numbers, at_ms, &truth);
            // To what is no true input: the most harmful answer.
            let verdict = bar.map_or(Verdict::Buy, |bar| Verdict::of(seed, bar));
            json!(verdict.probabilities())
        };
        let hub = Mlflow::start(
            self.addresses[1],
            &features::NAMES,
            Predict(Arc::new(answer)),
        )?;
        self.addresses[1] = hub.address();
        self.hub = Some(hub);
        Ok(())
    }

    /// Takes the feed away.
    pub fn fell_eodhd(&mut self) {
        self.eodhd = None;
    }

    /// Takes the model server away.
    pub fn fell_hub(&mut self) {
        self.hub = None;
    }

    /// Orders a fault for the next fetch.
    pub fn spoil_fetch(&self, fault: Fault) {
        let newest = newest_closed(self.time.now_ms());
        match fault {
            // The tenth newest closed bar.
            Fault::Rows(RowFault::Gap) => self.notes.left_out(newest - 9 * INTERVAL),
            // The one that comes behind the newest is not used.
            Fault::Rows(RowFault::OutOfOrder) => self.notes.left_out(newest - INTERVAL),
            _ => {}
        }
        if let Some(eodhd) = &self.eodhd {
            eodhd.script_on(FETCH_PATH, fault);
        }
    }

    /// Orders a fault for the next prediction.
    pub fn spoil_prediction(&self, fault: Fault) {
        self.notes.set_spoiled(true);
        if let Some(hub) = &self.hub {
            hub.script_on(PREDICT_PATH, fault);
        }
    }

    /// Takes back what no request has met; whether there was anything for the feed, and for the model server.
    pub fn withdraw(&self) -> [bool; 2] {
        self.notes.set_spoiled(false);
        let feed = self.eodhd.as_ref().map_or(0, |eodhd| eodhd.withdraw());
        let hub = self.hub.as_ref().map_or(0, |hub| hub.withdraw());
        [feed > 0, hub > 0]
    }

    /// What the model was asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.notes.asked()
    }

    /// The true bars that open from `from` to `to`.
    pub fn true_bars(&self, from: i64, to: i64) -> Vec<Bar> {
        self.truth_source()(from, to)
    }

    fn truth_source(&self) -> impl Fn(i64, i64) -> Vec<Bar> + Send + Sync + 'static {
        let truth = self.truth.bars();
        move |from, to| bars_of(truth(INTERVAL, from, to))
    }
}

/// Opening of the newest bar that is closed.
pub fn newest_closed(now_ms: i64) -> i64 {
    (now_ms / 1_000).div_euclid(INTERVAL) * INTERVAL - INTERVAL
}

fn feed(listen: SocketAddr, time: &SimulatedTime) -> io::Result<Eodhd> {
    let time = time.clone();
    Eodhd::start(Replay {
        listen,
        clock: Clock(Arc::new(move || time.now_ms() / 1_000)),
        forming: true,
    })
}

fn bars_of(rows: Vec<PlainBar>) -> Vec<Bar> {
    let bar = |(open_time, [open, high, low, close], volume): PlainBar| Bar {
        open_time,
        open,
        high,
        low,
        close,
        volume,
    };
    rows.into_iter().map(bar).collect()
}
