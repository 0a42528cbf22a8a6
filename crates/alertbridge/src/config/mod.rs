//! What the bridge runs on: defaults, file, environment and flags, checked once.
//!
//! Invariant: a [`Config`] needs no second look; whatever is wrong is an error that says where it was given, what was found and what
//! would be accepted. Precedence: flag > environment > file > default. No secret is in a message.

mod reader;
mod target;
mod template;
#[cfg(test)]
mod tests;
mod yaml;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;

use crate::cli::Cli;
use program::secret::Secret;

pub use reader::{ConfigError, Place};
use reader::{Given, Table, refused};
pub use target::{
    DingTalk, Format, Hook, Kind, Language, LogTarget, Mention, MentionRule, Rate, Target,
};
pub use template::Template;

/// Read if no other file was named; relative to the working directory, as all paths here.
pub const DEFAULT_PATH: &str = "config/alertbridge.yml";

/// What a listen address may be.
const ADDRESS: &str =
    "an address and port, as 127.0.0.1:8060, [::1]:8060, or :8060 for all addresses";

/// What an external URL may be.
const URL: &str = "http:// or https://, a host, and a path without user, query or fragment";

/// When a failed message is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// After the first failure; doubled with each further one.
    pub min: Duration,
    /// At most.
    pub max: Duration,
    /// After a refusal that only a person can lift.
    pub refused: Duration,
}

/// When the bridge itself says that nothing comes any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadMan {
    /// The alert that always fires.
    pub alertname: String,
    /// How long it may stay away.
    pub after: Duration,
    /// Who is told.
    pub targets: Vec<String>,
}

/// How links to silences work.
#[derive(Debug, Clone)]
pub struct Silence {
    /// Alertmanager, without a slash at the end.
    pub alertmanager_url: String,
    /// The key that signs links; one in the queue's directory if there is none.
    pub key: Option<Secret>,
    /// Length that the page proposes.
    pub default: Duration,
    /// Longest that can be asked for.
    pub max: Duration,
    /// How long a link is good.
    pub link_valid_for: Duration,
}

/// What the bridge runs on.
#[derive(Debug)]
pub struct Config {
    /// The file.
    pub path: PathBuf,
    /// Where it listens; another one needs a restart.
    pub listen: Vec<SocketAddr>,
    /// What links begin with, without a slash at the end.
    pub external_url: String,
    /// Whether `/-/reload` is answered.
    pub lifecycle: bool,
    /// Of the times in messages.
    pub time_zone: TimeZone,
    /// Directory of the queue; another one needs a restart.
    pub queue_path: PathBuf,
    /// Most bytes of alerts that wait.
    pub queue_max_bytes: u64,
    /// How long the same state of the same alert is the same message.
    pub deduplicate_for: Duration,
    /// When a failed message is tried again.
    pub retry: Retry,
    /// Whether and when the silence of the Watchdog is told.
    pub dead_man: Option<DeadMan>,
    /// Whether messages have links to silences.
    pub silence: Option<Silence>,
    /// A directory of runbooks, besides those that are built in.
    pub runbooks: Option<PathBuf>,
    /// Where messages go, by name.
    pub targets: BTreeMap<String, Arc<Target>>,
    /// Sentences for the log.
    pub warnings: Vec<String>,
}

type Environment<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// Where settings come from besides the file.
#[derive(Clone, Copy)]
struct Outside<'a> {
    environment: Environment<'a>,
}

