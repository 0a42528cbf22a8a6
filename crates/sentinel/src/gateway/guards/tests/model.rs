//! The limits against a model in whole numbers, and inputs that are out of all bounds.

use proptest::prelude::*;

use super::super::limits::{self, Exposure};
use super::super::situation::Working;
use super::*;
use crate::gateway::intent_log::record::Record;

/// One symbol: position, working buys and sells in hundredths of a lot, value of a lot in cents.
#[derive(Debug, Clone, Copy)]
struct Line {
    position: i64,
    buys: i64,
    sells: i64,
    value: i64,
}

const SYMBOLS: [&str; 3] = ["EURUSD", "GBPUSD", "USDJPY"];

fn line() -> impl Strategy<Value = Line> {
    (-3_i64..=3, 0_i64..=2, 0_i64..=2, 1_i64..=4).prop_map(|(position, buys, sells, value)| Line {
        position: position * 100,
        buys: buys * 100,
        sells: sells * 100,
        value: value * 1_000,
    })
}

fn book_of(lines: &[Line; 3]) -> Book {
    let mut book = Book::default();
    for (symbol, line) in SYMBOLS.iter().zip(lines) {
        let unit_value = Decimal::new(line.value, 2);
        if line.position != 0 {
            let volume = Decimal::new(line.position, 2);
            book.positions.push(Position {
                symbol: (*symbol).to_owned(),
                volume,
                unit_value,
            });
        }
        for (side, volume) in [(Side::Buy, line.buys), (Side::Sell, line.sells)] {
            if volume != 0 {
                let volume = Decimal::new(volume, 2);
                book.working.push(Working {
                    symbol: (*symbol).to_owned(),
                    side,
                    volume,
                    unit_value,
                });
            }
        }
    }
    book
}

/// In hundredths of cents: every subset of the working orders is tried.
fn worst(line: &Line) -> i64 {
    let ends = [(0, 0), (1, 0), (0, 1), (1, 1)]
        .map(|(buys, sells)| (line.position + buys * line.buys - sells * line.sells).abs());
    ends.into_iter().max().unwrap() * line.value
}

/// The limits that the order breaches, and whether it reduces; all amounts in hundredths of cents.
fn expected(
    lines: &[Line; 3],
    (is_buy, volume): (bool, i64),
    (equity, opening): (i64, i64),
    limits: &[Option<i64>; 6],
) -> (Vec<LimitId>, bool) {
    let mut after = *lines;
    let own = &mut after[0];
    let before = own.position;
    own.position += if is_buy { volume } else { -volume };
    let same_side = if is_buy { own.buys } else { own.sells };
    let reduces =
        (before > 0 && !is_buy || before < 0 && is_buy) && volume + same_side <= before.abs();
    let value = own.value;
    let exposures = after.map(|line| worst(&line));
    let open = exposures.iter().filter(|exposure| **exposure > 0).count() as i64;
    let loss = opening - equity;
    let values = [
        volume * value,
        exposures.iter().sum(),
        exposures[0],
        open * 10_000,
        loss,
        0,
    ];
    let breached = LimitId::ALL
        .into_iter()
        .filter(|id| {
            let Some(limit) = limits[*id as usize] else {
                return false;
            };
            let is_breached = match id {
                // Percent with two decimals, times ten thousand as all limits here.
                LimitId::MaxDailyLossPct => {
                    i128::from(loss) * 100 * 10_000 > i128::from(limit) * i128::from(opening)
                }
                _ => values[*id as usize] > limit,
            };
            is_breached && (!reduces || *id == LimitId::MaxOrderNotional)
        })
        .collect();
    (breached, reduces)
}

fn limit_of(range: std::ops::RangeInclusive<i64>) -> impl Strategy<Value = Option<i64>> {
    // On a coarse grid, so that values meet their limits exactly now and then.
    prop_oneof![1 => Just(None), 3 => range.prop_map(|steps| Some(steps * 100_000))]
}

/// Without a directory: a file of its own for each case would be most of the time of the test.
fn state_of(equity: Decimal, is_reducing: bool) -> State {
    let mut state = State::default();
    let day = NOW.div_euclid(86_400_000);
    state.absorb(1, &Record::DayOpened { day, equity });
    if is_reducing {
        let reducing = Record::Tightened {
            state: TradingState::Reducing,
            reason: HaltReason::Operator,
            at_ms: NOW,
        };
        state.absorb(2, &reducing);
    }
    state
}

