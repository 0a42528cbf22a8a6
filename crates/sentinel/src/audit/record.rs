//! What the lines of an audit hold.
//!
//! Invariant: a record that is read back is the record that was written, each float bit for bit; what has a key that this program does
//! not know is not understood, and said to be so. Must not touch: storage, clocks.

use std::fmt;
use std::time::Duration;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::configuration::{Configuration, Mode, Origin};
use super::decision::DecisionRecord;
use super::digest::Digest;
use crate::gateway::guards::refusal::{Reason, Refusal};
use crate::gateway::intent_log::record::{Found, Intent, IntentId, Outcome};
use crate::model::{EmbeddedModel, ModelIdentity};

/// The version of the lines.
pub const FORMAT: u32 = 1;

/// The model that gave the probabilities.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// Where it runs.
    pub origin: Origin,
    /// What it is called.
    pub name: String,
    /// Its version.
    pub version: String,
    /// SHA-256 of the embedded model's file; none of a model server, which tells no such thing.
    pub sha256: Option<Digest>,
}

impl Model {
    /// The model server, as far as it said who it is.
    pub fn hub(identity: &ModelIdentity) -> Model {
        Model {
            origin: Origin::Hub,
            name: identity.model.clone(),
            version: identity.version.clone(),
            sha256: None,
        }
    }

    /// The model in this program.
    pub fn embedded(model: &EmbeddedModel) -> Model {
        Model {
            origin: Origin::Embedded,
            name: model.identity().model.clone(),
            version: model.identity().version.clone(),
            sha256: Some(Digest::from(model.file_sha256())),
        }
    }
}

impl fmt::Display for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.version)?;
        match self.sha256 {
            Some(sha256) => write!(f, " with sha256 {sha256}"),
            None => Ok(()),
        }
    }
}

/// What became of a decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case", deny_unknown_fields)]
pub enum Verdict {
    /// Nothing to be done; the guards were not asked.
    Hold,
    /// The guards said no.
    Refused {
        /// The reason of the metric.
        reason: Reason,
        /// The refusal in words.
        text: String,
    },
    /// The guards said yes, and the order is on disk.
    Permitted {
        /// Name of the order.
        id: IntentId,
        /// Its idempotency key.
        idempotency_key: IntentId,
        /// Unix milliseconds after which it must not be executed.
        valid_until_ms: i64,
    },
    /// The guards said yes, and the order could not be put on disk: it is not sent.
    Unrecorded {
        /// Why.
        text: String,
    },
}

impl Verdict {
    /// Of a refusal.
    pub fn refused(refusal: &Refusal) -> Verdict {
        Verdict::Refused {
            reason: refusal.reason(),
            text: refusal.to_string(),
        }
    }

    /// Of an order that was recorded.
    pub fn permitted(intent: &Intent) -> Verdict {
        Verdict::Permitted {
            id: intent.id.clone(),
            idempotency_key: intent.idempotency_key.clone(),
            valid_until_ms: intent.valid_until_ms,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Hold => f.write_str("hold"),
            Verdict::Refused { reason, text } => {
                write!(f, "refused for {}: {text}", reason.as_str())
            }
            Verdict::Permitted {
                id,
                idempotency_key,
                valid_until_ms,
            } => write!(
                f,
                "permitted as {id} with key {idempotency_key} until {valid_until_ms}"
            ),
            Verdict::Unrecorded { text } => write!(f, "permitted and not recorded: {text}"),
        }
    }
}

/// How an order ended, or how far it came.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum End {
    /// What the link's exchange came to.
    Exchanged(Outcome),
    /// What a reconciliation found.
    Reconciled(Found),
    /// It never left this process, and why.
    NotSent(String),
    /// The last question before the sending was answered with no.
    Withheld {
        /// The reason of the metric.
        reason: Reason,
        /// The refusal in words.
        text: String,
    },
}

/// A line of kind `outcome`: what became of an order. One order may have several: unknown at first, and what a reconciliation found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutcomeLine {
    /// Unix milliseconds.
    pub at_ms: i64,
    /// Name of the order.
    pub id: IntentId,
    /// What became of it.
    pub end: End,
    /// Unix milliseconds of handing it to the link, as far as it was.
    pub sent_at_ms: Option<i64>,
    /// From handing it over to the reply that was believed.
    pub roundtrip: Option<Duration>,
    /// The price that the decision was made at.
    pub decision_price: Option<Decimal>,
    /// The mean price of the execution.
    pub executed_price: Option<Decimal>,
    /// Lots that were executed.
    pub executed_volume: Option<Decimal>,
    /// How much worse the execution was than the decision's price, in hundredths of a percent of it; below 0 when it was better.
    pub slippage_bps: Option<f64>,
}

/// Why a file begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Cause {
    /// The program started.
    Start,
    /// The file before it was long, or of another day.
    Rotation,
    /// Storage failed in the file before it: what its last line holds may never have been acknowledged.
    Failure,
}

/// A line of kind `start`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StartRecord {
    pub(super) format: u32,
    pub(super) cause: Cause,
    pub(super) at_ms: i64,
    pub(super) version: String,
    pub(super) mode: Mode,
    pub(super) configuration_sha256: Digest,
    pub(super) configuration: Configuration,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(super) enum Record {
    /// The first line of each file.
    Start(Box<StartRecord>),
    /// A decision.
    Decision(Box<DecisionRecord>),
    /// What became of an order.
    Outcome(OutcomeLine),
}
