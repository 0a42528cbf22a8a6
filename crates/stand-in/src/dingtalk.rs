//! DingTalk's custom robot as a server: signature, time, rate, size and shape are checked as the vendor does, and refusals come with
//! status 200 and an errcode.
//!
//! Invariant: what it takes, the vendor's documentation allows; a message is counted as delivered only if its answer said so. Signatures are
//! computed here, with no code of the programs under test.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::fault::Fault;
use crate::server::{Answer, Recorded, Server};

/// What a robot asks for.
#[derive(Debug, Clone)]
pub struct Robot {
    /// Its access token.
    pub token: String,
    /// What requests must be signed with, if it checks signatures.
    pub secret: Option<String>,
    /// Of these a message must contain one, if there are any.
    pub keywords: Vec<String>,
    /// Messages in any time of length `window`; one more and it is muted. The vendor: 20.
    pub messages: usize,
    /// The vendor: a minute.
    pub window: Duration,
    /// How long it takes nothing after that. The vendor: ten minutes.
    pub mute: Duration,
    /// Longest body in bytes. The vendor: 20,000.
    pub max_bytes: usize,
}

impl Default for Robot {
    fn default() -> Robot {
        Robot {
            token: "stand-in-token".to_owned(),
            secret: Some("SECstand-in".to_owned()),
            keywords: Vec::new(),
            messages: 20,
            window: Duration::from_secs(60),
            mute: Duration::from_secs(600),
            max_bytes: 20_000,
        }
    }
}

/// A message that the robot took.
#[derive(Debug, Clone)]
pub struct Delivered {
    /// `text`, `link`, `markdown`, `actionCard`, `feedCard`.
    pub kind: String,
    /// What a telephone shows; empty for `text`.
    pub title: String,
    /// The text.
    pub text: String,
    /// Texts and URLs of the buttons.
    pub buttons: Vec<(String, String)>,
    /// Who is mentioned: named in `at` and, without which nobody is, in the text.
    pub mentioned: Vec<String>,
    /// Length of the body in bytes.
    pub bytes: usize,
}

#[derive(Debug)]
struct State {
    robot: Robot,
    arrivals: VecDeque<Instant>,
    muted_until: Option<Instant>,
    delivered: Vec<Delivered>,
    refusals: Vec<i64>,
}

/// A running robot; ended when dropped.
#[derive(Debug)]
pub struct DingTalk {
    server: Server,
    state: Arc<Mutex<State>>,
}

