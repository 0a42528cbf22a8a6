//! The socket of the simulated gateway: a ROUTER that hands frames to the rules and sends back what they say.
//!
//! Invariant: no message waits for another sender, and nothing is sent that is not durable. What has another number of frames is dropped.
//! Must not touch: what is in a frame.

use std::net::SocketAddr;

use super::journal::{Journal, JournalError};
use super::rules::{Answer, Peer};
use crate::clock::Clock;
use crate::gateway::protocol::{MAX_REQUEST_BYTES, ReplyBody};
use crate::stop::Stop;

/// How long the socket waits before it looks whether the end was asked for.
const LOOK_FOR_THE_END_EVERY_MS: i64 = 100;

/// A bound socket that nobody is answered on yet.
#[expect(missing_debug_implementations, reason = "a socket of libzmq has none")]
pub struct Listener {
    socket: zmq::Socket,
    endpoint: String,
}

struct Received {
    routing_id: Vec<u8>,
    content: Vec<u8>,
}

/// Why serving ended, other than on request.
#[derive(Debug, thiserror::Error)]
pub(super) enum ServeError {
    /// What may not be durable is not answered.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The socket failed.
    #[error("the socket failed: {0}")]
    Socket(#[from] zmq::Error),
}

impl Listener {
    /// Binds; port 0 is any free one.
    ///
    /// # Errors
    /// The address is in use, not ours, or not allowed.
    pub fn bind(address: SocketAddr) -> Result<Listener, zmq::Error> {
        let socket = zmq::Context::new().socket(zmq::ROUTER)?;
        // The end of the program waits for nobody.
        socket.set_linger(0)?;
        socket.set_maxmsgsize(MAX_REQUEST_BYTES as i64)?;
        // A client that comes back under its routing id before its old connection is known to be dead gets its answers on the new one.
        socket.set_router_handover(true)?;
        socket.set_ipv6(address.is_ipv6())?;
        socket.bind(&format!("tcp://{address}"))?;
        let endpoint = socket
            .get_last_endpoint()?
            .map_err(|_| zmq::Error::EPROTO)?;
        Ok(Listener { socket, endpoint })
    }

    /// Where clients connect to, with the port that it was given.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The next message of two frames; none when there is nothing to take for now.
    fn receive(&self) -> Result<Option<Received>, zmq::Error> {
        let found = match self.socket.poll(zmq::POLLIN, LOOK_FOR_THE_END_EVERY_MS) {
            Ok(0) | Err(zmq::Error::EINTR) => return Ok(None),
            Ok(_) => self.socket.recv_bytes(zmq::DONTWAIT),
            Err(error) => return Err(error),
        };
        let routing_id = match found {
            Ok(routing_id) => routing_id,
            Err(zmq::Error::EAGAIN | zmq::Error::EINTR) => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut frames = 0;
        let mut content = Vec::new();
        while self.socket.get_rcvmore()? {
            let frame = self.socket.recv_bytes(zmq::DONTWAIT)?;
            // The rest is read, so that the next message begins where it begins, and not kept.
            if frames == 0 {
                content = frame;
            }
            frames += 1;
        }
        Ok((frames == 1).then_some(Received {
            routing_id,
            content,
        }))
    }

    fn send(&self, routing_id: &[u8], answer: &[u8]) -> Result<(), zmq::Error> {
        match self
            .socket
            .send_multipart([routing_id, answer], zmq::DONTWAIT)
        {
            // Whoever asked is gone or reads nothing; it will ask again.
            Err(zmq::Error::EAGAIN | zmq::Error::EHOSTUNREACH) => Ok(()),
            sent => sent,
        }
    }
}

/// Answers until the end is asked for.
///
/// # Errors
/// When a record may not be durable, or the socket fails. Nothing is answered after that.
pub(super) fn serve<J: Journal>(
    listener: &Listener,
    peer: &mut Peer<J>,
    clock: &Clock,
    stop: &Stop,
) -> Result<(), ServeError> {
    while !stop.is_requested() {
        let Some(received) = listener.receive()? else {
            continue;
        };
        if let Some(answer) = peer.handle(&received.content, unix_ms(clock))? {
            log(&answer);
            listener.send(&received.routing_id, &answer.bytes)?;
        }
    }
    Ok(())
}

/// Unix milliseconds, as the machine believes.
pub(super) fn unix_ms(clock: &Clock) -> i64 {
    (clock.now().unix * 1_000.0).floor() as i64
}

/// Orders and refusals are for whoever watches a demo; questions come all the time.
fn log(answer: &Answer) {
    let kind = answer.reply.body.kind();
    match &answer.reply.body {
        ReplyBody::Filled(fill) | ReplyBody::Partial(fill) => tracing::info!(
            order = %fill.order_id, symbol = ?fill.symbol.as_str(), side = fill.side.as_str(), volume = %fill.volume,
            price = %fill.price, "{kind}"
        ),
        ReplyBody::Placed(placed) => tracing::info!(
            order = %placed.order_id, symbol = ?placed.symbol.as_str(), side = placed.side.as_str(),
            volume = %placed.requested_volume, "{kind}"
        ),
        ReplyBody::Rejected(rejection) => {
            let order = rejection.order_id.as_ref().map(|id| id.as_str());
            let (code, why) = (rejection.code.as_str(), rejection.message.as_str());
            tracing::info!(order, code, why = ?why, "{kind}");
        }
        ReplyBody::Kill(_) => tracing::warn!("the kill switch is on"),
        _ => tracing::debug!("{kind}"),
    }
}
