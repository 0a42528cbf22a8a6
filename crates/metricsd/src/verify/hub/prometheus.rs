//! Prometheus itself: it answers, runs on its configuration, and its clock is ours.

use std::time::Duration;

use super::asks::{step, time};
use super::{Hub, Party, ids};
use crate::retention::parse_duration;
use crate::verify::evidence::{Ended, Finding};
use crate::verify::record::{Book, Probe};

/// Clocks may differ by so much.
const CLOCKS_MAX_SECONDS: f64 = 5.0;

impl Hub<'_> {
    pub(super) fn prometheus_ready(&mut self, book: &mut Book<'_>) {
        let title = "Prometheus answers and is ready";
        let check = self.check(ids::PROMETHEUS_READY, title, &[]);
        let (mut ahead, mut resend_delay) = (0.0, None);
        let ended = step(book, check, self.retry(), |probe| {
            self.prometheus_is_ready(probe)?;
            let build = self.prometheus("status/buildinfo", &[], None, probe)?;
            let runtime = self.prometheus("status/runtimeinfo", &[], None, probe)?;
            let file = Some("prometheus-flags.json");
            let flags = self.prometheus("status/flags", &[], file, probe)?;
            resend_delay = flags["rules.alert.resend-delay"]
                .as_str()
                .and_then(parse_duration);
            ahead = self.clock_of_prometheus(probe)?;
            let Some(version) = build["version"].as_str() else {
                return Err(Finding::fail(
                    format!("{} tells no version of Prometheus", self.args.prometheus),
                    "name Prometheus' own address with --prometheus",
                ));
            };
            Ok(Finding::pass(format!(
                "Prometheus {version}, keeps samples for {}, started {}",
                runtime["storageRetention"]
                    .as_str()
                    .unwrap_or("a time that it does not tell"),
                runtime["startTime"]
                    .as_str()
                    .unwrap_or("at a time that it does not tell")
            )))
        });
        self.prometheus_ahead = ahead;
        self.resend_delay = resend_delay.unwrap_or(self.resend_delay);
        self.note(Party::Prometheus, ended);
    }

    pub(super) fn prometheus_config(&self, book: &mut Book<'_>) {
        let title = "Prometheus runs on the configuration that it read last";
        let check = self.check(ids::PROMETHEUS_CONFIG, title, &[Party::Prometheus]);
        step(book, check, self.retry(), |probe| {
            let flags = self.prometheus("status/flags", &[], None, probe)?;
            let runtime = self.prometheus("status/runtimeinfo", &[], None, probe)?;
            let file = flags["config.file"].as_str().unwrap_or("its configuration");
            let since = time(&runtime["lastConfigTime"]);
            let since = since.map_or_else(|| "never".to_owned(), |since| since.to_string());
            if runtime["reloadConfigSuccess"] == true {
                return Ok(Finding::pass(format!("{file}, read {since}")));
            }
            Err(Finding::fail(
                format!("the last reading of {file} failed; in force is that of {since}"),
                "promtool check config FILE says what is wrong with it or with a file of rules; then reload Prometheus (SIGHUP)",
            ))
        });
    }

    /// How far its clock is ahead of ours, by asking it for the time.
    fn clock_of_prometheus(&self, probe: &mut Probe) -> Result<f64, Finding> {
        let before = jiff::Timestamp::now();
        let data = self.prometheus("query", &[("query", "time()")], None, probe)?;
        let took = jiff::Timestamp::now().duration_since(before).as_secs_f64();
        let now = data["result"][1]
            .as_str()
            .and_then(|text| text.parse::<f64>().ok());
        let Some(now) = now else {
            return Err(Finding::fail(
                "time() gave no number",
                "name Prometheus' own address with --prometheus",
            ));
        };
        let ours = before.as_millisecond() as f64 / 1000.0 + took / 2.0;
        Ok(now - ours)
    }

    /// Ages of samples and ends of alerts are times of several machines.
    pub(super) fn clocks_agree(&self, book: &mut Book<'_>) {
        let title = "The clocks of Prometheus, Alertmanager and this host agree";
        let check = self.check(ids::CLOCKS_AGREE, title, &[]);
        let clocks = [
            (Party::Prometheus, "Prometheus", Some(self.prometheus_ahead)),
            (Party::Alertmanager, "Alertmanager", self.alertmanager_ahead),
        ];
        let clocks = clocks.into_iter();
        let clocks: Vec<_> = clocks
            .filter(|(party, ..)| !self.missing.contains(party))
            .collect();
        step(book, check, self.retry(), |probe| {
            probe.do_not_retry();
            if clocks.is_empty() {
                return Err(Finding::skip(
                    "neither Prometheus nor Alertmanager answers",
                    "start them, then verify again",
                ));
            }
            let told = clocks.iter().map(|(_, name, ahead)| match ahead {
                Some(ahead) => format!("{name} {ahead:+.1} s"),
                None => format!("{name} tells no time"),
            });
            let told: Vec<String> = told.collect();
            let told = told.join(", ");
            let agrees =
                |ahead: Option<f64>| ahead.is_some_and(|it| it.abs() <= CLOCKS_MAX_SECONDS);
            if clocks.iter().all(|(.., ahead)| agrees(*ahead)) {
                return Ok(Finding::pass(format!("beside this host's: {told}")));
            }
            Err(Finding::fail(
                format!("beside this host's: {told}; expected {CLOCKS_MAX_SECONDS} s or less"),
                "let all hosts keep their clocks by NTP (timedatectl)",
            ))
        });
    }

    /// Whether the check before it passed, as a patience: none for what cannot come any more.
    pub(super) fn if_passed(&self, ended: Ended, patience: Duration) -> Duration {
        match ended {
            Ended::Pass => patience,
            Ended::Fail | Ended::Skip => Duration::ZERO,
        }
    }
}