impl DingTalk {
    /// A robot at this address.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub fn start(listen: SocketAddr, robot: Robot) -> io::Result<DingTalk> {
        let state = Arc::new(Mutex::new(State {
            robot,
            arrivals: VecDeque::new(),
            muted_until: None,
            delivered: Vec::new(),
            refusals: Vec::new(),
        }));
        let answering = Arc::clone(&state);
        let server = Server::start(listen, move |request, _| {
            let mut state = lock(&answering);
            let code = match state.take(request) {
                Ok(delivered) => {
                    state.delivered.push(delivered);
                    json!({"errcode": 0, "errmsg": "ok"})
                }
                Err((code, text)) => {
                    state.refusals.push(code);
                    json!({"errcode": code, "errmsg": text})
                }
            };
            Answer {
                status: 200,
                content_type: "application/json",
                body: code.to_string().into_bytes(),
            }
        })?;
        Ok(DingTalk { server, state })
    }

    /// Where the robot is, its token included.
    pub fn url(&self) -> String {
        let token = lock(&self.state).robot.token.clone();
        format!(
            "http://{}/robot/send?access_token={token}",
            self.server.address()
        )
    }

    /// The messages that it took, oldest first.
    pub fn delivered(&self) -> Vec<Delivered> {
        lock(&self.state).delivered.clone()
    }

    /// The errcodes with which it refused, oldest first.
    pub fn refusals(&self) -> Vec<i64> {
        lock(&self.state).refusals.clone()
    }

    /// How many requests it got, those that met a fault included.
    pub fn requests(&self) -> usize {
        self.server.requests().len()
    }

    /// Change what it asks for.
    pub fn change(&self, change: impl FnOnce(&mut Robot)) {
        change(&mut lock(&self.state).robot);
    }

    /// See [`Server::set_fault`].
    pub fn set_fault(&self, fault: Option<Fault>) {
        self.server.set_fault(fault);
    }

    /// See [`Server::script`].
    pub fn script(&self, faults: impl IntoIterator<Item = Fault>) {
        self.server.script(faults);
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An errcode and its errmsg.
type Refusal = (i64, String);

impl State {
    fn take(&mut self, request: &Recorded) -> Result<Delivered, Refusal> {
        let refused = |code, text: &str| Err((code, text.to_owned()));
        if request.method != "POST" || request.path != "/robot/send" {
            return refused(404, "请求的URI地址不存在");
        }
        if request.query_value("access_token") != Some(&self.robot.token) {
            return refused(300_001, "token is not exist");
        }
        let is_json = request
            .header("content-type")
            .is_some_and(|kind| kind.starts_with("application/json"));
        if !is_json {
            return refused(43_004, "无效的HTTP HEADER Content-Type");
        }
        self.check_signature(request)?;
        self.check_rate(Instant::now())?;
        if request.body.len() > self.robot.max_bytes {
            return refused(460_101, "message too long, exceed 20000 bytes");
        }
        let Ok(body) = serde_json::from_slice::<Value>(&request.body) else {
            return refused(40_035, "缺少参数 json");
        };
        let delivered = delivered(&body, request.body.len());
        let Some(delivered) = delivered else {
            return refused(40_035, "不合法的参数");
        };
        let said = [&delivered.title, &delivered.text];
        let has_keyword = |keyword: &String| said.iter().any(|text| text.contains(keyword));
        if !self.robot.keywords.is_empty() && !self.robot.keywords.iter().any(has_keyword) {
            return refused(310_000, "keywords not in content");
        }
        Ok(delivered)
    }

    fn check_signature(&self, request: &Recorded) -> Result<(), Refusal> {
        let Some(secret) = &self.robot.secret else {
            return Ok(());
        };
        let refused = |text: &str| Err((310_000, text.to_owned()));
        let timestamp = request.query_value("timestamp").unwrap_or_default();
        let Ok(millis) = timestamp.parse::<i128>() else {
            return refused("invalid timestamp");
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.map_or(0, |since| since.as_millis()) as i128;
        if (now - millis).abs() > 3_600_000 {
            return refused("invalid timestamp");
        }
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) else {
            return refused("sign not match");
        };
        mac.update(format!("{timestamp}\n{secret}").as_bytes());
        let expected = BASE64_STANDARD.encode(mac.finalize().into_bytes());
        match request.query_value("sign") {
            Some(sign) if sign == expected => Ok(()),
            _ => refused(
                "sign not match, more: [https://ding-doc.dingtalk.com/doc#/serverapi2/qf2nxq]",
            ),
        }
    }

    fn check_rate(&mut self, now: Instant) -> Result<(), Refusal> {
        let too_fast = || {
            Err((
                130_101,
                "send too fast, exceed 20 times per minute".to_owned(),
            ))
        };
        if self.muted_until.is_some_and(|until| now < until) {
            return too_fast();
        }
        self.muted_until = None;
        let window = self.robot.window;
        self.arrivals.retain(|at| now.duration_since(*at) < window);
        if self.arrivals.len() >= self.robot.messages {
            self.muted_until = Some(now + self.robot.mute);
            return too_fast();
        }
        self.arrivals.push_back(now);
        Ok(())
    }
}

/// The message of a body, if it has the shape of one of the vendor's types.
fn delivered(body: &Value, bytes: usize) -> Option<Delivered> {
    let kind = body["msgtype"].as_str()?;
    let inner = &body[kind];
    let text_of = |name: &str| {
        Some(
            inner[name]
                .as_str()
                .filter(|text| !text.is_empty())?
                .to_owned(),
        )
    };
    let (title, text) = match kind {
        "text" => (String::new(), text_of("content")?),
        "markdown" => (text_of("title")?, text_of("text")?),
        "link" => {
            text_of("messageUrl")?;
            (text_of("title")?, text_of("text")?)
        }
        "actionCard" => (text_of("title")?, text_of("text")?),
        "feedCard" => (
            String::new(),
            inner["links"].as_array()?.first()?["title"]
                .as_str()?
                .to_owned(),
        ),
        _ => return None,
    };
    let mut buttons = Vec::new();
    if kind == "actionCard" {
        match inner["btns"].as_array() {
            Some(list) if !list.is_empty() => {
                for button in list {
                    let part = |name: &str| Some(button[name].as_str()?.to_owned());
                    buttons.push((part("title")?, part("actionURL")?));
                }
            }
            _ => buttons.push((text_of("singleTitle")?, text_of("singleURL")?)),
        }
    }
    let at = &body["at"];
    let listed = |name: &str| at[name].as_array().cloned().unwrap_or_default();
    let named = listed("atMobiles").into_iter().chain(listed("atUserIds"));
    let named = named.filter_map(|value| Some(value.as_str()?.to_owned()));
    let all = at["isAtAll"]
        .as_bool()
        .unwrap_or(false)
        .then(|| "all".to_owned());
    let mentioned = named
        .chain(all)
        .filter(|name| text.contains(&format!("@{name}")))
        .collect();
    Some(Delivered {
        kind: kind.to_owned(),
        title,
        text,
        buttons,
        mentioned,
        bytes,
    })
}
