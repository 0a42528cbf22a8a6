//! A Prometheus, an Alertmanager and a bridge that are one world in memory: in order at first, and each wrong in a way that a test chooses.
//!
//! What they answer was copied from the real ones, as far as a verification looks at it.
#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "each test file uses its own part"
)]

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::fake::{Fake, Said, TEXT};

pub const RULES: [&str; 5] = [
    include_str!("../../../../ops/rules/alertbridge.rules.yml"),
    include_str!("../../../../ops/rules/meta.rules.yml"),
    include_str!("../../../../ops/rules/metricsd.rules.yml"),
    include_str!("../../../../ops/rules/sentinel.rules.yml"),
    include_str!("../../../../ops/rules/sessions.rules.yml"),
];
const JOBS: [&str; 5] = [
    "peak_trade_metricsd",
    "sentinel-metrics",
    "alertmanager",
    "alertbridge",
    "node",
];
/// How often everything is scraped and evaluated.
const INTERVAL_SECONDS: f64 = 0.2;

/// Everything that can be asked for.
#[derive(Debug)]
pub struct World {
    pub prometheus_ready: u16,
    pub is_prometheus: bool,
    pub prometheus_ahead: f64,
    pub reload_ok: bool,
    pub groups: Vec<Value>,
    pub targets: Vec<Value>,
    pub dropped: Vec<Value>,
    /// Of `scrape_samples_scraped`, in the order of the targets.
    pub samples: Vec<f64>,
    pub sample_age: f64,
    pub absent: BTreeSet<String>,
    pub series_age: f64,
    pub collections: f64,
    pub collects: bool,
    pub sentinel_live: bool,
    pub alertmanagers: Vec<String>,
    pub watchdog_fires: bool,
    pub alertmanager_ready: u16,
    pub is_alertmanager: bool,
    pub alertmanager_ahead: f64,
    pub alertmanager_reload: f64,
    pub cluster: &'static str,
    pub failed_peers: f64,
    pub config: String,
    pub silences: Value,
    pub watchdog_age: f64,
    pub watchdog_state: &'static str,
    pub alert_state: &'static str,
    pub has_alerts: bool,
    pub forgets_ends: bool,
    pub takes: u16,
    /// Whether a notification is sent, for begin and for end.
    pub notifies: (bool, bool),
    pub request_fails: (bool, bool),
    pub bridge_ready: u16,
    pub bridge_level: (&'static str, f64),
    pub bridge_takes: (bool, bool),
    pub bridge_delivers: (bool, bool),
    pub bridge_refuses: (bool, bool),
    pub requests: f64,
    pub failed: f64,
    pub queued: f64,
    pub delivered: f64,
    pub refused: f64,
    /// Bodies of what was posted.
    pub posted: Vec<Value>,
}

/// The three of them.
pub struct Hub {
    pub world: Arc<Mutex<World>>,
    pub prometheus: Fake,
    pub alertmanager: Fake,
    pub bridge: Fake,
}

impl Hub {
    pub fn new() -> Hub {
        let world = Arc::new(Mutex::new(World::in_order()));
        let serve = |answer: fn(&mut World, &str, &str) -> Said| {
            let world = Arc::clone(&world);
            Fake::taking(move |target, body| {
                let mut world = world.lock().unwrap_or_else(PoisonError::into_inner);
                answer(&mut world, &decoded(target), body)
            })
        };
        let (prometheus, alertmanager, bridge) =
            (serve(prometheus), serve(alertmanager), serve(bridge));
        let hub = Hub {
            world: Arc::clone(&world),
            prometheus,
            alertmanager,
            bridge,
        };
        let mut world = hub.world();
        world.alertmanagers = vec![format!("http://{}/api/v2/alerts", hub.alertmanager.address)];
        let bridge = hub.bridge.address.to_string();
        world.targets = JOBS.iter().map(|job| target(job, &bridge)).collect();
        drop(world);
        hub
    }

