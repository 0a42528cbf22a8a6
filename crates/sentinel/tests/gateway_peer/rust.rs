//! The gateway of this crate without its socket, with the options of the Python peer's book.

use std::path::{Path, PathBuf};
use std::time::Instant;

use sentinel::gateway::peer::{
    ACCOUNT, Book, JournalError, JournalFile, Known, Options, Peer, Quotes, report,
};
use sentinel::gateway::protocol::{Amount, Code, Text};
use serde_json::Value;

use crate::messages::key;
use crate::process::DEADLINE;

/// Options as the vectors have them: those of `book.Book` in Python.
pub(crate) fn options(book: &Value) -> Options {
    let text = |name: &str, default: &str| book[name].as_str().unwrap_or(default).to_owned();
    let amount = |name: &str, default: &str| Amount::parse(&text(name, default)).unwrap();
    let quotes = match book["prices"].as_str() {
        Some(path) => Quotes::File(PathBuf::from(path)),
        None => Quotes::around(amount("mid", "1.10000"), amount("spread", "0.00020")).unwrap(),
    };
    let code = |name: &str| {
        Code::ALL
            .iter()
            .copied()
            .find(|code| code.as_str() == name)
            .unwrap()
    };
    Options {
        account: Text::name(&text("account", ACCOUNT)).unwrap(),
        quotes,
        contract: amount("contract", "100000"),
        fill_ratio: amount("fill_ratio", "1"),
        reject: book["reject"].as_str().map(code),
        placed_ms: book["placed"].as_i64(),
    }
}

/// The journal of a gateway that has ended. A process that another test starts has the lock of an open file as well until it is its own
/// program, so a lock that was just let go of may still be held for a moment.
pub(crate) fn journal(path: &Path) -> Result<(JournalFile, Known), JournalError> {
    let deadline = Instant::now() + DEADLINE;
    loop {
        match JournalFile::open(path) {
            Err(JournalError::Locked(_)) if Instant::now() < deadline => std::thread::yield_now(),
            opened => return opened,
        }
    }
}

pub(crate) fn open(path: &Path, book: &Value, now: i64) -> Result<Peer<JournalFile>, JournalError> {
    let (journal, known) = journal(path)?;
    let book = Book::new(options(book), known.executions());
    Peer::start(key(), journal, known, book, now)
}

pub(crate) fn ask(peer: &mut Peer<JournalFile>, frame: &[u8], now: i64) -> Option<Vec<u8>> {
    peer.handle(frame, now).unwrap().map(|answer| answer.bytes)
}

pub(crate) fn ledger(peer: &Peer<JournalFile>, now: i64) -> Value {
    report(peer.known(), peer.book(), now)
}

/// The ids of executed orders, in their order.
pub(crate) fn fills(peer: &Peer<JournalFile>) -> Vec<String> {
    peer.book()
        .fills()
        .iter()
        .map(|fill| fill.order_id.to_string())
        .collect()
}
