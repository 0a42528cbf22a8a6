//! What a fault does to a message. Invariant: times are far from the budgets that they are to keep or to miss. Must not touch: which message is
//! hit.

use std::io::{self, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use super::Shared;
use super::fault::{Act, Hit, WireFault};
use super::frame::Frame;
use super::pass::Ends;

/// Soon enough for any budget of the soak, in the machine's time.
const SOON: Duration = Duration::from_millis(25);
/// Longer than an order is valid and any reply is waited for.
const TOO_LONG: Duration = Duration::from_millis(450);
/// From handing an order over to killing the peer: about as long as it takes to read, write down, execute and answer it.
const WORKING: Duration = Duration::from_micros(1_500);

pub(super) fn spoil(
    fault: WireFault,
    frame: Frame,
    ends: &Ends,
    shared: &Shared,
) -> io::Result<()> {
    let is_reply = !matches!(fault.hit, Hit::Order | Hit::Status);
    let mut to = if is_reply { &ends.client } else { &ends.peer };
    let bytes = frame.bytes();
    match fault.act {
        Act::Lose => {}
        Act::Delay | Act::Late => {
            let length = if fault.act == Act::Delay {
                SOON
            } else {
                TOO_LONG
            };
            shared.pause(length);
            to.write_all(&bytes)?;
        }
        Act::Trickle => trickle(to, &bytes, shared)?,
        Act::Twice => to.write_all(&[bytes.clone(), bytes].concat())?,
        Act::Flip => to.write_all(&flipped(bytes, frame.head.len() + frame.body.len() / 2))?,
        Act::FlipLength => to.write_all(&flipped(bytes, frame.head.len() - 1))?,
        Act::CutBefore => ends.cut(),
        Act::CutBehind => {
            to.write_all(&bytes)?;
            // What was written has to leave before the end overtakes it.
            shared.pause(Duration::from_millis(2));
            ends.cut();
        }
        Act::CutWithin => {
            to.write_all(&bytes[..bytes.len() / 2])?;
            ends.cut();
        }
        Act::Overtaken => {
            shared.state().overtaken = Some(frame.body);
            ends.cut();
        }
        Act::ForgeRejection | Act::ForgeFill => {
            let forged = forged(&frame.body, is_reply, fault.act == Act::ForgeFill);
            let forged = Frame::message(forged.to_string().into_bytes());
            (&ends.client).write_all(&forged.bytes())?;
        }
        Act::Replay => {
            let earlier = shared.state().orders[1].clone();
            if let Some(earlier) = earlier {
                to.write_all(&Frame::message(earlier).bytes())?;
            }
            to.write_all(&bytes)?;
        }
        Act::KillBefore => {
            shared.signal(Signal::KILL);
            to.write_all(&bytes)?;
        }
        Act::KillBehind => {
            to.write_all(&bytes)?;
            shared.pause(WORKING);
            shared.signal(Signal::KILL);
        }
        Act::Freeze => {
            shared.signal(Signal::STOP);
            to.write_all(&bytes)?;
            shared.pause(TOO_LONG);
            shared.signal(Signal::CONT);
        }
    }
    Ok(())
}

fn flipped(mut bytes: Vec<u8>, at: usize) -> Vec<u8> {
    if let Some(byte) = bytes.get_mut(at) {
        *byte ^= 0x04;
    }
    bytes
}

fn trickle(mut to: &TcpStream, bytes: &[u8], shared: &Shared) -> io::Result<()> {
    const PIECES: u32 = 10;
    for piece in bytes.chunks(bytes.len() / PIECES as usize + 1) {
        to.write_all(piece)?;
        if !shared.pause(TOO_LONG / PIECES) {
            break;
        }
    }
    Ok(())
}

/// A reply with everything right but the mac: from the true reply, or from the order.
fn forged(body: &[u8], is_reply: bool, is_fill: bool) -> Value {
    let message: Value = serde_json::from_slice(body).unwrap_or_default();
    let hash = if is_reply {
        message["request_sha256"].clone()
    } else {
        json!(sentinel::gateway::protocol::sha256_hex(body))
    };
    let payload = &message["payload"];
    // The reply to a question for a status has an id of its own.
    let order_id = payload.get("order_id").unwrap_or(&message["id"]);
    let (kind, payload) = if is_fill {
        let fill = json!({
            "order_id": order_id, "idempotency_key": message.get("idempotency_key").unwrap_or(&payload["idempotency_key"]),
            "ticket": "1", "symbol": "EURUSD", "side": payload.get("side").unwrap_or(&json!("BUY")), "requested_volume": "0.02",
            "volume": "0.02", "price": "1.1", "executed_at": message["sent_at"],
        });
        ("FILLED", fill)
    } else {
        let code =
            json!({"order_id": order_id, "code": "requote", "message": "not from the gateway"});
        ("REJECTED", code)
    };
    json!({
        "version": 1, "type": kind, "id": message["id"], "request_sha256": hash, "sent_at": message["sent_at"],
        "payload": payload, "mac": "0".repeat(64),
    })
}
