//! The audit on a simulated directory: what the tests have in common, and the writing side.

mod crash;
mod damage;
mod differences;
mod golden;
mod random;

use std::time::Duration;

use market::{Bar, Calendar, Timeframe};
use rust_decimal::Decimal;

use super::replay::{Replay, Report};
use super::*;
use crate::breaker;
use crate::decide;
use crate::features::{self, BAR_COUNT};
use crate::gateway::guards::situation::{Account, Aged, Book, Peer, Request, Situation};
use crate::gateway::guards::{Arm, Settings};
use crate::gateway::intent_log::record::{IntentId, Outcome, Record as IntentRecord, Side};
use crate::gateway::intent_log::state::State;
use crate::gateway::intent_log::tests::simulated::Simulated;
use crate::model::{EmbeddedModel, Probabilities};

/// Noon of some day, Unix milliseconds.
pub(super) const NOW: i64 = 1_700_049_600_000;
pub(super) const HOUR_MS: i64 = 3_600_000;

pub(super) fn d(text: &str) -> Decimal {
    text.parse().unwrap()
}

pub(super) fn start() -> Start {
    Start {
        at_ms: NOW,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        mode: Mode::Live,
        configuration: Configuration {
            symbol: "EURUSD".to_owned(),
            interval: Timeframe::H1,
            calendar: Calendar::Fx,
            bar_stale_after: Duration::from_secs(7_200),
            model: Origin::Hub,
            volume: d("0.01"),
            contract_sizes: [("EURUSD".to_owned(), d("100000"))].into(),
            worst_price_bps: 20,
            valid_for: Duration::from_secs(5),
            guards: Settings {
                threshold: 0.6,
                cooldown: Duration::from_millis(1),
                orders_per_minute: 5,
                orders_per_day: 100,
                stale_after: Duration::from_secs(10),
                limits: [Some(d("1500.00")), None, None, None, Some(d("100")), None],
                arm: Arm {
                    is_live: true,
                    account: "7001".to_owned(),
                    confirm: "7001".to_owned(),
                },
            },
        },
    }
}

/// The window that ends with the bar before hour `index` from [`NOW`].
pub(super) fn window(index: i64) -> Vec<Bar> {
    let newest = NOW / 3_600_000 + index - 1;
    let bar = |hour: i64| {
        let close = 1.0 + (hour % 17) as f64 / 170.0;
        Bar {
            open_time: hour * 3_600,
            open: close - 0.001,
            high: close + 0.01,
            low: close - 0.01,
            close,
            volume: (hour % 5) as f64,
        }
    };
    (newest + 1 - BAR_COUNT as i64..=newest).map(bar).collect()
}

pub(super) fn open(disk: &Simulated) -> Audit<Simulated> {
    Audit::open_in(disk.clone(), &start(), ROTATE_LEN_BYTES).unwrap()
}

pub(super) fn id(text: &str) -> IntentId {
    IntentId::new(text).unwrap()
}

pub(super) fn request(index: i64, action: decide::Action, confidence: f64) -> Request {
    Request {
        bar_open_time: NOW / 1_000 + (index - 1) * 3_600,
        confidence,
        symbol: "EURUSD".to_owned(),
        side: match action {
            decide::Action::Sell => Side::Sell,
            _ => Side::Buy,
        },
        volume: d("0.01"),
        unit_value: d("110000"),
        cost: d("0.50"),
        valid_until_ms: NOW + index * HOUR_MS + 5_000,
    }
}

/// Nothing speaks against an order.
pub(super) fn situation(index: i64, log: &State) -> Situation<'_> {
    let age = Duration::new(1, 1);
    Situation {
        now_ms: NOW + index * HOUR_MS,
        log: Some(log),
        is_killed: false,
        is_bar_stale: false,
        is_market_open: true,
        is_reconciled: true,
        peer: Some(Peer {
            account: "7001".to_owned(),
            is_trading_allowed: true,
            is_killed: false,
            clock_offset_ms: -3,
        }),
        breaker: breaker::State::Closed,
        account: Some(Aged {
            value: Account {
                id: "7001".to_owned(),
                equity: d("10000.00"),
            },
            age,
        }),
        book: Some(Aged {
            value: Book::default(),
            age,
        }),
    }
}