    pub fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl World {
    fn in_order() -> World {
        World {
            prometheus_ready: 200,
            is_prometheus: true,
            prometheus_ahead: 0.0,
            reload_ok: true,
            groups: RULES.into_iter().map(group).collect(),
            targets: Vec::new(),
            dropped: Vec::new(),
            samples: vec![7.0; JOBS.len()],
            sample_age: 0.1,
            absent: BTreeSet::new(),
            series_age: 0.1,
            collections: 10.0,
            collects: true,
            sentinel_live: false,
            alertmanagers: Vec::new(),
            watchdog_fires: true,
            alertmanager_ready: 200,
            is_alertmanager: true,
            alertmanager_ahead: 0.0,
            alertmanager_reload: 1.0,
            cluster: "disabled",
            failed_peers: 0.0,
            config: include_str!("../../../../ops/alertmanager/alertmanager.yml").to_owned(),
            silences: json!([]),
            watchdog_age: 1.0,
            watchdog_state: "active",
            alert_state: "active",
            has_alerts: true,
            forgets_ends: false,
            takes: 200,
            notifies: (true, true),
            request_fails: (false, false),
            bridge_ready: 200,
            bridge_level: ("", 0.0),
            bridge_takes: (true, true),
            bridge_delivers: (true, true),
            bridge_refuses: (false, false),
            requests: 40.0,
            failed: 2.0,
            queued: 9.0,
            delivered: 9.0,
            refused: 3.0,
            posted: Vec::new(),
        }
    }

    /// What was posted last.
    fn alert(&self) -> Option<&Value> {
        self.posted.last()
    }

    /// Takes an alert or its end, and passes it on.
    fn take(&mut self, body: &str) {
        let alerts: Value = serde_json::from_str(body).unwrap_or_default();
        self.posted.push(alerts[0].clone());
        let of = |(begin, end): (bool, bool)| if self.is_over() { end } else { begin };
        let (notifies, fails) = (of(self.notifies), of(self.request_fails));
        let (takes, delivers, refuses) = (
            of(self.bridge_takes),
            of(self.bridge_delivers),
            of(self.bridge_refuses),
        );
        if !notifies {
            return;
        }
        self.requests += 1.0;
        if fails {
            self.requests += 1.0;
            self.failed += 2.0;
        } else if takes {
            self.queued += 1.0;
            self.delivered += f64::from(u8::from(delivers));
            self.refused += f64::from(u8::from(refuses));
        }
    }

    /// Whether the last alert that was posted has an end that is past.
    pub fn is_over(&self) -> bool {
        let end = self.alert().and_then(|alert| alert["endsAt"].as_str());
        end.is_some_and(|end| end < iso(self.alertmanager_ahead).as_str())
    }
}

fn group(text: &str) -> Value {
    let mut name = String::new();
    let mut rules = Vec::new();
    for line in text.lines().map(str::trim) {
        if let Some(found) = line.strip_prefix("- name: ") {
            found.clone_into(&mut name);
        }
        for (word, kind) in [("- alert: ", "alerting"), ("- record: ", "recording")] {
            if let Some(rule) = line.strip_prefix(word) {
                rules.push(json!({"name": rule, "type": kind, "health": "ok", "lastError": ""}));
            }
        }
    }
    json!({"name": name, "interval": INTERVAL_SECONDS, "rules": rules, "evaluated": 0.1})
}

/// A target; that of the bridge is where the bridge is.
pub fn target(job: &str, bridge: &str) -> Value {
    let instance = if job == "alertbridge" {
        bridge.to_owned()
    } else {
        format!("{job}.invalid:1")
    };
    json!({
        "labels": {"job": job, "instance": instance},
        "scrapeUrl": format!("http://{instance}/metrics"),
        "scrapeInterval": "200ms",
        "health": "up",
        "lastError": "",
        "scraped": 0.1,
    })
}

/// Now, and so many seconds on.
pub fn iso(ahead_seconds: f64) -> String {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let seconds = since.as_secs_f64() + ahead_seconds;
    let time = jiff::Timestamp::from_microsecond((seconds * 1e6) as i64).unwrap_or_default();
    time.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}

fn seconds() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or(Duration::ZERO).as_secs_f64()
}

fn decoded(target: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = target.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let digits = [
                    rest.next().unwrap_or_default(),
                    rest.next().unwrap_or_default(),
                ];
                let digits = String::from_utf8_lossy(&digits).into_owned();
                bytes.push(u8::from_str_radix(&digits, 16).unwrap_or(b'?'));
            }
            byte => bytes.push(byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn said(status: u16, value: &Value, ahead_seconds: f64) -> Said {
    let time = jiff::Timestamp::from_second((seconds() + ahead_seconds) as i64).unwrap_or_default();
    let date = time.strftime("%a, %d %b %Y %H:%M:%S GMT");
    let header = format!("application/json\r\nDate: {date}");
    (status, header, value.to_string())
}

fn prometheus(world: &mut World, target: &str, _: &str) -> Said {
    let ok = |data: Value| said(200, &json!({"status": "success", "data": data}), 0.0);
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    if path == "/-/ready" {
        return (world.prometheus_ready, TEXT.to_owned(), "Ready.".to_owned());
    }
    if !world.is_prometheus {
        return (404, "text/html".to_owned(), "<html>no such page".to_owned());
    }
    match path.trim_start_matches("/api/v1/") {
        "status/buildinfo" => ok(json!({"version": "2.42.0"})),
        "status/runtimeinfo" => ok(json!({
            "startTime": iso(-60.0), "reloadConfigSuccess": world.reload_ok,
            "lastConfigTime": iso(-60.0), "storageRetention": "15d",
        })),
        "status/flags" => ok(json!({
            "config.file": "/etc/prometheus.yml", "rules.alert.resend-delay": "1s",
        })),
        "rules" => {
            let groups = world.groups.iter().map(|group| {
                let mut group = group.clone();
                let age = group["evaluated"].as_f64().unwrap_or_default();
                group["lastEvaluation"] = json!(iso(world.prometheus_ahead - age));
                group
            });
            ok(json!({"groups": groups.collect::<Vec<_>>()}))
        }
        "targets" if query.contains("dropped") => ok(json!({"droppedTargets": world.dropped})),
        "targets" => {
            let targets = world.targets.iter().map(|target| {
                let mut target = target.clone();
                let age = target["scraped"].as_f64().unwrap_or_default();
                target["lastScrape"] = json!(iso(world.prometheus_ahead - age));
                target
            });
            ok(json!({"activeTargets": targets.collect::<Vec<_>>()}))
        }
        "alertmanagers" => {
            let urls = world.alertmanagers.iter().map(|url| json!({"url": url}));
            ok(json!({"activeAlertmanagers": urls.collect::<Vec<_>>()}))
        }
        "alerts" if world.watchdog_fires => ok(json!({"alerts": [
            {"labels": {"alertname": "Watchdog"}, "state": "firing", "activeAt": iso(-60.0)},
        ]})),
        "alerts" => ok(json!({"alerts": []})),
        "query" => {
            let query = query.trim_start_matches("query=");
            ok(if query == "time()" {
                let now = seconds() + world.prometheus_ahead;
                json!({"resultType": "scalar", "result": [now, now.to_string()]})
            } else {
                json!({"resultType": "vector", "result": rows(world, query)})
            })
        }
        _ => (404, TEXT.to_owned(), String::new()),
    }
}

fn rows(world: &mut World, query: &str) -> Vec<Value> {
    let row = |labels: &Value, value: f64| json!({"metric": labels, "value": [seconds(), value.to_string()]});
    let labels = world.targets.iter().map(|target| &target["labels"]);
    if query == "scrape_samples_scraped" {
        let samples = labels.zip(&world.samples);
        return samples.map(|(labels, value)| row(labels, *value)).collect();
    }
    if query == "time() - timestamp(scrape_samples_scraped)" {
        return labels.map(|labels| row(labels, world.sample_age)).collect();
    }
    if query.contains("metricsd_sessions") {
        let live = world.sentinel_live.then(|| row(&json!({}), 1.0));
        return live.into_iter().collect();
    }
    if query.starts_with("process_start_time_seconds") {
        return vec![row(&json!({}), 1234.5)];
    }
    if world
        .absent
        .iter()
        .any(|name| query.contains(name.as_str()))
    {
        return Vec::new();
    }
    let place = json!({"job": "j", "instance": "i"});
    if query.starts_with("max by (job, instance) (time() - timestamp(") {
        return vec![row(&place, world.series_age)];
    }
    if query.starts_with("sum by (job, instance) (") {
        world.collections += f64::from(u8::from(world.collects));
        return vec![row(&place, world.collections)];
    }
    panic!("nobody should ask for {query}");
}

fn alertmanager(world: &mut World, target: &str, body: &str) -> Said {
    let ok = |value: &Value| said(200, value, world.alertmanager_ahead);
    match target {
        "/-/ready" => (world.alertmanager_ready, TEXT.to_owned(), "OK".to_owned()),
        _ if !world.is_alertmanager => (200, TEXT.to_owned(), "another program".to_owned()),
        "/api/v2/status" => ok(&json!({
            "versionInfo": {"version": "0.25.0"}, "uptime": "2026-01-01T00:00:00.000Z",
            "cluster": {"status": world.cluster, "peers": []}, "config": {"original": world.config},
        })),
        "/metrics" => {
            let page = format!(
                "alertmanager_config_last_reload_successful {}\n\
                 alertmanager_cluster_failed_peers {}\n\
                 process_start_time_seconds 1234.5\n\
                 alertmanager_notification_requests_total{{integration=\"email\"}} 5\n\
                 alertmanager_notification_requests_failed_total{{integration=\"email\"}} 5\n\
                 alertmanager_notification_requests_total{{integration=\"webhook\"}} {}\n\
                 alertmanager_notification_requests_failed_total{{integration=\"webhook\"}} {}\n",
                world.alertmanager_reload, world.failed_peers, world.requests, world.failed
            );
            (200, TEXT.to_owned(), page)
        }
        "/api/v2/silences" => ok(&world.silences),
        "/api/v2/alerts" => {
            if world.takes == 200 {
                world.take(body);
            }
            (
                world.takes,
                "application/json".to_owned(),
                "\"refused\"".to_owned(),
            )
        }
        _ if target.starts_with("/api/v2/silence/") => ok(&world.silences[0]),
        _ if target.contains("alertname=\"Watchdog\"") => ok(&json!([{
            "updatedAt": iso(world.alertmanager_ahead - world.watchdog_age),
            "status": {"state": world.watchdog_state},
        }])),
        _ if target.contains("verification=") => {
            let is_there = world.has_alerts && (!world.is_over() || world.forgets_ends);
            let alert = world.alert().filter(|_| is_there).map(|alert| {
                json!({
                    "labels": alert["labels"], "receivers": [{"name": "critical"}],
                    "status": {"state": world.alert_state, "silencedBy": ["s1"], "inhibitedBy": []},
                })
            });
            ok(&Value::from_iter(alert))
        }
        _ => (404, TEXT.to_owned(), String::new()),
    }
}

fn bridge(world: &mut World, target: &str, _: &str) -> Said {
    if target == "/-/ready" {
        return (world.bridge_ready, TEXT.to_owned(), "full".to_owned());
    }
    let level = |name: &str, value: f64| {
        let (wrong, found) = world.bridge_level;
        if wrong == name { found } else { value }
    };
    let mut page = String::new();
    for (name, value) in [
        ("alertbridge_build_info", 1.0),
        (
            "alertbridge_alerts_received_total{result=\"queued\"}",
            world.queued,
        ),
        // The Watchdog comes all the time.
        (
            "alertbridge_alerts_received_total{result=\"watchdog\"}",
            seconds(),
        ),
        (
            "alertbridge_alerts_delivered_total{kind=\"log\"}",
            world.delivered,
        ),
        (
            "alertbridge_send_attempts_total{kind=\"log\",outcome=\"sent\"}",
            world.delivered,
        ),
        (
            "alertbridge_send_attempts_total{kind=\"log\",outcome=\"refused\"}",
            world.refused,
        ),
        (
            "alertbridge_refused_targets{kind=\"log\"}",
            level("alertbridge_refused_targets", 0.0),
        ),
        ("alertbridge_queue_alerts", world.queued - world.delivered),
        ("alertbridge_queue_oldest_timestamp_seconds", 1.0),
        (
            "alertbridge_queue_writable",
            level("alertbridge_queue_writable", 1.0),
        ),
        (
            "alertbridge_orphaned_alerts",
            level("alertbridge_orphaned_alerts", 0.0),
        ),
        (
            "alertbridge_config_last_reload_successful",
            level("alertbridge_config_last_reload_successful", 1.0),
        ),
        (
            "alertbridge_watchdog_missing",
            level("alertbridge_watchdog_missing", 0.0),
        ),
    ] {
        page.push_str(&format!("{name} {value}\n"));
    }
    (200, TEXT.to_owned(), page)
}
