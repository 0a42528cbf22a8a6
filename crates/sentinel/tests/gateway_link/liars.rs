//! Gateways that answer anything but the truth, and ports that are none: nothing of that is an answer, and the truth after it is.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use sentinel::clock::Clock;
use sentinel::gateway::link::{
    Distrust, Exchange, Gateway as _, Link, LinkSettings, MessageIds, NotSent,
};
use sentinel::gateway::protocol::{
    Account, AccountMode, Amount, Reply, ReplyBody, Request, RequestBody, Text, sha256_hex,
};
use sentinel::stop::Stop;

use crate::site::{LONG, SECRET, SHORT, answered, eventually, key, order, question, settings};

type Frames = Vec<Vec<u8>>;

/// A ROUTER whose answers to a message are what a function says, in order; and how often it got each id.
pub(crate) struct Liar {
    pub(crate) port: u16,
    got: Arc<Mutex<BTreeMap<String, u32>>>,
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Liar {
    pub(crate) fn start(
        mut answers: impl FnMut(&Request, &[u8]) -> Vec<Frames> + Send + 'static,
    ) -> Liar {
        let router = zmq::Context::new().socket(zmq::ROUTER).unwrap();
        router.set_linger(0).unwrap();
        router.set_rcvtimeo(20).unwrap();
        router.bind("tcp://127.0.0.1:*").unwrap();
        let place = router.get_last_endpoint().unwrap().unwrap();
        let (got, end): (Arc<Mutex<BTreeMap<_, _>>>, Arc<AtomicBool>) = Default::default();
        let (gets, ends) = (got.clone(), end.clone());
        let thread = std::thread::spawn(move || {
            while !ends.load(Ordering::Acquire) {
                let Ok(frames) = router.recv_multipart(0) else {
                    continue;
                };
                let request = Request::decode(&frames[1], &key(SECRET)).unwrap();
                *gets
                    .lock()
                    .unwrap()
                    .entry(request.id.as_str().to_owned())
                    .or_insert(0) += 1;
                for answer in answers(&request, &frames[1]) {
                    let mut all = vec![frames[0].clone()];
                    all.extend(answer);
                    let _ = router.send_multipart(all, 0);
                }
            }
        });
        Liar {
            port: place.rsplit(':').next().unwrap().parse().unwrap(),
            got,
            end,
            thread: Some(thread),
        }
    }

    /// Whether a message with such an id came.
    pub(crate) fn has_got(&self, is_it: impl Fn(&str) -> bool) -> bool {
        self.got.lock().unwrap().keys().any(|id| is_it(id))
    }

    /// A link without heartbeats, which would be lied to as well.
    fn link(&self) -> Link {
        quiet_link(self.port)
    }
}

impl Drop for Liar {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Release);
        self.thread.take().unwrap().join().unwrap();
        for (id, count) in &*self.got.lock().unwrap() {
            assert_eq!(*count, 1, "{id} came more than once");
        }
    }
}

fn quiet_link(port: u16) -> Link {
    let settings = LinkSettings {
        heartbeat_every: Duration::from_secs(3_600),
        timeout: Duration::from_secs(3_600),
        ..settings("127.0.0.1", port, SECRET)
    };
    Link::start(settings, Clock::system(), Stop::default(), || {}).unwrap()
}

fn truth(request: &Request, bytes: &[u8]) -> Reply {
    let amount = |text| Amount::parse(text).unwrap();
    let account = Account {
        account: Text::name("1000001").unwrap(),
        mode: AccountMode::Demo,
        currency: Text::name("USD").unwrap(),
        balance: amount("1"),
        equity: amount("1"),
        margin_used: amount("0"),
        margin_free: amount("1"),
        leverage: 100,
        as_of: request.sent_at,
    };
    reply(request, bytes, ReplyBody::Account(account))
}

pub(crate) fn reply(request: &Request, bytes: &[u8], body: ReplyBody) -> Reply {
    Reply {
        id: Some(request.id.clone()),
        request_sha256: sha256_hex(bytes),
        sent_at: request.sent_at,
        body,
    }
}

pub(crate) fn signed(reply: &Reply) -> Vec<u8> {
    reply.encode(&key(SECRET)).unwrap()
}

fn unknown(was_malformed: bool) -> Exchange {
    Exchange::Unknown { was_malformed }
}

