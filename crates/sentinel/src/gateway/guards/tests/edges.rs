//! What is just still permitted.

use super::super::situation::Working;
use super::*;

#[test]
fn what_is_exactly_at_its_limit_is_permitted() {
    check(|log| ordered(log, &[7_200, 30]), |_| {}).unwrap();
    check(
        |log| log.considered(BAR - 1).unwrap(),
        |c| {
            for (id, value) in LimitId::ALL
                .into_iter()
                .zip(["1100", "1100", "1100", "1", "500", "5"])
            {
                limit(c, id, value);
            }
            c.situation.account.as_mut().unwrap().value.equity = d("9500.5");
        },
    )
    .unwrap();
    // A profit, however large, is no loss.
    check(untouched, |c| {
        limit(c, LimitId::MaxDailyLossAbs, "0.01");
        limit(c, LimitId::MaxDailyLossPct, "0.01");
        c.situation.account.as_mut().unwrap().value.equity = d("900000");
    })
    .unwrap();
}

#[test]
fn the_way_out_is_blocked_by_its_own_size_and_by_nothing_else() {
    fn losing(c: &mut Case) {
        for (id, value) in LimitId::ALL
            .into_iter()
            .zip(["1100", "1", "1", "0.5", "1", "0.01"])
        {
            limit(c, id, value);
        }
        c.situation.account.as_mut().unwrap().value.equity = d("5000");
        book(c).positions = vec![position("EURUSD", "-0.015")];
    }
    fn reducing(log: &mut IntentLog<Disk>) {
        log.tighten(TradingState::Reducing, HaltReason::Operator, NOW)
            .unwrap();
    }
    check(reducing, losing).unwrap();
    let too_much = check(reducing, |c| {
        losing(c);
        limit(c, LimitId::MaxOrderNotional, "1099");
    });
    assert_eq!(
        too_much,
        Err(Refusal::Limits(vec![LimitId::MaxOrderNotional]))
    );
    // Past flat it is an entry, and so it is when a working order is on its way out already.
    for change in [
        (|c| {
            losing(c);
            c.request.volume = d("0.016");
        }) as Change,
        |c| {
            losing(c);
            let (symbol, side) = ("EURUSD".to_owned(), Side::Buy);
            book(c).working = vec![Working {
                symbol,
                side,
                volume: d("0.006"),
                unit_value: d("110000"),
            }];
        },
    ] {
        assert_eq!(check(reducing, change), Err(Refusal::ReducingOnly));
    }
}
