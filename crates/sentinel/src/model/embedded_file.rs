//! The model file: JSON as `training/train.py` writes it. Invariant: what is read is complete, finite, of the right shape and for exactly
//! the features that this program builds; a key that nobody knows is an error, since a misspelt one would be silently without effect.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::IgnoredAny;
use sha2::{Digest as _, Sha256};

use super::{CONFIDENCE_BOUNDS, ConfidenceReference, EmbeddedModel, ModelIdentity};
use crate::features::{NAMES, SCHEMA_VERSION};

/// The greatest size of a model file: far more than 100 numbers take, far less than what would hurt.
const BYTES_MAX: u64 = 1024 * 1024;
/// The greatest length of the model's name and version: they become label values.
const NAME_LENGTH_MAX: usize = 64;
const CLASSES: [&str; 3] = ["sell", "hold", "buy"];

/// Why a file is no model.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedModelError {
    /// It cannot be read.
    #[error("{}: cannot be read: {source}; accepted: a model file written by train.py", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// It is too large to be one.
    #[error("{}: more than {BYTES_MAX} bytes; accepted: up to that", path.display())]
    TooLarge {
        /// Which file.
        path: PathBuf,
    },
    /// It is not the JSON document, or a key is missing, unknown or of another type or length.
    #[error("{}: {source}; accepted: a model file written by train.py", path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// What was expected, and where.
        source: serde_json::Error,
    },
    /// It is for other features, or its numbers are not usable.
    #[error("{}: {key} is {found}; accepted: {accepted}", path.display())]
    Unfit {
        /// Which file.
        path: PathBuf,
        /// The key, with the position in a list.
        key: String,
        /// What is there.
        found: String,
        /// What would be accepted.
        accepted: String,
    },
}

/// The document, key by key.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    model: String,
    version: String,
    feature_schema_version: u32,
    feature_names: Vec<String>,
    class_names: Vec<String>,
    mean: Vec<f64>,
    scale: Vec<f64>,
    coefficients: Vec<Vec<f64>>,
    intercepts: Vec<f64>,
    confidence_reference: Shares,
    /// For people: where the numbers come from, and how good they were. Nothing is decided by it.
    #[serde(rename = "provenance")]
    _provenance: IgnoredAny,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Shares {
    bounds: Vec<f64>,
    shares: Vec<f64>,
}

/// Key, what was found, what would be accepted.
type Fault = (String, String, String);

/// Reads a file, no further than [`BYTES_MAX`].
pub(super) fn read(path: &Path) -> Result<EmbeddedModel, EmbeddedModelError> {
    let unreadable = |source| EmbeddedModelError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(BYTES_MAX + 1).read_to_end(&mut bytes))
        .map_err(unreadable)?;
    if bytes.len() as u64 > BYTES_MAX {
        let path = path.to_owned();
        return Err(EmbeddedModelError::TooLarge { path });
    }
    parse(path, &bytes)
}

/// Reads the text of a file; the path is for messages.
pub(super) fn parse(path: &Path, bytes: &[u8]) -> Result<EmbeddedModel, EmbeddedModelError> {
    let document: Document =
        serde_json::from_slice(bytes).map_err(|source| EmbeddedModelError::Malformed {
            path: path.to_owned(),
            source,
        })?;
    let file_sha256 = Sha256::digest(bytes).into();
    fit(document, file_sha256).map_err(|(key, found, accepted)| EmbeddedModelError::Unfit {
        path: path.to_owned(),
        key,
        found,
        accepted,
    })
}

fn fit(document: Document, file_sha256: [u8; 32]) -> Result<EmbeddedModel, Fault> {
    let identity = ModelIdentity {
        model: word("model", document.model)?,
        version: word("version", document.version)?,
    };
    if document.feature_schema_version != SCHEMA_VERSION {
        let found = document.feature_schema_version.to_string();
        let key = "feature_schema_version".to_owned();
        return Err((key, found, SCHEMA_VERSION.to_string()));
    }
    same_list("feature_names", &document.feature_names, &NAMES)?;
    same_list("class_names", &document.class_names, &CLASSES)?;
    same_list(
        "confidence_reference.bounds",
        &document.confidence_reference.bounds,
        &CONFIDENCE_BOUNDS,
    )?;
    let scale: [f64; 23] = numbers("scale", &document.scale)?;
    if let Some((index, value)) = scale.iter().enumerate().find(|(_, value)| **value <= 0.0) {
        let key = format!("scale[{index}]");
        return Err((key, value.to_string(), "more than 0".to_owned()));
    }
    let rows: &[Vec<f64>; 3] = document.coefficients.as_slice().try_into().map_err(|_| {
        let found = format!("{} rows", document.coefficients.len());
        ("coefficients".to_owned(), found, "3 rows".to_owned())
    })?;
    let mut coefficients = [[0.0; 23]; 3];
    for (index, (row, given)) in coefficients.iter_mut().zip(rows).enumerate() {
        *row = numbers(&format!("coefficients[{index}]"), given)?;
    }
    let key = "confidence_reference.shares";
    let shares = numbers(key, &document.confidence_reference.shares)?;
    let reference = ConfidenceReference::new(shares).ok_or_else(|| {
        let accepted = "shares of 0 to 1 that add up to 1".to_owned();
        (key.to_owned(), format!("{shares:?}"), accepted)
    })?;
    Ok(EmbeddedModel {
        identity,
        mean: numbers("mean", &document.mean)?,
        scale,
        coefficients,
        intercepts: numbers("intercepts", &document.intercepts)?,
        reference,
        file_sha256,
    })
}

/// A name that is fit to be a label value and part of a log line.
fn word(key: &str, found: String) -> Result<String, Fault> {
    let is_fit = |c: char| c.is_ascii_alphanumeric() || "._+-".contains(c);
    if (1..=NAME_LENGTH_MAX).contains(&found.len()) && found.chars().all(is_fit) {
        return Ok(found);
    }
    let accepted = format!("1 to {NAME_LENGTH_MAX} of the characters a-z A-Z 0-9 . _ + -");
    Err((key.to_owned(), format!("{found:?}"), accepted))
}

/// The very list that this program works with, in its order.
fn same_list<Found, Known>(key: &str, found: &[Found], known: &[Known]) -> Result<(), Fault>
where
    Found: PartialEq<Known> + std::fmt::Debug,
    Known: std::fmt::Debug,
{
    if found.len() != known.len() {
        let accepted = format!("{} of them: {known:?}", known.len());
        return Err((key.to_owned(), format!("{} long", found.len()), accepted));
    }
    match found
        .iter()
        .zip(known)
        .position(|(one, other)| one != other)
    {
        None => Ok(()),
        Some(index) => Err((
            format!("{key}[{index}]"),
            format!("{:?}", found[index]),
            format!("{:?}", known[index]),
        )),
    }
}

/// Exactly `N` finite numbers.
fn numbers<const N: usize>(key: &str, found: &[f64]) -> Result<[f64; N], Fault> {
    let array: [f64; N] = found.try_into().map_err(|_| {
        let count = format!("{} numbers", found.len());
        (key.to_owned(), count, format!("{N} numbers"))
    })?;
    match array.iter().position(|value| !value.is_finite()) {
        None => Ok(array),
        Some(index) => Err((
            format!("{key}[{index}]"),
            array[index].to_string(),
            "a finite number".to_owned(),
        )),
    }
}

#[cfg(test)]
mod tests;
