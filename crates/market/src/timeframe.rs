//! The length of a bar. Invariant: only the eight lengths below exist; a word that is not one of them is an error and never
//! silently one minute.

use std::fmt;
use std::str::FromStr;

/// Length of a bar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Timeframe {
    /// One minute.
    M1,
    /// Five minutes.
    M5,
    /// Fifteen minutes.
    M15,
    /// Thirty minutes.
    M30,
    /// One hour.
    H1,
    /// Four hours.
    H4,
    /// One day of 24 hours.
    D1,
    /// Seven days.
    W1,
}

/// A word or a spacing that is not the length of any bar we know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("timeframe `{found}` is unknown; accepted: {}", Timeframe::accepted())]
pub struct UnknownTimeframe {
    /// What was given.
    pub found: String,
}

impl Timeframe {
    /// All of them, shortest first.
    pub const ALL: [Timeframe; 8] = [
        Timeframe::M1,
        Timeframe::M5,
        Timeframe::M15,
        Timeframe::M30,
        Timeframe::H1,
        Timeframe::H4,
        Timeframe::D1,
        Timeframe::W1,
    ];

    /// The spelling in configurations and files, for example `1h`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Timeframe::M1 => "1m",
            Timeframe::M5 => "5m",
            Timeframe::M15 => "15m",
            Timeframe::M30 => "30m",
            Timeframe::H1 => "1h",
            Timeframe::H4 => "4h",
            Timeframe::D1 => "1d",
            Timeframe::W1 => "1w",
        }
    }

    /// Length in seconds.
    pub const fn seconds(self) -> i64 {
        match self {
            Timeframe::M1 => 60,
            Timeframe::M5 => 300,
            Timeframe::M15 => 900,
            Timeframe::M30 => 1_800,
            Timeframe::H1 => 3_600,
            Timeframe::H4 => 14_400,
            Timeframe::D1 => 86_400,
            Timeframe::W1 => 604_800,
        }
    }

    /// The timeframe of exactly that many seconds.
    pub fn from_seconds(seconds: i64) -> Option<Timeframe> {
        Timeframe::ALL
            .into_iter()
            .find(|timeframe| timeframe.seconds() == seconds)
    }

    /// The accepted words, for messages: `1m 5m ...`.
    pub fn accepted() -> String {
        Timeframe::ALL.map(Timeframe::as_str).join(" ")
    }
}

impl fmt::Display for Timeframe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Timeframe {
    type Err = UnknownTimeframe;

    fn from_str(text: &str) -> Result<Timeframe, UnknownTimeframe> {
        Timeframe::ALL
            .into_iter()
            .find(|timeframe| timeframe.as_str() == text)
            .ok_or_else(|| UnknownTimeframe {
                found: text.to_owned(),
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_timeframe_reads_its_own_spelling_and_its_own_length() {
        for timeframe in Timeframe::ALL {
            assert_eq!(timeframe.as_str().parse(), Ok(timeframe));
            assert_eq!(
                Timeframe::from_seconds(timeframe.seconds()),
                Some(timeframe)
            );
        }
    }

    #[test]
    fn an_unknown_timeframe_is_an_error_that_lists_the_accepted_ones() {
        for found in ["", "2h", "1H", "60", "1 h", "minute"] {
            let error = found.parse::<Timeframe>().unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("timeframe `{found}` is unknown; accepted: 1m 5m 15m 30m 1h 4h 1d 1w")
            );
        }
    }
}
