//! Any sequence of calls, on a log that is reopened and rotated anywhere, against a naive model of placed orders, positions and pace.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;

use super::super::state::State;
use super::*;

/// What the caller may do; the numbers choose among what there is.
#[derive(Debug, Clone, Copy)]
enum Step {
    Decide { is_buy: bool, symbol: u8, cents: u8 },
    Answer { outcome: u8, cents: u8, at: u8 },
    Find { found: u8, cents: u8, at: u8 },
    Base { symbol: u8, cents: i8 },
    Withhold,
    Consider,
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (any::<bool>(), 0..2_u8, 1..9_u8).prop_map(|(is_buy, symbol, cents)| Step::Decide { is_buy, symbol, cents }),
        5 => (0..5_u8, 1..9_u8, any::<u8>()).prop_map(|(outcome, cents, at)| Step::Answer { outcome, cents, at }),
        3 => (0..5_u8, 1..9_u8, any::<u8>()).prop_map(|(found, cents, at)| Step::Find { found, cents, at }),
        2 => (0..2_u8, -9..9_i8).prop_map(|(symbol, cents)| Step::Base { symbol, cents }),
        1 => Just(Step::Withhold),
        1 => Just(Step::Consider),
        1 => Just(Step::Restart),
    ]
}

const SYMBOLS: [&str; 2] = ["EURUSD", "GBPUSD"];

fn lots(cents: i64) -> Decimal {
    Decimal::new(cents, 2)
}

/// Cents of lots, and whole orders; no way of its own to be clever.
#[derive(Debug, Default, Clone, PartialEq)]
struct Model {
    /// Symbol, signed cents asked for, and whether it is placed.
    orders: BTreeMap<i64, (usize, i64, bool)>,
    positions: [Option<i64>; 2],
    orders_sent: u32,
    last_bar: i64,
}

impl Model {
    fn open(&self) -> Option<i64> {
        let mut open = self.orders.iter().filter(|(_, order)| !order.2);
        open.next().map(|(bar, _)| *bar)
    }

    /// One of the orders that a verdict can be about.
    fn any(&self, at: u8) -> Option<i64> {
        let bars: Vec<_> = self.orders.keys().copied().collect();
        (!bars.is_empty()).then(|| bars[usize::from(at) % bars.len()])
    }

    fn execute(&mut self, bar: i64, cents: i64) {
        let (symbol, asked, _) = self.orders.remove(&bar).unwrap();
        self.positions[symbol] = match self.positions[symbol] {
            Some(held) if cents <= asked.abs() => Some(held + asked.signum() * cents),
            _ => None,
        };
    }
}

fn assert_same(state: &State, model: &Model) -> Result<(), TestCaseError> {
    let bars = |orders: &[super::super::state::OpenIntent]| -> Vec<i64> {
        let mut bars: Vec<_> = orders.iter().map(|one| one.intent.bar_open_time).collect();
        bars.sort_unstable();
        bars
    };
    let of = |is_placed: bool| -> Vec<i64> {
        let of = model
            .orders
            .iter()
            .filter(|(_, order)| order.2 == is_placed);
        of.map(|(bar, _)| *bar).collect()
    };
    prop_assert_eq!(bars(state.open()), of(false));
    prop_assert_eq!(bars(state.placed()), of(true));
    for (symbol, held) in SYMBOLS.iter().zip(model.positions) {
        prop_assert_eq!(state.own_position(symbol), held.map(lots));
    }
    prop_assert_eq!(state.orders_in_day(NOW), model.orders_sent);
    prop_assert_eq!(state.last_decided_bar().unwrap_or(0), model.last_bar);
    Ok(())
}

