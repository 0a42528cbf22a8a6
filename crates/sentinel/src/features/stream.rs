//! Features of a feed that gives one closed bar after the other. Invariant: what it holds is in order and proper, and its features are, bit for
//! bit, those of [`super::build`] over the same bars; a bar that is refused changes nothing.

use market::Bar;

use super::{BAR_COUNT, FeatureError, Features, Window, compute, error};

/// The newest closed bars, as many as one set of features takes.
#[derive(Debug, Clone, Default)]
pub struct Stream {
    /// Between one and two windows once full: the newest stay in one piece, and old ones are dropped a window at a time.
    bars: Vec<Bar>,
}

impl Stream {
    /// Without any bar.
    pub fn new() -> Stream {
        Stream::default()
    }

    /// Takes the next closed bar.
    ///
    /// # Errors
    /// When it does not open after the newest one, or is no proper bar; it is not taken then.
    pub fn push(&mut self, bar: Bar) -> Result<(), FeatureError> {
        error::check(bar)?;
        if let Some(newest) = self.bars.last() {
            error::check_order(newest, &bar)?;
        }
        if self.bars.len() == 2 * BAR_COUNT {
            self.bars.drain(..BAR_COUNT);
        }
        self.bars.push(bar);
        Ok(())
    }

    /// Features of the [`BAR_COUNT`] newest bars.
    ///
    /// # Errors
    /// Too few bars so far, or a result that is not finite.
    pub fn features(&self) -> Result<Features, FeatureError> {
        let found = self.bars.len();
        let window: &Window = self
            .bars
            .last_chunk()
            .ok_or(FeatureError::TooFew { found })?;
        compute(window)
    }
}
