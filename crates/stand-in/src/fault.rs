//! What a remote can do wrong. Invariant: each is something that a real peer on a real network does.

use std::time::Duration;

/// What the answer to a request becomes instead of what it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The right answer: a place in a script where nothing is wrong.
    Nothing,
    /// The request is read and nothing is ever answered.
    Hang,
    /// Half of the head, then nothing.
    HangInHead,
    /// The head and half of the body, then nothing.
    HangInBody,
    /// The head at once, then one byte of an endless body after each pause.
    SlowDrip(Duration),
    /// One byte of an endless head after each pause.
    SlowHead(Duration),
    /// The connection is reset without an answer.
    Reset,
    /// The connection is reset in the middle of the body.
    ResetInBody,
    /// The connection is closed without an answer.
    Close,
    /// The connection is closed in the middle of the body, short of what `Content-Length` announced.
    Truncated,
    /// Bytes that are no HTTP.
    Garbage,
    /// A head that never ends, as fast as it is read.
    EndlessHead,
    /// A body that never ends, as fast as it is read.
    EndlessBody,
    /// A `Content-Length` that is no number.
    BadLength,
    /// A chunked body whose chunks have no sizes.
    BadChunks,
    /// A success without a body.
    Empty,
    /// The right body behind `Content-Encoding: gzip`, which nobody asked for.
    Gzip,
    /// A success with this body instead.
    Body(String),
    /// This status, with the body of an error page.
    Status(u16),
    /// This status with `Retry-After`.
    RetryAfter(u16, String),
    /// A redirect to this place.
    Redirect(String),
    /// The right interface, but the rows of bars are wrong; for EODHD only.
    Rows(RowFault),
}

/// What is wrong with rows of bars. The forming bar at the end is not counted as a row here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowFault {
    /// The newest bars of that many are missing, the forming one too: the feed stopped.
    Stale(usize),
    /// Only the newest that many are there.
    Short(usize),
    /// The newest closed bar is there twice.
    Duplicate,
    /// The newest two closed bars are the wrong way round.
    OutOfOrder,
    /// The close of the newest closed bar is null.
    Null,
    /// The close of the newest closed bar is the text `NaN`.
    NotANumber,
    /// The high of the newest closed bar is below its low.
    Ohlc,
    /// A bar behind the forming one that opens a day later.
    Future,
    /// The tenth newest closed bar is missing.
    Gap,
    /// The close of the newest closed bar is another one.
    Restated,
    /// The rows have no times.
    WithoutTime,
}
