//! DingTalk's custom robot: the body of a message, the signature of a request, what an answer means.
//!
//! Invariant: an answer is a success only if its body says so: refusals come with status 200. Must not touch: sockets.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::config::DingTalk;
use crate::message::Message;
use crate::send::Outcome;
use crate::telemetry::Attempt;
use program::secret::percent_encoded;

/// The body of a message.
pub fn body(message: &Message) -> Vec<u8> {
    let Message { title, text, .. } = message;
    let mut body = if message.is_plain {
        json!({"msgtype": "text", "text": {"content": text}})
    } else if message.buttons.is_empty() {
        json!({"msgtype": "markdown", "markdown": {"title": title, "text": text}})
    } else {
        let buttons: Vec<Value> = message
            .buttons
            .iter()
            .map(|(title, url)| json!({"title": title, "actionURL": url}))
            .collect();
        json!({"msgtype": "actionCard", "actionCard": {"title": title, "text": text, "btnOrientation": "1", "btns": buttons}})
    };
    let mention = &message.mention;
    if !mention.is_nobody() {
        body["at"] = json!({"atMobiles": mention.mobiles, "atUserIds": mention.user_ids, "isAtAll": mention.all});
    }
    body.to_string().into_bytes()
}

/// `base64(HMAC-SHA256(secret, "{timestamp}\n{secret}"))`, not yet percent-encoded.
pub fn signature(timestamp_millis: i64, secret: &str) -> String {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of any length");
    mac.update(format!("{timestamp_millis}\n{secret}").as_bytes());
    BASE64_STANDARD.encode(mac.finalize().into_bytes())
}

/// The URL of a request, signed if the robot has a secret.
pub fn signed_url(robot: &DingTalk, timestamp_millis: i64) -> String {
    let url = robot.url.expose();
    match &robot.secret {
        None => url.to_owned(),
        Some(secret) => {
            let sign = percent_encoded(&signature(timestamp_millis, secret.expose()));
            format!("{url}&timestamp={timestamp_millis}&sign={sign}")
        }
    }
}

/// What the body of a success of HTTP means.
pub fn outcome(body: &[u8]) -> Outcome {
    let parsed: Option<Value> = serde_json::from_slice(body).ok();
    let code = parsed.as_ref().and_then(|value| value["errcode"].as_i64());
    let Some(code) = code else {
        let text = "the answer has no errcode".to_owned();
        return Outcome::failed(Attempt::Malformed, text);
    };
    let said = parsed.as_ref().and_then(|value| value["errmsg"].as_str());
    let text = format!("errcode {code}: {}", said.unwrap_or("(no errmsg)"));
    match code {
        0 => Outcome::Sent,
        130101 | 130102 | 90030 => Outcome::RateLimited { text },
        // Keywords, signature, time, address; the token; a robot that was switched off.
        310000 | 300001 | 300005 | 400013 | 400101 | 400102 | 400105 | 400106 => {
            Outcome::Refused { text }
        }
        460101 | 101002 => Outcome::TooLong { text },
        40035 | 400402 | 43004 => Outcome::BadMessage { text },
        -1 => Outcome::failed(Attempt::Busy, text),
        _ => Outcome::failed(Attempt::Other, text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Mention;
    use program::secret::Secret;

    #[test]
    fn the_signature_of_the_published_vector_is_right_and_encoded_once() {
        let expected = "7LVwF0dAF3/+MRRulbpE4y72Ogzykc6bS2nG4I99T4s=";
        assert_eq!(signature(1_700_000_000_000, "SECtestsecret"), expected);
        let robot = DingTalk {
            url: Secret::new("https://h/robot/send?access_token=T").unwrap(),
            token: Secret::new("T").unwrap(),
            secret: Secret::new("SECtestsecret"),
        };
        assert_eq!(
            signed_url(&robot, 1_700_000_000_000),
            "https://h/robot/send?access_token=T&timestamp=1700000000000&sign=7LVwF0dAF3%2F%2BMRRulbpE4y72Ogzykc6bS2nG4I99T4s%3D"
        );
    }

    #[test]
    fn every_errcode_has_its_class_and_its_text() {
        let of =
            |code: i64| outcome(format!("{{\"errcode\":{code},\"errmsg\":\"why\"}}").as_bytes());
        let text = |code: i64| format!("errcode {code}: why");
        assert_eq!(of(0), Outcome::Sent);
        for code in [130_101, 130_102, 90_030] {
            assert_eq!(of(code), Outcome::RateLimited { text: text(code) });
        }
        for code in [310_000, 300_001] {
            assert_eq!(of(code), Outcome::Refused { text: text(code) });
        }
        assert_eq!(
            of(460_101),
            Outcome::TooLong {
                text: text(460_101)
            }
        );
        assert_eq!(of(40_035), Outcome::BadMessage { text: text(40_035) });
        assert_eq!(of(-1), Outcome::failed(Attempt::Busy, text(-1)));
        assert_eq!(of(987_654), Outcome::failed(Attempt::Other, text(987_654)));
        for body in ["", "<html>", "{}", "{\"errcode\":\"0\"}", "[0]"] {
            let Outcome::Failed { attempt, .. } = outcome(body.as_bytes()) else {
                panic!("{body}");
            };
            assert_eq!(attempt, Attempt::Malformed, "{body}");
        }
    }

    #[test]
    fn each_kind_of_message_has_the_vendors_shape() {
        let message = Message {
            title: "t".into(),
            text: "x @all".into(),
            buttons: vec![("Graph".into(), "http://g".into())],
            mention: Mention::default(),
            is_plain: false,
            count: 1,
            is_digest: false,
        };
        let value = |message: &Message| serde_json::from_slice::<Value>(&body(message)).unwrap();
        let card = value(&message);
        assert_eq!(card["msgtype"], "actionCard");
        assert_eq!(card["actionCard"]["btns"][0]["actionURL"], "http://g");
        let mention = Mention {
            mobiles: vec!["138".into()],
            ..Mention::default()
        };
        let markdown = value(&Message {
            buttons: vec![],
            mention,
            ..message.clone()
        });
        assert_eq!(markdown["markdown"]["text"], "x @all");
        assert_eq!(markdown["at"]["atMobiles"][0], "138");
        assert_eq!(markdown["at"]["isAtAll"], false);
        let plain = value(&Message {
            is_plain: true,
            ..message
        });
        assert_eq!(plain["text"]["content"], "x @all");
    }
}
