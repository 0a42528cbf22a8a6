//! The queue over real files: what was acknowledged is there after any end, in order, and nothing else is.

use std::fs;
use std::path::PathBuf;

use metricsd_client::Registry;

use super::*;
use crate::payload::{Labels, fingerprint};

const HOUR: Duration = Duration::from_secs(3_600);
const MAX: u64 = 1 << 30;

fn open(path: &Path) -> Queue {
    Queue::open(path, Telemetry::new(&Registry::in_memory())).unwrap()
}

fn notification(status: Status, numbers: std::ops::Range<u32>) -> Notification {
    let alerts = numbers.map(|number| {
        let labels: Labels = [("number".to_owned(), number.to_string())].into();
        Alert {
            status,
            fingerprint: fingerprint(&labels),
            labels,
            annotations: Labels::new(),
            starts_at: "2026-11-22T10:00:00Z".to_owned(),
            ends_at: String::new(),
            generator_url: String::new(),
        }
    });
    Notification {
        header: Header {
            group_key: "g".to_owned(),
            ..Header::default()
        },
        alerts: alerts.collect(),
    }
}

fn accept(queue: &Queue, notification: Notification, now: f64) -> usize {
    queue
        .accept("t", notification, now, HOUR, MAX)
        .unwrap()
        .queued
}

fn numbers(queue: &Queue) -> Vec<u32> {
    let (waiting, total) = queue.waiting("t", usize::MAX);
    assert_eq!(waiting.len(), total);
    waiting
        .iter()
        .map(|one| one.alert.label("number").parse().unwrap())
        .collect()
}

fn file(path: &Path) -> PathBuf {
    path.join("queue.journal")
}

#[test]
fn what_was_accepted_and_not_delivered_waits_in_order_after_a_reopen() {
    let folder = tempfile::tempdir().unwrap();
    let queue = open(folder.path());
    accept(&queue, notification(Status::Firing, 0..10), 1.0);
    accept(&queue, notification(Status::Firing, 10..20), 2.0);
    let through = queue.waiting("t", 7).0[6].id;
    queue.attempted("t", 3.5);
    queue.delivered("t", through);
    drop(queue);
    let queue = open(folder.path());
    assert_eq!(numbers(&queue), (7..20).collect::<Vec<_>>());
    assert_eq!(queue.attempts("t"), [3.5]);
    let waiting = queue.waiting("t", 1).0;
    assert_eq!(
        (
            waiting[0].batch.at,
            waiting[0].batch.header.group_key.as_str()
        ),
        (1.0, "g")
    );
    assert!(matches!(
        Queue::open(folder.path(), Telemetry::new(&Registry::in_memory())),
        Err(OpenError::Locked { .. })
    ));
}

#[test]
fn a_resend_is_the_same_message_and_a_change_of_state_or_a_later_reminder_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let queue = open(folder.path());
    let firing = || notification(Status::Firing, 0..1);
    assert_eq!(accept(&queue, firing(), 0.0), 1);
    assert_eq!(accept(&queue, firing(), 10.0), 0);
    drop(queue);
    // Also after a crash between the disk and the answer.
    let queue = open(folder.path());
    assert_eq!(accept(&queue, firing(), 20.0), 0);
    assert_eq!(
        accept(&queue, notification(Status::Resolved, 0..1), 30.0),
        1
    );
    assert_eq!(
        accept(&queue, notification(Status::Resolved, 0..1), 31.0),
        0
    );
    // It comes back, with its old start time: Prometheus was away for a while.
    assert_eq!(accept(&queue, firing(), 40.0), 1);
    let mut other_group = firing();
    other_group.header.group_key = "h".to_owned();
    assert_eq!(accept(&queue, other_group, 41.0), 1);
    let mut later = firing();
    later.alerts[0].starts_at = "2026-11-22T11:00:00Z".to_owned();
    assert_eq!(accept(&queue, later.clone(), 50.0), 1);
    assert_eq!(accept(&queue, later.clone(), 50.0 + 3_599.0), 0);
    assert_eq!(accept(&queue, later, 50.0 + 3_600.0), 1);
    // A new alert in a group is told alone.
    let mut grown = notification(Status::Firing, 7..8);
    assert_eq!(accept(&queue, grown.clone(), 60.0), 1);
    grown
        .alerts
        .extend(notification(Status::Firing, 8..9).alerts);
    assert_eq!(accept(&queue, grown, 61.0), 1);
}

