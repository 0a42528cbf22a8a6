//! Silencing from a message: a signed link to a page, a form on it, and only when that is sent a silence in Alertmanager.
//!
//! Invariant: GET and HEAD change nothing, so that whoever looks at links before a person does silences nothing. What is silenced is what the
//! link was signed for, for no longer than is configured. Must not touch: the queue.

mod token;

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use metricsd_exporter::http::{PageRequest, PageResponse};
use serde_json::{Value, json};
use tracing::{info, warn};

use crate::config::Silence;
use crate::html::{escaped, page};
use crate::payload::Labels;
use crate::send::{Outcome, Sender};
use crate::telemetry::{SilenceResult, Telemetry};

pub use token::{KeyError, Signer};

/// Longest link; what an alert with more labels would need no message has room for.
const LINK_LEN_MAX: usize = 2_000;

/// Budget of the call to Alertmanager.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Lengths that the page offers, in minutes, as far as they are allowed.
const MINUTES: [u64; 7] = [30, 60, 120, 240, 480, 1_440, 10_080];

/// Longest name or comment.
const TEXT_CHARACTERS: usize = 200;

/// A link that offers to silence alerts with exactly these labels.
pub fn link(
    signer: &Signer,
    settings: &Silence,
    external_url: &str,
    labels: &Labels,
    now: i64,
) -> Option<String> {
    let valid_for = i64::try_from(settings.link_valid_for.as_secs()).ok()?;
    let token = signer.link(labels, now.checked_add(valid_for)?);
    let link = format!("{external_url}/silence/{token}");
    (link.len() <= LINK_LEN_MAX).then_some(link)
}

/// What `/silence/TOKEN` is answered with.
pub fn answer(
    signer: &Signer,
    settings: &Silence,
    telemetry: &Telemetry,
    request: &PageRequest,
    token: &str,
    now: i64,
) -> PageResponse {
    let Some(labels) = signer.read_link(token, now) else {
        return page(
            410,
            "This link is no longer good / 链接已失效",
            "<p>It is too old, or was signed with another key. Use the link of a newer message.</p>",
        );
    };
    match request.method.as_str() {
        "GET" | "HEAD" => form(signer, settings, token, &labels, now),
        "POST" => match Confirmed::read(signer, settings, request, token, now) {
            Ok(confirmed) => create(settings, telemetry, &labels, &confirmed),
            Err(reason) => {
                telemetry.record_silence(SilenceResult::BadRequest);
                page(
                    400,
                    "Nothing was silenced / 未创建静默",
                    &format!("<p>{}</p>", escaped(reason)),
                )
            }
        },
        _ => page(405, "Method not allowed", "<p>GET, HEAD and POST are.</p>"),
    }
}

fn form(
    signer: &Signer,
    settings: &Silence,
    token: &str,
    labels: &Labels,
    now: i64,
) -> PageResponse {
    let default = settings.default.as_secs() / 60;
    let max = settings.max.as_secs() / 60;
    let mut offered: Vec<u64> = MINUTES
        .into_iter()
        .chain([default])
        .filter(|minutes| *minutes <= max)
        .collect();
    offered.sort_unstable();
    offered.dedup();
    let options: String = offered
        .iter()
        .map(|minutes| {
            let selected = if *minutes == default { " selected" } else { "" };
            let text = match minutes {
                minutes if minutes % 60 == 0 => format!("{} h", minutes / 60),
                minutes => format!("{minutes} min"),
            };
            format!("<option value=\"{minutes}\"{selected}>{text}</option>")
        })
        .collect();
    let matchers: String = labels
        .iter()
        .map(|(name, value)| {
            format!(
                "<li><code>{}=\"{}\"</code></li>",
                escaped(name),
                escaped(value)
            )
        })
        .collect();
    let (issued, confirmation) = (now, signer.confirmation(token, now));
    let body = format!(
        "<p>Alerts with all of these labels / 具有以下全部标签的告警:</p>\n<ul>{matchers}</ul>\n\
         <form method=\"post\" action=\"/silence/{token}\" autocomplete=\"off\">\n\
         <input type=\"hidden\" name=\"issued\" value=\"{issued}\">\n<input type=\"hidden\" name=\"confirmation\" value=\"{confirmation}\">\n\
         <p><label>For / 时长 <select name=\"minutes\">{options}</select></label></p>\n\
         <p><label>Your name / 姓名 <input name=\"name\" maxlength=\"{TEXT_CHARACTERS}\"></label></p>\n\
         <p><label>Why / 原因 <input name=\"comment\" maxlength=\"{TEXT_CHARACTERS}\"></label></p>\n\
         <p><button type=\"submit\">Silence / 静默</button></p>\n</form>",
        token = escaped(token),
    );
    page(200, "Silence alerts / 静默告警", &body)
}

/// A form that was sent by somebody who had the page.
struct Confirmed {
    length: Duration,
    name: String,
    comment: String,
}