/// All that a decision borrows.
#[derive(Debug, Clone)]
pub(super) struct Made {
    pub(super) bars: Vec<Bar>,
    pub(super) features: features::Features,
    pub(super) model: Model,
    pub(super) probabilities: Probabilities,
    pub(super) request: Request,
    pub(super) situation: Situation<'static>,
    pub(super) verdict: Verdict,
}

impl Made {
    /// A BUY of a model server, permitted, on the bar of an hour.
    pub(super) fn buy(index: i64) -> Made {
        let bars = window(index);
        let mut state = State::default();
        let day = files::day(NOW + index * HOUR_MS);
        state.absorb(
            1,
            &IntentRecord::DayOpened {
                day,
                equity: d("10000"),
            },
        );
        let request = request(index, decide::Action::Buy, 0.9);
        let valid_until_ms = request.valid_until_ms;
        Made {
            features: features::build(&bars).unwrap(),
            bars,
            model: Model {
                origin: Origin::Hub,
                name: "mlflow".to_owned(),
                version: "3".to_owned(),
                sha256: None,
            },
            probabilities: Probabilities::new([0.05, 0.05, 0.9]).unwrap(),
            request,
            situation: situation(index, Box::leak(Box::new(state))),
            verdict: Verdict::Permitted {
                id: id(&format!("o{index}")),
                idempotency_key: id(&format!("k{index}")),
                valid_until_ms,
            },
        }
    }

    pub(super) fn decision(&self) -> Decision<'_> {
        let decide::Decision { action, confidence } = decide::decide(self.probabilities);
        let is_hold = action == decide::Action::Hold;
        Decision {
            at_ms: self.situation.now_ms,
            bar_open_time: self.request.bar_open_time,
            bars: &self.bars,
            features: &self.features,
            model: &self.model,
            probabilities: self.probabilities,
            action,
            confidence,
            request: (!is_hold).then_some(&self.request),
            situation: (!is_hold).then_some(&self.situation),
            verdict: if is_hold {
                Verdict::Hold
            } else {
                self.verdict.clone()
            },
        }
    }
}

pub(super) fn outcome(index: i64) -> OutcomeLine {
    OutcomeLine {
        at_ms: NOW + index * HOUR_MS + 80,
        id: id(&format!("o{index}")),
        end: End::Exchanged(Outcome::Filled { volume: d("0.01") }),
        sent_at_ms: Some(NOW + index * HOUR_MS + 10),
        roundtrip: Some(Duration::from_micros(800)),
        decision_price: Some(d("1.10")),
        executed_price: Some(d("1.10011")),
        executed_volume: Some(d("0.01")),
        slippage_bps: Some(1.0),
    }
}

/// A whole audit replayed, file by file.
pub(crate) fn replayed(disk: &Simulated) -> Report {
    let mut replay = Replay::new(EmbeddedModel::shipped());
    for name in files::in_order(disk.names()) {
        let bytes = disk.contents(&name);
        replay.take_file(&name, &bytes[..]).unwrap();
    }
    replay.finish()
}

/// One file replayed on its own.
pub(super) fn replayed_file(bytes: &[u8]) -> Report {
    let mut replay = Replay::new(EmbeddedModel::shipped());
    replay.take_file("file", bytes).unwrap();
    replay.finish()
}

/// The lines of all files, decoded.
pub(super) fn lines(disk: &Simulated) -> Vec<Record> {
    let decoded = |name: String| {
        let bytes = disk.contents(&name);
        let lines = bytes.split_inclusive(|byte| *byte == b'\n');
        let whole = lines.filter_map(|line| line.strip_suffix(b"\n"));
        whole
            .map(|line| frame::decode(line).unwrap().record.unwrap())
            .collect::<Vec<_>>()
    };
    disk.names().into_iter().flat_map(decoded).collect()
}

