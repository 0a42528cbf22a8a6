//! Targets: who is sent what, how often, with which secrets.
//!
//! Invariant: a secret is read here, from the file, another file or a variable, and from then on is a [`Secret`].

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::payload::{Labels, Status};
use program::config::read_text;
use program::secret::Secret;

use super::reader::{ConfigError, Given, Table, refused};
use super::template::{self, Template};
use super::{Outside, Place};

/// Language of this program's own words in messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// English.
    English,
    /// Chinese, simplified.
    Chinese,
}

/// What a robot shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A card with buttons where there are links and nobody is mentioned, otherwise text with links.
    Auto,
    /// Always text with links.
    Markdown,
}

/// Who is mentioned.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mention {
    /// Everybody.
    pub all: bool,
    /// Telephone numbers.
    pub mobiles: Vec<String>,
    /// Identities of the vendor.
    pub user_ids: Vec<String>,
}

impl Mention {
    /// Whether that is nobody.
    pub fn is_nobody(&self) -> bool {
        !self.all && self.mobiles.is_empty() && self.user_ids.is_empty()
    }

    /// Also mention these, each once.
    pub fn add(&mut self, other: &Mention) {
        self.all |= other.all;
        for (own, others) in [
            (&mut self.mobiles, &other.mobiles),
            (&mut self.user_ids, &other.user_ids),
        ] {
            for one in others {
                if !own.contains(one) {
                    own.push(one.clone());
                }
            }
        }
    }
}

/// Who is mentioned for which alerts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MentionRule {
    /// Labels that an alert must have, all of them; none is every alert.
    pub labels: Labels,
    /// Who.
    pub mention: Mention,
}

impl MentionRule {
    /// Whether the rule is for an alert with these labels.
    pub fn is_for(&self, labels: &Labels) -> bool {
        self.labels
            .iter()
            .all(|(name, value)| labels.get(name) == Some(value))
    }
}

/// How much may be sent: in any time of length `per` at most `messages`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Messages.
    pub messages: u32,
    /// The time.
    pub per: Duration,
}

/// A DingTalk robot.
#[derive(Debug, Clone)]
pub struct DingTalk {
    /// Its URL with the access token.
    pub url: Secret,
    /// The access token.
    pub token: Secret,
    /// What requests are signed with.
    pub secret: Option<Secret>,
}

/// Another webhook.
#[derive(Debug, Clone)]
pub struct Hook {
    /// Its URL, which may hold a secret.
    pub url: Secret,
    /// Sent as `Authorization: Bearer`.
    pub bearer_token: Option<Secret>,
}

/// A log.
#[derive(Debug, Clone)]
pub struct LogTarget {
    /// A file that lines of JSON are appended to; standard output if there is none.
    pub path: Option<PathBuf>,
}

/// What kind of target.
#[derive(Debug, Clone)]
pub enum Kind {
    /// A DingTalk robot.
    DingTalk(DingTalk),
    /// Another webhook, which gets what Alertmanager would send.
    Webhook(Hook),
    /// Lines of JSON.
    Log(LogTarget),
}

/// Where messages go.
#[derive(Debug, Clone)]
pub struct Target {
    /// Its name in paths.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// Of one call.
    pub timeout: Duration,
    /// Of its messages.
    pub language: Language,
    /// What a robot shows.
    pub format: Format,
    /// Who is mentioned.
    pub mentions: Vec<MentionRule>,
    /// How much it may be sent.
    pub rate: Rate,
    /// Longest body, in bytes.
    pub max_bytes: usize,
    /// How long nothing is sent after the robot said that it was too much.
    pub mute_for: Duration,
    /// Who is told when this target refuses what it is sent.
    pub fallback: Option<String>,
    /// Title of messages about one notification.
    pub title: Option<Template>,
    /// Text of messages about one notification.
    pub text: Option<Template>,
}

