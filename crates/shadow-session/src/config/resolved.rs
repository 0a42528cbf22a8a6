//! The resolved configuration as TOML. Invariant: what is printed is accepted as a configuration file and means the same again.

use std::fmt;

use metricsd_client::Target;
use rust_decimal::Decimal;
use toml::Value;

use super::{Config, FeedChoice};
use crate::risk::LimitId;

impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let session = &self.session;
        writeln!(f, "[environment]\nmode = \"paper\"\n")?;
        writeln!(f, "[session]")?;
        writeln!(f, "symbol = {}", quoted(self.symbol.value.as_str()))?;
        writeln!(f, "timeframe = {}", quoted(self.timeframe.value.as_str()))?;
        writeln!(f, "start_balance = \"{}\"", session.start_balance)?;
        writeln!(f, "position_fraction = {}", session.position_fraction)?;
        writeln!(f, "warmup_candles = {}\n", self.warmup_candles)?;
        writeln!(f, "[feed]")?;
        match &self.feed {
            FeedChoice::Recorded(path) => writeln!(
                f,
                "source = \"recorded\"\nfile = {}\n",
                quoted(&path.to_string_lossy())
            )?,
            FeedChoice::Synthetic(seed) => writeln!(f, "source = \"synthetic\"\nseed = {seed}\n")?,
        }
        let strategy = &session.strategy;
        writeln!(
            f,
            "[strategy.ma_crossover]\nfast_window = {}\nslow_window = {}",
            strategy.fast_window, strategy.slow_window
        )?;
        writeln!(f, "allow_short = {}\n", strategy.allow_short)?;
        writeln!(
            f,
            "[execution]\nfee_rate = {}\nslippage_bps = {}\nfill_at = \"next_open\"\n",
            self.fee_rate, self.slippage_bps
        )?;
        writeln!(f, "[risk]")?;
        for id in LimitId::ALL {
            if let Some(limit) = session.limits.limits[id as usize] {
                writeln!(f, "{} = {}", id.as_str(), limit_value(id, limit))?;
            }
        }
        writeln!(f, "warning_factor = {}\n", session.limits.warning_factor)?;
        writeln!(f, "[telemetry]")?;
        match &self.telemetry.target {
            Target::Shards { directory } => writeln!(
                f,
                "mode = \"B\"\nmultiproc_dir = {}\n",
                quoted(&directory.to_string_lossy())
            )?,
            Target::Endpoint { listen } => writeln!(f, "mode = \"A\"\nlisten = \"{listen}\"\n")?,
        }
        match &self.run_log_dir {
            Some(dir) => writeln!(
                f,
                "[run_log]\nenabled = true\ndir = {}",
                quoted(&dir.value.to_string_lossy())
            ),
            None => writeln!(f, "[run_log]\nenabled = false"),
        }
    }
}

/// Counts and percentages are numbers in the file, amounts are strings.
fn limit_value(id: LimitId, limit: Decimal) -> String {
    match id {
        LimitId::MaxOpenPositions | LimitId::MaxDailyLossPct => limit.to_string(),
        _ => format!("\"{limit}\""),
    }
}

fn quoted(text: &str) -> String {
    Value::String(text.to_owned()).to_string()
}
