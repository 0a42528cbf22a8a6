//! What libzmq does with a message that it took, and with one that it did not: the ground that `NotSent` and `Unknown` stand on.

use std::collections::BTreeSet;
use std::io::BufRead;
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use rustix::process::Signal;

use crate::site::{LONG, Process, eventually, free_port, python};

/// A ROUTER that writes down the first word of each message.
const ROUTER: &str = "
import sys, zmq
router = zmq.Context().socket(zmq.ROUTER)
router.setsockopt(zmq.RCVHWM, 1)
router.bind(sys.argv[1])
print('listening', flush=True)
while True:
    print(router.recv_multipart()[1].split()[0].decode(), flush=True)
";

struct Router {
    process: Process,
    words: Receiver<String>,
}

impl Router {
    fn start(test: &str, port: u16) -> Option<Router> {
        let mut command = Command::new(python(test)?);
        command.args(["-c", ROUTER, &format!("tcp://127.0.0.1:{port}")]);
        let (process, _, stdout) = Process::start(&mut command);
        let (send, words) = channel();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let _ = send.send(line);
            }
        });
        Some(Router { process, words })
    }

    /// What came before this word, which must come.
    fn until(&self, last: &str) -> Vec<String> {
        let mut words = Vec::new();
        loop {
            let word = self.words.recv_timeout(LONG).unwrap();
            if word == last {
                return words;
            }
            words.push(word);
        }
    }
}

fn dealer(context: &zmq::Context, port: u16) -> zmq::Socket {
    let dealer = context.socket(zmq::DEALER).unwrap();
    dealer.set_immediate(true).unwrap();
    dealer.set_sndhwm(1).unwrap();
    dealer.set_linger(0).unwrap();
    dealer.set_reconnect_ivl(20).unwrap();
    dealer.connect(&format!("tcp://127.0.0.1:{port}")).unwrap();
    dealer
}

fn send(dealer: &zmq::Socket, word: &str) -> bool {
    // Long enough that the kernel's buffers are soon full.
    let message = format!("{word} {}", "x".repeat(60_000));
    dealer.send(message.as_bytes(), zmq::DONTWAIT).is_ok()
}

/// Sends until nothing more is taken for a while; the words that were taken, and one that was not.
fn fill(dealer: &zmq::Socket) -> (Vec<String>, String) {
    let mut taken = Vec::new();
    loop {
        let word = taken.len().to_string();
        let has_room = dealer.poll(zmq::POLLOUT, 300).unwrap() > 0;
        if !has_room || !send(dealer, &word) {
            assert!(!send(dealer, "refused"));
            return (taken, "refused".to_owned());
        }
        taken.push(word);
        assert!(taken.len() < 10_000, "nothing ever is full");
    }
}

fn greet(dealer: &zmq::Socket, word: &str) {
    eventually("a connection", || send(dealer, word).then_some(()));
}

#[test]
fn what_was_taken_when_the_peer_dies_does_not_reach_the_one_that_comes_back() {
    let test = "what_was_taken_when_the_peer_dies_does_not_reach_the_one_that_comes_back";
    let port = free_port();
    let Some(router) = Router::start(test, port) else {
        return;
    };
    let context = zmq::Context::new();
    let dealer = dealer(&context, port);
    greet(&dealer, "hello");
    router.until("hello");
    router.process.signal(Signal::STOP);
    let (taken, _) = fill(&dealer);
    assert!(
        taken.len() > 1,
        "the frozen one takes messages: {}",
        taken.len()
    );
    router.process.kill();
    let router = Router::start(test, port).unwrap();
    greet(&dealer, "again");
    assert_eq!(router.until("again"), Vec::<String>::new());
    greet(&dealer, "last");
    assert_eq!(router.until("last"), Vec::<String>::new());
}

#[test]
fn a_frozen_peer_gets_what_was_taken_when_it_goes_on_and_never_what_was_refused() {
    let test = "a_frozen_peer_gets_what_was_taken_when_it_goes_on_and_never_what_was_refused";
    let port = free_port();
    let Some(router) = Router::start(test, port) else {
        return;
    };
    let context = zmq::Context::new();
    let dealer = dealer(&context, port);
    greet(&dealer, "hello");
    router.until("hello");
    router.process.signal(Signal::STOP);
    let (taken, _) = fill(&dealer);
    router.process.signal(Signal::CONT);
    greet(&dealer, "last");
    assert_eq!(router.until("last"), taken);
}

#[test]
fn a_socket_that_is_closed_drops_what_the_kernel_has_not_taken() {
    let test = "a_socket_that_is_closed_drops_what_the_kernel_has_not_taken";
    let port = free_port();
    let Some(router) = Router::start(test, port) else {
        return;
    };
    let context = zmq::Context::new();
    let first = dealer(&context, port);
    greet(&first, "hello");
    router.until("hello");
    router.process.signal(Signal::STOP);
    let (taken, refused) = fill(&first);
    drop(first);
    let second = dealer(&context, port);
    // Nobody shakes hands, so nothing is taken.
    assert_eq!(second.poll(zmq::POLLOUT, 500).unwrap(), 0);
    assert!(!send(&second, "refused"));
    router.process.signal(Signal::CONT);
    // What came over the first connection is read beside what comes over the second: until nothing more comes.
    greet(&second, "last");
    let mut came: BTreeSet<String> = router.until("last").into_iter().collect();
    while let Ok(word) = router.words.recv_timeout(Duration::from_secs(1)) {
        came.insert(word);
    }
    assert!(
        !came.contains(taken.last().unwrap()),
        "it was inside the socket"
    );
    assert!(!came.contains(&refused));
    assert!(came.len() < taken.len());
}