#[test]
fn a_rewritten_file_says_the_same_and_is_shorter() {
    let folder = tempfile::tempdir().unwrap();
    let queue = open(folder.path());
    let count = 20_000;
    accept(&queue, notification(Status::Firing, 0..count), 5.0);
    accept(&queue, notification(Status::Resolved, 0..3), 6.0);
    queue.attempted("t", 7.0);
    let before = fs::metadata(file(folder.path())).unwrap().len();
    let through = queue.waiting("t", usize::MAX).0[count as usize - 2].id;
    queue.delivered("t", through);
    let after = fs::metadata(file(folder.path())).unwrap().len();
    assert!(after < before / 2 + (1 << 20), "{before} {after}");
    let expected = vec![count - 1, 0, 1, 2];
    assert_eq!(numbers(&queue), expected);
    drop(queue);
    let queue = open(folder.path());
    assert_eq!(numbers(&queue), expected);
    assert_eq!(queue.attempts("t"), [7.0]);
    assert_eq!(accept(&queue, notification(Status::Firing, 5..6), 8.0), 0);
    assert_eq!(
        accept(&queue, notification(Status::Firing, count..count + 1), 8.0),
        1
    );
    let ids: Vec<u64> = queue.waiting("t", 9).0.iter().map(|one| one.id).collect();
    assert!(ids.is_sorted() && ids[4] > through, "{ids:?}");
}

#[test]
fn a_file_cut_at_any_byte_keeps_what_was_acknowledged_before_the_cut() {
    let folder = tempfile::tempdir().unwrap();
    let queue = open(folder.path());
    let mut ends = vec![fs::metadata(file(folder.path())).unwrap().len()];
    for number in 0..2 {
        accept(
            &queue,
            notification(Status::Firing, number..number + 1),
            1.0,
        );
        ends.push(fs::metadata(file(folder.path())).unwrap().len());
    }
    drop(queue);
    let whole = fs::read(file(folder.path())).unwrap();
    for cut in ends[0] as usize..=whole.len() {
        fs::write(file(folder.path()), &whole[..cut]).unwrap();
        let queue = open(folder.path());
        let count = ends[1..].iter().filter(|end| **end as usize <= cut).count() as u32;
        assert_eq!(numbers(&queue), (0..count).collect::<Vec<_>>(), "{cut}");
        // What is appended behind the cut is read again.
        accept(&queue, notification(Status::Firing, 9..10), 1.0);
        drop(queue);
        assert_eq!(numbers(&open(folder.path())).last(), Some(&9), "{cut}");
    }
}

#[test]
fn damage_in_the_middle_costs_its_own_record_and_a_copy_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let queue = open(folder.path());
    let begin = fs::metadata(file(folder.path())).unwrap().len() as usize;
    for number in 0..3 {
        accept(
            &queue,
            notification(Status::Firing, number..number + 1),
            1.0,
        );
    }
    drop(queue);
    let mut bytes = fs::read(file(folder.path())).unwrap();
    bytes[begin + 20] ^= 1;
    fs::write(file(folder.path()), &bytes).unwrap();
    let registry = Registry::in_memory();
    let queue = Queue::open(folder.path(), Telemetry::new(&registry)).unwrap();
    assert_eq!(numbers(&queue), [1, 2]);
    assert!(
        registry
            .render()
            .contains("alertbridge_journal_errors_total{op=\"damage\"} 1")
    );
    assert_eq!(
        fs::read(folder.path().join("queue.journal.damaged")).unwrap(),
        bytes
    );
}

#[test]
fn a_full_queue_refuses_and_takes_again_when_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let queue = open(folder.path());
    let try_accept = |number| {
        queue.accept(
            "t",
            notification(Status::Firing, number..number + 1),
            1.0,
            HOUR,
            900,
        )
    };
    let mut count = 0;
    while try_accept(count).is_ok() {
        count += 1;
        assert!(count < 100);
    }
    assert!(matches!(try_accept(count), Err(AcceptError::Full { .. })));
    assert_eq!(numbers(&queue).len() as u32, count);
    queue.delivered("t", queue.waiting("t", 1).0[0].id);
    queue.delivered("t", queue.waiting("t", 1).0[0].id);
    queue.delivered("t", queue.waiting("t", 1).0[0].id);
    assert!(try_accept(count).is_ok());
}

#[test]
fn a_later_format_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let record = Record::Begin {
        format: 2,
        next_id: 0,
    };
    fs::write(file(folder.path()), record.encoded()).unwrap();
    let refused = Queue::open(folder.path(), Telemetry::new(&Registry::in_memory()));
    assert!(matches!(refused, Err(OpenError::Format { found: 2, .. })));
}
