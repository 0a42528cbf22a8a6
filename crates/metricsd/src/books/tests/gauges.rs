//! Gauges of the ended: discarded, expired, kept.

use super::{Desk, Shard};
use crate::archive::{Ended, Phase, SeriesKind};

fn gauge(number: usize, kind: SeriesKind) -> Shard {
    Shard::new(number, kind, &[("g", number as f64)])
}

fn ends(desk: &mut Desk, shard: &Shard, at: f64) {
    shard
        .seen(|it| desk.books.absorb(it, at))
        .map(drop)
        .unwrap();
}

/// Values of forgotten shards.
fn kept(desk: &Desk) -> Vec<f64> {
    desk.state(|state| {
        let all = state.ended_gauges().iter();
        all.flat_map(|(_, ended)| match ended {
            Ended::Each(values) => values.iter().map(|it| it.value).collect(),
            _ => Vec::new(),
        })
        .collect()
    })
}

#[test]
fn a_discarded_value_is_hidden_for_good_whether_its_shard_was_noted_ended_or_never_heard_of() {
    let kind = SeriesKind::GaugeLiveSum;
    for noted_before in [false, true] {
        let shard = gauge(1, kind);
        let mut desk = Desk::new();
        if noted_before {
            desk.note(&shard);
        }
        desk.books.discard(&shard.identity, kind, &[b"g"]).unwrap();
        let waiting = desk.books.waiting_len_bytes();
        desk.books.discard(&shard.identity, kind, &[b"g"]).unwrap();
        assert_eq!(desk.books.waiting_len_bytes(), waiting, "said once");
        desk.books.sync().unwrap();
        ends(&mut desk, &shard, 1000.0);
        desk.books.sync().unwrap();
        assert_eq!(
            desk.known(&shard, |known| known.unwrap().gauges().count()),
            0
        );
        desk.books.unlinked(&shard.identity).unwrap();
        desk.books.sync().unwrap();
        assert_eq!(kept(&desk).len(), 0);
        desk.is_killed();
        assert_eq!(kept(&desk).len(), 0);
    }
}

#[test]
fn a_value_of_a_forgotten_shard_is_discarded_by_itself_and_the_shard_stays_forgotten() {
    let kind = SeriesKind::GaugeLiveAll;
    let mut desk = Desk::new();
    let (first, second) = (gauge(1, kind), gauge(2, kind));
    for shard in [&first, &second] {
        ends(&mut desk, shard, 1000.0);
        desk.books.unlinked(&shard.identity).unwrap();
    }
    desk.books.sync().unwrap();
    assert_eq!(kept(&desk), [1.0, 2.0]);
    desk.books.discard(&first.identity, kind, &[b"g"]).unwrap();
    desk.books.sync().unwrap();
    assert_eq!(kept(&desk), [2.0]);
    assert!(desk.known(&first, |known| known.is_none()));
}

#[test]
fn only_live_gauges_are_discarded() {
    for kind in SeriesKind::ALL {
        let shard = gauge(1, kind);
        let mut desk = Desk::new();
        desk.note(&shard);
        desk.books.sync().unwrap();
        desk.books.discard(&shard.identity, kind, &[b"g"]).unwrap();
        desk.books.sync().unwrap();
        assert_eq!(desk.books.take_oddities(), []);
        let is_hidden = desk.known(&shard, |known| known.unwrap().gauges().count() == 0);
        assert_eq!(
            is_hidden,
            kind.is_live_gauge() || !kind.is_gauge(),
            "{kind:?}"
        );
    }
}

#[test]
fn values_that_are_shown_by_process_expire_and_are_counted_once() {
    let mut desk = Desk::new();
    let shards = [
        gauge(1, SeriesKind::GaugeAll),
        gauge(2, SeriesKind::GaugeAll),
        gauge(3, SeriesKind::GaugeLiveAll),
        gauge(4, SeriesKind::GaugeLiveMax),
        gauge(5, SeriesKind::GaugeAll),
    ];
    for shard in &shards {
        ends(&mut desk, shard, 1000.0 + shard.entries[0].1);
    }
    // The first is forgotten, the others still there.
    desk.books.unlinked(&shards[0].identity).unwrap();
    desk.books.sync().unwrap();
    assert_eq!(desk.books.expire(1000.0), Ok(0));
    assert_eq!(desk.books.waiting_len_bytes(), 0, "nothing to say");
    assert_eq!(desk.books.expire(1003.0), Ok(3));
    assert_eq!(desk.books.expire(1003.0), Ok(0), "before the sync");
    assert_eq!(desk.books.expire(1005.0), Ok(1), "only what is new");
    desk.books.sync().unwrap();
    assert_eq!(desk.books.expire(1005.0), Ok(0));
    assert_eq!(kept(&desk).len(), 0);
    let shown = |shard| desk.known(shard, |known| known.unwrap().gauges().count());
    assert_eq!(
        shards[1..].iter().map(shown).collect::<Vec<_>>(),
        [0, 0, 1, 0]
    );
}

#[test]
fn a_live_gauge_whose_file_somebody_removes_is_dropped_and_another_gauge_is_kept() {
    for (kind, left) in [(SeriesKind::GaugeLiveMin, 0), (SeriesKind::GaugeAll, 1)] {
        let shard = gauge(1, kind);
        let mut desk = Desk::new();
        shard
            .seen(|it| desk.books.missing(it, 1000.0))
            .map(drop)
            .unwrap();
        desk.books.sync().unwrap();
        let (phase, values) = desk
            .known(&shard, |known| {
                known.map(|it| (it.phase(), it.gauges().count()))
            })
            .unwrap();
        assert_eq!((phase, values), (Phase::Missing, left), "{kind:?}");
    }
}

#[test]
fn of_a_gauge_that_stands_twice_in_a_file_the_last_entry_holds() {
    let shard = Shard::new(1, SeriesKind::GaugeAll, &[("g", 1.0), ("g", 2.0)]);
    let mut desk = Desk::new();
    desk.note(&shard);
    desk.books.sync().unwrap();
    let value = desk.known(&shard, |known| {
        known.unwrap().gauges().next().map(|it| it.1)
    });
    assert_eq!(value, Some(2.0));
}
