//! What programs of ours serve, made up: for alerts whose causes cannot be had in seconds. The job names, metrics and labels are the real
//! ones; `tests/alerts.rs` keeps the metrics so.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use stand_in::Server;

/// What is wrong everywhere at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scene {
    /// Nothing.
    Good,
    /// As much as can be wrong at the same time.
    Bad,
    /// What [`Scene::Bad`] would have Alertmanager hold back.
    Lesser,
    /// metricsd cannot read its directory, so nothing that it serves is news.
    Unready,
    /// The last session was killed.
    Killed,
    /// No target answers with anything that Prometheus could read.
    Down,
}

/// Targets of five jobs, in the order of their ports in `Ports::targets`.
pub(crate) struct Targets {
    pub(crate) ports: [u16; 5],
    scene: Arc<Mutex<Scene>>,
    _servers: Vec<Server>,
}

impl Targets {
    pub(crate) fn start() -> Result<Targets> {
        let scene = Arc::new(Mutex::new(Scene::Good));
        let mut servers = Vec::new();
        for job in 0..5 {
            let scene = Arc::clone(&scene);
            let served = Mutex::new(0.0);
            let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
            servers.push(Server::answering(listen, move |_| {
                let scene = *scene.lock().unwrap_or_else(PoisonError::into_inner);
                let mut served = served.lock().unwrap_or_else(PoisonError::into_inner);
                *served += 1.0;
                page(job, scene, *served).into_bytes()
            })?);
        }
        let mut ports = [0; 5];
        for (port, server) in ports.iter_mut().zip(&servers) {
            *port = server.address().port();
        }
        Ok(Targets {
            ports,
            scene,
            _servers: servers,
        })
    }

    pub(crate) fn play(&self, scene: Scene) {
        *self.scene.lock().unwrap_or_else(PoisonError::into_inner) = scene;
    }
}

/// `served` grows by one with each scrape.
fn page(job: usize, scene: Scene, served: f64) -> String {
    if scene == Scene::Down {
        return "this is no exposition".to_owned();
    }
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64());
    let lines = match job {
        0 => metricsd(scene, now),
        1 => sentinel(scene, now, served),
        2 => bridge(scene),
        3 => vec![(
            "alertmanager_notifications_failed_total{integration=\"email\"}",
            on(scene, Scene::Bad, 5.0),
        )],
        _ => vec![
            (
                "prometheus_notifications_dropped_total",
                on(scene, Scene::Bad, 5.0),
            ),
            (
                "prometheus_rule_evaluation_failures_total{rule_group=\"x\"}",
                on(scene, Scene::Bad, 5.0),
            ),
        ],
    };
    lines
        .into_iter()
        .map(|(series, value)| format!("{series} {value}\n"))
        .collect()
}

/// The value in that scene, else 0.
fn on(scene: Scene, wanted: Scene, value: f64) -> f64 {
    if scene == wanted { value } else { 0.0 }
}

fn metricsd(scene: Scene, now: f64) -> Vec<(&'static str, f64)> {
    let bad = on(scene, Scene::Bad, 1.0);
    let lesser = scene == Scene::Lesser;
    let (due, stepped) = match scene {
        Scene::Bad | Scene::Killed => (1.0, 1.0),
        Scene::Lesser => (0.0, 1.0),
        _ => (now + 100.0, now),
    };
    vec![
        ("metricsd_build_info{version=\"1\"}", 1.0),
        ("metricsd_ready", 1.0 - on(scene, Scene::Unready, 1.0)),
        ("metricsd_unreadable_shards{reason=\"truncated\"}", bad),
        ("metricsd_orphaned_shards", bad),
        ("metricsd_retirement_enabled", 1.0 - bad),
        ("metricsd_state_durable", 1.0 - bad),
        ("metricsd_state_errors_total{op=\"append\"}", bad),
        ("metricsd_state_errors_total{op=\"damage\"}", bad),
        ("metricsd_writers_degraded{program=\"other\"}", bad),
        (
            "metricsd_expected_program_live{program=\"other\"}",
            1.0 - bad,
        ),
        ("metricsd_series_refused_total{reason=\"label\"}", bad),
        (
            "metricsd_sessions{program=\"shadow-session\",state=\"live\"}",
            1.0 - on(scene, Scene::Killed, 1.0),
        ),
        ("shadow_session_next_candle_due_timestamp_seconds", due),
        ("shadow_session_last_step_timestamp_seconds", stepped),
        (
            "shadow_session_drawdown_ratio{strategy_id=\"s\"}",
            if lesser { 0.06 } else { 0.01 + bad / 2.0 },
        ),
        ("shadow_session_run_log_errors_total", bad),
        ("peaktrade_risk_blocks_total{reason=\"limit:x\"}", bad),
        (
            "peaktrade_risk_limit_utilization{limit_id=\"max_total_exposure\"}",
            if lesser { 0.9 } else { 0.5 + bad / 2.0 },
        ),
    ]
}

