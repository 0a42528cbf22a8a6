//! Properties that no list of vectors can show.

use proptest::prelude::*;
use rust_decimal::Decimal;

use super::*;
use program::secret::Secret;

fn key() -> Key {
    let secret = Secret::new(
        "a secret that is no secret at all"
            .replace(' ', "-")
            .as_str(),
    );
    Key::new(&secret.expect("a text")).expect("a key")
}

fn amount() -> impl Strategy<Value = Amount> {
    (1_i64..i64::MAX / 1_000_000, 0_u32..=8).prop_filter_map("too many digits", |(units, scale)| {
        Amount::new(Decimal::new(units, scale))
    })
}

fn text() -> impl Strategy<Value = Text> {
    any::<String>().prop_filter_map("not a name", |text| Text::name(&text))
}

fn body() -> impl Strategy<Value = RequestBody> {
    let side = prop_oneof![Just(Side::Buy), Just(Side::Sell)];
    let order = (
        text(),
        text(),
        side,
        amount(),
        proptest::option::of(amount()),
        0..1_u32 << 31,
    )
        .prop_map(|(account, symbol, side, volume, worst_price, magic)| {
            RequestBody::Order(Order {
                account,
                symbol,
                side,
                volume,
                worst_price,
                magic,
            })
        });
    let status =
        "[0-9A-Za-z._:-]{1,31}".prop_map(|id| RequestBody::Status(MessageId::new(&id).unwrap()));
    prop_oneof![
        order,
        status,
        Just(RequestBody::Positions),
        Just(RequestBody::Account),
        Just(RequestBody::Heartbeat),
        text().prop_map(|reason| RequestBody::Kill { reason }),
    ]
}

fn request() -> impl Strategy<Value = Request> {
    let times = (0..1_i64 << 52, 0..=MAX_LIFETIME_MS);
    (
        "[0-9A-Za-z._:-]{1,31}",
        "[0-9A-Za-z._:-]{1,64}",
        times,
        body(),
    )
        .prop_map(|(id, idempotency_key, (sent_at, lifetime), body)| Request {
            id: MessageId::new(&id).unwrap(),
            idempotency_key: IdempotencyKey::new(&idempotency_key).unwrap(),
            sent_at,
            valid_until: sent_at + lifetime,
            body,
        })
}

/// Values of the wire's JSON with any keys and texts.
fn json() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::Bool),
        (-(1_i64 << 53) + 1..1_i64 << 53).prop_map(Json::Integer),
        any::<String>().prop_map(Json::String),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Json::Array),
            proptest::collection::btree_map(any::<String>(), inner, 0..5).prop_map(Json::Object),
        ]
    })
}

/// The same value as somebody else might write it: keys the other way round, white space, every letter as an escape.
fn written_otherwise(value: &Json) -> String {
    let text = |text: &str| -> String {
        let units = text.encode_utf16().map(|unit| format!("\\u{unit:04X}"));
        format!("\"{}\"", units.collect::<String>())
    };
    match value {
        Json::Array(items) => {
            let items: Vec<_> = items.iter().map(written_otherwise).collect();
            format!("[ {} ]", items.join("\t,\n"))
        }
        Json::Object(members) => {
            let members: Vec<_> = members
                .iter()
                .rev()
                .map(|(name, value)| format!("{} : {}", text(name), written_otherwise(value)))
                .collect();
            format!("{{\r{} }}", members.join(" , "))
        }
        Json::String(value) => text(value),
        other => String::from_utf8(other.canonical()).expect("canonical bytes are UTF-8"),
    }
}