fn is_account(request: &Request) -> bool {
    request.body == RequestBody::Account
}

/// Each lie with its name, and whether it is one that counts as malformed.
fn lies(request: &Request, bytes: &[u8]) -> Vec<(&'static str, Frames, bool)> {
    let truth = truth(request, bytes);
    let right = signed(&truth);
    let other_secret = truth.encode(&key(&SECRET.replace('0', "1"))).unwrap();
    let mut unsigned = String::from_utf8(right.clone()).unwrap();
    let mac = unsigned.find("\"mac\"").unwrap();
    unsigned.replace_range(mac..mac + 6 + 66 + 1, "");
    let changed = String::from_utf8(right.clone())
        .unwrap()
        .replace("\"USD\"", "\"EUR\"");
    let mut of_another = truth.clone();
    of_another.request_sha256 = sha256_hex(b"another");
    let mut of_another_id = truth.clone();
    of_another_id.id = MessageIds::new(['n', 'o']).fresh().into();
    let mut of_another_type = truth.clone();
    of_another_type.body = ReplyBody::UnknownId(request.id.clone());
    vec![
        ("bytes", vec![vec![0xff; 100]], true),
        ("nothing", vec![Vec::new()], true),
        ("another secret", vec![other_secret], true),
        ("no mac", vec![unsigned.into_bytes()], true),
        ("changed", vec![changed.into_bytes()], true),
        ("the request itself", vec![bytes.to_vec()], true),
        ("another id", vec![signed(&of_another_id)], true),
        ("another type", vec![signed(&of_another_type)], true),
        (
            "a delimiter before it",
            vec![Vec::new(), right.clone()],
            true,
        ),
        ("two parts", vec![right.clone(), right.clone()], true),
        ("many parts", vec![right; 10_000], true),
        ("other bytes", vec![signed(&of_another)], false),
    ]
}

const LIES: usize = 12;

#[test]
fn no_lie_is_an_answer_and_the_exchange_says_whether_one_came() {
    for lie in 0..LIES {
        let liar = Liar::start(move |request, bytes| {
            let all = lies(request, bytes);
            assert_eq!(all.len(), LIES);
            vec![all[lie].1.clone()]
                .into_iter()
                .filter(|_| is_account(request))
                .collect()
        });
        let (mut link, mut ids) = (liar.link(), MessageIds::new(['t', 'e']));
        let ask = question(&mut ids, RequestBody::Account);
        let bytes = Request {
            id: ask.id.clone(),
            idempotency_key: ask.idempotency_key.clone(),
            sent_at: 0,
            valid_until: 0,
            body: ask.body.clone(),
        };
        let (name, _, was_malformed) =
            lies(&bytes, &bytes.encode(&key(SECRET)).unwrap()).remove(lie);
        let outcome = link.exchange(ask, SHORT);
        assert_eq!(outcome, Exchange::Unknown { was_malformed }, "{name}");
        let distrust = link.state().distrust;
        let is_about_the_mac = ["another secret", "changed"].contains(&name);
        let wanted = match (was_malformed, is_about_the_mac) {
            (false, _) => None,
            (true, true) => Some(Distrust::OtherSecret),
            (true, false) => Some(Distrust::Malformed),
        };
        assert_eq!(distrust, wanted, "{name}");
    }
}

#[test]
fn the_truth_after_all_lies_is_the_answer_and_so_is_that_of_the_next_exchange() {
    let liar = Liar::start(|request, bytes| {
        if !is_account(request) {
            return Vec::new();
        }
        let mut answers: Vec<Frames> = lies(request, bytes).into_iter().map(|lie| lie.1).collect();
        // And the truth twice: the second must not be taken for anything.
        answers.extend([
            vec![signed(&truth(request, bytes))],
            vec![signed(&truth(request, bytes))],
        ]);
        answers
    });
    let (mut link, mut ids) = (liar.link(), MessageIds::new(['t', 'e']));
    for _ in 0..20 {
        let ask = question(&mut ids, RequestBody::Account);
        let id = ask.id.clone();
        assert_eq!(answered(link.exchange(ask, LONG)).id, Some(id));
    }
}