fn sentinel(scene: Scene, now: f64, served: f64) -> Vec<(&'static str, f64)> {
    let bad = on(scene, Scene::Bad, 1.0);
    let lesser = on(scene, Scene::Lesser, 1.0);
    let later = |is_late: f64| if is_late > 0.0 { 1.0 } else { now + 100.0 };
    let grown = |is_growing: f64, share: f64| is_growing * share * served;
    let model = if scene == Scene::Bad {
        "sentinel_model_info{model=\"m\",version=\"1\",origin=\"embedded\"}"
    } else {
        "sentinel_model_info{model=\"m\",version=\"1\",origin=\"hub\"}"
    };
    vec![
        (model, 1.0),
        ("sentinel_next_cycle_due_timestamp_seconds", later(bad)),
        ("sentinel_trading_cycles_failed_total", 10.0 * bad),
        (
            "sentinel_cycles_skipped_total{reason=\"overrun\"}",
            10.0 * lesser,
        ),
        (
            "sentinel_next_bar_due_timestamp_seconds{source=\"eodhd\"}",
            later(lesser),
        ),
        ("sentinel_market_data_defects_total{defect=\"gap\"}", bad),
        (
            "sentinel_circuit_breaker_state{endpoint=\"hub\",state=\"open\"}",
            bad,
        ),
        ("sentinel_prediction_population_stability_index", bad),
        (
            "sentinel_prediction_latency_seconds_bucket{le=\"0.5\"}",
            0.0,
        ),
        (
            "sentinel_prediction_latency_seconds_bucket{le=\"1\"}",
            grown(bad, 10.0),
        ),
        (
            "sentinel_prediction_latency_seconds_bucket{le=\"+Inf\"}",
            grown(bad, 10.0),
        ),
        (
            "sentinel_gateway_last_heartbeat_timestamp_seconds",
            if lesser > 0.0 { 1.0 } else { now },
        ),
        (
            "sentinel_order_results_total{result=\"rejected_price\"}",
            grown(bad, 3.0),
        ),
        (
            "sentinel_order_results_total{result=\"filled\"}",
            grown(bad, 7.0),
        ),
        ("sentinel_order_results_total{result=\"timeout\"}", bad),
        (
            "sentinel_order_slippage_basis_points_bucket{le=\"10\"}",
            0.0,
        ),
        (
            "sentinel_order_slippage_basis_points_bucket{le=\"25\"}",
            grown(bad, 10.0),
        ),
        (
            "sentinel_order_slippage_basis_points_bucket{le=\"+Inf\"}",
            grown(bad, 10.0),
        ),
        ("sentinel_trading_state{state=\"halted\"}", bad),
        (
            "sentinel_clock_offset_seconds{reference=\"hub\"}",
            5.0 * bad,
        ),
        (
            "sentinel_risk_limit_utilization_ratio{limit_id=\"max_daily_loss_abs\"}",
            0.5 + bad / 2.0,
        ),
        (
            "sentinel_trading_signals_total{action=\"HOLD\"}",
            grown(lesser, 1.0),
        ),
        ("sentinel_trading_signals_total{action=\"BUY\"}", 0.0),
    ]
}

fn bridge(scene: Scene) -> Vec<(&'static str, f64)> {
    let bad = on(scene, Scene::Bad, 1.0);
    vec![
        (
            "alertbridge_send_attempts_total{kind=\"dingtalk\",outcome=\"timeout\"}",
            10.0 * bad,
        ),
        ("alertbridge_refused_targets{kind=\"dingtalk\"}", bad),
        ("alertbridge_queue_oldest_timestamp_seconds", bad),
        ("alertbridge_queue_writable", 1.0 - bad),
        ("alertbridge_journal_errors_total{op=\"damage\"}", bad),
        ("alertbridge_orphaned_alerts", bad),
        ("alertbridge_config_last_reload_successful", 1.0 - bad),
    ]
}
