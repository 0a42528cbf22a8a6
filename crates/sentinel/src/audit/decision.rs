//! A decision, with everything that it was made of.
//!
//! Invariant: what is written holds all that the features, the decision and the guards looked at, so that each can be asked again and has
//! to say the same; what could not be read back is not written. Must not touch: storage, clocks.

use market::{Bar, Timeframe};
use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::error::AuditError;
use super::record::{Model, Verdict};
use crate::breaker;
use crate::decide::Action;
use crate::features::{BAR_COUNT, Features};
use crate::gateway::guards::situation::{Account, Aged, Book, Peer, Request, Situation};
use crate::gateway::intent_log::state::State;
use crate::model::Probabilities;

/// A decision as it was made.
#[derive(Debug, Clone)]
pub struct Decision<'a> {
    /// Unix milliseconds of the decision.
    pub at_ms: i64,
    /// Unix seconds of the opening of the bar that was decided on.
    pub bar_open_time: i64,
    /// The window that the features are of: [`BAR_COUNT`] bars, oldest first, the one that was decided on last.
    pub bars: &'a [Bar],
    /// The features that the model was given.
    pub features: &'a Features,
    /// The model that was asked.
    pub model: &'a Model,
    /// What it said.
    pub probabilities: Probabilities,
    /// What follows from that.
    pub action: Action,
    /// The greatest of the probabilities.
    pub confidence: f64,
    /// What the guards were asked; none when they were not.
    pub request: Option<&'a Request>,
    /// What the guards looked at when they said what the verdict says: the very value, taken before anything was recorded.
    pub situation: Option<&'a Situation<'a>>,
    /// What became of it.
    pub verdict: Verdict,
}

/// Opening, open, high, low, close, volume.
type BarRow = (i64, f64, f64, f64, f64, f64);

/// A line of kind `decision`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DecisionRecord {
    pub(super) at_ms: i64,
    pub(super) bar_open_time: i64,
    pub(super) bar_close_time: i64,
    pub(super) input_sha256: Digest,
    pub(super) features_sha256: Digest,
    pub(super) configuration_sha256: Digest,
    pub(super) model: Model,
    /// Sell, hold, buy.
    pub(super) probabilities: [f64; 3],
    #[serde(with = "ActionWord")]
    pub(super) action: Action,
    pub(super) confidence: f64,
    pub(super) verdict: Verdict,
    pub(super) request: Option<Request>,
    pub(super) situation: Option<RecordedSituation>,
    /// Those at the end of the window that the decision before it in this file did not have; all of them in the first of a file.
    bars: Vec<BarRow>,
}

/// The words of [`Action`] on disk.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Action", rename_all = "lowercase")]
enum ActionWord {
    Buy,
    Sell,
    Hold,
}

impl DecisionRecord {
    /// With none of its bars yet.
    pub(super) fn of(
        decision: &Decision<'_>,
        interval: Timeframe,
        configuration_sha256: Digest,
    ) -> Result<DecisionRecord, AuditError> {
        check(decision)?;
        Ok(DecisionRecord {
            at_ms: decision.at_ms,
            bar_open_time: decision.bar_open_time,
            bar_close_time: decision.bar_open_time.saturating_add(interval.seconds()),
            input_sha256: Digest::of_bars(decision.bars),
            features_sha256: Digest::of_features(decision.features),
            configuration_sha256,
            model: decision.model.clone(),
            probabilities: decision.probabilities.to_array(),
            action: decision.action,
            confidence: decision.confidence,
            verdict: decision.verdict.clone(),
            request: decision.request.cloned(),
            situation: decision.situation.map(RecordedSituation::of),
            bars: Vec::new(),
        })
    }

    pub(super) fn bars(&self) -> impl ExactSizeIterator<Item = Bar> {
        let bar = |&(open_time, open, high, low, close, volume): &BarRow| Bar {
            open_time,
            open,
            high,
            low,
            close,
            volume,
        };
        self.bars.iter().map(bar)
    }

    pub(super) fn set_bars(&mut self, bars: &[Bar]) {
        let row = |b: &Bar| (b.open_time, b.open, b.high, b.low, b.close, b.volume);
        self.bars = bars.iter().map(row).collect();
    }
}

/// Refuses what could not be read back or asked again.
fn check(decision: &Decision<'_>) -> Result<(), AuditError> {
    let found = decision.bars.len();
    if found != BAR_COUNT {
        return Err(AuditError::Window { found });
    }
    let of_bars = decision.bars.iter().flat_map(|b| {
        [b.open, b.high, b.low, b.close, b.volume].map(|value| ("a number of a bar", value))
    });
    let of_request = decision
        .request
        .map(|request| ("the confidence of the request", request.confidence));
    finite(
        of_bars
            .chain([("the confidence", decision.confidence)])
            .chain(of_request),
    )?;
    let is_founded = decision.request.is_some() && decision.situation.is_some();
    if decision.verdict != Verdict::Hold && !is_founded {
        return Err(AuditError::Unfounded);
    }
    Ok(())
}

/// Refuses the first number that is none.
pub(super) fn finite(
    numbers: impl IntoIterator<Item = (&'static str, f64)>,
) -> Result<(), AuditError> {
    match numbers.into_iter().find(|(_, value)| !value.is_finite()) {
        Some((what, found)) => Err(AuditError::NotFinite { what, found }),
        None => Ok(()),
    }
}

/// What is known of the world, as the guards saw it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RecordedSituation {
    now_ms: i64,
    log: Option<State>,
    is_killed: bool,
    is_bar_stale: bool,
    is_market_open: bool,
    is_reconciled: bool,
    peer: Option<Peer>,
    breaker: breaker::State,
    account: Option<Aged<Account>>,
    book: Option<Aged<Book>>,
}

impl RecordedSituation {
    fn of(situation: &Situation<'_>) -> RecordedSituation {
        // Field by field, so that a new one cannot be forgotten here.
        let Situation {
            now_ms,
            log,
            is_killed,
            is_bar_stale,
            is_market_open,
            is_reconciled,
            peer,
            breaker,
            account,
            book,
        } = situation.clone();
        RecordedSituation {
            now_ms,
            log: log.cloned(),
            is_killed,
            is_bar_stale,
            is_market_open,
            is_reconciled,
            peer,
            breaker,
            account,
            book,
        }
    }

    pub(super) fn as_situation(&self) -> Situation<'_> {
        Situation {
            now_ms: self.now_ms,
            log: self.log.as_ref(),
            is_killed: self.is_killed,
            is_bar_stale: self.is_bar_stale,
            is_market_open: self.is_market_open,
            is_reconciled: self.is_reconciled,
            peer: self.peer.clone(),
            breaker: self.breaker,
            account: self.account.clone(),
            book: self.book.clone(),
        }
    }
}
