//! The identifiers of all checks: what scripts look for, the same in every release. `docs/verification-hub.md` has a row for each.

use crate::verify::verification::VERDICT;

/// Prometheus answers.
pub(super) const PROMETHEUS_READY: &str = "prometheus_ready";
/// It runs on the configuration that is on its disk.
pub(super) const PROMETHEUS_CONFIG: &str = "prometheus_config";
/// The expected rules are loaded.
pub(super) const RULES_LOADED: &str = "rules_loaded";
/// Every rule is evaluated.
pub(super) const RULES_HEALTHY: &str = "rules_healthy";
/// Every target is up.
pub(super) const TARGETS_UP: &str = "targets_up";
/// The required jobs have targets.
pub(super) const JOBS_PRESENT: &str = "jobs_present";
/// No target of them was dropped.
pub(super) const TARGETS_DROPPED: &str = "targets_dropped";
/// Every target gives samples.
pub(super) const SAMPLES_ARRIVE: &str = "samples_arrive";
/// The named families have fresh samples.
pub(super) const SERIES_FRESH: &str = "series_fresh";
/// What counts, counts on.
pub(super) const COUNTERS_RISE: &str = "counters_rise";
/// Alertmanager answers.
pub(super) const ALERTMANAGER_READY: &str = "alertmanager_ready";
/// It runs on the configuration that is on its disk.
pub(super) const ALERTMANAGER_CONFIG: &str = "alertmanager_config";
/// Its cluster has settled.
pub(super) const ALERTMANAGER_CLUSTER: &str = "alertmanager_cluster";
/// All clocks agree.
pub(super) const CLOCKS_AGREE: &str = "clocks_agree";
/// Prometheus sends to it.
pub(super) const ALERTMANAGER_KNOWN: &str = "alertmanager_known";
/// No silence hides everything.
pub(super) const SILENCES: &str = "silences";
/// The always-firing alert fires.
pub(super) const WATCHDOG_FIRES: &str = "watchdog_fires";
/// Alertmanager has it.
pub(super) const WATCHDOG_SEEN: &str = "watchdog_seen";
/// The bridge can take and give.
pub(super) const BRIDGE_READY: &str = "bridge_ready";
/// The test alert is active in Alertmanager.
pub(super) const ALERT_ACTIVE: &str = "alert_active";
/// Its receivers are of use.
pub(super) const ALERT_ROUTED: &str = "alert_routed";
/// Alertmanager sent it.
pub(super) const ALERT_NOTIFIED: &str = "alert_notified";
/// The bridge delivered it.
pub(super) const ALERT_DELIVERED: &str = "alert_delivered";
/// It was ended and is gone.
pub(super) const ALERT_RESOLVED: &str = "alert_resolved";
/// Alertmanager sent its end.
pub(super) const END_NOTIFIED: &str = "end_notified";
/// The bridge delivered its end.
pub(super) const END_DELIVERED: &str = "end_delivered";

/// All checks, in their order.
pub const CHECKS: [&str; 27] = [
    PROMETHEUS_READY,
    PROMETHEUS_CONFIG,
    RULES_LOADED,
    RULES_HEALTHY,
    TARGETS_UP,
    JOBS_PRESENT,
    TARGETS_DROPPED,
    SAMPLES_ARRIVE,
    SERIES_FRESH,
    COUNTERS_RISE,
    ALERTMANAGER_READY,
    ALERTMANAGER_CONFIG,
    ALERTMANAGER_CLUSTER,
    CLOCKS_AGREE,
    ALERTMANAGER_KNOWN,
    SILENCES,
    WATCHDOG_FIRES,
    WATCHDOG_SEEN,
    BRIDGE_READY,
    ALERT_ACTIVE,
    ALERT_ROUTED,
    ALERT_NOTIFIED,
    ALERT_DELIVERED,
    ALERT_RESOLVED,
    END_NOTIFIED,
    END_DELIVERED,
    VERDICT,
];