/// What targets have from outside of their table.
pub(super) struct Around<'a> {
    pub(super) outside: Outside<'a>,
    pub(super) timeout: Duration,
    pub(super) default_message: (Option<Template>, Option<Template>),
}

/// A target, and the name of its fallback with its place.
pub(super) fn read(
    name: &str,
    mut table: Table,
    around: &Around<'_>,
    warnings: &mut Vec<String>,
) -> Result<(Target, Option<Given<String>>), ConfigError> {
    let kind = table.value("type", "dingtalk webhook log", |text| match text {
        "dingtalk" | "webhook" | "log" => Some(text.to_owned()),
        _ => None,
    })?;
    let kind = kind.map_or("dingtalk".to_owned(), |given| given.value);
    let kind = match kind.as_str() {
        "webhook" => Kind::Webhook(hook(&mut table, around.outside)?),
        "log" => Kind::Log(LogTarget {
            path: table.text("path")?.map(|given| PathBuf::from(given.value)),
        }),
        _ => Kind::DingTalk(dingtalk(&mut table, around.outside)?),
    };
    if let Kind::DingTalk(DingTalk { secret: None, .. }) = &kind {
        warnings.push(format!(
            "target {name} has no secret: its robot must check keywords or addresses instead, and whoever has its URL can send"
        ));
    }
    let rate = rate(&mut table)?;
    if matches!(kind, Kind::DingTalk(_)) && rate.per.as_secs_f64() / f64::from(rate.messages) < 3.0
    {
        warnings.push(format!(
            "target {name} may be sent more than the 20 messages in a minute that DingTalk takes before it mutes a robot"
        ));
    }
    let language = table.value("language", "en zh", |text| match text {
        "en" => Some(Language::English),
        "zh" => Some(Language::Chinese),
        _ => None,
    })?;
    let format = table.value("format", "auto markdown", |text| match text {
        "auto" => Some(Format::Auto),
        "markdown" => Some(Format::Markdown),
        _ => None,
    })?;
    let (title, text) = message(table.table("message")?)?;
    let fallback = table.text("fallback")?;
    if let Some(given) = &fallback
        && given.value == name
    {
        return Err(given.refused("the target itself", "another target"));
    }
    let target = Target {
        name: name.to_owned(),
        kind,
        timeout: table.duration(
            "timeout",
            ("100ms", "1m"),
            &format!("{}ms", around.timeout.as_millis()),
        )?,
        language: language.map_or(Language::English, |given| given.value),
        format: format.map_or(Format::Auto, |given| given.value),
        mentions: mentions(&mut table)?,
        rate,
        max_bytes: table.whole("max_bytes", 1_000..=20_000, 15_000)? as usize,
        mute_for: table.duration("mute_for", ("100ms", "1h"), "10m")?,
        fallback: fallback.as_ref().map(|given| given.value.clone()),
        title: title.or_else(|| around.default_message.0.clone()),
        text: text.or_else(|| around.default_message.1.clone()),
    };
    table.finish()?;
    Ok((target, fallback))
}

/// The templates of a `message` or `default_message`.
pub(super) fn message(
    table: Option<Table>,
) -> Result<(Option<Template>, Option<Template>), ConfigError> {
    let Some(mut table) = table else {
        return Ok((None, None));
    };
    let title = table.value("title", template::ACCEPTED, Template::parse)?;
    let text = table.value("text", template::ACCEPTED, Template::parse)?;
    table.finish()?;
    Ok((
        title.map(|given| given.value),
        text.map(|given| given.value),
    ))
}

