//! The link against the reference peer over pyzmq.

use std::io::Write as _;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use rustix::process::Signal;
use sentinel::clock::Clock;
use sentinel::gateway::link::{
    Distrust, Exchange, Gateway as _, Link, LinkError, MessageIds, NotSent,
};
use sentinel::gateway::protocol::{Code, ReplyBody, RequestBody, Text};
use sentinel::stop::Stop;

use crate::liars::Port;
use crate::site::{
    LONG, SECRET, SHORT, Site, answer, answered, ask, eventually, free_port, heard, link, now_ms,
    order, question, settings, skip,
};

#[test]
fn an_order_is_filled_and_everything_that_is_asked_afterwards_agrees() {
    for host in ["127.0.0.1", "[::1]"] {
        let test = "an_order_is_filled_and_everything_that_is_asked_afterwards_agrees";
        let Some(mut site) = Site::absent(test, host, 0) else {
            return;
        };
        if host == "[::1]" && std::net::TcpListener::bind("[::1]:0").is_err() {
            skip(test, "no IPv6 here");
            return;
        }
        site.run();
        let (mut link, mut ids) = (site.link(), MessageIds::new(['t', 'e']));
        heard(&link, None);
        let ask = question(&mut ids, order());
        let id = ask.id.clone();
        let ReplyBody::Filled(fill) = answered(link.exchange(ask, LONG)).body else {
            panic!("not filled");
        };
        assert_eq!(fill.order_id, id);
        let status = answer(&mut link, &mut ids, &RequestBody::Status(id.clone()));
        assert_eq!(status, ReplyBody::Filled(fill));
        let ReplyBody::Positions(positions) = answer(&mut link, &mut ids, &RequestBody::Positions)
        else {
            panic!("no positions");
        };
        assert_eq!(positions.positions.len(), 1);
        let ReplyBody::Account(account) = answer(&mut link, &mut ids, &RequestBody::Account) else {
            panic!("no account");
        };
        assert_eq!(account.account, positions.account);
        assert_eq!(site.ledger().0, [id.as_str()]);
    }
}

#[test]
fn heartbeats_tell_who_is_there_how_far_the_clocks_are_apart_and_how_many_are_missing() {
    let test = "heartbeats_tell_who_is_there_how_far_the_clocks_are_apart_and_how_many_are_missing";
    let Some(mut site) = Site::start(test) else {
        return;
    };
    let ahead = 1.5;
    let clock = Clock::driven(Clock::system().now().unix + ahead);
    let link = Link::start(
        settings(site.host, site.port, SECRET),
        clock,
        Stop::default(),
        || {},
    );
    let link = link.unwrap();
    heard(&link, None);
    let state = link.state();
    let offset = state.clock_offset.unwrap();
    // The clock that is driven stands still: the later the heartbeat, the less it is ahead.
    assert!((0.0..ahead).contains(&offset), "{offset}");
    assert_eq!(
        (state.missed, state.refused, state.distrust),
        (0, None, None)
    );
    site.kill();
    eventually("missed heartbeats", || {
        (link.state().missed > 2).then_some(())
    });
    assert_eq!(
        link.state().seen.unwrap().heartbeat,
        state.seen.unwrap().heartbeat
    );
    site.run();
    eventually("no missed heartbeat", || {
        (link.state().missed == 0).then_some(())
    });
}

#[test]
fn a_clock_that_is_too_far_ahead_is_told_although_the_gateway_refuses_the_heartbeat() {
    let test = "a_clock_that_is_too_far_ahead_is_told_although_the_gateway_refuses_the_heartbeat";
    let Some(site) = Site::start(test) else {
        return;
    };
    let clock = Clock::driven(Clock::system().now().unix + 600.0);
    let link = Link::start(
        settings(site.host, site.port, SECRET),
        clock,
        Stop::default(),
        || {},
    );
    let link = link.unwrap();
    eventually("a refusal", || (link.state().missed > 1).then_some(()));
    let state = link.state();
    assert_eq!((state.refused, state.seen), (Some(Code::Late), None));
    let offset = state.clock_offset.unwrap();
    assert!((500.0..600.0).contains(&offset), "{offset}");
}

