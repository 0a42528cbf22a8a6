//! The intraday bars of EODHD: from the bytes of a response to closed bars that features may be computed from.
//!
//! Invariant: a row of a response is used, or is a counted defect, or is the bar that is still forming, or was judged before; none is
//! dropped in silence. Must not touch: network, clock, logs; the time is an argument.

mod defect;
mod history;
mod parse;

pub use defect::{BarDefect, DefectCounts};
pub use history::{Admitted, FUTURE_TOLERANCE_SECONDS, History};
pub use parse::{MAX_ROWS, ParseError, RawBar, check_interval, parse};
