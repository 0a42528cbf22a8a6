//! One attempt to deliver: the call, with a deadline over everything, and what came of it in classes that differ in what is done next.
//!
//! Invariant: redirects are not followed and no proxy of the environment is used: the URL holds a token. No text of an outcome holds a
//! secret of the target.

use std::fs::OpenOptions;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::json;
use ureq::tls::{RootCerts, TlsConfig};

use crate::config::{DingTalk, Hook, Kind, LogTarget, Target};
use crate::dingtalk;
use crate::message::Message;
use crate::payload::{Alert, Status};
use crate::queue::Waiting;
use crate::telemetry::{Attempt, TargetKind};

/// Most bytes of an answer that are read.
const ANSWER_MAX_BYTES: u64 = 64 << 10;

/// Longest text of a remote that is logged, in characters.
const TEXT_CHARACTERS: usize = 300;

/// What came of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The target has it.
    Sent,
    /// It was too much in too short a time.
    RateLimited {
        /// What the target said.
        text: String,
    },
    /// The target takes nothing until a person changes something.
    Refused {
        /// What the target said.
        text: String,
    },
    /// It takes a shorter one.
    TooLong {
        /// What the target said.
        text: String,
    },
    /// It does not understand this one.
    BadMessage {
        /// What the target said.
        text: String,
    },
    /// It may work later.
    Failed {
        /// For the metrics.
        attempt: Attempt,
        /// What happened.
        text: String,
    },
}

impl Outcome {
    /// It may work later.
    pub fn failed(attempt: Attempt, text: String) -> Outcome {
        Outcome::Failed { attempt, text }
    }

    /// For the metrics.
    pub fn attempt(&self) -> Attempt {
        match self {
            Outcome::Sent => Attempt::Sent,
            Outcome::RateLimited { .. } => Attempt::RateLimited,
            Outcome::Refused { .. } => Attempt::Refused,
            Outcome::TooLong { .. } => Attempt::TooLong,
            Outcome::BadMessage { .. } => Attempt::BadMessage,
            Outcome::Failed { attempt, .. } => *attempt,
        }
    }

    /// The same with its text in one short line and without the target's secrets.
    fn fit_for_logs(mut self, target: &Target) -> Outcome {
        if let Outcome::RateLimited { text }
        | Outcome::Refused { text }
        | Outcome::TooLong { text }
        | Outcome::BadMessage { text }
        | Outcome::Failed { text, .. } = &mut self
        {
            // First, so that no part of a secret is left where the text is cut.
            let hidden = target.without_secrets(text);
            let words: Vec<&str> = hidden
                .split(|c: char| c.is_whitespace() || c.is_control())
                .filter(|word| !word.is_empty())
                .collect();
            *text = words.join(" ").chars().take(TEXT_CHARACTERS).collect();
        }
        self
    }
}

impl Kind {
    /// For the metrics.
    pub fn label(&self) -> TargetKind {
        match self {
            Kind::DingTalk(_) => TargetKind::DingTalk,
            Kind::Webhook(_) => TargetKind::Webhook,
            Kind::Log(_) => TargetKind::Log,
        }
    }
}

/// Makes calls.
#[derive(Debug, Clone)]
pub struct Sender(ureq::Agent);

impl Default for Sender {
    fn default() -> Sender {
        Sender::new()
    }
}

impl Sender {
    /// A sender that trusts the certificate authorities of Mozilla's list, which is built in.
    pub fn new() -> Sender {
        let tls = TlsConfig::builder().root_certs(RootCerts::WebPki).build();
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .max_idle_connections(0)
            .user_agent(concat!("alertbridge/", env!("CARGO_PKG_VERSION")))
            .accept("application/json")
            .accept_encoding("identity")
            .tls_config(tls)
            .build();
        Sender(ureq::Agent::new_with_config(config))
    }

    /// Delivers a message, which is about these alerts.
    pub fn send(&self, target: &Target, message: &Message, alerts: &[Waiting]) -> Outcome {
        let outcome = match &target.kind {
            Kind::DingTalk(robot) => self.to_robot(robot, message, target.timeout),
            Kind::Webhook(hook) => self.to_hook(hook, alerts, target.timeout),
            Kind::Log(log) => write_lines(log, target, alerts),
        };
        outcome.fit_for_logs(target)
    }