impl Outside<'_> {
    /// A variable's text; blank is unset.
    fn variable(self, name: &str) -> Option<Given<String>> {
        let value = (self.environment)(name)?
            .to_string_lossy()
            .trim()
            .to_owned();
        let place = Place::Variable(name.to_owned());
        (!value.is_empty()).then_some(Given { value, place })
    }

    /// The strongest of flag, variable and file; all of them are checked, since the next start may be without the flag.
    fn choose<T>(
        self,
        (flag, flag_value): (&'static str, Option<&str>),
        variable: &str,
        key: Option<Given<String>>,
        accepted: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, ConfigError> {
        let flag = flag_value.map(|value| Given {
            value: value.to_owned(),
            place: Place::Flag(flag),
        });
        let layers = [flag, self.variable(variable), key];
        let mut chosen = None;
        for given in layers.into_iter().flatten() {
            match parse(&given.value) {
                Some(value) => chosen = chosen.or(Some(value)),
                None => return Err(given.refused(&format!("`{}`", given.value), accepted)),
            }
        }
        Ok(chosen)
    }
}

impl Config {
    /// Read the file, and check everything.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn load(cli: &Cli, environment: Environment<'_>) -> Result<Config, ConfigError> {
        let path = cli
            .config_file
            .clone()
            .unwrap_or_else(|| DEFAULT_PATH.into());
        let text = reader::read(&path)?;
        Config::resolve(cli, &path, &text, environment)
    }

    fn resolve(
        cli: &Cli,
        path: &Path,
        text: &str,
        environment: Environment<'_>,
    ) -> Result<Config, ConfigError> {
        let outside = Outside { environment };
        let mut file = Table::parse(path, text)?;
        not_supported(&mut file)?;
        let listen = outside
            .choose(
                ("--web.listen-address", cli.listen_address.as_deref()),
                "ALERTBRIDGE_LISTEN",
                file.text("listen")?,
                ADDRESS,
                parse_listen,
            )?
            .unwrap_or_else(|| vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 8060))]);
        let external_url = outside
            .choose(
                ("--web.external-url", cli.external_url.as_deref()),
                "ALERTBRIDGE_EXTERNAL_URL",
                file.text("external_url")?,
                URL,
                parse_url,
            )?
            .unwrap_or_else(|| own_url(&listen));
        let queue_path_default = PathBuf::from("data/alertbridge");
        let mut queue = file.table("queue")?;
        let key = match &mut queue {
            Some(queue) => queue.text("path")?,
            None => None,
        };
        let queue_path = outside
            .choose(
                ("--queue.path", cli.queue_path.as_deref()),
                "ALERTBRIDGE_QUEUE_PATH",
                key,
                "a directory",
                |text| (!text.is_empty()).then(|| PathBuf::from(text)),
            )?
            .unwrap_or(queue_path_default);
        let megabytes = match queue {
            None => QUEUE_MAX_MB,
            Some(mut queue) => {
                let max = queue.whole("max_megabytes", 1..=65_536, QUEUE_MAX_MB)?;
                queue.finish()?;
                max
            }
        };
        let timeout = file.duration("timeout", ("100ms", "1m"), "5s")?;
        let time_zone = file.value(
            "time_zone",
            "a name of the time zone database, as UTC or Asia/Shanghai",
            |name| TimeZone::get(name).ok(),
        )?;
        let mut warnings = Vec::new();
        let default_message = target::message(file.table("default_message")?)?;
        let around = target::Around {
            outside,
            timeout,
            default_message,
        };
        let targets = targets(&mut file, &around, &mut warnings)?;
        let config = Config {
            path: path.to_owned(),
            listen,
            external_url,
            lifecycle: cli.enable_lifecycle,
            time_zone: time_zone.map_or(TimeZone::UTC, |given| given.value),
            queue_path,
            queue_max_bytes: megabytes << 20,
            deduplicate_for: file.duration("deduplicate_for", ("1s", "7d"), "30m")?,
            retry: retry(&mut file)?,
            dead_man: dead_man(&mut file, &targets)?,
            silence: silence(&mut file, outside)?,
            runbooks: file
                .text("runbooks")?
                .map(|given| PathBuf::from(given.value)),
            targets,
            warnings,
        };
        file.finish()?;
        Ok(config)
    }
}

const QUEUE_MAX_MB: u64 = 256;

/// Keys of the known bridge that ask for what this program does not do. Their values that ask for nothing are accepted.
fn not_supported(file: &mut Table) -> Result<(), ConfigError> {
    if let Some(given) = file.texts("templates")?.into_iter().next() {
        return Err(given.refused(
            &format!("`{}`", given.value),
            "no template files: this program writes the texts; `message` takes fields",
        ));
    }
    match file.flag("no_builtin_template")? {
        Some(given) if given.value => Err(given.refused(
            "`true`",
            "false: the texts of this program are always there",
        )),
        _ => Ok(()),
    }
}

fn targets(
    file: &mut Table,
    around: &target::Around<'_>,
    warnings: &mut Vec<String>,
) -> Result<BTreeMap<String, Arc<Target>>, ConfigError> {
    let accepted = "targets with names of letters, digits, - and _ that begin with a letter";
    let place = file.place.clone();
    let Some(table) = file.table("targets")? else {
        return Err(refused(place, "no `targets`", accepted));
    };
    let place = table.place.clone();
    let mut targets = BTreeMap::new();
    let mut fallbacks = Vec::new();
    for (name, table) in table.named_tables()? {
        let is_name = name.len() <= 64
            && name.starts_with(|first: char| first.is_ascii_alphabetic())
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        if !is_name {
            return Err(refused(table.place, &format!("`{name}`"), accepted));
        }
        let (target, fallback) = target::read(&name, table, around, warnings)?;
        fallbacks.extend(fallback);
        targets.insert(name, Arc::new(target));
    }
    if targets.is_empty() || targets.len() > TARGETS_MAX {
        let found = format!("{} targets", targets.len());
        return Err(refused(place, &found, &format!("1 to {TARGETS_MAX}")));
    }
    for given in fallbacks {
        known(&given, &targets)?;
    }
    Ok(targets)
}

/// Each has a thread.
const TARGETS_MAX: usize = 64;