#[test]
fn a_decision_and_what_became_of_it_read_back_as_they_were_and_only_new_bars_are_written_again() {
    let disk = Simulated::default();
    let mut audit = open(&disk);
    let mut expected_bars = Vec::new();
    for index in 0..3 {
        let made = Made::buy(index);
        audit.decision(&made.decision()).unwrap();
        audit.outcome(&outcome(index)).unwrap();
        expected_bars.push(if index == 0 { BAR_COUNT } else { 1 });
    }
    let lines = lines(&disk);
    assert!(matches!(&lines[0], Record::Start(start) if start.cause == Cause::Start));
    let mut window = Vec::new();
    for index in 0..3 {
        let Record::Decision(read) = &lines[1 + 2 * index] else {
            panic!("{:?}", lines[1 + 2 * index]);
        };
        let made = Made::buy(index as i64);
        assert_eq!(read.bars().len(), expected_bars[index]);
        window = window::shift(&window, read.bars());
        assert_eq!(window, made.bars);
        assert_eq!(read.request.as_ref(), Some(&made.request));
        assert_eq!(read.verdict, made.verdict);
        assert_eq!(lines[2 + 2 * index], Record::Outcome(outcome(index as i64)));
    }
}

#[test]
fn what_could_not_be_read_back_is_not_written() {
    let disk = Simulated::default();
    let mut audit = open(&disk);
    let before = disk.contents(&disk.names()[0]);
    let mut made = Made::buy(0);
    made.request.confidence = f64::NAN;
    let error = audit.decision(&made.decision()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "not recorded: the confidence of the request is NaN, a finite number is accepted"
    );
    let made = Made::buy(0);
    let short = Decision {
        bars: &made.bars[1..],
        ..made.decision()
    };
    assert!(matches!(
        audit.decision(&short),
        Err(AuditError::Window { found: 199 })
    ));
    let unfounded = Decision {
        situation: None,
        ..made.decision()
    };
    assert!(matches!(
        audit.decision(&unfounded),
        Err(AuditError::Unfounded)
    ));
    let mut outcome = outcome(0);
    outcome.slippage_bps = Some(f64::INFINITY);
    assert!(audit.outcome(&outcome).is_err());
    assert_eq!(disk.contents(&disk.names()[0]), before);
}

#[test]
fn digests_are_those_of_the_documented_bytes() {
    let bar = Bar {
        open_time: -1,
        open: 1.5,
        high: 2.0,
        low: -0.0,
        close: 5e-324,
        volume: 1e300,
    };
    let features = features::Features::new(std::array::from_fn(|i| i as f64 / 7.0)).unwrap();
    // Of `struct.pack(">q5d", ...)` and `struct.pack(">23d", ...)` in Python, by its hashlib.
    assert_eq!(
        Digest::of_bars(&[bar]).to_string(),
        "bccb169ffda08e261a79d472e344a60f645e96e305f5ae82d551eb95c5fe6853"
    );
    assert_eq!(
        Digest::of_features(&features).to_string(),
        "7c0ef5e0b08bb420b68efec559b12c8c43a4c8f7980ba8660938ef61771b24f2"
    );
}

#[test]
fn a_window_that_is_no_continuation_is_written_whole() {
    let disk = Simulated::default();
    let mut audit = open(&disk);
    let mut revised = Made::buy(6);
    revised.bars[50].volume += 1.0;
    let mut minus_zero = revised.clone();
    let zero = minus_zero.bars.iter().position(|bar| bar.volume == 0.0);
    minus_zero.bars[zero.unwrap()].volume = -0.0;
    let all = BAR_COUNT;
    for (mut made, new) in [
        (Made::buy(0), all),
        (Made::buy(0), 0),
        (Made::buy(1), 1),
        (Made::buy(4), 3),
        (revised, all),
        (minus_zero, all),
        (Made::buy(2), all),
    ] {
        made.features = features::build(&made.bars).unwrap();
        audit.decision(&made.decision()).unwrap();
        let Some(Record::Decision(last)) = lines(&disk).pop() else {
            panic!("the last line is a decision");
        };
        assert_eq!(last.bars().len(), new);
    }
    let report = replayed(&disk);
    assert!(report.is_good(), "{:?}", report.findings);
    assert_eq!(report.reproduced, 7);
}
