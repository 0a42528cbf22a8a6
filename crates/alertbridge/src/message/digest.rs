//! Many alerts in one message: counted by name and listed, none left out that the message stands for.
//!
//! Invariant: what does not fit is not in the message, and waits for the next one. Two alerts of one name can be told apart. An alert that
//! changed several times stands where it ended, with the number of its changes.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::payload::Status;
use crate::queue::Waiting;

use super::detail::lasted;
use super::text::{cut, json_len, one_line, shortened};
use super::{Context, Level, Message, mention_for, mention_text, room_for_text};

/// What one alert may take of a digest, in characters; of a longer one its fingerprint tells it from others.
const ITEM_CHARACTERS: usize = 80;

/// Kept free for the numbers in the head of the message, and for the separators.
const RESERVED_BYTES: usize = 300;

/// Alerts of one name, severity and status stand together, what fires before what is over, the graver before the lighter.
type Group<'a> = (Status, u8, &'a str, &'a str);

fn group_of(one: &Waiting) -> Group<'_> {
    let severity = one.alert.label("severity");
    let rank = match severity {
        "critical" | "page" => 0,
        "error" => 1,
        "warning" => 2,
        _ => 3,
    };
    (
        one.alert.status,
        rank,
        one.alert.label("alertname"),
        severity,
    )
}

/// As many of the oldest alerts as fit, at least one.
pub(super) fn digest(
    context: Context<'_>,
    waiting: &[Waiting],
    total: usize,
    level: Level,
) -> Message {
    let target = context.target;
    let language = target.language;
    let distinguishing = distinguishing(waiting);
    let mut message = Message {
        title: language.digest_title(total, total),
        text: String::new(),
        buttons: Vec::new(),
        mention: mention_for(target, waiting),
        is_plain: level == Level::Plain,
        count: 0,
        is_digest: true,
    };
    let at = mention_text(&message.mention);
    let room = room_for_text(target, &message, level).saturating_sub(json_len(&at));
    let room = room.saturating_sub(RESERVED_BYTES);
    let mut listed = Listed::default();
    let mut used = 0;
    for one in waiting {
        let group = group_of(one);
        let names = distinguishing.get(&group);
        let mut item = item(context, one, names);
        let head = match listed.groups.contains_key(&group) {
            true => 0,
            false => json_len(&head(context, group, total)) + SEPARATOR_LEN,
        };
        let changes = match listed.places.contains_key(one.alert.fingerprint.as_str()) {
            true => CHANGES_LEN,
            false => 0,
        };
        let length = json_len(&item) + ", ".len() + changes;
        if used + head + length > room {
            if message.count > 0 {
                break;
            }
            item = cut(&item, room.saturating_sub(used + head), language);
        }
        used += head + length;
        listed.add(group, &one.alert.fingerprint, item);
        message.count += 1;
    }
    let about = &waiting[..message.count.min(waiting.len())];
    message.title =
        language.digest_title(listed.count(Status::Firing), listed.count(Status::Resolved));
    message.mention = mention_for(target, about);
    let mut parts = vec![format!("#### {}", message.title)];
    for (group, items) in listed.groups.iter().filter(|(_, items)| !items.is_empty()) {
        parts.push(head(context, *group, items.len()));
        parts.push(
            items
                .values()
                .map(Item::text)
                .collect::<Vec<_>>()
                .join(", "),
        );
    }
    if total > message.count {
        parts.push(language.more_wait(total - message.count));
    }
    message.text = parts.join("\n\n") + &mention_text(&message.mention);
    message
}

/// What a digest lists, each alert once.
#[derive(Default)]
struct Listed<'a> {
    /// By the order in which they came.
    groups: BTreeMap<Group<'a>, BTreeMap<usize, Item>>,
    /// Where an alert stands.
    places: HashMap<&'a str, (Group<'a>, usize)>,
    next: usize,
}

struct Item {
    text: String,
    changes: usize,
}

impl Item {
    fn text(&self) -> String {
        match self.changes {
            1 => self.text.clone(),
            changes => format!("{} ×{changes}", self.text),
        }
    }
}

impl<'a> Listed<'a> {
    /// Its last state stands for an alert.
    fn add(&mut self, group: Group<'a>, fingerprint: &'a str, text: String) {
        let place = (group, self.next);
        let before = self.places.insert(fingerprint, place);
        let before =
            before.and_then(|(group, number)| self.groups.get_mut(&group)?.remove(&number));
        let changes = before.map_or(0, |item| item.changes) + 1;
        let item = Item { text, changes };
        self.groups
            .entry(group)
            .or_default()
            .insert(self.next, item);
        self.next += 1;
    }

    fn count(&self, status: Status) -> usize {
        let groups = self.groups.iter();
        groups
            .filter(|((of, ..), _)| *of == status)
            .map(|(_, items)| items.len())
            .sum()
    }
}

/// ` ×` and a number.
const CHANGES_LEN: usize = 8;

/// Two line ends before and behind a head, in JSON.
const SEPARATOR_LEN: usize = 8;

fn head(context: Context<'_>, (status, _, name, severity): Group<'_>, count: usize) -> String {
    let status = context.target.language.status_in_digest(status);
    let name = shortened(&one_line(name), ITEM_CHARACTERS);
    let severity = shortened(&one_line(severity), ITEM_CHARACTERS);
    let severity = if severity.is_empty() {
        String::new()
    } else {
        format!(" · {severity}")
    };
    format!("**{name}**{severity} · {status} {count}")
}

/// Of each group, the names of the labels whose values differ.
fn distinguishing(waiting: &[Waiting]) -> BTreeMap<Group<'_>, BTreeSet<&str>> {
    let mut firsts: BTreeMap<Group<'_>, &Waiting> = BTreeMap::new();
    let mut differing: BTreeMap<Group<'_>, BTreeSet<&str>> = BTreeMap::new();
    for one in waiting {
        let group = group_of(one);
        let first = *firsts.entry(group).or_insert(one);
        let names = first.alert.labels.keys().chain(one.alert.labels.keys());
        let differ =
            names.filter(|name| first.alert.labels.get(*name) != one.alert.labels.get(*name));
        differing
            .entry(group)
            .or_default()
            .extend(differ.map(String::as_str));
    }
    differing
}

/// One alert: what tells it from the others, and how long it was on.
fn item(context: Context<'_>, one: &Waiting, names: Option<&BTreeSet<&str>>) -> String {
    let alert = &*one.alert;
    let values: Vec<&str> = names
        .into_iter()
        .flatten()
        .map(|name| alert.labels.get(*name).map_or("-", String::as_str))
        .collect();
    let mut text = one_line(&values.join("/"));
    if text.is_empty() {
        text = one_line(alert.label("instance"));
    }
    if text.is_empty() {
        text = shortened(&alert.fingerprint, ITEM_CHARACTERS);
    }
    if text.chars().count() > ITEM_CHARACTERS {
        text = format!(
            "{} ({})",
            shortened(&text, ITEM_CHARACTERS),
            shortened(&alert.fingerprint, 16)
        );
    }
    if let Some(lasted) = lasted(alert) {
        text.push_str(&format!(" ({})", context.target.language.duration(lasted)));
    }
    text
}
