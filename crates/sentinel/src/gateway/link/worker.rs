//! The link's thread: hands messages over, takes replies, sends heartbeats.
//!
//! Invariant: each message is offered until it is taken once or its time is over, and never again; the socket is left after silence. Every
//! wait is in one place and ends with the next thing that is due. Must not touch: what a reply means.

use std::io::Read as _;
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::dealer::Dealer;
use super::exchange::{Fit, Sent, UnderWay, encode, unix_ms};
use super::handle::{Desk, LinkSettings, lock};
use super::heartbeat::{Heartbeats, Phase};
use super::{Ask, Distrust, Exchange, MessageIds, NotSent, Seen};
use crate::clock::Clock;
use crate::gateway::protocol::{
    IdempotencyKey, Key, MAX_LIFETIME_MS, ProtocolError, Reply, ReplyBody, RequestBody,
};
use crate::stop::Stop;

/// Messages that are taken before time is looked at again: a flood must not hold deadlines up.
const BATCH: usize = 64;

/// The thread's own.
pub(super) struct Worker {
    dealer: Dealer,
    woken: UnixStream,
    desk: Arc<Mutex<Desk>>,
    clock: Clock,
    stop: Stop,
    key: Key,
    ids: MessageIds,
    beats: Heartbeats,
    exchange: Option<UnderWay>,
    /// Why replies are not believed, as far as it was logged.
    told: Vec<Distrust>,
}

impl Worker {
    pub(super) fn new(
        settings: LinkSettings,
        dealer: Dealer,
        woken: UnixStream,
        desk: Arc<Mutex<Desk>>,
        clock: Clock,
        stop: Stop,
    ) -> Worker {
        Worker {
            dealer,
            woken,
            desk,
            clock,
            stop,
            key: settings.key,
            ids: MessageIds::new(['h', 'b']),
            beats: Heartbeats::new(settings.heartbeat_every, settings.timeout, Instant::now()),
            exchange: None,
            told: Vec::new(),
        }
    }

    /// Until the link is dropped.
    pub(super) fn run(mut self) {
        loop {
            {
                let mut desk = lock(&self.desk);
                if desk.has_ended {
                    return;
                }
                if let Some(job) = desk.job.take() {
                    self.exchange = Some(UnderWay::new(job));
                }
            }
            self.advance_exchange();
            self.advance_heartbeats();
            self.wait();
            self.receive();
        }
    }

    fn wait(&mut self) {
        let exchange = self.exchange.as_ref();
        let until = exchange.map_or(self.beats.until(), |exchange| {
            exchange.until().min(self.beats.until())
        });
        let for_room = match exchange {
            Some(exchange) => exchange.sent.is_none(),
            None => self.beats.is_due(),
        };
        let time = until.saturating_duration_since(Instant::now());
        self.dealer.wait(self.woken.as_raw_fd(), for_room, time);
        // Level-triggered: what is left unread wakes again.
        let _ = self.woken.read(&mut [0; 64]);
    }

    /// Offers the message, or ends the exchange when its time is over.
    fn advance_exchange(&mut self) {
        let Some(exchange) = &mut self.exchange else {
            return;
        };
        if Instant::now() >= exchange.until() {
            let outcome = exchange.outcome_without_reply();
            self.finish(outcome);
        } else if exchange.sent.is_none() {
            match offer(
                &self.dealer,
                &exchange.ask,
                &self.clock,
                &self.key,
                &self.stop,
            ) {
                Ok(sent) => exchange.sent = sent,
                Err(not_sent) => self.finish(Exchange::NotSent(not_sent)),
            }
        }
    }

    /// Tells what came of the exchange.
    fn finish(&mut self, outcome: Exchange) {
        let Some(exchange) = self.exchange.take() else {
            return;
        };
        match outcome {
            Exchange::Unknown { .. } => self.leave_socket(),
            Exchange::NotSent(NotSent::NoPeer) => self.dealer.reopen_if_dead(),
            _ => {}
        }
        {
            let mut desk = lock(&self.desk);
            if desk.awaited == exchange.number {
                desk.result = Some(outcome);
            }
        }
        self.stop.ring();
    }

    /// After silence: see the first page of this module.
    fn leave_socket(&mut self) {
        self.dealer.reopen();
        self.beats.anew(Instant::now());
    }

    fn advance_heartbeats(&mut self) {
        let now = Instant::now();
        if self.exchange.is_some() {
            self.beats.hold(now);
        }
        let was_under_way = matches!(self.beats.phase, Phase::Sent(_));
        if self.beats.pass(now) {
            self.missed();
            if !was_under_way {
                self.dealer.reopen_if_dead();
            } else if self.exchange.is_none() {
                self.leave_socket();
            }
        }
        if self.beats.is_due() && self.exchange.is_none() {
            match self.offer_heartbeat() {
                Ok(None) => {}
                Ok(Some(sent)) => self.beats.phase = Phase::Sent(Box::new(sent)),
                // The end of the program, or a clock before 1970.
                Err(_) => self.beats.rest(now),
            }
        }
    }

