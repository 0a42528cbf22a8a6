//! A gateway in memory by the rules of `docs/gateway-protocol.md`, and a way to it that loses, delays and garbles.
//!
//! It judges while it is used: an order that leaves has to be durable in the log, alone, and in a world in which every guard says yes.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use rust_decimal::Decimal;

use crate::clock::Clock;
use crate::gateway::intent_log::IntentLog;
use crate::gateway::intent_log::tests::simulated::{POWER_CUTS, Simulated};
use crate::gateway::link::{Ask, Exchange, Gateway, LinkState, NotSent, Seen};
use crate::gateway::protocol::{
    Account, AccountMode, Amount, Code, Fill, Heartbeat, Killed, MessageId, Order, Placed,
    Position, Positions, Rejection, Reply, ReplyBody, RequestBody, Side, Text,
};

/// What happens to a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// Nobody takes it.
    NotSent,
    /// It does not arrive.
    Lost,
    /// It arrives, and the reply does not.
    ReplyLost,
    /// It arrives, and the reply is garbled.
    Garbled,
    /// The gateway is frozen: it arrives when it is thawed.
    Held,
    /// The program is asked to end while it waits; the message arrives.
    Stopped,
}

/// How the gateway answers orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    Fill,
    FillHalf,
    Place,
    Reject(Code),
}

#[derive(Debug)]
pub(super) struct Book {
    pub(super) clock: Clock,
    pub(super) disk: Simulated,
    pub(super) manner: Manner,
    /// Of the next messages, whatever they are.
    pub(super) faults: VecDeque<Fault>,
    /// Of the next order.
    pub(super) fault_on_order: Option<Fault>,
    pub(super) account: &'static str,
    pub(super) equity: Decimal,
    pub(super) clock_offset: f64,
    /// How old what it tells of account and positions is.
    pub(super) lag: Duration,
    pub(super) currency: &'static str,
    pub(super) is_away: bool,
    /// Heartbeats are refused as late.
    pub(super) refuses_heartbeats: bool,
    pub(super) killed_at: Option<i64>,
    pub(super) started_at: i64,
    /// Whether anything in the world forbids orders; set by the test.
    pub(super) is_forbidden: bool,
    held: Vec<Ask>,
    orders: BTreeMap<MessageId, ReplyBody>,
    keys: BTreeMap<String, (MessageId, Order)>,
    revoked: BTreeSet<MessageId>,
    pub(super) fills: Vec<Fill>,
    /// Positions that are nobody's orders, each in a symbol of its own.
    pub(super) other_positions: Vec<Fill>,
    /// The order whose outcome the trader does not know.
    unresolved: Option<MessageId>,
    pub(super) asked: Vec<&'static str>,
    pub(super) orders_sent: Vec<MessageId>,
    beats: u64,
}

/// Clones are the same gateway.
#[derive(Debug, Clone)]
pub(super) struct Peer(pub(super) Rc<RefCell<Book>>);

pub(super) fn amount(value: Decimal) -> Amount {
    Amount::new(value).unwrap()
}

fn name(text: &str) -> Text {
    Text::name(text).unwrap()
}

impl Peer {
    pub(super) fn new(clock: Clock, disk: Simulated) -> Peer {
        Peer(Rc::new(RefCell::new(Book {
            clock,
            disk,
            manner: Manner::Fill,
            faults: VecDeque::new(),
            fault_on_order: None,
            account: "7001",
            equity: Decimal::from(10_000),
            clock_offset: 0.0,
            lag: Duration::ZERO,
            currency: "USD",
            is_away: false,
            refuses_heartbeats: false,
            killed_at: None,
            started_at: 1,
            is_forbidden: false,
            held: Vec::new(),
            orders: BTreeMap::new(),
            keys: BTreeMap::new(),
            revoked: BTreeSet::new(),
            fills: Vec::new(),
            other_positions: Vec::new(),
            unresolved: None,
            asked: Vec::new(),
            orders_sent: Vec::new(),
            beats: 0,
        })))
    }

    /// What was held arrives.
    pub(super) fn thaw(&self) {
        let mut book = self.0.borrow_mut();
        for ask in std::mem::take(&mut book.held) {
            book.arrive(&ask);
        }
    }

    /// What the broker holds is filled.
    pub(super) fn fill_placed(&self) {
        let mut book = self.0.borrow_mut();
        let now = book.now_ms();
        let placed: Vec<(MessageId, Placed)> = book
            .orders
            .iter()
            .filter_map(|(id, body)| match body {
                ReplyBody::Placed(placed) => Some((id.clone(), placed.clone())),
                _ => None,
            })
            .collect();
        for (id, placed) in placed {
            let fill = Fill {
                order_id: placed.order_id,
                idempotency_key: placed.idempotency_key,
                ticket: placed.ticket,
                symbol: placed.symbol,
                side: placed.side,
                requested_volume: placed.requested_volume,
                volume: placed.requested_volume,
                price: amount("1.1".parse().unwrap()),
                executed_at: now,
            };
            book.fills.push(fill.clone());
            book.orders.insert(id, ReplyBody::Filled(fill));
        }
    }

