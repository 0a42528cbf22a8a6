//! Candles, feeds, closed-candle and gap rules, indicators.
//!
//! Invariant: what leaves this crate as a [`Candle`] is finite, positive, consistent and inside the range in which decimal
//! money arithmetic is exact; everything else is a typed [`Defect`] or an error that names the file and the line.
//! Nothing here reads the clock or the network, logs or counts: time is an argument, and the caller records the facts.
#![forbid(unsafe_code)]

mod bar;
mod calendar;
mod candle;
pub mod eodhd;
mod feed;
mod indicator;
mod instrument;
mod sequence;
mod timeframe;

pub use bar::Bar;
pub use calendar::Calendar;
pub use candle::{Candle, CandleError, PRICE_DECIMALS_MAX, PRICE_MAX};
pub use feed::{Feed, FeedError, Row, SYNTHETIC_BAR_COUNT};
pub use indicator::Sma;
pub use instrument::{Currency, Instrument, Symbol, UnknownSymbol};
pub use sequence::{Admission, Defect, Sequence};
pub use timeframe::{Timeframe, UnknownTimeframe};
