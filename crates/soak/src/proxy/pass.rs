//! One direction of one connection. Invariant: frames pass in order, one at a time, and each is noted before it is passed on. Must not touch:
//! what a fault does.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};

use serde_json::Value;

use super::fault::{Hit, WireFault};
use super::frame::{Frame, GREETING_BYTES};
use super::{SeenOrder, Shared, State, spoil};

/// Both ends of a connection.
#[derive(Debug)]
pub(super) struct Ends {
    pub(super) client: TcpStream,
    pub(super) peer: TcpStream,
}

impl Ends {
    /// Ends it in both directions, for both.
    pub(super) fn cut(&self) {
        for stream in [&self.client, &self.peer] {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// Passes on until an end is gone.
pub(super) fn pass(ends: &Ends, is_reply: bool, shared: &Shared) -> io::Result<()> {
    let (mut from, mut to) = match is_reply {
        false => (&ends.client, &ends.peer),
        true => (&ends.peer, &ends.client),
    };
    // Each end sends a part and waits for the other's: what comes is passed on at once.
    let mut left = GREETING_BYTES;
    let mut bytes = [0; GREETING_BYTES];
    while left > 0 {
        let count = from.read(&mut bytes[..left])?;
        if count == 0 {
            return Ok(());
        }
        to.write_all(&bytes[..count])?;
        left -= count;
    }
    loop {
        let frame = Frame::read(&mut from)?;
        if frame.is_command() {
            to.write_all(&frame.bytes())?;
            continue;
        }
        let (fault, behind) = note(&frame, is_reply, shared);
        match fault {
            None => to.write_all(&frame.bytes())?,
            Some(fault) => spoil::spoil(fault, frame, ends, shared)?,
        }
        if let Some(kept) = behind {
            to.write_all(&Frame::message(kept).bytes())?;
        }
    }
}

/// Notes a message; what is on order for it, and what comes behind it.
fn note(frame: &Frame, is_reply: bool, shared: &Shared) -> (Option<WireFault>, Option<Vec<u8>>) {
    let Ok(message) = serde_json::from_slice::<Value>(&frame.body) else {
        return (None, None);
    };
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let id = text(&message["id"]);
    let at_ms = (shared.now_ms)();
    let mut state = shared.state();
    let kind = if is_reply {
        state.kinds.remove(&id).unwrap_or_default()
    } else {
        let kind = text(&message["type"]);
        state.kinds.insert(id.clone(), kind.clone());
        *state.seen.requests.entry(kind.clone()).or_default() += 1;
        kind
    };
    if !is_reply && kind == "ORDER" {
        let [last, before] = &mut state.orders;
        *before = last.replace(frame.body.clone());
        state.seen.orders.push(SeenOrder {
            id,
            key: text(&message["idempotency_key"]),
            side: text(&message["payload"]["side"]),
            sent_at: message["sent_at"].as_i64().unwrap_or(0),
            valid_until: message["valid_until"].as_i64().unwrap_or(0),
            at_ms,
        });
    }
    let Some(hit) = Hit::of(&kind, is_reply) else {
        return (None, None);
    };
    let fault = take(&mut state, hit);
    let behind = if hit == Hit::Status {
        state.overtaken.take()
    } else {
        None
    };
    (fault, behind)
}

fn take(state: &mut State, hit: Hit) -> Option<WireFault> {
    let index = state.armed.iter().position(|fault| fault.hit == hit)?;
    Some(state.armed.remove(index))
}