impl Confirmed {
    fn read(
        signer: &Signer,
        settings: &Silence,
        request: &PageRequest,
        token: &str,
        now: i64,
    ) -> Result<Confirmed, &'static str> {
        // A browser says where a form was sent from; another site's page must not send this one.
        let site = request.header("sec-fetch-site").unwrap_or("none");
        if !["none", "same-origin"].contains(&site) {
            return Err("The form was sent from another site.");
        }
        let body = request.body.as_ref().ok_or("The form is too long.")?;
        let pairs = pairs(body);
        let value = |name: &str| {
            let found = pairs.iter().find(|(found, _)| found == name);
            found.map_or("", |(_, value)| value.trim())
        };
        let issued: i64 = value("issued")
            .parse()
            .map_err(|_| "The form is incomplete.")?;
        if !signer.is_confirmed(token, issued, value("confirmation"), now) {
            return Err("The page was open for too long; open the link again.");
        }
        let minutes: u64 = value("minutes")
            .parse()
            .map_err(|_| "The form is incomplete.")?;
        let length = Duration::from_secs(minutes.saturating_mul(60));
        if length.is_zero() || length > settings.max {
            return Err("The length is not one of those that are offered.");
        }
        let short = |text: &str| {
            text.chars()
                .filter(|c| !c.is_control())
                .take(TEXT_CHARACTERS)
                .collect::<String>()
        };
        Ok(Confirmed {
            length,
            name: short(value("name")),
            comment: short(value("comment")),
        })
    }
}

fn create(
    settings: &Silence,
    telemetry: &Telemetry,
    labels: &Labels,
    confirmed: &Confirmed,
) -> PageResponse {
    let matchers: Vec<Value> = labels
        .iter()
        .map(|(name, value)| json!({"name": name, "value": value, "isRegex": false, "isEqual": true}))
        .collect();
    let now = Timestamp::now();
    let length = SignedDuration::try_from(confirmed.length).unwrap_or(SignedDuration::ZERO);
    let end = now.checked_add(length).unwrap_or(now);
    let or = |text: &str, other: &str| {
        if text.is_empty() {
            other.to_owned()
        } else {
            text.to_owned()
        }
    };
    let silence = json!({
        "matchers": matchers,
        "startsAt": now.to_string(),
        "endsAt": end.to_string(),
        "createdBy": or(&confirmed.name, "alertbridge"),
        "comment": or(&confirmed.comment, "silenced from a message"),
    });
    let url = format!("{}/api/v2/silences", settings.alertmanager_url);
    let answered = Sender::new().post(&url, None, silence.to_string().as_bytes(), TIMEOUT);
    let problem = match answered {
        Ok((200, body)) => {
            let answer: Option<Value> = serde_json::from_slice(&body).ok();
            let id = answer
                .as_ref()
                .and_then(|answer| answer["silenceID"].as_str());
            match id {
                Some(id) => {
                    telemetry.record_silence(SilenceResult::Created);
                    info!(silence = id, until = %end, "alerts were silenced from a message");
                    let body = format!(
                        "<p>Until / 直到 {}, as silence <code>{}</code>.</p>",
                        escaped(&end.to_string()),
                        escaped(id)
                    );
                    return page(200, "Silenced / 已静默", &body);
                }
                None => "Alertmanager answered without a silenceID".to_owned(),
            }
        }
        Ok((status, body)) => format!(
            "Alertmanager answered {status}: {}",
            String::from_utf8_lossy(&body[..body.len().min(300)])
        ),
        Err(Outcome::Failed { text, .. }) => text,
        Err(_) => "Alertmanager could not be asked".to_owned(),
    };
    telemetry.record_silence(SilenceResult::AlertmanagerFailed);
    warn!(url, problem, "a silence could not be created");
    page(
        502,
        "Nothing was silenced / 未创建静默",
        &format!("<p>{}</p>", escaped(&problem)),
    )
}

/// Names and values of a form.
fn pairs(body: &[u8]) -> Vec<(String, String)> {
    let text = String::from_utf8_lossy(body);
    let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    pairs
        .map(|(name, value)| (decoded(name), decoded(value)))
        .collect()
}

/// `+` is a blank, `%XX` a byte; what is neither stays as it is.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, behind)) = rest.split_first() {
        let hex = (byte == b'%')
            .then(|| behind.get(..2))
            .flatten()
            .filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(hex.unwrap_or(if byte == b'+' { b' ' } else { byte }));
        rest = if hex.is_some() { &behind[2..] } else { behind };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_read_as_browsers_write_it() {
        assert_eq!(
            pairs("a=1+2&b=%E9%9D%99%2B&c=%zz".as_bytes()),
            [("a", "1 2"), ("b", "静+"), ("c", "%zz")].map(|(a, b)| (a.to_owned(), b.to_owned()))
        );
    }
}