proptest! {
    #[test]
    fn a_request_comes_back_as_it_was(request in request()) {
        let bytes = request.encode(&key()).unwrap();
        prop_assert!(bytes.len() <= MAX_REQUEST_BYTES);
        let back = Request::decode(&bytes, &key()).unwrap();
        prop_assert_eq!(back.encode(&key()).unwrap(), bytes);
        prop_assert_eq!(back, request);
    }

    #[test]
    fn any_changed_byte_is_refused(request in request(), place in any::<prop::sample::Index>(), change in 1_u8..=255) {
        let mut bytes = request.encode(&key()).unwrap();
        let place = place.index(bytes.len());
        bytes[place] ^= change;
        prop_assert!(Request::decode(&bytes, &key()).is_err(), "{}", String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn canonical_bytes_do_not_depend_on_who_wrote_the_value(value in json()) {
        let canonical = value.canonical();
        let back = Json::parse(written_otherwise(&value).as_bytes(), usize::MAX).unwrap();
        prop_assert_eq!(back.canonical(), canonical.clone());
        prop_assert_eq!(Json::parse(&canonical, usize::MAX).unwrap(), back);
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(Request::decode(&bytes, &key()).is_err());
        prop_assert!(Reply::decode(&bytes, &key()).is_err());
    }

    #[test]
    fn an_amount_is_written_as_it_was_read(text in r"-?(0|[1-9][0-9]{0,14})(\.[0-9]{1,8})?") {
        match Amount::parse(&text) {
            Some(amount) => prop_assert_eq!(amount.to_string(), text),
            None => prop_assert!(text.starts_with('-') && text.bytes().all(|byte| b"-0.".contains(&byte)), "{}", text),
        }
    }
}

#[test]
fn every_changed_byte_of_one_order_is_refused() {
    let order = Request {
        id: MessageId::new("o-1").unwrap(),
        idempotency_key: IdempotencyKey::new("EURUSD:1:BUY").unwrap(),
        sent_at: 1_763_802_000_000,
        valid_until: 1_763_802_005_000,
        body: RequestBody::Order(Order {
            account: Text::name("1").unwrap(),
            symbol: Text::name("a \"€\" \\").unwrap(),
            side: Side::Buy,
            volume: Amount::parse("0.10").unwrap(),
            worst_price: None,
            magic: 0,
        }),
    };
    let good = order.encode(&key()).unwrap();
    for place in 0..good.len() {
        for other in (0..=255).filter(|byte| *byte != good[place]) {
            let mut bytes = good.clone();
            bytes[place] = other;
            let read = Request::decode(&bytes, &key());
            assert!(read.is_err(), "{}", String::from_utf8_lossy(&bytes));
        }
    }
}

#[test]
fn a_secret_that_is_short_or_not_plain_is_no_key() {
    let key = |text: &str| Key::new(&Secret::new(text).unwrap()).map(|_| ());
    assert_eq!(key(&"x".repeat(31)), Err(KeyError::Length(31)));
    assert_eq!(key(&format!(" {}\r\n", "x".repeat(32))), Ok(()));
    assert_eq!(key(&"x".repeat(512)), Ok(()));
    assert_eq!(key(&"x".repeat(513)), Err(KeyError::Length(513)));
    assert_eq!(
        key(&format!("{} {}", "x".repeat(20), "x".repeat(20))),
        Err(KeyError::Character)
    );
    assert_eq!(key(&"ü".repeat(20)), Err(KeyError::Character));
}

#[test]
fn a_reply_answers_only_the_bytes_that_it_was_made_for() {
    let request = |id: &str, body| Request {
        id: MessageId::new(id).unwrap(),
        idempotency_key: IdempotencyKey::new("k").unwrap(),
        sent_at: 1,
        valid_until: 2,
        body,
    };
    let status = |order: &str| request("s-1", RequestBody::Status(MessageId::new(order).unwrap()));
    let asked = status("o-1");
    let bytes = asked.encode(&key()).unwrap();
    let reply = |body| Reply {
        id: Some(asked.id.clone()),
        request_sha256: sha256_hex(&bytes),
        sent_at: 2,
        body,
    };
    let unknown = reply(ReplyBody::UnknownId(MessageId::new("o-1").unwrap()));
    assert_eq!(unknown.check_answers(&asked, &bytes), Ok(()));
    let other = status("o-2");
    let other_bytes = other.encode(&key()).unwrap();
    assert_eq!(
        unknown.check_answers(&other, &other_bytes),
        Err(Refusal::OtherRequest)
    );
    let wrong_order = reply(ReplyBody::UnknownId(MessageId::new("o-2").unwrap()));
    assert_eq!(
        wrong_order.check_answers(&asked, &bytes),
        Err(Refusal::OtherAnswer)
    );
    let killed = reply(ReplyBody::Kill(Killed {
        is_killed: true,
        killed_at: 1,
    }));
    assert_eq!(
        killed.check_answers(&asked, &bytes),
        Err(Refusal::OtherAnswer)
    );
}

#[test]
fn what_would_not_be_read_is_not_encoded() {
    let order = |volume, account| Request {
        id: MessageId::new("o-1").unwrap(),
        idempotency_key: IdempotencyKey::new("k").unwrap(),
        sent_at: 1,
        valid_until: 2,
        body: RequestBody::Order(Order {
            account,
            symbol: Text::name("EURUSD").unwrap(),
            side: Side::Sell,
            volume: Amount::parse(volume).unwrap(),
            worst_price: None,
            magic: 0,
        }),
    };
    let encode = |order: Request| order.encode(&key()).map(|_| ());
    let account = || Text::name("1").unwrap();
    assert_eq!(encode(order("0.01", account())), Ok(()));
    let field_of = |result| match result {
        Err(ProtocolError::Wrong { field, .. }) => field,
        other => panic!("{other:?}"),
    };
    assert_eq!(field_of(encode(order("0.00", account()))), "volume");
    let long = Text::sentence(&"x".repeat(65)).unwrap();
    assert_eq!(field_of(encode(order("0.01", long))), "account");
    let lasting = Request {
        valid_until: 1 + MAX_LIFETIME_MS + 1,
        ..order("0.01", account())
    };
    assert_eq!(field_of(encode(lasting)), "valid_until");
    let eternal = Request {
        sent_at: i64::MIN,
        valid_until: i64::MAX,
        ..order("0.01", account())
    };
    assert_eq!(encode(eternal), Err(ProtocolError::NotAnInteger));
}
