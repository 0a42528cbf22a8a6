//! The resolved configuration as lines for the log: one for each section, each value with where it was given.
//! Invariant: neither the token nor the account is in it.

use std::path::PathBuf;
use std::time::Duration;

use market::Calendar;
use metricsd_client::Target;

use program::duration::spelled;

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
                "[decide] {}, {}, {}, {}",
                line("threshold", &self.threshold, ToString::to_string),
                line("cooldown", &self.cooldown, duration),
                line(
                    "max_orders_per_minute",
                    &self.max_orders_per_minute,
                    ToString::to_string
                ),
                line(
                    "max_orders_per_day",
                    &self.max_orders_per_day,
                    ToString::to_string
                ),
            ),
            self.gateway_line(),
            format!("[limits] {}{}", self.limits.shown(), self.unused()),
            self.state_line(),
            format!(
                "[schedule] {}, {}",
                line("every", &self.every, |seconds| format!("{seconds}s")),
                line("at_second", &self.at_second, ToString::to_string),
            ),
            format!("[telemetry] {telemetry}"),
        ]
    }

    fn unused(&self) -> &'static str {
        match self.live {
            Some(_) => "",
            None => "; not used: this is a dry run",
        }
    }

    /// Neither the secret nor the account is in it, only where they were given.
    fn gateway_line(&self) -> String {
        let gateway = &self.gateway;
        let mut parts = vec![
            line("host", &gateway.host, String::clone),
            line("port", &gateway.port, ToString::to_string),
            line("timeout", &gateway.timeout, duration),
            line("volume", &gateway.volume, ToString::to_string),
            line(
                "worst_price_bps",
                &gateway.worst_price_bps,
                ToString::to_string,
            ),
            line("valid_for", &gateway.valid_for, duration),
            line("heartbeat_every", &gateway.heartbeat_every, duration),
            line("magic", &gateway.magic, ToString::to_string),
            line("stale_after", &gateway.stale_after, duration),
        ];
        for (symbol, size) in &gateway.contract_sizes {
            parts.push(line(
                &format!("contract_sizes.{symbol}"),
                size,
                ToString::to_string,
            ));
        }
        if let Some(live) = &self.live {
            parts.push(line("secret_file", &live.secret_file, |path| {
                path.display().to_string()
            }));
        }
        format!("[gateway] {}{}", parts.join(", "), self.unused())
    }

    fn state_line(&self) -> String {
        let path = |path: &PathBuf| path.display().to_string();
        let reset = self.state.reset_secret_file.as_ref();
        format!(
            "[state] {}, {}, {}",
            line("dir", &self.state.dir, path),
            line("kill_file", &self.state.kill_file, path),
            reset.map_or("reset_secret_file = none".to_owned(), |file| line(
                "reset_secret_file",
                file,
                path
            )),
        )
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