fn known(
    given: &Given<String>,
    targets: &BTreeMap<String, Arc<Target>>,
) -> Result<(), ConfigError> {
    if targets.contains_key(&given.value) {
        return Ok(());
    }
    let names: Vec<&str> = targets.keys().map(String::as_str).collect();
    Err(given.refused(&format!("`{}`", given.value), &names.join(" ")))
}

fn retry(file: &mut Table) -> Result<Retry, ConfigError> {
    let Some(mut table) = file.table("retry")? else {
        let seconds = Duration::from_secs;
        return Ok(Retry {
            min: seconds(1),
            max: seconds(60),
            refused: seconds(300),
        });
    };
    let retry = Retry {
        min: table.duration("min", ("10ms", "1m"), "1s")?,
        max: table.duration("max", ("10ms", "1h"), "1m")?,
        refused: table.duration("refused", ("100ms", "1d"), "5m")?,
    };
    if retry.max < retry.min {
        let place = table.place.clone();
        return Err(refused(
            place,
            "`max` below `min`",
            "`max` of at least `min`",
        ));
    }
    table.finish()?;
    Ok(retry)
}

fn dead_man(
    file: &mut Table,
    targets: &BTreeMap<String, Arc<Target>>,
) -> Result<Option<DeadMan>, ConfigError> {
    let Some(mut table) = file.table("dead_man")? else {
        return Ok(None);
    };
    let alertname = table.text("alertname")?;
    let told = table.texts("targets")?;
    if told.is_empty() {
        let place = table.place.clone();
        return Err(refused(place, "no `targets`", "a list of targets to tell"));
    }
    for given in &told {
        known(given, targets)?;
    }
    let dead_man = DeadMan {
        alertname: alertname.map_or("Watchdog".to_owned(), |given| given.value),
        after: table.duration("after", ("1s", "7d"), "15m")?,
        targets: told.into_iter().map(|given| given.value).collect(),
    };
    table.finish()?;
    Ok(Some(dead_man))
}

fn silence(file: &mut Table, outside: Outside<'_>) -> Result<Option<Silence>, ConfigError> {
    let Some(mut table) = file.table("silence")? else {
        return Ok(None);
    };
    let url = table.value("alertmanager_url", URL, parse_url)?;
    let key = target::secret(&mut table, outside, ["key", "key_file", "key_env"])?;
    if let Some(key) = &key
        && key.value.expose().len() < KEY_LEN_MIN
    {
        let accepted = format!("at least {KEY_LEN_MIN} bytes");
        return Err(key.refused("a short key", &accepted));
    }
    let silence = Silence {
        alertmanager_url: url.map_or("http://127.0.0.1:9093".to_owned(), |given| given.value),
        key: key.map(|given| given.value),
        default: table.duration("default", ("1m", "7d"), "2h")?,
        max: table.duration("max", ("1m", "30d"), "1d")?,
        link_valid_for: table.duration("link_valid_for", ("1s", "30d"), "1d")?,
    };
    if silence.max < silence.default {
        let place = table.place.clone();
        return Err(refused(
            place,
            "`max` below `default`",
            "`max` of at least `default`",
        ));
    }
    table.finish()?;
    Ok(Some(silence))
}

/// A key that somebody typed is short.
const KEY_LEN_MIN: usize = 16;

/// `:PORT` is every address, both families where there are two.
fn parse_listen(text: &str) -> Option<Vec<SocketAddr>> {
    match text.strip_prefix(':') {
        Some(port) => {
            let port = port.parse().ok()?;
            let all = [
                SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)),
                SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)),
            ];
            let has_ipv6 = Path::new("/proc/net/if_inet6").exists();
            Some(all[..if has_ipv6 { 2 } else { 1 }].to_vec())
        }
        None => Some(vec![text.parse().ok()?]),
    }
}

/// What a link to the first listen address begins with.
fn own_url(listen: &[SocketAddr]) -> String {
    let own = match listen.first() {
        Some(address) if !address.ip().is_unspecified() => *address,
        Some(address) => SocketAddr::new(IpAddr::from(Ipv4Addr::LOCALHOST), address.port()),
        None => SocketAddr::from((Ipv4Addr::LOCALHOST, 8060)),
    };
    format!("http://{own}")
}

fn parse_url(text: &str) -> Option<String> {
    let rest = ["https://", "http://"]
        .into_iter()
        .find_map(|scheme| text.strip_prefix(scheme))?;
    let host = rest.split('/').next().unwrap_or_default();
    // A user or a query could carry a secret into a message.
    let is_plain = !rest.contains(['@', '?', '#', '(', ')', '<', '>', '"'])
        && rest.bytes().all(|byte| byte.is_ascii_graphic())
        && !host.is_empty();
    is_plain.then(|| text.trim_end_matches('/').to_owned())
}
