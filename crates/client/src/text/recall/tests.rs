//! What is remembered against what the domain says, and keys against the texts that they stand for.

use std::cell::RefCell;
use std::sync::mpsc;

use proptest::prelude::*;

use super::*;
use crate::{Spelling, TextDomain};

/// Few different characters, so that many texts begin and end alike.
fn raw() -> impl Strategy<Value = String> {
    prop_oneof![
        "[ab]{0,4}",
        "[ab]{0,40}",
        "a{0,33}",
        "[aB /_]{6,10}",
        "(/api/v1/){0,3}[ab]{0,9}",
        "[aä€ ]{0,12}",
    ]
}

#[test]
fn every_byte_and_the_length_make_another_key() {
    for len in 0..=LEN_MAX_BYTES {
        let text = "x".repeat(len);
        let key = Raw::new(1, &text).unwrap();
        assert_ne!(Raw::new(2, &text), Some(key), "another domain");
        assert_ne!(Raw::new(1, &format!("{text}x")), Some(key), "{len}");
        for at in 0..len {
            let mut other = text.clone();
            other.replace_range(at..=at, "y");
            assert_ne!(Raw::new(1, &other), Some(key), "byte {at} of {len}");
        }
    }
    assert_eq!(Raw::new(1, &"x".repeat(LEN_MAX_BYTES + 1)), None);
    assert_ne!(Raw::new(1, "\0"), Raw::new(1, ""));
}

proptest! {
    #[test]
    fn keys_are_equal_exactly_where_texts_are(a in raw(), b in raw()) {
        if let (Some(key_of_a), Some(key_of_b)) = (Raw::new(7, &a), Raw::new(7, &b)) {
            prop_assert_eq!(key_of_a == key_of_b, a == b, "{:?} {:?}", a, b);
        }
    }

    #[test]
    fn what_is_recalled_is_what_the_domain_says(texts in prop::collection::vec(raw(), 1..300)) {
        let (first, second) = (
            TextDomain::new(Spelling::Lower, 16, 40),
            TextDomain::new(Spelling::Code, 6, 8),
        );
        for text in texts.iter().chain(&texts) {
            for domain in [&first, &second] {
                // An entry that is new comes into being by the first of the two; then both know it.
                prop_assert_eq!(domain.text(text), domain.look_up(text), "{:?}", text);
            }
        }
    }
}

#[test]
fn more_texts_than_places_are_all_answered_right() {
    let domain = TextDomain::new(Spelling::Lower, 16, 4 * PLACES);
    let texts: Vec<String> = (0..3 * PLACES).map(|n| format!("text {n}")).collect();
    for _ in 0..3 {
        for text in &texts {
            assert_eq!(domain.text(text).as_str(), text.replace(' ', "_"));
        }
    }
}

#[test]
fn a_text_is_recalled_by_the_thread_that_looked_it_up_and_by_no_other() {
    let domain = TextDomain::new(Spelling::Lower, 16, 4);
    let value = domain.text("Once");
    let is_recalled = |domain: &TextDomain| domain.raw("Once").unwrap().recall() == Some(value);
    assert!(is_recalled(&domain));
    std::thread::scope(|scope| {
        scope.spawn(|| assert!(!is_recalled(&domain)));
    });
}

#[test]
fn the_first_question_to_a_domain_may_be_the_empty_text() {
    let [known, fresh] = [(); 2].map(|()| TextDomain::new(Spelling::Code, 16, 4));
    known.text("makes the table");
    assert_eq!(
        (fresh.text("").as_str(), fresh.text("").as_str()),
        ("NA", "NA")
    );
}

/// A destructor of a thread's local may record, before or after the table is gone.
#[test]
fn a_thread_that_is_about_to_end_still_gets_its_texts() {
    struct Last(mpsc::Sender<String>);
    impl Drop for Last {
        fn drop(&mut self) {
            let _ = self.0.send(DOMAIN.text("At The End").as_str().to_owned());
        }
    }
    static DOMAIN: TextDomain = TextDomain::new(Spelling::Lower, 16, 4);
    thread_local! { static LAST: RefCell<Option<Last>> = const { RefCell::new(None) }; }
    for table_first in [false, true] {
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            if table_first {
                DOMAIN.text("before");
            }
            LAST.set(Some(Last(sender)));
            DOMAIN.text("after");
        })
        .join()
        .unwrap();
        assert_eq!(receiver.recv().as_deref(), Ok("at_the_end"));
    }
}
