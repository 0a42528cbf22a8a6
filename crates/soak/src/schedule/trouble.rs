//! The troubles, and the deck of all of them. Invariant: each is something that a real remote, broker, person or machine does. Must not touch:
//! when it is dealt out.

use std::time::Duration;

use stand_in::{Fault, RowFault};

use crate::gateway::Mood;
use crate::proxy::{Hit, WireFault};
use crate::random::Random;

/// Bars after an intervention by a person, so that it is over before the next trouble.
pub const PERSON_BARS: usize = 4;

/// What goes wrong at a bar.
#[derive(Debug, Clone, PartialEq)]
pub enum Trouble {
    /// The feed's answer.
    Fetch(&'static str, Fault),
    /// The sentinel is killed at rest, and this is the first answer of the feed to the next one.
    StartWith(&'static str, Fault),
    /// The feed is killed at a bar, and back at the next one with rows that end at that bar: the newest bar that is known was never decided on,
    /// and is too old.
    FeedStale,
    /// The model server's answer.
    Predict(&'static str, Fault),
    /// The feed is killed, and back that many bars later.
    FeedAway(usize),
    /// The model server is killed, and back that many bars later.
    HubAway(usize),
    /// The gateway is killed, and back that many bars later; 0: at once.
    GatewayAway(usize),
    /// A message between sentinel and gateway.
    Wire(WireFault),
    /// The reply to an order is lost, and so is every reply to the question what became of it until the next bar was decided on.
    Silence,
    /// How the broker is.
    Broker(Mood),
    /// The price is beyond the worst that the order accepts.
    PriceMoved,
    /// There is no price.
    NoPrice,
    /// The sentinel is killed right behind this step of its next order.
    DieAt(String),
    /// The sentinel is killed that long after its cycle began, in the machine's time.
    DieAfter(Duration),
    /// The kill switch's file appears.
    KillFile,
    /// The kill switch's signal comes.
    KillSignal,
}

impl Trouble {
    /// A word for lists and golden sets.
    pub fn name(&self) -> String {
        match self {
            Trouble::Fetch(name, _) => format!("fetch {name}"),
            Trouble::StartWith(name, _) => format!("start with {name}"),
            Trouble::FeedStale => "feed away, then stale".to_owned(),
            Trouble::Predict(name, _) => format!("predict {name}"),
            Trouble::FeedAway(bars) => format!("feed away {bars}"),
            Trouble::HubAway(bars) => format!("hub away {bars}"),
            Trouble::GatewayAway(bars) => format!("gateway away {bars}"),
            Trouble::Wire(fault) => format!("wire {:?} {:?}", fault.hit, fault.act),
            Trouble::Silence => "silence about an order".to_owned(),
            Trouble::Broker(mood) => format!("broker {mood:?}"),
            Trouble::PriceMoved => "price moved".to_owned(),
            Trouble::NoPrice => "no price".to_owned(),
            Trouble::DieAt(step) => format!("die at {step}"),
            Trouble::DieAfter(_) => "die at random".to_owned(),
            Trouble::KillFile => "kill file".to_owned(),
            Trouble::KillSignal => "kill signal".to_owned(),
        }
    }

    /// Whether it lasts longer than a bar.
    pub fn is_long(&self) -> bool {
        self.pause_after() > 0
    }

    /// Whether it is about a question for a status, which is only asked when an outcome is not known.
    pub fn needs_status(&self) -> bool {
        match self {
            Trouble::DieAt(step) => step == "StatusAnswered" || step == "Reconciled",
            Trouble::Wire(fault) => fault.hit == Hit::StatusReply,
            _ => false,
        }
    }

    /// Whether it kills the sentinel in its cycle.
    pub fn is_deadly(&self) -> bool {
        matches!(self, Trouble::DieAt(_) | Trouble::DieAfter(_))
    }

    /// Bars behind its own that belong to it.
    pub(super) fn pause_after(&self) -> usize {
        match self {
            Trouble::FeedAway(bars) | Trouble::HubAway(bars) | Trouble::GatewayAway(bars) => *bars,
            Trouble::FeedStale | Trouble::Silence => 1,
            Trouble::KillFile | Trouble::KillSignal => PERSON_BARS,
            _ => 0,
        }
    }

    /// Whether it needs an order to meet.
    pub fn needs_order(&self) -> bool {
        matches!(
            self,
            Trouble::Wire(_)
                | Trouble::Silence
                | Trouble::Broker(_)
                | Trouble::PriceMoved
                | Trouble::NoPrice
                | Trouble::DieAt(_)
        )
    }
}

/// What the feed's answers can be.
fn fetch_faults() -> Vec<Trouble> {
    let plain = [
        ("hang", Fault::Hang),
        ("hang in head", Fault::HangInHead),
        ("hang in body", Fault::HangInBody),
        ("slow drip", Fault::SlowDrip(Duration::from_millis(20))),
        ("slow head", Fault::SlowHead(Duration::from_millis(20))),
        ("reset", Fault::Reset),
        ("reset in body", Fault::ResetInBody),
        ("close", Fault::Close),
        ("truncated", Fault::Truncated),
        ("garbage", Fault::Garbage),
        ("endless head", Fault::EndlessHead),
        ("bad length", Fault::BadLength),
        ("empty", Fault::Empty),
        ("gzip", Fault::Gzip),
        ("no rows", Fault::Body("[]".to_owned())),
        ("status 500", Fault::Status(500)),
        ("too many requests", Fault::RetryAfter(429, "90".to_owned())),
        (
            "redirect",
            Fault::Redirect("http://127.0.0.1:1/".to_owned()),
        ),
    ];
    let rows = [
        ("rows stale", RowFault::Stale(1)),
        ("rows very stale", RowFault::Stale(30)),
        ("rows short", RowFault::Short(1)),
        ("rows duplicate", RowFault::Duplicate),
        ("rows out of order", RowFault::OutOfOrder),
        ("rows null", RowFault::Null),
        ("rows not a number", RowFault::NotANumber),
        ("rows high below low", RowFault::Ohlc),
        ("rows of the future", RowFault::Future),
        ("rows with a gap", RowFault::Gap),
        ("rows without time", RowFault::WithoutTime),
    ];
    let plain = plain
        .into_iter()
        .map(|(name, fault)| Trouble::Fetch(name, fault));
    let rows = rows
        .into_iter()
        .map(|(name, fault)| Trouble::Fetch(name, Fault::Rows(fault)));
    plain.chain(rows).collect()
}

/// What the model server's answers can be. Each is malformed, late or none: no order may come of it.
fn predict_faults() -> Vec<Trouble> {
    let body = |text: &str| Fault::Body(format!("{{\"predictions\": {text}}}"));
    [
        ("hang", Fault::Hang),
        ("hang in body", Fault::HangInBody),
        ("slow drip", Fault::SlowDrip(Duration::from_millis(20))),
        ("reset", Fault::Reset),
        ("truncated", Fault::Truncated),
        ("garbage", Fault::Garbage),
        ("status 503", Fault::Status(503)),
        ("beyond 1", body("[[0.0, 0.0, 1.7]]")),
        ("sum is not 1", body("[[0.1, 0.1, 0.9]]")),
        ("two numbers", body("[[0.1, 0.9]]")),
        ("text", body("[[\"0.0\", \"0.0\", \"1.0\"]]")),
        ("null", body("[[null, 0.0, 1.0]]")),
        ("two rows", body("[[0.0, 0.0, 1.0], [0.0, 0.0, 1.0]]")),
        ("no rows", body("[]")),
    ]
    .into_iter()
    .map(|(name, fault)| Trouble::Predict(name, fault))
    .collect()
}

/// The deck: every trouble once. `steps` are the steps of an order between which the sentinel is killed.
pub fn deck(steps: &[&str], random: &mut Random) -> Vec<Trouble> {
    let mut deck = [fetch_faults(), predict_faults()].concat();
    deck.extend(WireFault::all().into_iter().map(Trouble::Wire));
    deck.extend(steps.iter().map(|step| Trouble::DieAt((*step).to_owned())));
    for milliseconds in [1, 4, 8, 12, 20, 40] {
        let moment = Duration::from_micros(milliseconds * 1_000 + random.next() % 1_000);
        deck.push(Trouble::DieAfter(moment));
    }
    let moods = [
        Mood::FillsHalf,
        Mood::Requotes,
        Mood::PlacesFirst,
        Mood::PlacesAndCancels,
    ];
    deck.extend(moods.map(Trouble::Broker));
    let rows = [
        ("rows short", RowFault::Short(150)),
        ("rows with a gap", RowFault::Gap),
        ("rows out of order", RowFault::OutOfOrder),
        ("rows null", RowFault::Null),
        ("rows high below low", RowFault::Ohlc),
    ];
    deck.extend(rows.map(|(name, fault)| Trouble::StartWith(name, Fault::Rows(fault))));
    deck.extend([
        Trouble::FeedStale,
        Trouble::Silence,
        Trouble::PriceMoved,
        Trouble::NoPrice,
        Trouble::FeedAway(3),
        Trouble::HubAway(3),
        Trouble::GatewayAway(0),
        Trouble::GatewayAway(3),
        Trouble::KillFile,
        Trouble::KillSignal,
    ]);
    deck
}
