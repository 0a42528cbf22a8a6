//! All metrics of the bridge, declared in one struct; no metric name stands anywhere else.
//!
//! Invariant: recording cannot fail or block, and every label has a closed list of values: no target, no alert, no text of a remote.

use std::time::Duration;

use metricsd_client::{
    Counter, CounterFamily, Gauge, GaugeFamily, GaugeMode, Histogram, HistogramFamily, Registry,
    label_set, label_text, label_value,
};

label_value! {
    /// What became of a request with a notification.
    pub enum Received {
        Accepted = "accepted", Unparsable = "unparsable", TooLarge = "too_large", UnknownTarget = "unknown_target",
        QueueFull = "queue_full", DiskError = "disk_error",
    }
}
label_value! {
    /// What became of an alert in a notification that was taken in.
    pub enum Taken { Queued = "queued", Duplicate = "duplicate", Watchdog = "watchdog" }
}
label_value! {
    /// Kind of a target.
    pub enum TargetKind { DingTalk = "dingtalk", Webhook = "webhook", Log = "log" }
}
label_value! {
    /// What came of an attempt to send a message.
    pub enum Attempt {
        Sent = "sent", RateLimited = "rate_limited", Refused = "refused", TooLong = "too_long", BadMessage = "bad_message", Busy = "busy",
        Timeout = "timeout", Connect = "connect", Tls = "tls", Http3xx = "http_3xx", Http4xx = "http_4xx", Http5xx = "http_5xx",
        Malformed = "malformed", Disk = "disk", Other = "other",
    }
}
label_value! {
    /// What was being done with the queue's file.
    pub enum JournalOp { Append = "append", Rewrite = "rewrite", Damage = "damage" }
}
label_value! {
    /// What came of a confirmed silence.
    pub enum SilenceResult { Created = "created", BadRequest = "bad_request", AlertmanagerFailed = "alertmanager_failed" }
}
label_text! {
    /// Version of the program.
    pub struct Version { spelling: Lower, len_max_bytes: 32, values_max: 1 }
}
label_set! {
    /// By what became of a request.
    pub struct ReceivedLabels { result: Received }
}
label_set! {
    /// By what became of an alert.
    pub struct TakenLabels { result: Taken }
}
label_set! {
    /// By kind of target.
    pub struct KindLabels { kind: TargetKind }
}
label_set! {
    /// By kind of target and what came of it.
    pub struct AttemptLabels { kind: TargetKind, outcome: Attempt }
}
label_set! {
    /// By what was being done.
    pub struct OpLabels { op: JournalOp }
}
label_set! {
    /// By what came of it.
    pub struct SilenceLabels { result: SilenceResult }
}
label_set! {
    /// Of the program.
    pub struct VersionLabels { version: Version }
}

/// All metrics of the bridge.
#[derive(Debug, Clone)]
pub struct Telemetry {
    received: CounterFamily<ReceivedLabels>,
    taken: CounterFamily<TakenLabels>,
    attempts: CounterFamily<AttemptLabels>,
    delivered: CounterFamily<KindLabels>,
    digests: Counter,
    send_duration: HistogramFamily<KindLabels>,
    delivery_delay: Histogram,
    queue_alerts: Gauge,
    queue_bytes: Gauge,
    journal_bytes: Gauge,
    queue_oldest: Gauge,
    queue_writable: Gauge,
    journal_errors: CounterFamily<OpLabels>,
    refused_targets: GaugeFamily<KindLabels>,
    orphaned_alerts: Gauge,
    watchdog_last: Gauge,
    watchdog_missing: Gauge,
    silences: CounterFamily<SilenceLabels>,
    reload_successful: Gauge,
    reload_success_time: Gauge,
}

