//! The resolved configuration as lines for the log: one for each section, each value with where it was given.
//! Invariant: the token is not in it, only whether there is one.

use std::time::Duration;

use market::Calendar;
use metricsd_client::Target;

use super::duration::spelled;
use super::{Config, Placed};

impl Config {
    /// One line for each section.
    pub fn lines(&self) -> Vec<String> {
        let telemetry = match &self.telemetry.target {
            Target::Shards { directory } => {
                format!("mode = B, multiproc_dir = {}", directory.display())
            }
            Target::Endpoint { listen } => format!("mode = A, listen = {listen}"),
        };
        let token = match &self.token {
            Some(token) => format!("token = *** ({})", token.place.in_short()),
            None => "token = none".to_owned(),
        };
        vec![
            format!(
                "[market] {}, {token}, {}, {}, {}, {}, {}, {}",
                line("base_url", &self.base_url, String::clone),
                line("symbol", &self.symbol, String::clone),
                line("interval", &self.interval, ToString::to_string),
                line("calendar", &self.calendar, |calendar| calendar_word(
                    *calendar
                )
                .to_owned()),
                line("lookback_bars", &self.lookback_bars, ToString::to_string),
                line("stale_after", &self.stale_after, duration),
                line("timeout", &self.fetch_timeout, duration),
            ),
            format!(
                "[hub] {}, {}, {}, {}",
                line("model", &self.model, |model| model.as_str().to_owned()),
                line("host", &self.hub_host, String::clone),
                line("port", &self.hub_port, ToString::to_string),
                line("timeout", &self.predict_timeout, duration),
            ),
            format!(
                "[decide] {}, {}, {}",
                line("threshold", &self.threshold, ToString::to_string),
                line("cooldown", &self.cooldown, duration),
                line(
                    "max_orders_per_day",
                    &self.max_orders_per_day,
                    ToString::to_string
                ),
            ),
            format!(
                "[gateway] {}, {}; not used: this is a dry run{}",
                line("host", &self.gateway_host, String::clone),
                line("port", &self.gateway_port, ToString::to_string),
                match self.without_effect.as_slice() {
                    [] => String::new(),
                    keys => format!(", and neither are {}", keys.join(", ")),
                }
            ),
            format!(
                "[schedule] {}, {}",
                line("every", &self.every, |seconds| format!("{seconds}s")),
                line("at_second", &self.at_second, ToString::to_string),
            ),
            format!("[telemetry] {telemetry}"),
        ]
    }
}

fn line<T>(name: &str, placed: &Placed<T>, shown: impl Fn(&T) -> String) -> String {
    format!(
        "{name} = {} ({})",
        shown(&placed.value),
        placed.place.in_short()
    )
}

fn duration(duration: &Duration) -> String {
    spelled(*duration)
}

fn calendar_word(calendar: Calendar) -> &'static str {
    match calendar {
        Calendar::Fx => "fx",
        Calendar::Always => "always",
    }
}