    pub(super) fn net(&self) -> Decimal {
        self.0.borrow().net()
    }

    /// The fills of each key.
    pub(super) fn fills_by_key(&self) -> BTreeMap<String, usize> {
        let mut count = BTreeMap::new();
        for fill in &self.0.borrow().fills {
            *count
                .entry(fill.idempotency_key.as_str().to_owned())
                .or_default() += 1;
        }
        count
    }
}

impl Book {
    fn now_ms(&self) -> i64 {
        super::super::millis(self.clock.now())
    }

    /// By its own clock.
    fn own_now_ms(&self) -> i64 {
        self.now_ms() - (self.clock_offset * 1e3) as i64
    }

    fn as_of(&self) -> i64 {
        self.own_now_ms() - self.lag.as_millis() as i64
    }

    fn net(&self) -> Decimal {
        self.fills
            .iter()
            .map(|fill| match fill.side {
                Side::Buy => fill.volume.value(),
                Side::Sell => -fill.volume.value(),
            })
            .sum()
    }

    fn arrive(&mut self, ask: &Ask) -> ReplyBody {
        let now = self.now_ms();
        let is_late = now > ask.valid_until_ms;
        match &ask.body {
            RequestBody::Order(order) => self.order(ask, order, is_late),
            RequestBody::Kill { .. } => {
                let killed_at = *self.killed_at.get_or_insert(now);
                ReplyBody::Kill(Killed {
                    is_killed: true,
                    killed_at,
                })
            }
            _ if is_late => rejected(None, Code::Late),
            RequestBody::Status(id) => match self.orders.get(id) {
                Some(result) => result.clone(),
                None => {
                    self.revoked.insert(id.clone());
                    ReplyBody::UnknownId(id.clone())
                }
            },
            RequestBody::Positions => {
                let net = self.net();
                let side = if net > Decimal::ZERO {
                    Side::Buy
                } else {
                    Side::Sell
                };
                let position = Position {
                    ticket: name("1"),
                    symbol: name("EURUSD"),
                    side,
                    volume: amount(net.abs().max("0.01".parse().unwrap())),
                    open_price: amount("1.1".parse().unwrap()),
                    current_price: amount("1.1".parse().unwrap()),
                    profit: amount(Decimal::ZERO),
                    opened_at: now,
                    magic: 7,
                };
                let others: Vec<Position> = self
                    .other_positions
                    .iter()
                    .map(|other| Position {
                        symbol: other.symbol.clone(),
                        side: other.side,
                        magic: 0,
                        ..position.clone()
                    })
                    .collect();
                let own = (!net.is_zero()).then_some(position);
                ReplyBody::Positions(Positions {
                    account: name(self.account),
                    as_of: self.as_of(),
                    positions: own.into_iter().chain(others).collect(),
                })
            }
            RequestBody::Account => ReplyBody::Account(Account {
                account: name(self.account),
                mode: AccountMode::Demo,
                currency: name(self.currency),
                balance: amount(self.equity),
                equity: amount(self.equity),
                margin_used: amount(Decimal::ZERO),
                margin_free: amount(self.equity),
                leverage: 100,
                as_of: self.as_of(),
            }),
            RequestBody::Heartbeat => unreachable!("the link sends heartbeats"),
        }
    }

    fn order(&mut self, ask: &Ask, order: &Order, is_late: bool) -> ReplyBody {
        let settle = |book: &mut Book, body: ReplyBody| {
            book.orders.insert(ask.id.clone(), body.clone());
            body
        };
        if self.orders.contains_key(&ask.id) {
            return rejected(None, Code::Replayed);
        }
        if self.revoked.contains(&ask.id) {
            return settle(self, rejected(Some(&ask.id), Code::Late));
        }
        let key = ask.idempotency_key.as_str().to_owned();
        if let Some((first, known)) = self.keys.get(&key).cloned() {
            if known != *order {
                return settle(self, rejected(Some(&ask.id), Code::Replayed));
            }
            let body = self.orders[&first].clone();
            return settle(self, body);
        }
        self.keys.insert(key, (ask.id.clone(), order.clone()));
        if is_late {
            return settle(self, rejected(Some(&ask.id), Code::Late));
        }
        if self.killed_at.is_some() || order.account.as_str() != self.account {
            return settle(self, rejected(Some(&ask.id), Code::Disabled));
        }
        let volume = match self.manner {
            Manner::Reject(code) => return settle(self, rejected(Some(&ask.id), code)),
            Manner::Place => {
                let placed = Placed {
                    order_id: ask.id.clone(),
                    idempotency_key: ask.idempotency_key.clone(),
                    ticket: name("1"),
                    symbol: order.symbol.clone(),
                    side: order.side,
                    requested_volume: order.volume,
                    placed_at: self.now_ms(),
                };
                return settle(self, ReplyBody::Placed(placed));
            }
            Manner::Fill => order.volume,
            Manner::FillHalf => amount(order.volume.value() / Decimal::TWO),
        };
        let fill = Fill {
            order_id: ask.id.clone(),
            idempotency_key: ask.idempotency_key.clone(),
            ticket: name("1"),
            symbol: order.symbol.clone(),
            side: order.side,
            requested_volume: order.volume,
            volume,
            price: order.worst_price.unwrap_or(order.volume),
            executed_at: self.now_ms(),
        };
        self.fills.push(fill.clone());
        let is_whole = volume == order.volume;
        settle(
            self,
            if is_whole {
                ReplyBody::Filled(fill)
            } else {
                ReplyBody::Partial(fill)
            },
        )
    }

