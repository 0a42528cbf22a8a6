//! A bridge as a child process, and what tests ask of it.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use stand_in::{DingTalk, Robot};
use tempfile::TempDir;

/// Far beyond anything that works; only a hang reaches it.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

pub(crate) const LOOPBACK: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// What no output may hold.
pub(crate) const SECRET: &str = "SECverySecretSigningKey";
pub(crate) const TOKEN: &str = "verySecretAccessToken";

/// A robot with these secrets, and a window that tests can wait for.
pub(crate) fn robot() -> DingTalk {
    robot_at(LOOPBACK)
}

pub(crate) fn robot_at(address: SocketAddr) -> DingTalk {
    DingTalk::start(
        address,
        Robot {
            token: TOKEN.to_owned(),
            secret: Some(SECRET.to_owned()),
            window: Duration::from_secs(2),
            mute: Duration::from_secs(2),
            ..Robot::default()
        },
    )
    .unwrap()
}

/// A target for that robot, named `ops`, with these lines more.
pub(crate) fn target(robot: &DingTalk, lines: &str) -> String {
    let lines: String = lines.lines().map(|line| format!("    {line}\n")).collect();
    format!(
        "targets:\n  ops:\n    url: {}\n    secret: {SECRET}\n    timeout: 1s\n    rate_limit: {{messages: 18, per: 2s}}\n{lines}",
        robot.url()
    )
}

/// Pauses that tests can wait for.
pub(crate) const QUICK: &str = "retry: {min: 20ms, max: 100ms, refused: 100ms}\n";

/// A running bridge.
pub(crate) struct Bridge {
    child: Child,
    pub(crate) folder: TempDir,
    pub(crate) port: u16,
}

pub(crate) fn free_port() -> u16 {
    stand_in::free_port().unwrap()
}

impl Bridge {
    /// Starts with this configuration in a folder of its own, and waits until it is ready.
    pub(crate) fn start(config: &str) -> Bridge {
        Bridge::start_in(tempfile::tempdir().unwrap(), config)
    }

    pub(crate) fn start_in(folder: TempDir, config: &str) -> Bridge {
        fs::write(folder.path().join("config.yml"), config).unwrap();
        let port = free_port();
        let child = spawn(folder.path(), port, None);
        let bridge = Bridge {
            child,
            folder,
            port,
        };
        bridge.wait_until_ready();
        bridge
    }

    /// Starts with a limit on the length of files, in bytes.
    pub(crate) fn start_limited(config: &str, bytes: u64) -> Bridge {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("config.yml"), config).unwrap();
        let port = free_port();
        let child = spawn(folder.path(), port, Some(bytes));
        let bridge = Bridge {
            child,
            folder,
            port,
        };
        bridge.wait_until_ready();
        bridge
    }

    /// Ends it as `kill -9` does and starts it again over the same files.
    pub(crate) fn kill_and_restart(mut self) -> Bridge {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.child = spawn(self.folder.path(), self.port, None);
        self.wait_until_ready();
        self
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn queue(&self) -> PathBuf {
        self.folder.path().join("queue")
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    fn wait_until_ready(&self) {
        eventually("the bridge to be ready", || {
            (get(self.port, "/-/ready").0 == 200).then_some(())
        });
    }

    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args([format!("-{name}"), self.pid().to_string()])
            .status()
            .unwrap();
        assert!(status.success());
    }

    /// SIGTERM; the exit status.
    pub(crate) fn terminate(mut self) -> Option<i32> {
        self.signal("TERM");
        let begin = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(begin.elapsed() < DEADLINE, "it does not end");
            std::thread::yield_now();
        }
    }

    /// The sum of the samples of the metrics page that begin with this.
    pub(crate) fn metric(&self, begin: &str) -> f64 {
        let (status, text) = get(self.port, "/metrics");
        assert_eq!(status, 200);
        let values = text.lines().filter(|line| line.starts_with(begin));
        values
            .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
            .sum()
    }

    pub(crate) fn send(&self, body: &str) -> u16 {
        post(self.port, "/dingtalk/ops/send", body).0
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(folder: &Path, port: u16, file_size: Option<u64>) -> Child {
    let log = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(folder.join("log"))
        .unwrap();
    let program = env!("CARGO_BIN_EXE_alertbridge");
    let mut command = match file_size {
        None => Command::new(program),
        Some(bytes) => {
            let mut command = Command::new("prlimit");
            command.args([&format!("--fsize={bytes}:unlimited"), "--", program]);
            command
        }
    };
    command
        .args(["--config.file", "config.yml", "--queue.path", "queue"])
        .args(["--log.level", "debug"])
        .args(["--web.listen-address", &format!("127.0.0.1:{port}")])
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap()
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(DEADLINE))
        .max_redirects(0)
        .build()
        .into()
}

/// Status and body; 0 when there is no answer.
pub(crate) fn get(port: u16, path: &str) -> (u16, String) {
    answer(agent().get(format!("http://127.0.0.1:{port}{path}")).call())
}

pub(crate) fn head(port: u16, path: &str) -> u16 {
    answer(
        agent()
            .head(format!("http://127.0.0.1:{port}{path}"))
            .call(),
    )
    .0
}

pub(crate) fn post(port: u16, path: &str, body: &str) -> (u16, String) {
    post_with(port, path, &[], body)
}

pub(crate) fn post_with(
    port: u16,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> (u16, String) {
    let mut call = agent().post(format!("http://127.0.0.1:{port}{path}"));
    for (name, value) in headers {
        call = call.header(*name, *value);
    }
    answer(call.send(body))
}

fn answer(response: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> (u16, String) {
    match response {
        Ok(mut response) => {
            let status = response.status().as_u16();
            let body = response.body_mut().read_to_string().unwrap_or_default();
            (status, body)
        }
        Err(_) => (0, String::new()),
    }
}

/// Waits until there is something.
pub(crate) fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begin.elapsed() < DEADLINE, "still not: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// An alert as Alertmanager sends it.
pub(crate) fn alert(status: &str, name: &str, instance: &str) -> Value {
    json!({
        "status": status,
        "labels": {"alertname": name, "instance": instance, "severity": "critical"},
        "annotations": {"summary": format!("{name} on {instance}"), "runbook_url": "/runbooks/AlertbridgeTargetRefuses"},
        "startsAt": "2026-11-22T10:00:00Z",
        "endsAt": if status == "firing" { "0001-01-01T00:00:00Z" } else { "2026-11-22T10:12:00Z" },
        "generatorURL": "http://127.0.0.1:9090/graph?g0.expr=up",
        "fingerprint": format!("{name}-{instance}"),
    })
}

/// A notification as Alertmanager sends it.
pub(crate) fn notification(group: &str, alerts: &[Value]) -> String {
    let is_firing = alerts.iter().any(|alert| alert["status"] == "firing");
    json!({
        "receiver": "ops", "status": if is_firing { "firing" } else { "resolved" }, "alerts": alerts,
        "groupLabels": {"group": group}, "commonLabels": {}, "commonAnnotations": {}, "externalURL": "http://127.0.0.1:9093",
        "version": "4", "groupKey": format!("{{}}:{{group=\"{group}\"}}"), "truncatedAlerts": 0,
    })
    .to_string()
}

/// A notification about one alert.
pub(crate) fn one(status: &str, name: &str) -> String {
    notification(name, &[alert(status, name, "a:1")])
}

/// All texts that the robot took.
pub(crate) fn texts(robot: &DingTalk) -> Vec<String> {
    robot
        .delivered()
        .into_iter()
        .map(|message| message.text)
        .collect()
}
