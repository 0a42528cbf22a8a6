//! Frames that were changed at random, with the mac they had or a new one: both gateways make the same of them.

use serde_json::json;

use crate::differential::Pair;
use crate::messages::{T, body, buy, message, signed, status};
use crate::python::Python;

/// xorshift64*: the same frames in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % end
    }
}

/// What tells readers of JSON apart, and values at the edges of their fields.
const PIECES: &[&str] = &[
    "null",
    "true",
    "0",
    "-0",
    "-1",
    "1.0",
    "1e0",
    "9007199254740991",
    "9007199254740992",
    "99999999999999999999",
    "01",
    "NaN",
    "\"\"",
    "\"0\"",
    "\"-0\"",
    "\"0.00000001\"",
    "\"1.123456789\"",
    "\"BUY\"",
    "\"buy\"",
    "\"ORDER\"",
    "\"KILL\"",
    "\"\\u0000\"",
    "\"\\ud834\"",
    "\"\\ud834\\udd1e\"",
    "\"\\u007f\"",
    "\"\u{e9}\"",
    "\"\u{1d11e}\"",
    "{}",
    "[]",
    "[[[[[[[[[]]]]]]]]]",
    ",",
    ":",
    "{",
    "}",
    "[",
    "]",
    "\"",
    "\\",
    "\\u0041",
    " ",
    "\t",
    "\r\n",
    "\u{feff}",
    "\u{b}",
    "\u{7f}",
    "/*",
    "//",
    "\"id\":\"x\",",
    "\"version\":1,",
    "\"mac\":\"\",",
    "\"note\":1,",
    "\"order_id\":\"o-1\",",
    "\"version\":2,",
];

fn mutate(text: &mut Vec<u8>, random: &mut Random) {
    let place = random.below(text.len() + 1);
    let end = (place + random.below(12)).min(text.len());
    let piece = PIECES[random.below(PIECES.len())].as_bytes();
    match random.below(7) {
        0 if place < text.len() => text[place] ^= 1 << random.below(8),
        1 if place < text.len() => text[place] = random.below(256) as u8,
        2 => drop(text.splice(place..end, [])),
        3 => drop(text.splice(place..place, piece.iter().copied())),
        4 => drop(text.splice(place..end, piece.iter().copied())),
        5 => {
            let copied = text[place..end].to_vec();
            drop(text.splice(place..place, copied));
        }
        // A whole value in the place of another one.
        _ => {
            let Some(colon) = text[place..].iter().position(|byte| *byte == b':') else {
                return;
            };
            let start = place + colon + 1;
            let Some(len) = text[start..].iter().position(|byte| b",}".contains(byte)) else {
                return;
            };
            text.splice(start..start + len, piece.iter().copied());
        }
    }
}

fn frame(number: usize, random: &mut Random) -> Vec<u8> {
    let id = format!("o-{}", random.below(4000));
    let kinds = [
        body(
            "ORDER",
            &id,
            &format!("bar-{}", random.below(4000)),
            &buy("0.01"),
            T,
            60_000,
        ),
        body(
            "STATUS",
            &id,
            &id,
            &json!({"order_id": format!("o-{}", random.below(4000))}),
            T,
            60_000,
        ),
        body("ACCOUNT", &id, &id, &json!({}), T, 60_000),
        body(
            "HEARTBEAT",
            &format!("h-{number}"),
            "h",
            &json!({}),
            T,
            60_000,
        ),
    ];
    let text = kinds[[0, 0, 0, 1, 2, 3][random.below(6)]].to_string();
    let is_signed_afterwards = random.below(3) > 0;
    let mut bytes = if is_signed_afterwards {
        text.into_bytes()
    } else {
        signed(&text)
    };
    for _ in 0..random.below(3) + usize::from(random.below(8) > 0) {
        mutate(&mut bytes, random);
    }
    if is_signed_afterwards && let Ok(text) = std::str::from_utf8(&bytes) {
        return signed(text);
    }
    bytes
}

#[test]
fn both_gateways_judge_twenty_thousand_mutated_frames_alike() {
    let Some(mut python) =
        Python::start("both_gateways_judge_twenty_thousand_mutated_frames_alike")
    else {
        return;
    };
    let mut pair = Pair::start(&mut python, json!({"contract": "1000"}), T);
    let mut random = Random(0x5EED_0006);
    let mut executed = 0;
    for round in 0..40 {
        let frames: Vec<_> = (0..500)
            .map(|number| (T + round, frame(round as usize * 500 + number, &mut random)))
            .collect();
        executed += pair.compare(&frames);
    }
    // Neither is so strict that nothing gets through, nor so lax that everything does.
    assert!(
        (500..10_000).contains(&executed),
        "{executed} were answered with an execution"
    );
    pair.compare(&[
        (T + 40, status("s-last", "o-1", T)),
        (T + 40, message("POSITIONS", "p-last", &json!({}), T)),
    ]);
    pair.compare_books(T + 40);
}
