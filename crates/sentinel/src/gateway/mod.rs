//! The order gateway. Invariant: nothing here sends; [`protocol`] is messages and bytes. Must not touch: decisions, metrics.

pub mod protocol;
