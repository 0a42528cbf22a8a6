//! Why bytes are no message. Invariant: every reason belongs to one code of the protocol. Must not touch: the bytes themselves, which may
//! hold anything and are not repeated.

use super::{Code, VERSION};

/// Why bytes are not a message that may be acted on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// More bytes than are read.
    #[error("{found} bytes, at most {max} are read")]
    TooLarge {
        /// Bytes found.
        found: usize,
        /// Bytes that are read.
        max: usize,
    },
    /// Not JSON in UTF-8.
    #[error("not JSON in UTF-8: {0}")]
    NotJson(String),
    /// A number with a fraction or an exponent, minus zero, or one beyond 2^53-1.
    #[error("a number is not an integer from -(2^53-1) to 2^53-1")]
    NotAnInteger,
    /// The same key twice in an object.
    #[error("the key {0:?} is there twice")]
    DuplicateKey(String),
    /// Nested deeper than a message is.
    #[error("nested deeper than {0}")]
    TooDeep(usize),
    /// No object, or no whole number as its version.
    #[error("not an object with a version")]
    NoVersion,
    /// Another version.
    #[error("version {0}, spoken here is {VERSION}")]
    Version(i64),
    /// No mac.
    #[error("no mac")]
    Unsigned,
    /// The mac is not that of the message.
    #[error("the mac is not that of the message")]
    BadMac,
    /// A field that has to be there.
    #[error("{0}: missing")]
    Missing(&'static str),
    /// A field that nobody knows.
    #[error("{0:?}: unknown field")]
    Unknown(String),
    /// A field with a value of another type or out of its range.
    #[error("{field}: not {wanted}")]
    Wrong {
        /// The field.
        field: &'static str,
        /// What would be accepted.
        wanted: &'static str,
    },
}

impl ProtocolError {
    /// The code with which a gateway refuses such a message.
    pub const fn code(&self) -> Code {
        match self {
            ProtocolError::Version(_) => Code::Version,
            ProtocolError::Unsigned => Code::Unsigned,
            ProtocolError::BadMac => Code::BadMac,
            _ => Code::Malformed,
        }
    }
}

/// Why a reply that decodes is not the answer to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It answers other bytes.
    #[error("the reply answers another message")]
    OtherRequest,
    /// Its type or its order is not what was asked for.
    #[error("the reply is not of a type or of an order that was asked for")]
    OtherAnswer,
}
