//! Which process listens on which TCP port, from procfs: the judge of "sessions never bind".

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context, Result};

/// The state column of a listening socket in `/proc/net/tcp`.
const LISTEN: &str = "0A";

/// The TCP ports on which process `pid` listens.
///
/// # Errors
/// When the process is gone or its descriptors may not be read.
pub fn listening_ports(pid: u32) -> Result<BTreeSet<u16>> {
    let own = socket_inodes(pid)?;
    let mut ports = BTreeSet::new();
    for table in ["tcp", "tcp6"] {
        let path = format!("/proc/{pid}/net/{table}");
        // A kernel without IPv6 has no second table.
        let Ok(text) = fs::read_to_string(&path) else {
            continue;
        };
        for line in text.lines().skip(1) {
            let columns: Vec<&str> = line.split_whitespace().collect();
            let (Some(local), Some(&LISTEN), Some(inode)) =
                (columns.get(1), columns.get(3), columns.get(9))
            else {
                continue;
            };
            if own.contains(*inode) {
                let port = local
                    .rsplit(':')
                    .next()
                    .context("an address without a port")?;
                ports.insert(
                    u16::from_str_radix(port, 16).with_context(|| format!("reading {path}"))?,
                );
            }
        }
    }
    Ok(ports)
}

fn socket_inodes(pid: u32) -> Result<BTreeSet<String>> {
    let folder = format!("/proc/{pid}/fd");
    let descriptors = fs::read_dir(&folder).with_context(|| format!("listing {folder}"))?;
    let targets = descriptors
        .flatten()
        .filter_map(|entry| fs::read_link(entry.path()).ok());
    let inode = |target: String| {
        Some(
            target
                .strip_prefix("socket:[")?
                .strip_suffix(']')?
                .to_owned(),
        )
    };
    Ok(targets
        .filter_map(|target| inode(target.to_string_lossy().into_owned()))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_of_ours_is_seen_and_gone_when_closed() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(listening_ports(std::process::id()).unwrap().contains(&port));
        drop(listener);
        assert!(!listening_ports(std::process::id()).unwrap().contains(&port));
    }
}