    fn offer_heartbeat(&mut self) -> Result<Option<Sent>, NotSent> {
        let id = self.ids.fresh();
        let ask = Ask {
            idempotency_key: IdempotencyKey::new(id.as_str()).expect("each id is a key"),
            id,
            // Nothing comes of a late one, and the shorter it lives the sooner a difference of the clocks hides how large it is.
            valid_until_ms: unix_ms(self.clock.now()).saturating_add(MAX_LIFETIME_MS),
            body: RequestBody::Heartbeat,
        };
        offer(&self.dealer, &ask, &self.clock, &self.key, &self.stop)
    }

    fn missed(&self) {
        let missed = {
            let mut desk = lock(&self.desk);
            desk.state.missed = desk.state.missed.saturating_add(1);
            desk.state.missed
        };
        if missed == 1 {
            tracing::warn!(
                gateway = self.dealer.endpoint(),
                "the gateway does not answer a heartbeat"
            );
        }
    }

    fn receive(&mut self) {
        for _ in 0..BATCH {
            match self.dealer.receive() {
                None => return,
                Some(Ok(bytes)) => match Reply::decode(&bytes, &self.key) {
                    Ok(reply) => self.take(reply),
                    Err(ProtocolError::BadMac) => self.distrust(Distrust::OtherSecret),
                    Err(_) => self.distrust(Distrust::Malformed),
                },
                Some(Err(_)) => self.distrust(Distrust::Malformed),
            }
        }
    }

    /// A signed reply. One that was made for other bytes than those that are waited for is nothing.
    fn take(&mut self, reply: Reply) {
        let fit = |sent: Option<&Sent>| sent.map_or(Fit::OfAnother, |sent| sent.fit(&reply));
        let exchange = self.exchange.as_ref().and_then(|under| under.sent.as_ref());
        let beat = match &self.beats.phase {
            Phase::Sent(sent) => Some(&**sent),
            _ => None,
        };
        match (fit(exchange), fit(beat), exchange, beat) {
            (Fit::Answers, _, Some(sent), _) => {
                let roundtrip = sent.at.elapsed();
                self.believe(&reply, roundtrip, sent.is_heartbeat());
                self.finish(Exchange::Answered {
                    reply: Box::new(reply),
                    roundtrip,
                });
            }
            (_, Fit::Answers, _, Some(sent)) => {
                let at = sent.at;
                self.believe(&reply, at.elapsed(), true);
                self.beats.rest(at);
            }
            (Fit::Wrong, ..) | (_, Fit::Wrong, ..) => self.distrust(Distrust::Malformed),
            _ => tracing::debug!("a reply of the gateway that nobody waits for is dropped"),
        }
    }

    /// A reply that answers; what is known of the gateway comes from those to heartbeats.
    fn believe(&self, reply: &Reply, roundtrip: Duration, is_heartbeat: bool) {
        let at = self.clock.now();
        // The gateway looked at its clock half a round trip ago.
        let clock_offset = at.unix - roundtrip.as_secs_f64() / 2.0 - reply.sent_at as f64 / 1_000.0;
        let mut desk = lock(&self.desk);
        let state = &mut desk.state;
        state.distrust = None;
        if !is_heartbeat {
            return;
        }
        let before = (state.seen.is_some() && state.missed == 0, state.refused);
        state.clock_offset = Some(clock_offset);
        match &reply.body {
            ReplyBody::Heartbeat(heartbeat) => {
                state.seen = Some(Seen {
                    heartbeat: heartbeat.clone(),
                    at,
                    roundtrip,
                });
                (state.missed, state.refused) = (0, None);
            }
            ReplyBody::Rejected(rejection) => {
                state.missed = state.missed.saturating_add(1);
                state.refused = Some(rejection.code);
            }
            _ => unreachable!("nothing else answers a heartbeat"),
        }
        let after = (state.missed == 0, state.refused);
        drop(desk);
        match after {
            _ if after == before => {}
            (_, Some(code)) => {
                tracing::warn!(
                    gateway = self.dealer.endpoint(),
                    code = code.as_str(),
                    clock_offset,
                    "the gateway refuses heartbeats"
                );
            }
            (_, None) => tracing::info!(
                gateway = self.dealer.endpoint(),
                ?roundtrip,
                clock_offset,
                "the gateway answers heartbeats"
            ),
        }
    }

    /// Something came that cannot be believed. The exchange under way goes on waiting: anybody may send anything.
    fn distrust(&mut self, why: Distrust) {
        if let Some(exchange) = &mut self.exchange
            && exchange.sent.is_some()
        {
            exchange.was_malformed = true;
        }
        lock(&self.desk).state.distrust = Some(why);
        // Once for each reason and process: it is in the state as long as it lasts.
        if !self.told.contains(&why) {
            self.told.push(why);
            tracing::warn!(gateway = self.dealer.endpoint(), "{why}");
        }
    }
}

/// Hands a message over if somebody takes it now; nothing of it is left in the library otherwise.
fn offer(
    dealer: &Dealer,
    ask: &Ask,
    clock: &Clock,
    key: &Key,
    stop: &Stop,
) -> Result<Option<Sent>, NotSent> {
    if stop.is_requested() {
        return Err(NotSent::Closed);
    }
    let (request, bytes) = encode(ask, clock.now(), key)?;
    let at = Instant::now();
    Ok(dealer.offer(&bytes).then(|| Sent::new(request, bytes, at)))
}