    /// Before an order leaves: it is durable whatever the power does, nothing else is unknown, and the world permits it.
    fn judge(&mut self, ask: &Ask) {
        assert!(!self.is_forbidden, "an order left although a guard says no");
        assert_eq!(self.unresolved, None, "an order left while one is unknown");
        let now = self.now_ms();
        assert!(ask.valid_until_ms > now, "an order left late");
        for cut in POWER_CUTS {
            let (log, _) = IntentLog::open_in(self.disk.power_cut(cut), now, 1 << 20).unwrap();
            let state = log.state().unwrap();
            let is_there = state
                .open()
                .iter()
                .any(|one| one.intent.id.as_str() == ask.id.as_str());
            assert!(is_there, "an order left that a power cut takes: {cut:?}");
        }
        self.orders_sent.push(ask.id.clone());
        self.unresolved = Some(ask.id.clone());
    }
}

fn rejected(order_id: Option<&MessageId>, code: Code) -> ReplyBody {
    ReplyBody::Rejected(Rejection {
        order_id: order_id.cloned(),
        code,
        message: Text::sentence("as the test says").unwrap(),
    })
}

impl Gateway for Peer {
    fn exchange(&mut self, ask: Ask, _: Duration) -> Exchange {
        let mut book = self.0.borrow_mut();
        book.asked.push(ask.body.kind());
        let is_order = matches!(ask.body, RequestBody::Order(_));
        if is_order {
            book.judge(&ask);
        }
        let resolves = match &ask.body {
            RequestBody::Order(_) => Some(ask.id.clone()),
            RequestBody::Status(id) => Some(id.clone()),
            _ => None,
        };
        let fault = match book.fault_on_order.filter(|_| is_order) {
            Some(fault) => {
                book.fault_on_order = None;
                Some(fault)
            }
            None => book.faults.pop_front(),
        };
        let was_malformed = fault == Some(Fault::Garbled);
        let exchange = match fault {
            _ if book.is_away => Exchange::NotSent(NotSent::NoPeer),
            Some(Fault::NotSent) => Exchange::NotSent(NotSent::NoPeer),
            Some(Fault::Lost) => Exchange::Unknown { was_malformed },
            Some(Fault::Held) => {
                book.held.push(ask);
                Exchange::Unknown { was_malformed }
            }
            Some(Fault::ReplyLost | Fault::Garbled) => {
                book.arrive(&ask);
                Exchange::Unknown { was_malformed }
            }
            Some(Fault::Stopped) => {
                book.arrive(&ask);
                Exchange::Stopped
            }
            None => {
                let body = book.arrive(&ask);
                let reply = Reply {
                    id: Some(ask.id.clone()),
                    request_sha256: String::new(),
                    sent_at: book.own_now_ms(),
                    body,
                };
                Exchange::Answered {
                    reply: Box::new(reply),
                    roundtrip: Duration::from_millis(1),
                }
            }
        };
        let is_known = match &exchange {
            // What has not left is known; what is not answered to a question leaves it as it is.
            Exchange::NotSent(_) => is_order,
            Exchange::Answered { reply, .. } => !matches!(
                reply.body,
                ReplyBody::Rejected(Rejection { order_id: None, .. })
            ),
            _ => false,
        };
        if is_known && resolves.is_some() && resolves == book.unresolved {
            book.unresolved = None;
        }
        exchange
    }

    fn state(&self) -> LinkState {
        let mut book = self.0.borrow_mut();
        if book.is_away {
            return LinkState {
                seen: book.seen(),
                missed: 1,
                ..LinkState::default()
            };
        }
        if book.refuses_heartbeats {
            return LinkState {
                missed: 1,
                refused: Some(Code::Late),
                clock_offset: Some(book.clock_offset),
                ..LinkState::default()
            };
        }
        book.beats += 1;
        LinkState {
            seen: book.seen(),
            clock_offset: Some(book.clock_offset),
            ..LinkState::default()
        }
    }
}

impl Book {
    fn seen(&self) -> Option<Seen> {
        (self.beats > 0).then(|| Seen {
            heartbeat: Heartbeat {
                account: name(self.account),
                is_connected: true,
                is_trading_allowed: self.killed_at.is_none(),
                is_killed: self.killed_at.is_some(),
                started_at: self.started_at,
            },
            at: self.clock.now(),
            roundtrip: Duration::from_nanos(self.beats),
        })
    }
}