#[test]
fn a_peer_that_was_killed_gets_nothing_meanwhile_and_the_next_message_after_it_returned() {
    let test =
        "a_peer_that_was_killed_gets_nothing_meanwhile_and_the_next_message_after_it_returned";
    let Some(mut site) = Site::start(test) else {
        return;
    };
    let (mut link, mut ids) = (site.link(), MessageIds::new(['t', 'e']));
    let first = heard(&link, None);
    site.kill();
    // The first one may be handed over before the connection is known to be gone.
    let lost = question(&mut ids, order());
    let outcome = link.exchange(lost, SHORT);
    assert!(!matches!(outcome, Exchange::Answered { .. }), "{outcome:?}");
    let unsent = question(&mut ids, order());
    let unsent_id = unsent.id.clone();
    assert_eq!(
        link.exchange(unsent, LONG),
        Exchange::NotSent(NotSent::NoPeer)
    );
    site.run();
    let returned = Instant::now();
    heard(&link, Some(first));
    let _ = writeln!(
        std::io::stderr(),
        "heard again after {:?}",
        returned.elapsed()
    );
    let next = question(&mut ids, order());
    let next_id = next.id.clone();
    let reply = answered(link.exchange(next, LONG)).body;
    assert!(matches!(reply, ReplyBody::Filled(_)), "{reply:?}");
    let status = answer(&mut link, &mut ids, &RequestBody::Status(unsent_id.clone()));
    assert_eq!(status, ReplyBody::UnknownId(unsent_id));
    let ids = vec![next_id.as_str().to_owned()];
    assert_eq!(site.ledger(), (ids.clone(), ids), "fills and verdicts");
}

#[test]
fn a_frozen_peer_costs_one_unknown_outcome_and_executes_nothing_when_it_goes_on() {
    let test = "a_frozen_peer_costs_one_unknown_outcome_and_executes_nothing_when_it_goes_on";
    let Some(site) = Site::start(test) else {
        return;
    };
    let (mut link, mut ids) = (site.link(), MessageIds::new(['t', 'e']));
    heard(&link, None);
    site.signal(Signal::STOP);
    let late = ask(&mut ids, order(), SHORT);
    let (late_id, valid_until) = (late.id.clone(), late.valid_until_ms);
    let unknown = Exchange::Unknown {
        was_malformed: false,
    };
    assert_eq!(link.exchange(late, 2 * SHORT), unknown);
    for _ in 0..3 {
        let unsent = link.exchange(question(&mut ids, order()), LONG);
        assert_eq!(unsent, Exchange::NotSent(NotSent::NoPeer));
    }
    eventually("the end of its time", || {
        (now_ms() > valid_until).then_some(())
    });
    site.signal(Signal::CONT);
    let status = answer(&mut link, &mut ids, &RequestBody::Status(late_id.clone()));
    match status {
        ReplyBody::UnknownId(id) => assert_eq!(id, late_id),
        ReplyBody::Rejected(rejection) => {
            assert_eq!(
                (rejection.order_id, rejection.code),
                (Some(late_id.clone()), Code::Late)
            );
        }
        other => panic!("{other:?}"),
    }
    // The late one may still be on its way; nothing else was sent.
    let reply = answered(link.exchange(question(&mut ids, order()), LONG)).body;
    let ReplyBody::Filled(fill) = reply else {
        panic!("{reply:?}");
    };
    let (fills, verdicts) = site.ledger();
    assert_eq!(fills, [fill.order_id.as_str()]);
    assert!(verdicts.len() <= 2, "{verdicts:?}");
}

