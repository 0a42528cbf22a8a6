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

fn raw_of(domain: u64, text: &str) -> Raw<'_> {
    Raw::new(domain, text).unwrap()
}

/// What holds `text` against another text, wherever that lies.
fn is_taken_for(domain: u64, text: &str, of: u64, other: &str) -> bool {
    Place::of(&raw_of(domain, text), Text::NONE).is(&raw_of(of, other))
}

#[test]
fn every_byte_the_length_and_the_domain_make_another_text() {
    for len in 0..=LEN_MAX_BYTES {
        let text = "x".repeat(len);
        let same = text.clone();
        assert!(is_taken_for(1, &text, 1, &same));
        assert_eq!(raw_of(1, &text).place(), raw_of(1, &same).place());
        assert!(!is_taken_for(1, &text, 2, &text), "another domain");
        for longer in [format!("{text}x"), format!("{text}\0")] {
            if longer.len() <= LEN_MAX_BYTES {
                assert!(!is_taken_for(1, &text, 1, &longer), "{len}");
                assert!(!is_taken_for(1, &longer, 1, &text), "{len}");
            }
        }
        for at in 0..len {
            let mut other = text.clone();
            other.replace_range(at..=at, "y");
            assert!(!is_taken_for(1, &text, 1, &other), "byte {at} of {len}");
        }
        assert!(!Place::free().is(&raw_of(1, &text)));
    }
    assert!(Raw::new(1, &"x".repeat(LEN_MAX_BYTES + 1)).is_none());
}

/// As where a program reads line after line into one buffer.
#[test]
fn text_that_lies_where_another_one_lay_is_not_taken_for_it() {
    let domain = TextDomain::new(Spelling::Lower, 16, 4_000);
    let mut buffer = String::with_capacity(64);
    let address = buffer.as_ptr();
    for n in (0..3 * PLACES).chain(0..PLACES) {
        buffer.clear();
        buffer.push_str(&format!("{}{}", "LINE "[..n % 6].trim(), n % 199));
        let expected = buffer.to_lowercase();
        assert_eq!(domain.text(&buffer).as_str(), expected);
        // Without the last byte, and once more as it was.
        assert_eq!(domain.text(&buffer[..1]), domain.look_up(&buffer[..1]));
        assert_eq!(domain.text(&buffer).as_str(), expected);
    }
    assert_eq!(buffer.as_ptr(), address);
}

#[test]
fn text_that_has_moved_is_recalled_there_from_the_second_time_on() {
    let domain = TextDomain::new(Spelling::Lower, 16, 4);
    let texts = [(); 3].map(|()| String::from("Wherever"));
    let value = domain.text(&texts[0]);
    for text in &texts[1..] {
        let raw = || domain.raw(text).unwrap();
        let by_address =
            |raw: &Raw| RECALLED.with_borrow(|all| all.by_address[raw.address()].get());
        assert_eq!(raw().recall_moved(), Some(value));
        assert_eq!(by_address(&raw()), raw().place());
        assert_eq!(raw().recall(), Some(value));
    }
}

#[test]
fn neighbours_are_not_looked_for_at_the_same_address() {
    let text = "x".repeat(2 * ADDRESSES);
    let address = |at: usize| raw_of(1, &text[at..=at]).address();
    for at in 0..ADDRESSES {
        let collision = (1..ADDRESSES / 3).find(|apart| address(at) == address(at + apart));
        assert_eq!(collision, None, "from {at} on");
    }
}

proptest! {
    #[test]
    fn a_text_is_taken_for_another_exactly_where_they_are_equal(a in raw(), b in raw()) {
        if a.len().max(b.len()) <= LEN_MAX_BYTES {
            prop_assert_eq!(is_taken_for(7, &a, 7, &b), a == b, "{:?} {:?}", a, b);
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
    let is_recalled = |domain: &TextDomain| {
        let raw = domain.raw("Once").unwrap();
        raw.recall() == Some(value) && raw.recall_moved() == Some(value)
    };
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
