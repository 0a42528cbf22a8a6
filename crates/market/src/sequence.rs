//! The closed-candle and gap rules. Invariant: a candle that is accepted is closed, later than every one before it, and its
//! distance to the last is stated; each fault of the data is reported exactly once.

use crate::calendar::Calendar;
use crate::candle::Candle;
use crate::feed::Row;
use crate::timeframe::Timeframe;

/// What can be wrong with a bar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Defect {
    /// Expected bars are missing before this one; the bar itself is used.
    Gap,
    /// A bar of that opening time was already seen; dropped.
    Duplicate,
    /// It opens before the last one closed; dropped.
    OutOfOrder,
    /// A price or the volume is `nan` or infinite; dropped.
    NonFinite,
    /// Prices contradict each other or are not positive; dropped.
    OhlcViolation,
    /// It is not over yet, so its prices may still change; dropped.
    Unclosed,
}

impl Defect {
    /// All of them.
    pub const ALL: [Defect; 6] = [
        Defect::Gap,
        Defect::Duplicate,
        Defect::OutOfOrder,
        Defect::NonFinite,
        Defect::OhlcViolation,
        Defect::Unclosed,
    ];

    /// The spelling in metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Defect::Gap => "gap",
            Defect::Duplicate => "duplicate",
            Defect::OutOfOrder => "out_of_order",
            Defect::NonFinite => "non_finite",
            Defect::OhlcViolation => "ohlc_violation",
            Defect::Unclosed => "unclosed",
        }
    }
}

/// What becomes of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission<'a> {
    /// A closed candle, with how many expected bars are missing before it (0 = none; more is one [`Defect::Gap`]).
    Accepted(&'a Candle, u64),
    /// Not to be used.
    Dropped(Defect),
}

/// What was seen of a feed so far.
#[derive(Debug, Clone)]
pub struct Sequence {
    timeframe: Timeframe,
    calendar: Calendar,
    last_accepted: Option<i64>,
    last_seen: Option<i64>,
    /// Expected bars since the last accepted one that were there but unusable: already reported, so they are not missing as well.
    unusable_since: u64,
}

impl Sequence {
    /// Nothing seen yet.
    pub fn new(timeframe: Timeframe, calendar: Calendar) -> Sequence {
        Sequence {
            timeframe,
            calendar,
            last_accepted: None,
            last_seen: None,
            unusable_since: 0,
        }
    }

