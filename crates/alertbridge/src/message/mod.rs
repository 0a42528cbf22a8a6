//! What a robot is sent about alerts: one notification in full, or many in a digest.
//!
//! Invariant: a message is about the oldest alerts that wait, without a gap, at least one of them, and says each of them; its body is not
//! longer than the target takes. Must not touch: networks, clocks, the queue.

mod detail;
mod digest;
#[cfg(test)]
mod tests;
pub(crate) mod text;
mod words;

use std::sync::Arc;

use jiff::tz::TimeZone;

use crate::config::{Format, Mention, Target};
use crate::payload::{Labels, Status};
use crate::queue::Waiting;

use text::{cut, json_len, shortened};

/// What a telephone shows of a notification.
const TITLE_CHARACTERS: usize = 100;

/// How much a message tries to say. A robot that finds one too long or malformed gets the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Everything.
    Full,
    /// Half of the bytes, no buttons.
    Half,
    /// A quarter of them, plain text.
    Plain,
}

impl Level {
    /// The next one; none after the last.
    pub fn next(self) -> Option<Level> {
        match self {
            Level::Full => Some(Level::Half),
            Level::Half => Some(Level::Plain),
            Level::Plain => None,
        }
    }
}

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// What a telephone shows; one line.
    pub title: String,
    /// Markdown, or plain text at [`Level::Plain`].
    pub text: String,
    /// Texts and URLs.
    pub buttons: Vec<(String, String)>,
    /// Who is mentioned; the text says it too, without which the vendor does not.
    pub mention: Mention,
    /// Whether it is plain text.
    pub is_plain: bool,
    /// How many of the waiting alerts it is about.
    pub count: usize,
    /// Whether it stands for several notifications.
    pub is_digest: bool,
}

/// What messages are made with, besides alerts.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// Who gets them.
    pub target: &'a Target,
    /// What this program's links begin with.
    pub external_url: &'a str,
    /// Of the times.
    pub time_zone: &'a TimeZone,
    /// A link that offers to silence alerts with these labels.
    pub silence_link: &'a dyn Fn(&Labels) -> Option<String>,
}

impl std::fmt::Debug for Context<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context").finish_non_exhaustive()
    }
}

/// How many notifications these alerts came with.
pub fn batches(waiting: &[Waiting]) -> usize {
    waiting
        .chunk_by(|a, b| Arc::ptr_eq(&a.batch, &b.batch))
        .count()
}

/// The next message. `waiting` is not empty; `total` is how many wait, those beyond `waiting` included. With `may_send` messages left it is
/// about one notification if every one can have its own.
pub fn next(
    context: Context<'_>,
    waiting: &[Waiting],
    total: usize,
    may_send: usize,
    level: Level,
) -> Message {
    let own = waiting.chunk_by(|a, b| Arc::ptr_eq(&a.batch, &b.batch));
    let first = own.clone().next().unwrap_or_default();
    let each_has_its_own = waiting.len() == total && own.count() <= may_send.max(1);
    if each_has_its_own && let Some(message) = single(context, first, level) {
        return message;
    }
    let (about, total) = match each_has_its_own {
        // One notification that is too long for one message: in short, and as many messages as it takes.
        true => (first, first.len()),
        false => (waiting, total),
    };
    let mut message = digest::digest(context, about, total, level);
    message.is_digest = batches(&about[..message.count.min(about.len())]) > 1;
    message
}

/// A message about all of one notification, if it fits; about a single alert it always does, since that is cut.
fn single(context: Context<'_>, alerts: &[Waiting], level: Level) -> Option<Message> {
    let target = context.target;
    let [first, ..] = alerts else { return None };
    let mention = mention_for(target, alerts);
    let title = detail::title(target.language, alerts);
    let is_card = alerts.len() == 1
        && level == Level::Full
        && target.format == Format::Auto
        && mention.is_nobody();
    let links = detail::links(context, first);
    let content = detail::content(context, alerts, !is_card);
    let header = &first.batch.header;
    let is_firing = alerts.iter().any(|one| one.alert.status == Status::Firing);
    let status = if is_firing {
        Status::Firing
    } else {
        Status::Resolved
    };
    // A field that this notification lacks may leave nothing, which the vendor refuses in every form.
    let filled = |template: &Option<crate::config::Template>, own: &str| {
        let filled = template
            .as_ref()
            .map(|template| template.filled(header, status.as_str(), &title, &content));
        filled
            .filter(|text| !text.trim().is_empty())
            .unwrap_or_else(|| own.to_owned())
    };
    let text = filled(&target.text, &content);
    let mut message = Message {
        title: shortened(
            &text::one_line(&filled(&target.title, &title)),
            TITLE_CHARACTERS,
        ),
        text: String::new(),
        buttons: if is_card { links } else { Vec::new() },
        mention,
        is_plain: level == Level::Plain,
        count: alerts.len(),
        is_digest: false,
    };
    let at = mention_text(&message.mention);
    let room = room_for_text(target, &message, level).saturating_sub(json_len(&at));
    if json_len(&text) > room && alerts.len() > 1 {
        return None;
    }
    message.text = cut(&text, room, target.language) + &at;
    Some(message)
}

fn mention_for(target: &Target, alerts: &[Waiting]) -> Mention {
    let alerts = alerts
        .iter()
        .map(|one| (&one.alert.labels, one.alert.status));
    target.mention_for(alerts)
}

/// The part of the text without which nobody is mentioned.
fn mention_text(mention: &Mention) -> String {
    if mention.is_nobody() {
        return String::new();
    }
    let all = mention.all.then_some("all");
    let numbers = mention.mobiles.iter().map(String::as_str);
    let ids = mention.user_ids.iter().map(String::as_str);
    let names = all.into_iter().chain(numbers).chain(ids);
    let names: Vec<String> = names.map(|name| format!("@{name}")).collect();
    format!("\n\n{}", names.join(" "))
}

/// Bytes for the text within the body.
fn room_for_text(target: &Target, message: &Message, level: Level) -> usize {
    let max = match level {
        Level::Full => target.max_bytes,
        Level::Half => target.max_bytes / 2,
        Level::Plain => target.max_bytes / 4,
    };
    let without = Message {
        text: String::new(),
        ..message.clone()
    };
    max.saturating_sub(crate::dingtalk::body(&without).len())
}