#[test]
fn an_order_without_a_reply_that_is_still_valid_is_executed_or_not_as_its_status_says() {
    let test = "an_order_without_a_reply_that_is_still_valid_is_executed_or_not_as_its_status_says";
    let Some(site) = Site::start(test) else {
        return;
    };
    let (mut link, mut ids) = (site.link(), MessageIds::new(['t', 'e']));
    heard(&link, None);
    site.signal(Signal::STOP);
    let order = question(&mut ids, order());
    let id = order.id.clone();
    let outcome = link.exchange(order, SHORT);
    assert!(matches!(outcome, Exchange::Unknown { .. }), "{outcome:?}");
    site.signal(Signal::CONT);
    let fills = match answer(&mut link, &mut ids, &RequestBody::Status(id.clone())) {
        ReplyBody::Filled(_) => vec![id.as_str().to_owned()],
        ReplyBody::UnknownId(_) => Vec::new(),
        other => panic!("{other:?}"),
    };
    answer(&mut link, &mut ids, &RequestBody::Account);
    assert_eq!(site.ledger().0, fills);
}

#[test]
fn a_peer_that_comes_after_the_link_is_found() {
    let test = "a_peer_that_comes_after_the_link_is_found";
    let Some(mut site) = Site::absent(test, "127.0.0.1", free_port()) else {
        return;
    };
    let (mut link, mut ids) = (site.link(), MessageIds::new(['t', 'e']));
    let unsent = link.exchange(question(&mut ids, order()), LONG);
    assert_eq!(unsent, Exchange::NotSent(NotSent::NoPeer));
    assert_eq!(link.state().seen, None);
    site.run();
    heard(&link, None);
    answer(&mut link, &mut ids, &RequestBody::Account);
    assert_eq!(site.ledger().1, Vec::<String>::new());
}

/// libzmq never connects a socket again whose peer broke its protocol.
#[test]
fn a_gateway_is_found_on_a_port_that_belonged_to_somebody_who_broke_the_protocol_of_the_socket() {
    let test = "a_gateway_is_found_on_a_port_that_belonged_to_somebody_who_broke_the_protocol_of_the_socket";
    let stranger = Port::greeting(&[0xff; 64]);
    let Some(mut site) = Site::absent(test, "127.0.0.1", stranger.port) else {
        return;
    };
    let link = site.link();
    eventually("a greeting", || stranger.has_got(&[0xff]).then_some(()));
    drop(stranger);
    site.run();
    heard(&link, None);
}

