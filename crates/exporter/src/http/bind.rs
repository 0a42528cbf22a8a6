//! Listening on addresses, with an error that says what to do.
//!
//! Invariant: after an error nothing is bound; after success exactly the addresses given are (an IPv6 wildcard does not take
//! IPv4 with it). Must not touch: anything but the sockets it makes, and procfs, to name the owner of a busy port.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};

use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use super::owner::{self, PortOwner};

/// Connections the kernel holds for us between two turns of the accept loop.
const BACKLOG: i32 = 1024;

/// Why an address could not be listened on.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Somebody listens there already.
    #[error("{address}: already in use by {}; stop it or choose another address", DisplayOwner(.owner))]
    InUse {
        /// The address.
        address: SocketAddr,
        /// Who listens, as far as procfs tells.
        owner: Option<PortOwner>,
    },
    /// The same address was given twice.
    #[error("{address}: given twice; give each listen address once")]
    Twice {
        /// The address.
        address: SocketAddr,
    },
    /// A port below 1024 without the capability.
    #[error(
        "{address}: permission denied; choose a port from 1024 up, or grant CAP_NET_BIND_SERVICE"
    )]
    Denied {
        /// The address.
        address: SocketAddr,
    },
    /// No interface of this machine has the address.
    #[error(
        "{address}: not an address of this machine; choose one that is, such as 127.0.0.1 or [::1]"
    )]
    NotLocal {
        /// The address.
        address: SocketAddr,
    },
    /// The machine has no such protocol.
    #[error("{address}: this machine has no {}; choose an address of the other family", if .address.is_ipv6() { "IPv6" } else { "IPv4" })]
    NoSuchFamily {
        /// The address.
        address: SocketAddr,
    },
    /// Anything else the system may answer.
    #[error("{address}: cannot listen")]
    Io {
        /// The address.
        address: SocketAddr,
        /// The system's reason.
        source: io::Error,
    },
}

struct DisplayOwner<'a>(&'a Option<PortOwner>);

impl fmt::Display for DisplayOwner<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(owner) => owner.fmt(f),
            None => f.write_str("a process that cannot be seen from here"),
        }
    }
}

/// Listen on every address, or on none. Port 0 lets the system choose; the listener's own address tells which.
///
/// # Errors
/// The first address that cannot be listened on, with the reason.
pub fn bind(addresses: &[SocketAddr]) -> Result<Vec<TcpListener>, BindError> {
    for (index, address) in addresses.iter().enumerate() {
        if address.port() != 0 && addresses[..index].contains(address) {
            return Err(BindError::Twice { address: *address });
        }
    }
    addresses
        .iter()
        .map(|&address| listen(address).map_err(|source| explain(address, source)))
        .collect()
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let family = if address.is_ipv6() {
        AddressFamily::INET6
    } else {
        AddressFamily::INET
    };
    let socket = rustix::net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    // Without it a restart waits for the old connections' TIME_WAIT; it does not let two listeners share a port on Linux.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(TcpListener::from(socket))
}

fn explain(address: SocketAddr, source: io::Error) -> BindError {
    match source.kind() {
        io::ErrorKind::AddrInUse => BindError::InUse {
            address,
            owner: owner::find(address),
        },
        io::ErrorKind::PermissionDenied => BindError::Denied { address },
        io::ErrorKind::AddrNotAvailable => BindError::NotLocal { address },
        _ if source.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error()) => {
            BindError::NoSuchFamily { address }
        }
        _ => BindError::Io { address, source },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::Errno;

    #[test]
    fn each_refusal_says_what_to_do() {
        let sentence = |address: &str, errno: Errno| {
            explain(address.parse().expect("an address"), errno.into()).to_string()
        };
        let table = [
            (
                "127.0.0.1:80",
                Errno::ACCESS,
                "127.0.0.1:80: permission denied; choose a port from 1024 up, or grant CAP_NET_BIND_SERVICE",
            ),
            (
                "10.0.0.1:9111",
                Errno::ADDRNOTAVAIL,
                "10.0.0.1:9111: not an address of this machine; choose one that is, such as 127.0.0.1 or [::1]",
            ),
            (
                "[::1]:9111",
                Errno::AFNOSUPPORT,
                "[::1]:9111: this machine has no IPv6; choose an address of the other family",
            ),
            (
                "127.0.0.1:9111",
                Errno::NFILE,
                "127.0.0.1:9111: cannot listen",
            ),
            // Port 1 of an address nobody has: busy, they say, but no owner is to be found.
            (
                "192.0.2.1:1",
                Errno::ADDRINUSE,
                "192.0.2.1:1: already in use by a process that cannot be seen from here; stop it or choose another address",
            ),
        ];
        for (address, errno, expected) in table {
            assert_eq!(sentence(address, errno), expected);
        }
    }
}