    /// Judge the next row; `now` is Unix seconds.
    pub fn admit<'a>(&mut self, row: &'a Row, now: i64) -> Admission<'a> {
        let open_time = row.open_time();
        match self.last_seen {
            // The first one stands, also when it was unusable: a feed that corrects itself is not to be believed twice.
            Some(last) if open_time == last => return Admission::Dropped(Defect::Duplicate),
            // Also a bar that begins inside the last one: its prices overlap with what was already used.
            Some(last) if open_time < last.saturating_add(self.timeframe.seconds()) => {
                return Admission::Dropped(Defect::OutOfOrder);
            }
            _ => {}
        }
        // A bar still forming is forgotten, not remembered as seen: it comes again when it is closed.
        if open_time.saturating_add(self.timeframe.seconds()) > now {
            return Admission::Dropped(Defect::Unclosed);
        }
        self.last_seen = Some(open_time);
        match row {
            Row::Candle(candle) => {
                let missing = match self.last_accepted {
                    None => 0,
                    Some(last) => self.calendar.missing_bars(last, open_time, self.timeframe),
                };
                let missing = missing.saturating_sub(self.unusable_since);
                self.last_accepted = Some(open_time);
                self.unusable_since = 0;
                Admission::Accepted(candle, missing)
            }
            Row::Unusable { defect, .. } => {
                // One that the calendar does not expect is not among the missing, and must not stand in for one that is.
                if self.calendar.expects_bar(open_time, self.timeframe) {
                    self.unusable_since += 1;
                }
                Admission::Dropped(*defect)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rust_decimal::Decimal;

    const HOUR: i64 = 3_600;
    /// Wednesday 2017-01-04 00:00 UTC.
    const START: i64 = 1_483_488_000;

    fn bar(hour: i64) -> Row {
        Row::Candle(Candle::new(START + hour * HOUR, [Decimal::ONE; 4], Decimal::ONE).unwrap())
    }

    fn unusable(hour: i64) -> Row {
        Row::Unusable {
            open_time: START + hour * HOUR,
            defect: Defect::NonFinite,
        }
    }

    /// Each row's verdict in words: `ok`, `ok+N` (N bars missing), or the defect.
    fn verdicts(rows: &[Row], now_hour: i64) -> Vec<String> {
        let mut sequence = Sequence::new(Timeframe::H1, Calendar::Fx);
        rows.iter()
            .map(|row| match sequence.admit(row, START + now_hour * HOUR) {
                Admission::Accepted(_, 0) => "ok".to_owned(),
                Admission::Accepted(_, missing) => format!("ok+{missing}"),
                Admission::Dropped(defect) => defect.as_str().to_owned(),
            })
            .collect()
    }

    #[test]
    fn each_fault_of_a_feed_is_reported_once_and_an_unusable_bar_is_never_accepted() {
        let table: [(&str, Vec<Row>, &[&str]); 9] = [
            (
                "consecutive",
                vec![bar(0), bar(1), bar(2)],
                &["ok", "ok", "ok"],
            ),
            (
                "a hole",
                vec![bar(0), bar(3), bar(4)],
                &["ok", "ok+2", "ok"],
            ),
            (
                "twice",
                vec![bar(0), bar(1), bar(1), bar(2)],
                &["ok", "ok", "duplicate", "ok"],
            ),
            (
                "back in time",
                vec![bar(0), bar(2), bar(1), bar(3)],
                &["ok", "ok+1", "out_of_order", "ok"],
            ),
            (
                "nan in the middle is no gap too",
                vec![bar(0), unusable(1), bar(2)],
                &["ok", "non_finite", "ok"],
            ),
            (
                "a hole behind a nan",
                vec![bar(0), unusable(3), bar(4)],
                &["ok", "non_finite", "ok+2"],
            ),
            (
                "a nan first",
                vec![unusable(0), bar(1)],
                &["non_finite", "ok"],
            ),
            (
                "a correction",
                vec![bar(0), unusable(1), bar(1), bar(2)],
                &["ok", "non_finite", "duplicate", "ok"],
            ),
            (
                "still forming, then closed",
                vec![bar(22), bar(23), bar(24), bar(24)],
                &["ok", "ok", "unclosed", "unclosed"],
            ),
        ];
        for (name, rows, expected) in table {
            assert_eq!(verdicts(&rows, 24), expected, "{name}");
        }
    }

    #[test]
    fn an_unusable_bar_of_the_weekend_hides_no_gap() {
        // From Friday 20:00 to Sunday 23:00 the bar of Sunday 22:00 is missing; the one of Saturday noon is none that was expected.
        let rows = [bar(68), unusable(84), bar(119)];
        assert_eq!(verdicts(&rows, 200), ["ok", "non_finite", "ok+1"]);
    }

    #[test]
    fn a_bar_that_begins_inside_the_last_one_is_out_of_order() {
        let mut sequence = Sequence::new(Timeframe::H1, Calendar::Always);
        let half =
            Row::Candle(Candle::new(START + HOUR / 2, [Decimal::ONE; 4], Decimal::ONE).unwrap());
        sequence.admit(&bar(0), i64::MAX);
        assert_eq!(
            sequence.admit(&half, i64::MAX),
            Admission::Dropped(Defect::OutOfOrder)
        );
    }

    #[test]
    fn a_bar_is_closed_at_the_second_its_span_ends_and_not_before() {
        for (now, accepted) in [(START + HOUR - 1, false), (START + HOUR, true)] {
            let mut sequence = Sequence::new(Timeframe::H1, Calendar::Fx);
            assert_eq!(
                matches!(sequence.admit(&bar(0), now), Admission::Accepted(..)),
                accepted,
                "{now}"
            );
        }
    }

    #[test]
    fn an_unclosed_bar_is_accepted_when_it_comes_again_after_its_close() {
        let mut sequence = Sequence::new(Timeframe::H1, Calendar::Fx);
        let row = bar(0);
        assert_eq!(
            sequence.admit(&row, START + 10),
            Admission::Dropped(Defect::Unclosed)
        );
        assert!(matches!(
            sequence.admit(&row, START + HOUR),
            Admission::Accepted(_, 0)
        ));
    }
}