fn dingtalk(table: &mut Table, outside: Outside<'_>) -> Result<DingTalk, ConfigError> {
    let accepted = "https:// (http:// on loopback), a host, and ?access_token= with a value";
    let place = table.place.clone();
    let Some(url) = secret(table, outside, ["url", "url_file", "url_env"])? else {
        return Err(refused(
            place,
            "no `url`, `url_file` or `url_env`",
            accepted,
        ));
    };
    let token = url_parts(url.value.expose()).and_then(|(is_safe, query)| {
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        let token = pairs.find(|(name, _)| *name == "access_token")?.1;
        is_safe.then(|| Secret::new(token)).flatten()
    });
    let Some(token) = token else {
        return Err(url.refused("another text (not shown, it may hold a token)", accepted));
    };
    let signing = secret(table, outside, ["secret", "secret_file", "secret_env"])?;
    if let Some(given) = &signing
        && !given
            .value
            .expose()
            .bytes()
            .all(|byte| byte.is_ascii_graphic())
    {
        return Err(given.refused(
            "another text (not shown)",
            "one word, which usually begins with SEC",
        ));
    }
    Ok(DingTalk {
        url: url.value,
        token,
        secret: signing.map(|given| given.value),
    })
}

fn hook(table: &mut Table, outside: Outside<'_>) -> Result<Hook, ConfigError> {
    let accepted =
        "http:// or https:// and a host; https:// with a bearer token, except on loopback";
    let place = table.place.clone();
    let Some(url) = secret(table, outside, ["url", "url_file", "url_env"])? else {
        return Err(refused(
            place,
            "no `url`, `url_file` or `url_env`",
            accepted,
        ));
    };
    let names = ["bearer_token", "bearer_token_file", "bearer_token_env"];
    let bearer_token = secret(table, outside, names)?;
    match url_parts(url.value.expose()) {
        Some((is_safe, _)) if is_safe || bearer_token.is_none() => Ok(Hook {
            url: url.value,
            bearer_token: bearer_token.map(|given| given.value),
        }),
        _ => Err(url.refused("another text (not shown, it may hold a token)", accepted)),
    }
}