impl Telemetry {
    /// Register everything.
    pub fn new(registry: &Registry) -> Telemetry {
        let gauge = |name, help| registry.gauge(name, help, GaugeMode::LiveMax);
        let telemetry = Telemetry {
            received: registry.counter_family("alertbridge_notifications_received_total", "Requests with a notification, by what became of them; all but accepted and unparsable ones are answered with 503, so that they come again."),
            taken: registry.counter_family("alertbridge_alerts_received_total", "Alerts of accepted notifications, by what became of them."),
            attempts: registry.counter_family("alertbridge_send_attempts_total", "Attempts to send a message, by what came of them."),
            delivered: registry.counter_family("alertbridge_alerts_delivered_total", "Alerts in messages that their target took."),
            digests: registry.counter("alertbridge_digests_total", "Messages that stood for several notifications, because the rate of the target allowed no more."),
            send_duration: registry.histogram_family("alertbridge_send_duration_seconds", "Time of an attempt to send a message, failed ones included.", &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0]),
            delivery_delay: registry.histogram("alertbridge_delivery_delay_seconds", "From the acceptance of an alert to the message that its target took.", &[0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 86400.0]),
            queue_alerts: gauge("alertbridge_queue_alerts", "Alerts that wait to be delivered."),
            queue_bytes: gauge("alertbridge_queue_bytes", "About what the waiting alerts take; the queue refuses more beyond its limit."),
            journal_bytes: gauge("alertbridge_journal_bytes", "Length of the queue's file."),
            queue_oldest: gauge("alertbridge_queue_oldest_timestamp_seconds", "Unix time at which the oldest waiting alert was accepted; 0 while none waits."),
            queue_writable: gauge("alertbridge_queue_writable", "Whether the last write of the queue worked (1) or notifications are refused (0)."),
            journal_errors: registry.counter_family("alertbridge_journal_errors_total", "Failures around the queue's file, by what was being done."),
            refused_targets: registry.gauge_family("alertbridge_refused_targets", "Targets that refuse what they are sent until a person changes something: a wrong secret or token, a keyword, an address.", GaugeMode::LiveMax),
            orphaned_alerts: gauge("alertbridge_orphaned_alerts", "Waiting alerts of targets that are not in the configuration any more."),
            watchdog_last: gauge("alertbridge_watchdog_last_timestamp_seconds", "Unix time at which the always-firing alert last came; of the start before the first."),
            watchdog_missing: gauge("alertbridge_watchdog_missing", "Whether the always-firing alert has stayed away for longer than it may (1)."),
            silences: registry.counter_family("alertbridge_silences_total", "Confirmed requests for a silence, by what came of them."),
            reload_successful: gauge("alertbridge_config_last_reload_successful", "Whether the last reading of the configuration worked (1)."),
            reload_success_time: gauge("alertbridge_config_last_reload_success_timestamp_seconds", "Unix time of the last reading of the configuration that worked."),
        };
        registry
            .gauge_family::<VersionLabels>(
                "alertbridge_build_info",
                "What is running.",
                GaugeMode::LiveMax,
            )
            .with(&VersionLabels {
                version: Version::new(env!("CARGO_PKG_VERSION")),
            })
            .set(1.0);
        telemetry.watchdog_missing.set(0.0);
        telemetry.orphaned_alerts.set(0.0);
        telemetry
    }

    /// A request with a notification is answered.
    pub fn record_received(&self, result: Received) {
        self.received.with(&ReceivedLabels { result }).inc();
    }

    /// Alerts of an accepted notification.
    pub fn record_taken(&self, result: Taken, count: usize) {
        self.taken.with(&TakenLabels { result }).add(count as f64);
    }

    /// An attempt to send a message.
    pub fn record_attempt(&self, kind: TargetKind, outcome: Attempt, duration: Duration) {
        self.send_duration
            .with(&KindLabels { kind })
            .observe_duration(duration);
        self.attempts.with(&AttemptLabels { kind, outcome }).inc();
    }

    /// A target took a message with these alerts, accepted that many seconds ago.
    pub fn record_delivered(&self, kind: TargetKind, delays: &[f64], is_digest: bool) {
        self.delivered
            .with(&KindLabels { kind })
            .add(delays.len() as f64);
        for delay in delays {
            self.delivery_delay.observe(*delay);
        }
        if is_digest {
            self.digests.inc();
        }
    }

    /// What waits: alerts, their bytes and those of the file, and since when.
    pub fn record_queue(&self, alerts: usize, (waiting, journal): (u64, u64), oldest: Option<f64>) {
        self.queue_alerts.set(alerts as f64);
        self.queue_bytes.set(waiting as f64);
        self.journal_bytes.set(journal as f64);
        self.queue_oldest.set(oldest.unwrap_or(0.0));
    }

    /// Whether the last write of the queue worked.
    pub fn record_queue_writable(&self, is_writable: bool) {
        self.queue_writable.set(one_if(is_writable));
    }

    /// Something around the queue's file failed.
    pub fn record_journal_error(&self, op: JournalOp) {
        self.journal_errors.with(&OpLabels { op }).inc();
    }

    /// How many targets of a kind refuse what they are sent.
    pub fn record_refused_targets(&self, kind: TargetKind, count: usize) {
        self.refused_targets
            .with(&KindLabels { kind })
            .set(count as f64);
    }

    /// Alerts that wait for a target that is not there.
    pub fn record_orphaned(&self, alerts: usize) {
        self.orphaned_alerts.set(alerts as f64);
    }

    /// When the always-firing alert last came, and whether that is too long ago.
    pub fn record_watchdog(&self, last_unix: f64, is_missing: bool) {
        self.watchdog_last.set(last_unix);
        self.watchdog_missing.set(one_if(is_missing));
    }

    /// Somebody confirmed a silence.
    pub fn record_silence(&self, result: SilenceResult) {
        self.silences.with(&SilenceLabels { result }).inc();
    }

    /// The configuration was read, and could be used or not.
    pub fn record_reload(&self, success_unix: Option<f64>) {
        self.reload_successful.set(one_if(success_unix.is_some()));
        if let Some(unix) = success_unix {
            self.reload_success_time.set(unix);
        }
    }
}

fn one_if(condition: bool) -> f64 {
    f64::from(u8::from(condition))
}