    fn to_robot(&self, robot: &DingTalk, message: &Message, timeout: Duration) -> Outcome {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let millis = since.map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(0));
        let url = dingtalk::signed_url(robot, millis);
        match self.post(&url, None, &dingtalk::body(message), timeout) {
            Ok((200..=299, body)) => dingtalk::outcome(&body),
            Ok((429, _)) => Outcome::RateLimited {
                text: "status 429".to_owned(),
            },
            Ok((status, _)) => of_status(status),
            Err(outcome) => outcome,
        }
    }

    fn to_hook(&self, hook: &Hook, alerts: &[Waiting], timeout: Duration) -> Outcome {
        let bearer = hook.bearer_token.as_ref().map(|token| token.expose());
        match self.post(hook.url.expose(), bearer, &hook_body(alerts), timeout) {
            Ok((200..=299, _)) => Outcome::Sent,
            Ok((429, _)) => Outcome::RateLimited {
                text: "status 429".to_owned(),
            },
            Ok((status @ (401 | 403 | 404), _)) => Outcome::Refused {
                text: format!("status {status}"),
            },
            Ok((413, _)) => Outcome::TooLong {
                text: "status 413".to_owned(),
            },
            Ok((status @ (400 | 415 | 422), _)) => Outcome::BadMessage {
                text: format!("status {status}"),
            },
            Ok((status, _)) => of_status(status),
            Err(outcome) => outcome,
        }
    }

    /// Status and body of the answer.
    pub(crate) fn post(
        &self,
        url: &str,
        bearer: Option<&str>,
        body: &[u8],
        timeout: Duration,
    ) -> Result<(u16, Vec<u8>), Outcome> {
        let mut call = self
            .0
            .post(url)
            .header("Connection", "close")
            .header("Content-Type", "application/json; charset=utf-8");
        if let Some(token) = bearer {
            call = call.header("Authorization", format!("Bearer {token}"));
        }
        let call = call.config().timeout_global(Some(timeout)).build();
        let mut response = call.send(body).map_err(of_error)?;
        let status = response.status().as_u16();
        let mut answer = Vec::new();
        let reader = response.body_mut().as_reader();
        match reader.take(ANSWER_MAX_BYTES).read_to_end(&mut answer) {
            Ok(_) => Ok((status, answer)),
            Err(error) => Err(of_error(error.into())),
        }
    }
}

/// What a status means that has no meaning of its own.
fn of_status(status: u16) -> Outcome {
    let attempt = match status {
        300..=399 => Attempt::Http3xx,
        400..=499 => Attempt::Http4xx,
        500..=599 => Attempt::Http5xx,
        _ => Attempt::Other,
    };
    Outcome::failed(attempt, format!("status {status}"))
}

fn of_error(error: ureq::Error) -> Outcome {
    use io::ErrorKind as Io;
    use ureq::Error;
    let text = error.to_string();
    let attempt = match error {
        Error::Timeout(_) => Attempt::Timeout,
        Error::HostNotFound | Error::ConnectionFailed => Attempt::Connect,
        Error::Tls(_) | Error::Rustls(_) | Error::Pem(_) | Error::TlsRequired => Attempt::Tls,
        Error::Protocol(_)
        | Error::LargeResponseHeader(..)
        | Error::Http(_)
        | Error::BodyStalled => Attempt::Malformed,
        Error::Io(error) => match error.kind() {
            Io::TimedOut | Io::WouldBlock => Attempt::Timeout,
            Io::InvalidData => Attempt::Malformed,
            Io::ConnectionRefused
            | Io::ConnectionReset
            | Io::ConnectionAborted
            | Io::NotConnected
            | Io::BrokenPipe
            | Io::UnexpectedEof
            | Io::HostUnreachable
            | Io::NetworkUnreachable
            | Io::NetworkDown => Attempt::Connect,
            _ => Attempt::Other,
        },
        _ => Attempt::Other,
    };
    Outcome::failed(attempt, text)
}

/// What Alertmanager would send about these alerts: those of one notification under its header, those of several under none.
fn hook_body(alerts: &[Waiting]) -> Vec<u8> {
    let is_firing = |one: &Waiting| one.alert.status == Status::Firing;
    let status = if alerts.iter().any(is_firing) {
        Status::Firing
    } else {
        Status::Resolved
    };
    let list: Vec<&Alert> = alerts.iter().map(|one| &*one.alert).collect();
    let mut body = json!({"version": "4", "status": status, "alerts": list});
    if let [first, ..] = alerts
        && crate::message::batches(alerts) == 1
        && let Ok(serde_json::Value::Object(header)) = serde_json::to_value(&first.batch.header)
        && let Some(body) = body.as_object_mut()
    {
        body.extend(header);
    }
    body.to_string().into_bytes()
}

/// One line of JSON for each alert.
fn write_lines(log: &LogTarget, target: &Target, alerts: &[Waiting]) -> Outcome {
    let mut lines = Vec::new();
    for one in alerts {
        let line = json!({
            "target": target.name, "accepted_at": one.batch.at, "receiver": one.batch.header.receiver,
            "group_key": one.batch.header.group_key, "alert": &*one.alert,
        });
        lines.extend_from_slice(line.to_string().as_bytes());
        lines.push(b'\n');
    }
    let written = match &log.path {
        None => {
            let mut out = io::stdout().lock();
            out.write_all(&lines).and_then(|()| out.flush())
        }
        Some(path) => OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o640)
            .open(path)
            .and_then(|mut file| file.write_all(&lines).and_then(|()| file.sync_data())),
    };
    match written {
        Ok(()) => Outcome::Sent,
        Err(error) => Outcome::failed(Attempt::Disk, error.to_string()),
    }
}