/// Does it to both; what the model does not allow, the log must refuse.
fn take(
    log: &mut IntentLog<Simulated>,
    model: &mut Model,
    step: Step,
) -> Result<(), TestCaseError> {
    let next = model.last_bar + 1;
    match step {
        Step::Decide {
            is_buy,
            symbol,
            cents,
        } => {
            let order = Intent {
                side: if is_buy {
                    record::Side::Buy
                } else {
                    record::Side::Sell
                },
                symbol: SYMBOLS[usize::from(symbol)].to_owned(),
                volume: lots(i64::from(cents)),
                ..intent(next)
            };
            let is_allowed = model.open().is_none();
            prop_assert_eq!(log.decided(order).is_ok(), is_allowed);
            if is_allowed {
                let signed = if is_buy {
                    i64::from(cents)
                } else {
                    -i64::from(cents)
                };
                model
                    .orders
                    .insert(next, (usize::from(symbol), signed, false));
                (model.last_bar, model.orders_sent) = (next, model.orders_sent + 1);
            }
        }
        Step::Answer { outcome, cents, at } => {
            let Some(bar) = model.any(at) else {
                return Ok(());
            };
            let volume = lots(i64::from(cents));
            let was_placed = model.orders[&bar].2;
            let outcome = match outcome {
                0 => Outcome::Filled { volume },
                1 => Outcome::Partial { volume },
                2 => Outcome::Placed,
                3 => Outcome::Rejected(Rejection::Price),
                _ => Outcome::Unknown,
            };
            let says_nothing = was_placed && matches!(outcome, Outcome::Placed | Outcome::Unknown);
            let result = log.outcome(&intent(bar).id, outcome, NOW);
            prop_assert_eq!(result.is_ok(), !says_nothing);
            match outcome {
                Outcome::Filled { .. } | Outcome::Partial { .. } => {
                    model.execute(bar, i64::from(cents))
                }
                Outcome::Placed => model.orders.get_mut(&bar).unwrap().2 = true,
                Outcome::Rejected(_) => drop(model.orders.remove(&bar)),
                _ => {}
            }
        }
        Step::Find { found, cents, at } => {
            let Some(bar) = model.any(at) else {
                return Ok(());
            };
            let was_placed = model.orders[&bar].2;
            let found = match found {
                0 | 1 => Found::Filled {
                    volume: lots(i64::from(cents)),
                },
                2 => Found::Placed,
                3 => Found::Rejected,
                _ => Found::NeverArrived,
            };
            let result = log.reconciled(&intent(bar).id, found, NOW);
            prop_assert_eq!(result.is_ok(), !(was_placed && found == Found::Placed));
            match found {
                Found::Filled { .. } => model.execute(bar, i64::from(cents)),
                Found::Placed => model.orders.get_mut(&bar).unwrap().2 = true,
                _ => drop(model.orders.remove(&bar)),
            }
        }
        Step::Base { symbol, cents } => {
            let symbol = usize::from(symbol);
            let is_settled =
                model.open().is_none() && model.orders.values().all(|one| one.0 != symbol);
            let result = log.position_based(SYMBOLS[symbol], lots(i64::from(cents)), NOW);
            prop_assert_eq!(result.is_ok(), is_settled);
            if is_settled {
                model.positions[symbol] = Some(i64::from(cents));
            }
        }
        Step::Withhold => {
            let is_allowed = model.open().is_none();
            prop_assert_eq!(log.withheld(next, NOW).is_ok(), is_allowed);
            if is_allowed {
                (model.last_bar, model.orders_sent) = (next, model.orders_sent + 1);
            }
        }
        Step::Consider => {
            log.considered(next).unwrap();
            model.last_bar = next;
        }
        Step::Restart => {
            let (reopened, opened) =
                IntentLog::open_in(log.storage.process_death(), NOW, SMALL).unwrap();
            prop_assert_eq!(opened.damage, []);
            *log = reopened;
        }
    }
    assert_same(log.state().unwrap(), model)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..Default::default() })]

    #[test]
    fn the_log_knows_what_the_model_knows_whenever_it_is_reopened(steps in vec(step(), 1..80)) {
        let (mut log, _) = IntentLog::open_in(Simulated::default(), NOW, SMALL).unwrap();
        let mut model = Model::default();
        for step in steps {
            take(&mut log, &mut model, step)?;
        }
        take(&mut log, &mut model, Step::Restart)?;
    }

    #[test]
    fn a_changed_byte_leaves_no_position_that_could_be_believed(
        steps in vec(step(), 5..40),
        at in any::<usize>(),
        flip in 1..=255_u8,
    ) {
        let (mut log, _) = IntentLog::open_in(Simulated::default(), NOW, ROTATE_LEN_BYTES).unwrap();
        let mut model = Model::default();
        for step in steps.into_iter().filter(|step| !matches!(step, Step::Restart)) {
            take(&mut log, &mut model, step)?;
        }
        let name = log.storage.names().pop().unwrap();
        let mut bytes = log.storage.contents(&name);
        // Not the end of the last line: what is before it says all.
        let at = at % (bytes.len() - 1);
        bytes[at] ^= flip;
        log.storage.overwrite(&name, bytes);
        let (log, opened) = open(&log.storage);
        let state = log.state().unwrap();
        prop_assert!(!opened.damage.is_empty() || opened.torn);
        if opened.torn && opened.damage.is_empty() {
            // The last line lost its end, and nothing else is wrong.
            prop_assert_eq!(state.trading(), TradingState::Active);
        } else {
            prop_assert_eq!(state.reason(), Some((HaltReason::LogDamaged, NOW)));
            prop_assert!(SYMBOLS.iter().all(|symbol| state.own_position(symbol).is_none()));
        }
    }
}
