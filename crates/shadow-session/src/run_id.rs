//! Names of runs. Invariant: a name is safe as a file name everywhere, and a generated one is nobody else's.

use std::hash::{BuildHasher, RandomState};
use std::str::FromStr;

/// Name of a run and of its folder: safe as a file name everywhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunId(String);

impl RunId {
    /// A name that no other run has: UTC time (`20171229T210000Z`), strategy, symbol with dashes, timeframe, 32 random bits.
    pub fn generate(unix_seconds: i64, strategy: &str, symbol: &str, timeframe: &str) -> RunId {
        // A time beyond the calendar (a broken clock) is spelled as its number: the name must be there, not beautiful.
        let time = jiff::Timestamp::from_second(unix_seconds).map_or_else(
            |_| unix_seconds.unsigned_abs().to_string(),
            |time| time.strftime("%Y%m%dT%H%M%SZ").to_string(),
        );
        // The seed of every new hasher is random; the standard library has no plainer source.
        let random = RandomState::new().hash_one(std::process::id()) as u32;
        RunId(format!(
            "{time}_{strategy}_{}_{timeframe}_{random:08x}",
            symbol.replace('/', "-")
        ))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RunId {
    type Err = String;

    fn from_str(text: &str) -> Result<RunId, String> {
        let safe = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        let first = text
            .bytes()
            .next()
            .is_some_and(|byte| byte.is_ascii_alphanumeric());
        if first && text.len() <= 128 && text.bytes().all(safe) {
            Ok(RunId(text.to_owned()))
        } else {
            Err("accepted: 1 to 128 letters, digits, `.`, `_`, `-`, beginning with a letter or digit".to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_id_is_a_safe_file_name_or_refused_and_generated_ones_differ() {
        for good in [
            "a",
            "20171229T210000Z_ma_crossover_EUR-USD_1h_0badcafe",
            "Run.2",
            "0",
            &"x".repeat(128),
        ] {
            assert!(good.parse::<RunId>().is_ok(), "{good}");
        }
        for bad in [
            "",
            ".",
            "..",
            ".hidden",
            "-x",
            "_x",
            "a/b",
            "a\\b",
            "a b",
            "a\nb",
            "é",
            "a\0",
            &"x".repeat(129),
        ] {
            assert!(bad.parse::<RunId>().is_err(), "{bad:?}");
        }
        let generate = || RunId::generate(1_514_581_200, "ma_crossover", "EUR/USD", "1h");
        let (one, other) = (generate(), generate());
        assert!(
            one.as_str()
                .starts_with("20171229T210000Z_ma_crossover_EUR-USD_1h_"),
            "{one:?}"
        );
        assert_ne!(one, other);
        assert_eq!(one.as_str().parse(), Ok(one.clone()));
    }
}
