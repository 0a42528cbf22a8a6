//! A loopback port for a program that cannot be told to take any.
//!
//! Invariant: it lies below the range from which the kernel gives ports to whoever asks for any, so that no other server or connection of the
//! tests is given it in between; and one process is given each once. Must not touch: who listens on it.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

/// The usual range of the kernel begins at 32768.
const FIRST: u32 = 12_000;
const COUNT: u32 = 20_000;
/// Ports that a process walks through before another one begins where it did.
const STRIDE: u32 = 61;

static TAKEN: AtomicU32 = AtomicU32::new(0);

/// A port on which nobody listens now; none if all are taken.
pub fn free_port() -> Option<u16> {
    (0..COUNT).find_map(|_| {
        let step = TAKEN.fetch_add(1, Ordering::Relaxed);
        let offset = (std::process::id().wrapping_mul(STRIDE).wrapping_add(step)) % COUNT;
        let port = u16::try_from(FIRST + offset).ok()?;
        TcpListener::bind((Ipv4Addr::LOCALHOST, port))
            .is_ok()
            .then_some(port)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_given_once_and_never_one_that_somebody_has() {
        let (first, second) = (free_port().unwrap(), free_port().unwrap());
        assert_ne!(first, second);
        let held = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let taken = held.local_addr().unwrap().port();
        assert!((0..50).all(|_| free_port().unwrap() != taken));
        assert!(u32::from(first) < FIRST + COUNT);
    }
}