/// Whether what is sent to this URL can be read by nobody else, and its query.
fn url_parts(url: &str) -> Option<(bool, &str)> {
    let (scheme, rest) = url.split_once("://")?;
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    let authority = place.split('/').next().unwrap_or_default();
    let is_plain = !url.contains('#')
        && !authority.contains('@')
        && !authority.is_empty()
        && url.bytes().all(|byte| byte.is_ascii_graphic());
    let host = match authority.strip_prefix('[') {
        Some(bracketed) => bracketed.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    let is_loopback = host == "localhost"
        || host
            .parse()
            .is_ok_and(|address: std::net::IpAddr| address.is_loopback());
    match scheme {
        "https" if is_plain => Some((true, query)),
        "http" if is_plain => Some((is_loopback, query)),
        _ => None,
    }
}

/// A secret that is written here, in a file, or in a variable: one of the three.
pub(super) fn secret(
    table: &mut Table,
    outside: Outside<'_>,
    [here, file, variable]: [&'static str; 3],
) -> Result<Option<Given<Secret>>, ConfigError> {
    let written = table.text(here)?;
    let in_file = table.text(file)?;
    let in_variable = table.text(variable)?;
    let given: Vec<&Given<String>> = [&written, &in_file, &in_variable]
        .into_iter()
        .flatten()
        .collect();
    if let [_, second, ..] = given.as_slice() {
        let accepted = format!("one of {here}, {file} and {variable}");
        return Err(second.refused("a second source of the same secret", &accepted));
    }
    let (text, place) = if let Some(given) = written {
        (given.value, given.place)
    } else if let Some(given) = in_file {
        let path = PathBuf::from(&given.value);
        // A reload that waited for a pipe, or read a device to its end, would end the work of the whole bridge.
        let text = read_text(&path).map_err(|unread| ConfigError::Secret {
            place: given.place.clone(),
            path,
            source: unread.into(),
        })?;
        (text, given.place)
    } else if let Some(given) = in_variable {
        match outside.variable(&given.value) {
            Some(found) => (found.value, given.place),
            None => {
                let found = format!("`{}`, which is not set", given.value);
                return Err(given.refused(
                    &found,
                    "a variable of the environment that holds the secret",
                ));
            }
        }
    } else {
        return Ok(None);
    };
    match Secret::new(&text) {
        Some(value) => Ok(Some(Given { value, place })),
        None => Err(refused(place, "nothing", "a secret")),
    }
}

/// `mention`, which is for every alert, and `mentions`, each with `match`.
fn mentions(table: &mut Table) -> Result<Vec<MentionRule>, ConfigError> {
    let mut rules = Vec::new();
    if let Some(mut table) = table.table("mention")? {
        let mention = mention(&mut table)?;
        table.finish()?;
        if !mention.is_nobody() {
            rules.push(MentionRule {
                labels: BTreeMap::new(),
                mention,
            });
        }
    }
    for mut table in table.tables("mentions")? {
        let place: Place = table.place.clone();
        let labels = match table.table("match")? {
            None => Vec::new(),
            Some(labels) => labels.pairs()?,
        };
        let mention = mention(&mut table)?;
        if labels.is_empty() || mention.is_nobody() {
            let accepted = "`match` with labels, and `all`, `mobiles` or `user_ids`";
            return Err(refused(place, "a rule without a meaning", accepted));
        }
        table.finish()?;
        let labels = labels.into_iter().map(|(name, given)| (name, given.value));
        rules.push(MentionRule {
            labels: labels.collect(),
            mention,
        });
    }
    Ok(rules)
}

fn mention(table: &mut Table) -> Result<Mention, ConfigError> {
    let all = table.flag("all")?.is_some_and(|given| given.value);
    let mobiles = table.texts("mobiles")?;
    for given in &mobiles {
        let is_number = given.value.len() >= 5
            && given
                .value
                .bytes()
                .all(|byte| byte.is_ascii_digit() || b"+-".contains(&byte));
        if !is_number {
            let found = format!("`{}`", given.value);
            return Err(given.refused(
                &found,
                "a telephone number, as 13800000000 or +1-2025550100",
            ));
        }
    }
    let user_ids = table.texts("user_ids")?;
    let values = |given: Vec<Given<String>>| given.into_iter().map(|given| given.value).collect();
    Ok(Mention {
        all,
        mobiles: values(mobiles),
        user_ids: values(user_ids),
    })
}

fn rate(table: &mut Table) -> Result<Rate, ConfigError> {
    let Some(mut table) = table.table("rate_limit")? else {
        return Ok(Rate {
            messages: 18,
            per: Duration::from_secs(60),
        });
    };
    let messages = table.whole("messages", 2..=19, 18)?;
    let rate = Rate {
        messages: u32::try_from(messages).unwrap_or(18),
        per: table.duration("per", ("500ms", "1h"), "1m")?,
    };
    table.finish()?;
    Ok(rate)
}

impl Target {
    /// Who is mentioned in a message about these: whoever a rule names for an alert that fires.
    pub fn mention_for<'a>(&self, alerts: impl Iterator<Item = (&'a Labels, Status)>) -> Mention {
        let mut mention = Mention::default();
        for (labels, status) in alerts {
            if status == Status::Firing {
                for rule in self.mentions.iter().filter(|rule| rule.is_for(labels)) {
                    mention.add(&rule.mention);
                }
            }
        }
        mention
    }

    /// A text without any secret of this target.
    pub fn without_secrets(&self, text: &str) -> String {
        let secrets: Vec<&Secret> = match &self.kind {
            Kind::DingTalk(robot) => [Some(&robot.url), Some(&robot.token), robot.secret.as_ref()]
                .into_iter()
                .flatten()
                .collect(),
            Kind::Webhook(hook) => [Some(&hook.url), hook.bearer_token.as_ref()]
                .into_iter()
                .flatten()
                .collect(),
            Kind::Log(_) => Vec::new(),
        };
        let mut text = text.to_owned();
        for secret in secrets {
            text = secret.hidden_in(&text);
        }
        text
    }
}