#[test]
fn a_reply_after_the_budget_is_no_answer_to_the_next_message() {
    let mut held: Option<Frames> = None;
    let liar = Liar::start(move |request, bytes| {
        if !is_account(request) {
            return Vec::new();
        }
        let now = vec![signed(&truth(request, bytes))];
        match held.take() {
            None => {
                held = Some(now);
                Vec::new()
            }
            Some(late) => vec![late, now],
        }
    });
    let (mut link, mut ids) = (liar.link(), MessageIds::new(['t', 'e']));
    for _ in 0..3 {
        let outcome = link.exchange(question(&mut ids, RequestBody::Account), SHORT);
        assert_eq!(outcome, unknown(false));
        let ask = question(&mut ids, RequestBody::Account);
        let id = ask.id.clone();
        assert_eq!(answered(link.exchange(ask, LONG)).id, Some(id));
    }
}

#[test]
fn a_reply_that_is_too_large_ends_the_connection_and_the_next_message_gets_its_answer() {
    for size in [65_537, 10_000_000] {
        let mut is_first = true;
        let liar = Liar::start(move |request, bytes| {
            if !is_account(request) {
                Vec::new()
            } else if std::mem::take(&mut is_first) {
                vec![vec![vec![b' '; size]]]
            } else {
                vec![vec![signed(&truth(request, bytes))]]
            }
        });
        let (mut link, mut ids) = (liar.link(), MessageIds::new(['t', 'e']));
        let outcome = link.exchange(question(&mut ids, RequestBody::Account), SHORT);
        // It is not read at all, so it is nothing that came.
        assert_eq!(outcome, unknown(false));
        answered(link.exchange(question(&mut ids, RequestBody::Account), LONG));
    }
}

/// A port that greets whoever connects and then only listens.
pub(crate) struct Port {
    pub(crate) port: u16,
    got: Arc<Mutex<Vec<u8>>>,
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Port {
    pub(crate) fn greeting(greeting: &'static [u8]) -> Port {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (got, end): (Arc<Mutex<Vec<u8>>>, Arc<AtomicBool>) = Default::default();
        let (gets, ends) = (got.clone(), end.clone());
        let thread = std::thread::spawn(move || {
            let mut streams = Vec::new();
            while !ends.load(Ordering::Acquire) {
                if let Ok((mut stream, _)) = listener.accept() {
                    let _ = stream.write_all(greeting);
                    let pause = Some(Duration::from_millis(5));
                    stream.set_read_timeout(pause).unwrap();
                    streams.push(stream);
                }
                for stream in &mut streams {
                    let mut bytes = [0; 4096];
                    if let Ok(count) = stream.read(&mut bytes) {
                        gets.lock().unwrap().extend(&bytes[..count]);
                    }
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        let thread = Some(thread);
        Port {
            port,
            got,
            end,
            thread,
        }
    }

    pub(crate) fn has_got(&self, word: &[u8]) -> bool {
        let got = self.got.lock().unwrap();
        got.windows(word.len()).any(|part| part == word)
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Release);
        self.thread.take().unwrap().join().unwrap();
    }
}

#[test]
fn a_port_that_does_not_shake_hands_gets_no_message() {
    for greeting in [&b""[..], &[0xff; 64]] {
        let port = Port::greeting(greeting);
        let (mut link, mut ids) = (quiet_link(port.port), MessageIds::new(['t', 'e']));
        eventually("a greeting", || port.has_got(&[0xff]).then_some(()));
        for _ in 0..3 {
            let outcome = link.exchange(question(&mut ids, order()), LONG);
            assert_eq!(outcome, Exchange::NotSent(NotSent::NoPeer), "{greeting:?}");
        }
        assert!(!port.has_got(b"ORDER"), "{greeting:?}");
    }
}

/// libzmq takes whoever begins with anything else for a peer of the first version of its protocol, which knew no handshake, and sends.
#[test]
fn a_message_to_a_port_of_another_protocol_is_not_called_unsent() {
    let port = Port::greeting(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    let (mut link, mut ids) = (quiet_link(port.port), MessageIds::new(['t', 'e']));
    let outcome = eventually("a message that was taken", || {
        match link.exchange(question(&mut ids, RequestBody::Account), SHORT) {
            Exchange::NotSent(NotSent::NoPeer) => {
                assert!(!port.has_got(b"ACCOUNT"));
                None
            }
            other => Some(other),
        }
    });
    assert!(matches!(outcome, Exchange::Unknown { .. }), "{outcome:?}");
}
