//! `docs/trading-safety.md` speaks of every way in which an order is refused and trading is halted.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends here")]

use sentinel::gateway::guards::refusal::{Input, Reason, Refusal};
use sentinel::gateway::intent_log::record::HaltReason;

const PAGE: &str = include_str!("../../../docs/trading-safety.md");

fn section(title: &str) -> &'static str {
    let (_, rest) = PAGE.split_once(&format!("\n## {title}\n")).unwrap();
    rest.split("\n## ").next().unwrap()
}

/// The table row that says this.
fn row(table: &'static str, text: &str) -> &'static str {
    let mut rows = table
        .lines()
        .filter(|line| line.starts_with('|') && line.contains(text));
    rows.next().unwrap_or_else(|| panic!("{text}"))
}

/// All that a guard can say, and what of it is the same whatever it is about, in the order of the questions.
fn refusals() -> Vec<(Refusal, String)> {
    let whole = |refusal: Refusal| {
        let text = refusal.to_string();
        (refusal, text)
    };
    // A new one does not compile until it is here, in the list below and on the page.
    let _ = |refusal: Refusal| match refusal {
        Refusal::BelowThreshold
        | Refusal::StaleBar
        | Refusal::Late
        | Refusal::Stale(_)
        | Refusal::Missing(_)
        | Refusal::Absurd(_)
        | Refusal::KillSwitch
        | Refusal::LogUnavailable
        | Refusal::Halted(_)
        | Refusal::OutcomeUnknown
        | Refusal::NotReconciled
        | Refusal::MarketClosed
        | Refusal::Duplicate
        | Refusal::Cooldown
        | Refusal::BreakerOpen
        | Refusal::OrdersPerMinute
        | Refusal::OrdersPerDay
        | Refusal::NotArmed
        | Refusal::NoHeartbeat
        | Refusal::WrongAccount
        | Refusal::PeerKilled
        | Refusal::PeerDisabled
        | Refusal::ClockOffset(_)
        | Refusal::ReducingOnly
        | Refusal::Limits(_) => {}
    };
    vec![
        whole(Refusal::StaleBar),
        whole(Refusal::BelowThreshold),
        whole(Refusal::Late),
        whole(Refusal::KillSwitch),
        whole(Refusal::LogUnavailable),
        whole(Refusal::Halted(None)),
        whole(Refusal::OutcomeUnknown),
        whole(Refusal::NotReconciled),
        whole(Refusal::MarketClosed),
        whole(Refusal::Duplicate),
        whole(Refusal::Cooldown),
        whole(Refusal::OrdersPerMinute),
        whole(Refusal::OrdersPerDay),
        whole(Refusal::BreakerOpen),
        whole(Refusal::NotArmed),
        whole(Refusal::NoHeartbeat),
        whole(Refusal::WrongAccount),
        whole(Refusal::PeerKilled),
        whole(Refusal::PeerDisabled),
        (
            Refusal::ClockOffset(3_000),
            "clocks are more than 2 s apart".to_owned(),
        ),
        whole(Refusal::Missing(Input::Account)),
        whole(Refusal::Stale(Input::Positions)),
        whole(Refusal::Absurd(Input::UnitValue)),
        whole(Refusal::ReducingOnly),
        (Refusal::Limits(Vec::new()), "limits:".to_owned()),
    ]
}

#[test]
fn every_refusal_is_in_the_table_of_the_questions_with_its_reason_and_in_their_order() {
    let table = section("What stops an order, in this order");
    let mut before = 0;
    for (refusal, text) in refusals() {
        let row = row(table, &text);
        let reason = format!("`{}`", refusal.reason().as_str());
        assert!(row.contains(&reason), "{text}: {reason}: {row}");
        let at = table.find(row).unwrap();
        assert!(at >= before, "{text} is not in its place");
        before = at;
    }
    for reason in Reason::ALL {
        row(table, &format!("`{}`", reason.as_str()));
    }
}

#[test]
fn every_reason_of_a_halt_says_what_to_do() {
    let table = section("After each halt");
    for reason in HaltReason::ALL {
        let row = row(table, &format!("| `{}` |", reason.as_str()));
        let advice = row.split('|').nth(3).unwrap().trim();
        assert!(advice.len() > 10, "{row}");
    }
}
