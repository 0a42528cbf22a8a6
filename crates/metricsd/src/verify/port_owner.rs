//! The one process that listens on a port of this host.
//!
//! Invariant: who owns a socket is what procfs says, not who answers on it; several owners, or one that may not be looked at, are none.

use std::net::{IpAddr, Ipv4Addr, ToSocketAddrs};

use super::evidence::Finding;
use super::processes::{PortLook, Seen, listeners_on};
use super::record::Probe;

/// A port, and the words for what to do about it.
#[derive(Debug, Clone, Copy)]
pub struct Port<'a> {
    /// The host in the address that is verified.
    pub host: &'a str,
    /// The port.
    pub number: u16,
    /// Who should own it.
    pub program: &'a str,
    /// What to start when nobody does.
    pub start: &'a str,
    /// The flag that names another address.
    pub flag: &'a str,
}

impl Port<'_> {
    /// The one process that listens there.
    ///
    /// # Errors
    /// The finding: nobody does, several do, or who does may not be looked at.
    pub fn only_owner(&self, probe: &mut Probe) -> Result<Seen, Finding> {
        let (host, port) = (self.host, self.number);
        let Some(address) = address_of(host, port) else {
            return Err(Finding::fail(
                format!("{host} is no address of a host that is known here"),
                format!("name the daemon's own address with {}", self.flag),
            ));
        };
        let mut look = Err(std::io::Error::other("not looked"));
        let asked = format!("ss -ltnp 'sport = :{port}' # on {address}");
        probe.ask(asked, || {
            look = listeners_on(address, port);
            match &look {
                Ok(look) => shown(look),
                Err(err) => err.to_string(),
            }
        });
        let look = look.map_err(|err| {
            Finding::fail(
                format!("procfs cannot be read: {err}"),
                "mount /proc, and run it on the daemon's host",
            )
        })?;
        let mut owners: Vec<Seen> = look.owners.into_iter().collect();
        match (owners.pop(), owners.is_empty(), look.hidden_uids.is_empty()) {
            (Some(only), true, true) => Ok(only),
            (Some(last), _, true) => {
                owners.push(last);
                Err(Finding::fail(
                    format!(
                        "{} processes listen on port {port}: {}",
                        owners.len(),
                        joined(&owners)
                    ),
                    format!("stop all of them but {}", self.program),
                ))
            }
            (_, _, false) => Err(Finding::fail(
                format!(
                    "port {port} is owned by a process of user id {:?} that may not be looked at",
                    look.hidden_uids
                ),
                "run it as the daemon's user or as root",
            )),
            (None, _, true) => Err(Finding::fail(
                format!("nobody listens on port {port} of {host}"),
                format!(
                    "start {} on this host, or name its address with {}",
                    self.start, self.flag
                ),
            )),
        }
    }
}

/// The address of a host by name or number; the first one if there are several.
pub fn address_of(host: &str, port: u16) -> Option<IpAddr> {
    let named = || (host, port).to_socket_addrs().ok()?.next();
    match host {
        "localhost" => Some(Ipv4Addr::LOCALHOST.into()),
        _ => host
            .parse()
            .ok()
            .or_else(|| named().map(|found| found.ip())),
    }
}

fn shown(look: &PortLook) -> String {
    let owners: Vec<Seen> = look.owners.iter().cloned().collect();
    let hidden = look
        .hidden_uids
        .iter()
        .map(|uid| format!("\na hidden process of user id {uid}"));
    format!(
        "{} listening sockets\n{}{}",
        look.sockets,
        lines(&owners),
        hidden.collect::<String>()
    )
}

/// One line for each.
pub fn lines(processes: &[Seen]) -> String {
    let lines = processes.iter().map(|seen| {
        format!(
            "{seen}, program {}, started at tick {}",
            seen.program.display(),
            seen.start_ticks
        )
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// In one sentence.
pub fn joined(processes: &[Seen]) -> String {
    let each: Vec<String> = processes.iter().map(ToString::to_string).collect();
    each.join(", ")
}