/// What was logged by anybody in this process.
#[derive(Clone, Default)]
struct Said(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Said {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn another_secret_at_the_gateway_is_told_once_as_what_it_is_and_nothing_is_executed() {
    let test = "another_secret_at_the_gateway_is_told_once_as_what_it_is_and_nothing_is_executed";
    let Some(site) = Site::start(test) else {
        return;
    };
    let said = Said::default();
    let writer = said.clone();
    tracing_subscriber::fmt()
        .with_writer(move || writer.clone())
        .init();
    let mut link = link(
        site.host,
        site.port,
        "another secret of 32 characters!"
            .replace(' ', "_")
            .as_str(),
    );
    let mut ids = MessageIds::new(['t', 'e']);
    eventually("replies that are not believed", || {
        (link.state().missed > 2).then_some(())
    });
    for body in [RequestBody::Account, order()] {
        let outcome = eventually("a connection", || {
            match link.exchange(question(&mut ids, body.clone()), SHORT) {
                Exchange::NotSent(_) => None,
                other => Some(other),
            }
        });
        assert_eq!(
            outcome,
            Exchange::Unknown {
                was_malformed: true
            }
        );
    }
    let state = link.state();
    assert_eq!(
        (state.distrust, state.seen),
        (Some(Distrust::OtherSecret), None)
    );
    let text = String::from_utf8(said.0.lock().unwrap().clone()).unwrap();
    let place = format!("{}:{}", site.host, site.port);
    let told = |line: &&str| line.contains(&place) && line.contains("secret_file is not the same");
    assert_eq!(text.lines().filter(told).count(), 1, "{text}");
    assert_eq!(site.ledger(), (Vec::new(), Vec::new()));
}

#[test]
fn the_end_of_the_program_ends_an_exchange_with_a_frozen_peer_and_the_link() {
    let test = "the_end_of_the_program_ends_an_exchange_with_a_frozen_peer_and_the_link";
    let Some(site) = Site::start(test) else {
        return;
    };
    let stop = Stop::default();
    let ends = stop.clone();
    // The end is asked for by the first sign of life, which is given while the exchange is under way.
    let link = Link::start(
        settings(site.host, site.port, SECRET),
        Clock::system(),
        stop,
        move || ends.request(),
    );
    let (mut link, mut ids) = (link.unwrap(), MessageIds::new(['t', 'e']));
    heard(&link, None);
    site.signal(Signal::STOP);
    let waits = question(&mut ids, order());
    assert_eq!(link.exchange(waits, 2 * LONG), Exchange::Stopped);
    let refused = link.exchange(question(&mut ids, order()), LONG);
    assert_eq!(refused, Exchange::NotSent(NotSent::Closed));
    let (send, ended) = channel();
    std::thread::spawn(move || {
        drop(link);
        let _ = send.send(());
    });
    ended.recv_timeout(LONG).unwrap();
}

#[test]
fn signs_of_life_go_on_while_a_frozen_peer_is_waited_for() {
    let test = "signs_of_life_go_on_while_a_frozen_peer_is_waited_for";
    let Some(site) = Site::start(test) else {
        return;
    };
    let beats = Arc::new(AtomicU32::new(0));
    let (count, stop) = (beats.clone(), Stop::default());
    let link = Link::start(
        settings(site.host, site.port, SECRET),
        Clock::system(),
        stop,
        move || {
            count.fetch_add(1, Ordering::Relaxed);
        },
    );
    let (mut link, mut ids) = (link.unwrap(), MessageIds::new(['t', 'e']));
    heard(&link, None);
    site.signal(Signal::STOP);
    let outcome = link.exchange(question(&mut ids, RequestBody::Account), 10 * SHORT);
    assert!(matches!(outcome, Exchange::Unknown { .. }), "{outcome:?}");
    assert!(beats.load(Ordering::Relaxed) >= 2);
}

#[test]
fn what_is_too_late_or_no_message_or_no_place_is_not_sent() {
    let test = "what_is_too_late_or_no_message_or_no_place_is_not_sent";
    let Some(site) = Site::start(test) else {
        return;
    };
    let (mut link, mut ids) = (site.link(), MessageIds::new(['t', 'e']));
    heard(&link, None);
    let mut late = question(&mut ids, order());
    late.valid_until_ms = now_ms() - 1;
    assert_eq!(link.exchange(late, LONG), Exchange::NotSent(NotSent::Late));
    let mut eternal = question(&mut ids, order());
    eternal.valid_until_ms = now_ms() + 3_600_000;
    let outcome = link.exchange(eternal, LONG);
    assert!(
        matches!(&outcome, Exchange::NotSent(NotSent::Message(why)) if why.contains("valid_until")),
        "{outcome:?}"
    );
    let kill = RequestBody::Kill {
        reason: Text::sentence("a test").unwrap(),
    };
    let killed = answer(&mut link, &mut ids, &kill);
    assert!(matches!(killed, ReplyBody::Kill(killed) if killed.is_killed));
    assert_eq!(site.ledger(), (Vec::new(), Vec::new()));
    let nowhere = Link::start(
        settings("*", 5555, SECRET),
        Clock::system(),
        Stop::default(),
        || {},
    );
    assert!(matches!(nowhere, Err(LinkError::Host { .. })));
}
