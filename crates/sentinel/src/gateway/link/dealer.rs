//! The socket: a DEALER that takes a message only while there is somebody to take it.
//!
//! Invariant: what [`Dealer::offer`] refuses is nowhere in the library. One message is in it at most, and closing it drops that. No call
//! here waits. Must not touch: what is in a message.

use std::net::{IpAddr, Ipv6Addr};
use std::os::fd::RawFd;
use std::time::{Duration, Instant};

use zmq::{Context, DONTWAIT, PollEvents, PollItem, Socket, SocketType};

use crate::gateway::protocol::MAX_REPLY_BYTES;

/// A peer that returns is found again within the second of these, and one that is away is not asked more than twice a second. libzmq
/// begins with the first, doubles up to the second, and adds up to the first by chance.
const RECONNECT_MS: (i32, i32) = (50, 400);
/// Connecting, and then shaking hands, each. Where both took that long another socket is opened.
pub(super) const HANDSHAKE: Duration = Duration::from_secs(2);
/// Parts of a message that are kept: a reply has one, and the second says that it is none.
const PARTS_MAX: usize = 2;

/// The socket and how to open another one.
pub(super) struct Dealer {
    context: Context,
    endpoint: String,
    is_ipv6: bool,
    /// None where the last attempt to open one failed, for want of file descriptors for instance.
    socket: Option<Socket>,
    opened: Instant,
}

impl Dealer {
    pub(super) fn open(endpoint: &Endpoint) -> Result<Dealer, zmq::Error> {
        let mut dealer = Dealer {
            context: Context::new(),
            endpoint: endpoint.url.clone(),
            is_ipv6: endpoint.is_ipv6,
            socket: None,
            opened: Instant::now(),
        };
        dealer.socket = Some(dealer.connected()?);
        Ok(dealer)
    }

    /// Where it connects to.
    pub(super) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    fn connected(&self) -> Result<Socket, zmq::Error> {
        let handshake_ms = i32::try_from(HANDSHAKE.as_millis()).expect("seconds");
        let socket = self.context.socket(SocketType::DEALER)?;
        socket.set_immediate(true)?;
        socket.set_sndhwm(1)?;
        socket.set_rcvhwm(1)?;
        socket.set_linger(0)?;
        socket.set_maxmsgsize(MAX_REPLY_BYTES as i64)?;
        socket.set_reconnect_ivl(RECONNECT_MS.0)?;
        socket.set_reconnect_ivl_max(RECONNECT_MS.1)?;
        socket.set_connect_timeout(handshake_ms)?;
        socket.set_handshake_ivl(handshake_ms)?;
        // Off for names: libzmq tries one address only, and would take IPv6 where the gateway listens on IPv4.
        socket.set_ipv6(self.is_ipv6)?;
        socket.connect(&self.endpoint)?;
        Ok(socket)
    }

    /// Drops the socket with what is inside it, and opens another one.
    pub(super) fn reopen(&mut self) {
        self.socket = None;
        self.opened = Instant::now();
        match self.connected() {
            Ok(socket) => self.socket = Some(socket),
            Err(error) => tracing::warn!(gateway = self.endpoint, %error, "no socket"),
        }
    }

    /// Another socket if this one has had its time to connect and nobody can be given a message.
    pub(super) fn reopen_if_dead(&mut self) {
        if self.opened.elapsed() > 2 * HANDSHAKE && !self.has_room() {
            self.reopen();
        }
    }

    /// Whether somebody would take a message.
    fn has_room(&self) -> bool {
        self.socket.as_ref().is_some_and(|socket| {
            socket
                .get_events()
                .is_ok_and(|events| events.contains(PollEvents::POLLOUT))
        })
    }

    /// Hands a message over if somebody is there to take it. Where it says no, nothing of the message is left here.
    pub(super) fn offer(&self, bytes: &[u8]) -> bool {
        self.socket
            .as_ref()
            .is_some_and(|socket| socket.send(bytes, DONTWAIT).is_ok())
    }

    /// The next message that has come, if it has one part; one of more is `Err`.
    pub(super) fn receive(&self) -> Option<Result<Vec<u8>, Multipart>> {
        let socket = self.socket.as_ref()?;
        let mut parts = Vec::new();
        loop {
            // All parts of a message come at once.
            let part = socket.recv_bytes(DONTWAIT).ok()?;
            if parts.len() < PARTS_MAX {
                parts.push(part);
            }
            if !socket.get_rcvmore().unwrap_or(false) {
                break;
            }
        }
        match parts.len() {
            1 => parts.pop().map(Ok),
            _ => Some(Err(Multipart)),
        }
    }

    /// Waits until something came, `wake` can be read, or, if asked for, somebody would take a message.
    pub(super) fn wait(&self, wake: RawFd, for_room: bool, time: Duration) {
        let mut events = PollEvents::POLLIN;
        if for_room {
            events |= PollEvents::POLLOUT;
        }
        let mut items = vec![PollItem::from_fd(wake, PollEvents::POLLIN)];
        items.extend(self.socket.iter().map(|socket| socket.as_poll_item(events)));
        // Rounded up, so that a deadline has passed when the wait for it is over.
        let ms = i64::try_from(time.as_millis()).map_or(i64::MAX, |ms| ms.saturating_add(1));
        // An interrupted wait is a wait that is over.
        let _ = zmq::poll(&mut items, ms);
    }
}

/// A message of several parts: no reply has more than one.
#[derive(Debug)]
pub(super) struct Multipart;

/// Where the gateway listens.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) url: String,
    is_ipv6: bool,
}

impl Endpoint {
    /// None for what is neither an address nor a name: libzmq gives a meaning to some other characters.
    pub(super) fn new(host: &str, port: u16) -> Option<Endpoint> {
        let bare = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host);
        let is_ipv6 = bare.parse::<Ipv6Addr>().is_ok();
        let is_name = |name: &str| {
            (1..=253).contains(&name.len())
                && name.starts_with(|first: char| first.is_ascii_alphanumeric())
                && name
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "-._".contains(c))
        };
        let is_bare = is_ipv6 || bare == host && (bare.parse::<IpAddr>().is_ok() || is_name(bare));
        let url = if is_ipv6 {
            format!("tcp://[{bare}]:{port}")
        } else {
            format!("tcp://{bare}:{port}")
        };
        (is_bare && port > 0).then_some(Endpoint { url, is_ipv6 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_names_become_endpoints_and_what_libzmq_would_read_otherwise_does_not() {
        let url = |host| Endpoint::new(host, 5555).map(|endpoint| endpoint.url);
        for (host, wanted) in [
            ("127.0.0.1", "tcp://127.0.0.1:5555"),
            ("::1", "tcp://[::1]:5555"),
            ("[::1]", "tcp://[::1]:5555"),
            ("mt5.example", "tcp://mt5.example:5555"),
        ] {
            assert_eq!(url(host).as_deref(), Some(wanted));
        }
        for host in [
            "",
            "*",
            "eth0;10.0.0.1",
            "a b",
            "a/b",
            "[a]",
            "-x",
            "a:1",
            "a\0",
        ] {
            assert_eq!(url(host), None, "{host:?}");
        }
        assert!(Endpoint::new("::1", 0).is_none());
    }
}
