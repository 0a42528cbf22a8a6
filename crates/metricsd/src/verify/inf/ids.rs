//! The identifiers of all checks: what scripts look for, the same in every release. `docs/verification-inf.md` has a row for each.

use crate::verify::verification::VERDICT;

/// Who listens on the port.
pub(super) const PORT_OWNER: &str = "port_owner";
/// The page is served.
pub(super) const HTTP_OK: &str = "http_ok";
/// As what it is declared.
pub(super) const CONTENT_TYPE: &str = "content_type";
/// The page is text 0.0.4.
pub(super) const EXPOSITION_VALID: &str = "exposition_valid";
/// The page is a sentinel's own.
pub(super) const BUILD_INFO: &str = "build_info";
/// The page is of the process that owns the port.
pub(super) const PROCESS_AGE: &str = "process_age";
/// Families have the promised types.
pub(super) const FAMILY_TYPES: &str = "family_types";
/// Series have the promised labels.
pub(super) const LABEL_NAMES: &str = "label_names";
/// Label values are of the closed sets.
pub(super) const LABEL_VALUES: &str = "label_values";
/// No label that grows without bound.
pub(super) const NO_FORBIDDEN_LABELS: &str = "no_forbidden_labels";
/// Histograms have the promised bounds.
pub(super) const HISTOGRAM_BUCKETS: &str = "histogram_buckets";
/// Values are what their names say.
pub(super) const VALUES_SANE: &str = "values_sane";
/// Of several states one is in force.
pub(super) const STATES_EXCLUSIVE: &str = "states_exclusive";
/// Families have samples.
pub(super) const FAMILIES_PRESENT: &str = "families_present";
/// Families that need an event first.
pub(super) const FAMILIES_LATER: &str = "families_later";
/// `/health` answers.
pub(super) const HEALTH_ANSWERS: &str = "health_answers";
/// `/health` says ok.
pub(super) const HEALTH_OK: &str = "health_ok";
/// `/health` says what the metrics say.
pub(super) const HEALTH_TRUTHFUL: &str = "health_truthful";
/// Dry run or live, and nothing else.
pub(super) const MODE_CONSISTENT: &str = "mode_consistent";
/// The clocks agree.
pub(super) const CLOCKS_AGREE: &str = "clocks_agree";
/// The next cycle is not overdue.
pub(super) const CYCLE_DUE: &str = "cycle_due";
/// The next bar is not overdue.
pub(super) const BARS_FRESH: &str = "bars_fresh";
/// Predictions come.
pub(super) const PREDICTIONS_WORK: &str = "predictions_work";
/// No circuit breaker is open.
pub(super) const BREAKERS_CLOSED: &str = "breakers_closed";
/// Trading is not halted.
pub(super) const TRADING_ACTIVE: &str = "trading_active";
/// The gateway answers.
pub(super) const GATEWAY_HEARTBEAT: &str = "gateway_heartbeat";
/// The page moves.
pub(super) const NOT_FROZEN: &str = "not_frozen";
/// Counters do not go backwards.
pub(super) const COUNTERS_DO_NOT_FALL: &str = "counters_do_not_fall";
/// Nothing fails meanwhile.
pub(super) const NOTHING_FAILS_MEANWHILE: &str = "nothing_fails_meanwhile";
/// The port is the same process's to the end.
pub(super) const PORT_OWNER_AT_END: &str = "port_owner_at_end";

/// All checks, in their order.
pub const CHECKS: [&str; 31] = [
    PORT_OWNER,
    HTTP_OK,
    CONTENT_TYPE,
    EXPOSITION_VALID,
    BUILD_INFO,
    PROCESS_AGE,
    FAMILY_TYPES,
    LABEL_NAMES,
    LABEL_VALUES,
    NO_FORBIDDEN_LABELS,
    HISTOGRAM_BUCKETS,
    VALUES_SANE,
    STATES_EXCLUSIVE,
    FAMILIES_PRESENT,
    FAMILIES_LATER,
    HEALTH_ANSWERS,
    HEALTH_OK,
    HEALTH_TRUTHFUL,
    MODE_CONSISTENT,
    CLOCKS_AGREE,
    CYCLE_DUE,
    BARS_FRESH,
    PREDICTIONS_WORK,
    BREAKERS_CLOSED,
    TRADING_ACTIVE,
    GATEWAY_HEARTBEAT,
    NOT_FROZEN,
    COUNTERS_DO_NOT_FALL,
    NOTHING_FAILS_MEANWHILE,
    PORT_OWNER_AT_END,
    VERDICT,
];
