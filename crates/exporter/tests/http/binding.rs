//! Binding: only what was given, all of it or nothing, and errors that say who and what to do.

use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::process::{Command, Stdio};

use metricsd_exporter::http::{BindError, PortOwner, bind};

use crate::client::{Client, serve_on, wait_until};
use crate::skip::skip;

fn free() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

#[test]
fn several_addresses_serve_alike() {
    let listeners = bind(&[free(), free()]).expect("loopback has free ports");
    let server = serve_on(listeners);
    assert_eq!(server.addresses().len(), 2);
    for address in server.addresses() {
        assert_eq!(
            Client::connect_to(*address).ask("GET", "/metrics").status,
            200
        );
    }
}

#[test]
fn a_port_held_by_this_process_says_so() {
    let held = TcpListener::bind(free()).expect("loopback has a free port");
    let address = held.local_addr().expect("bound");
    let error = bind(&[address]).expect_err("the port is held");
    let own = std::process::id();
    assert!(
        matches!(&error, BindError::InUse { owner: Some(PortOwner::Process { pid, .. }), .. } if *pid == own),
        "{error:?}"
    );
    assert_eq!(
        error.to_string(),
        format!(
            "{address}: already in use by this process (pid {own}); stop it or choose another address"
        )
    );
}

/// Not a test: the body of the process that the test below starts. It holds a port until its input ends.
#[test]
#[ignore = "run as a child process"]
fn hold_a_port() {
    let held = TcpListener::bind(free()).expect("loopback has a free port");
    println!("\nholding {}", held.local_addr().expect("bound"));
    std::io::stdin()
        .read_to_end(&mut Vec::new())
        .expect("the parent closes it");
}

#[test]
fn a_port_held_by_another_process_names_pid_and_command() {
    let mut child = Command::new(std::env::current_exe().expect("a path"))
        .args([
            "--ignored",
            "--exact",
            "--nocapture",
            "binding::hold_a_port",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the test program starts again");
    // Kept open, since the child's own test runner goes on writing to it.
    let mut lines = BufReader::new(child.stdout.take().expect("stdout is piped")).lines();
    let held = lines
        .find_map(|line| Some(line.ok()?.strip_prefix("holding ")?.to_string()))
        .expect("the child binds");
    let address: SocketAddr = held.parse().expect("an address");
    let wildcard = SocketAddr::from(([0, 0, 0, 0], address.port()));
    for wanted in [address, wildcard] {
        let error = bind(&[wanted])
            .expect_err("the child holds the port")
            .to_string();
        assert!(
            error.starts_with(&format!("{wanted}: already in use by pid {} (", child.id())),
            "{error}"
        );
        assert!(error.contains("--ignored --exact"), "{error}");
        assert!(
            error.ends_with("; stop it or choose another address"),
            "{error}"
        );
    }
    drop(child.stdin.take());
    child.wait().expect("the child ends when its input does");
}

#[test]
fn nothing_stays_bound_after_an_error() {
    let holder = TcpListener::bind(free()).expect("loopback has a free port");
    let held = holder.local_addr().expect("bound");
    // Somebody else may take the port in between, but not every time.
    wait_until(
        "the first address is free after the second was refused",
        || {
            let other = TcpListener::bind(free()).and_then(|listener| listener.local_addr());
            let other = other.expect("loopback has a free port");
            bind(&[other, held]).expect_err("the second is held");
            bind(&[other]).is_ok()
        },
    );
}

#[test]
fn an_address_given_twice_is_refused_as_such() {
    let address = TcpListener::bind(free())
        .expect("loopback has a free port")
        .local_addr()
        .expect("bound");
    let error = bind(&[address, address]).expect_err("twice");
    assert!(matches!(error, BindError::Twice { .. }), "{error}");
    assert_eq!(
        bind(&[free(), free()])
            .expect("port 0 means another one each time")
            .len(),
        2
    );
}

#[test]
fn an_address_of_another_machine_is_named_as_such() {
    // TEST-NET-1: nobody's address.
    let error = bind(&[SocketAddr::from(([192, 0, 2, 1], 0))]).expect_err("not ours");
    assert!(matches!(error, BindError::NotLocal { .. }), "{error:?}");
    assert!(
        error
            .to_string()
            .starts_with("192.0.2.1:0: not an address of this machine; choose"),
        "{error}"
    );
}

#[test]
fn the_ipv6_wildcard_leaves_ipv4_alone() {
    let wildcard = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0));
    if bind(&[wildcard]).is_err() {
        return skip(
            "the_ipv6_wildcard_leaves_ipv4_alone",
            "this machine has no IPv6",
        );
    }
    // Somebody else may hold the port on IPv4, but not every time.
    wait_until("the same port is free on IPv4", || {
        let v6 = bind(&[wildcard]).expect("IPv6 has a free port");
        let port = v6[0].local_addr().expect("bound").port();
        bind(&[SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))]).is_ok()
    });
    let server = serve_on(bind(&[wildcard]).expect("IPv6 has a free port"));
    let address = SocketAddr::from((Ipv6Addr::LOCALHOST, server.addresses()[0].port()));
    assert_eq!(
        Client::connect_to(address).ask("GET", "/metrics").status,
        200
    );
}
