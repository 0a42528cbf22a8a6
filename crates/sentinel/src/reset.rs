//! `sentinel reset`: the way out of halted, for a person who knows the reset secret.
//!
//! Invariant: it changes nothing but by an attempt that is on record, and does nothing beside a running daemon, whose log is locked. What it
//! says it did is on disk. Must not touch: the gateway, the kill file, which is for whoever made it to remove.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use thiserror::Error;

use crate::config::StateSettings;
use crate::decide::TradingState;
use crate::gateway::guards::reset::{ResetSecret, SecretError, read_attempt, reset};
use crate::gateway::intent_log::error::LogError;
use crate::gateway::intent_log::state::{OpenIntent, State};
use crate::gateway::intent_log::{IntentLog, Opened};
use crate::gateway::kill::{self, Cause};
use crate::state_directory::{RunMode, StateDirectory};

/// Why halted was not left.
#[derive(Debug, Error)]
pub enum ResetError {
    /// There is nothing to compare with.
    #[error(
        "state.reset_secret_file: not set; accepted: a file with the reset secret, 16 to 4096 characters"
    )]
    NoSecret,
    /// The secret or the attempt cannot be read, or has a length that makes no sense.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The kill file would halt it again at once.
    #[error("{}: the kill file {}; that has to end first, or the daemon halts again at once", .path.display(), match .cause { Cause::Unreadable => "cannot be looked at", _ => "is there" })]
    Killed {
        /// The kill file.
        path: PathBuf,
        /// What is found there.
        cause: Cause,
    },
    /// No live run has been here.
    #[error("{}: there is no intent log of a live run; name the directory of the daemon with --state-dir", .path.display())]
    NoLog {
        /// The directory.
        path: PathBuf,
    },
    /// The directory cannot be looked at.
    #[error("{}: cannot look at the intent log", .path.display())]
    Look {
        /// The directory.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// What this would write the daemon could not read.
    #[error("{}: the intent log belongs to user {owner}, and this is run by user {user}; run it as user {owner}", .path.display())]
    OtherUser {
        /// The directory.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Who runs this.
        user: u32,
    },
    /// The daemon runs.
    #[error("{}: the intent log belongs to a running daemon, which has to be stopped first", .path.display())]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// The log cannot be read or written.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The attempt is not the secret.
    #[error(
        "the attempt is not the reset secret; it is on record, {refused} so far, and trading stays halted ({reason})"
    )]
    Refused {
        /// Wrong attempts, ever.
        refused: u64,
        /// Why trading is halted.
        reason: &'static str,
    },
}

impl ResetError {
    /// The exit status: 2 where a flag or the configuration is wrong.
    pub const fn status(&self) -> u8 {
        match self {
            ResetError::NoSecret | ResetError::Secret(_) => 2,
            _ => 1,
        }
    }
}

/// Leaves halted if the attempt is the secret. What to tell the operator.
///
/// # Errors
/// Trading is as it was, and why.
pub fn run(settings: &StateSettings, attempt: &Path, now_ms: i64) -> Result<String, ResetError> {
    let secret_file = settings
        .reset_secret_file
        .as_ref()
        .ok_or(ResetError::NoSecret)?;
    let secret = ResetSecret::read(&secret_file.value)?;
    let attempt = read_attempt(attempt)?;
    let path = StateDirectory::at(&settings.dir.value, RunMode::Live).intents();
    check_owner(&path)?;
    if let Some(cause) = kill::look_at(&settings.kill_file.value) {
        let path = settings.kill_file.value.clone();
        return Err(ResetError::Killed { path, cause });
    }
    let (mut log, opened) = IntentLog::open(&path, now_ms).map_err(|error| match error {
        LogError::Locked { .. } => ResetError::Locked { path: path.clone() },
        other => ResetError::Log(other),
    })?;
    let before = log.state().cloned().ok_or(LogError::Broken)?;
    if before.trading() != TradingState::Halted {
        return Ok(format!(
            "trading is not halted but {}; nothing was changed\n",
            before.trading().as_str()
        ));
    }
    if !reset(&mut log, &secret, &attempt, now_ms)? {
        let state = log.state().ok_or(LogError::Broken)?;
        return Err(ResetError::Refused {
            refused: state.resets_refused(),
            reason: reason_of(&before).0,
        });
    }
    Ok(account(&before, &opened))
}

/// The directory has to be there and to be that of whoever runs this: root, too, would leave files that the daemon cannot read.
fn check_owner(path: &Path) -> Result<(), ResetError> {
    let path = path.to_owned();
    let owner = match fs::metadata(&path) {
        Ok(directory) => directory.uid(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(ResetError::NoLog { path });
        }
        Err(source) => return Err(ResetError::Look { path, source }),
    };
    let user = rustix::process::geteuid().as_raw();
    if owner == user {
        Ok(())
    } else {
        Err(ResetError::OtherUser { path, owner, user })
    }
}

fn reason_of(state: &State) -> (&'static str, String) {
    state
        .reason()
        .map_or(("unknown", "unknown".to_owned()), |(reason, at_ms)| {
            (reason.as_str(), time(at_ms))
        })
}

/// What was halted, and what the next start finds.
fn account(before: &State, opened: &Opened) -> String {
    let (reason, since) = reason_of(before);
    let mut text = format!("trading is active again; it was halted by {reason} since {since}\n");
    for damage in &opened.damage {
        let _ = writeln!(
            text,
            "damaged: {}: line {}: {}",
            damage.file, damage.line, damage.fault
        );
    }
    for (title, orders) in [
        ("no known outcome", before.open()),
        ("placed", before.placed()),
    ] {
        for order in orders {
            let _ = writeln!(text, "{title}: {}", line(order));
        }
    }
    for id in before.orphans() {
        let _ = writeln!(
            text,
            "no known outcome: order {id}, of which only the name is left"
        );
    }
    if before.has_open() || !before.placed().is_empty() {
        text.push_str(
            "the next start asks the gateway about these orders before it sends another\n",
        );
    }
    text.push_str("the next start takes the gateway's positions for its own\n");
    text
}

fn line(order: &OpenIntent) -> String {
    let intent = &order.intent;
    format!(
        "order {}: {} {} {}, decided {}",
        intent.id,
        intent.side.as_str(),
        intent.volume,
        intent.symbol.escape_default(),
        time(intent.decided_at_ms)
    )
}

fn time(at_ms: i64) -> String {
    Timestamp::from_millisecond(at_ms)
        .map_or_else(|_| format!("{at_ms} ms"), |time| time.to_string())
}