fn wild() -> impl Strategy<Value = Decimal> {
    let any = (any::<i128>(), 0_u32..=28)
        .prop_map(|(number, scale)| Decimal::from_i128_with_scale(number >> 32, scale));
    prop_oneof![
        Just(Decimal::MAX),
        Just(Decimal::MIN),
        Just(Decimal::ZERO),
        Just(limits::AMOUNT_MAX),
        Just(Decimal::new(1, 28)),
        any,
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_permitted_is_what_the_model_permits(
        lines in [line(), line(), line()],
        order in (any::<bool>(), (1_i64..=5).prop_map(|lots| lots * 100)),
        equity in (-5_i64..=5).prop_map(|steps| steps * 100_000),
        is_reducing in any::<bool>(),
        limits in (
            limit_of(1..=40), limit_of(1..=120), limit_of(1..=60),
            prop::option::of((1_i64..=3).prop_map(|count| count * 10_000)),
            limit_of(1..=5), limit_of(1..=5),
        ),
    ) {
        let opening = 10_000_000;
        let limits = [limits.0, limits.1, limits.2, limits.3, limits.4, limits.5];
        let (breached, reduces) = expected(&lines, order, (opening + equity, opening), &limits);
        let mut settings = settings();
        settings.limits = limits.map(|limit| limit.map(|limit| Decimal::new(limit, 4)));
        let mut request = request();
        request.side = if order.0 { Side::Buy } else { Side::Sell };
        (request.volume, request.cost) = (Decimal::new(order.1, 2), Decimal::ZERO);
        request.unit_value = Decimal::new(lines[0].value, 2);
        let state = state_of(Decimal::new(opening, 4), is_reducing);
        let mut situation = situation(&state);
        situation.book.as_mut().unwrap().value = book_of(&lines);
        situation.account.as_mut().unwrap().value.equity = Decimal::new(opening + equity, 4);
        let found = Guards::new(settings).unwrap().check(&request, &situation);
        if is_reducing && !reduces {
            prop_assert_eq!(found, Err(Refusal::ReducingOnly));
        } else if breached.is_empty() {
            prop_assert!(found.is_ok(), "{:?}", found);
        } else {
            prop_assert_eq!(found, Err(Refusal::Limits(breached)));
        }
    }

    #[test]
    fn nothing_panics_and_nothing_absurd_is_permitted(
        numbers in prop::collection::vec(wild(), 12),
        confidence in any::<f64>(),
        times in (any::<i64>(), any::<i64>(), any::<i64>()),
        sane in any::<bool>(),
    ) {
        let mut settings = settings();
        for (limit, number) in settings.limits.iter_mut().zip(&numbers) {
            *limit = Some(*number).filter(|number| is_amount(*number));
        }
        let limits = settings.limits;
        let mut request = request();
        (request.volume, request.unit_value, request.cost) = (numbers[6], numbers[7], numbers[8]);
        let state = state_of(numbers[9], false);
        let mut situation = situation(&state);
        if !sane {
            request.confidence = confidence;
            (request.bar_open_time, request.valid_until_ms, situation.now_ms) = times;
        }
        let own = Position { symbol: "EURUSD".to_owned(), volume: numbers[10], unit_value: numbers[7] };
        let other = Working { symbol: "B".to_owned(), side: Side::Sell, volume: numbers[11], unit_value: numbers[7] };
        let book = Book { positions: vec![own], working: vec![other] };
        let held = limits::held(&book, "EURUSD").unwrap_or(Exposure { total: numbers[0], symbol: numbers[1], open_positions: u32::MAX });
        situation.book.as_mut().unwrap().value = book;
        situation.account.as_mut().unwrap().value.equity = numbers[9];
        if Guards::new(settings).unwrap().check(&request, &situation).is_ok() {
            let sound = [request.volume, request.unit_value, numbers[10].abs(), numbers[11]];
            prop_assert!(sound.into_iter().all(is_amount));
            prop_assert!(request.confidence > 0.6 && request.confidence <= 1.0);
        }
        let used = limits::utilisation(&limits, numbers[6], &held, numbers[9], Some(numbers[8]));
        for (used, limit) in used.iter().zip(limits) {
            prop_assert!(used.is_none_or(|used| (0.0..=1.0).contains(&used)));
            prop_assert!(limit.is_some() || used.is_none());
        }
    }
}

#[test]
fn utilisation_is_the_share_of_each_limit_between_nothing_and_all_of_it() {
    let limits = ["1000", "2000", "4000", "4", "500", "5"].map(|limit| Some(d(limit)));
    let held = Exposure {
        total: d("3000"),
        symbol: d("1000"),
        open_positions: 1,
    };
    let used = limits::utilisation(&limits, d("500"), &held, d("9900"), Some(d("10000")));
    assert_eq!(used, [0.5, 1.0, 0.25, 0.25, 0.2, 0.2].map(Some));
    // A profit uses nothing of a loss limit; an opening that is not known gives no number.
    let used = limits::utilisation(&limits, d("0"), &held, d("10100"), Some(d("10000")));
    assert_eq!((used[4], used[5]), (Some(0.0), Some(0.0)));
    let used = limits::utilisation(&limits, d("0"), &held, d("10100"), None);
    assert_eq!((used[4], used[5]), (None, None));
    let used = limits::utilisation(&limits, d("0"), &held, d("-1"), Some(d("0")));
    assert_eq!(used[5], Some(1.0));
    assert_eq!(
        limits::utilisation(&[None; 6], d("1"), &held, d("1"), None),
        [None; 6]
    );
}
