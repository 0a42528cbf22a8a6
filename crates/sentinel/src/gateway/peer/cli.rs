//! `sentinel paper-gateway`: its flags, and what it says when it cannot go on.
//!
//! Invariant: every flag has an effect, and what is wrong is one sentence. Must not touch: the configuration file, which is the daemon's.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::Args;

use super::book::{ACCOUNT, Book, Options};
use super::journal::{Journal, JournalError, JournalFile};
use super::quotes::Quotes;
use super::record::Record;
use super::report::report;
use super::rules::Peer;
use super::server::{Listener, ServeError, serve, unix_ms};
use crate::clock::Clock;
use crate::gateway::protocol::{Amount, Code, Key, KeyError, Text};
use crate::stop::Stop;
use program::secret::Secret;

/// Of `sentinel paper-gateway`.
#[derive(Debug, Args)]
pub struct PaperGatewayArguments {
    /// Where to listen, an address and a port; port 0 is any free one, and the first line of standard output says which.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:5555", value_parser = parse_address)]
    bind: SocketAddr,

    /// File with the shared secret: 32 to 512 printable ASCII characters. Needed to serve.
    #[arg(long, value_name = "FILE", required_unless_present_any = ["release_kill", "book"])]
    secret_file: Option<PathBuf>,

    /// What was executed: append-only, never to be deleted. Made if it is not there; its directory has to be.
    #[arg(long, value_name = "FILE")]
    journal: PathBuf,

    /// The account that is traded.
    #[arg(long, value_name = "NAME", default_value = ACCOUNT, value_parser = parse_name)]
    account: Text,

    /// The middle price of every symbol.
    #[arg(long, allow_negative_numbers = true, value_name = "PRICE", default_value = "1.10000", value_parser = parse_positive, conflicts_with = "prices")]
    mid: Amount,

    /// Ask less bid.
    #[arg(long, allow_negative_numbers = true, value_name = "PRICE", default_value = "0.00020", value_parser = parse_not_negative, conflicts_with = "prices")]
    spread: Amount,

    /// A JSON file with {"SYMBOL": {"bid": "1.1", "ask": "1.2"}} instead, read anew each time.
    #[arg(long, value_name = "FILE")]
    prices: Option<PathBuf>,

    /// Units of the base in one lot.
    #[arg(long, allow_negative_numbers = true, value_name = "UNITS", default_value = "100000", value_parser = parse_positive)]
    contract: Amount,

    /// The part of each order that is filled, 0 to 1.
    #[arg(long, allow_negative_numbers = true, value_name = "RATIO", default_value = "1", value_parser = parse_ratio)]
    fill_ratio: Amount,

    /// Reject every order with this code: requote, price, volume, margin, market_closed, disabled or other.
    #[arg(long, value_name = "CODE", value_parser = parse_code)]
    reject: Option<Code>,

    /// Answer every order PLACED. It is filled MS milliseconds later, and cancelled if that is beyond its valid_until.
    #[arg(long, allow_negative_numbers = true, value_name = "MS", value_parser = clap::value_parser!(i64).range(0..=3_600_000))]
    placed: Option<i64>,

    /// Switch the kill switch off in the journal, say so, and exit. The journal has to be there, and the gateway to be stopped.
    #[arg(long)]
    release_kill: bool,

    /// Write account, positions, fills and the verdict of every order as JSON to FILE, - for standard output, and exit. Works beside a
    /// running gateway; account, prices and contract are those of the flags here.
    #[arg(long, value_name = "FILE", conflicts_with = "release_kill")]
    book: Option<PathBuf>,
}

/// Why it did not start, or ended other than on request.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// Two flags that make no price.
    #[error(
        "--mid {mid}, --spread {spread}: bid and ask are not prices above zero with at most 8 digits behind the point"
    )]
    Prices {
        /// The middle.
        mid: Amount,
        /// What is between bid and ask.
        spread: Amount,
    },
    /// A file cannot be read or written.
    #[error("{}: cannot {operation}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What was being done.
        operation: &'static str,
        /// The system's error.
        source: io::Error,
    },
    /// The secret is no key.
    #[error("{}: {reason}", .path.display())]
    Secret {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: KeyError,
    },
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The address.
    #[error("{address}: cannot listen: {reason}")]
    Listen {
        /// What was to be bound.
        address: SocketAddr,
        /// Why not.
        reason: zmq::Error,
    },
    /// The socket, later.
    #[error("the socket failed: {0}")]
    Socket(zmq::Error),
}

impl PeerError {
    /// The exit status: 2 for flags, 1 for everything else.
    pub const fn status(&self) -> u8 {
        match self {
            PeerError::Prices { .. } => 2,
            _ => 1,
        }
    }
}

/// Serves until the end is asked for, or does what the flags say instead.
///
/// # Errors
/// When it cannot start, or cannot go on.
pub fn run(arguments: &PaperGatewayArguments, stop: &Stop) -> Result<(), PeerError> {
    let options = options(arguments)?;
    let clock = Clock::system();
    if let Some(target) = &arguments.book {
        let known = JournalFile::read(&arguments.journal)?;
        let book = Book::new(options, known.executions());
        let text = format!("{:#}\n", report(&known, &book, unix_ms(&clock)));
        return write_report(target, &text);
    }
    let Some(secret_file) = arguments
        .secret_file
        .as_deref()
        .filter(|_| !arguments.release_kill)
    else {
        return release(&arguments.journal, unix_ms(&clock));
    };
    let key = read_key(secret_file)?;
    if let Some(prices) = &arguments.prices {
        File::open(prices).map_err(failed(prices, "read the prices"))?;
    }
    let (journal, known) = JournalFile::open(&arguments.journal)?;
    let address = arguments.bind;
    if !address.ip().is_loopback() {
        tracing::warn!(%address, "not loopback: whoever reaches this address reads the orders, and needs only the secret to send some");
    }
    let listener =
        Listener::bind(address).map_err(|reason| PeerError::Listen { address, reason })?;
    let book = Book::new(options, known.executions());
    let mut peer = Peer::start(key, journal, known, book, unix_ms(&clock))?;
    // Who does not read it does not want to know.
    let _ = writeln!(io::stdout().lock(), "listening on {}", listener.endpoint());
    serve(&listener, &mut peer, &clock, stop).map_err(|error| match error {
        ServeError::Journal(error) => PeerError::Journal(error),
        ServeError::Socket(error) => PeerError::Socket(error),
    })
}

/// Switches the kill switch off, and says which of the two it was. A journal that is not there is not made: whoever mistyped its name must not
/// believe that the switch is off.
fn release(path: &Path, at: i64) -> Result<(), PeerError> {
    JournalFile::read(path)?;
    let (mut journal, known) = JournalFile::open(path)?;
    let done = match known.killed_at() {
        Some(_) => {
            journal.append(&Record::Release { at })?;
            "the kill switch is off"
        }
        None => "the kill switch was not on, nothing was changed",
    };
    // Who does not read it does not want to know.
    let _ = writeln!(io::stdout().lock(), "{done}");
    Ok(())
}

fn options(arguments: &PaperGatewayArguments) -> Result<Options, PeerError> {
    let (mid, spread) = (arguments.mid, arguments.spread);
    let quotes = match &arguments.prices {
        Some(path) => Quotes::File(path.clone()),
        None => Quotes::around(mid, spread).ok_or(PeerError::Prices { mid, spread })?,
    };
    Ok(Options {
        account: arguments.account.clone(),
        quotes,
        contract: arguments.contract,
        fill_ratio: arguments.fill_ratio,
        reject: arguments.reject,
        placed_ms: arguments.placed,
    })
}

/// Longer than any secret with white space around it; a file that never ends is not read for ever.
const SECRET_FILE_MAX_BYTES: u64 = 4096;

fn read_key(path: &Path) -> Result<Key, PeerError> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed(path, "read the secret"))?;
    file.take(SECRET_FILE_MAX_BYTES)
        .read_to_end(&mut bytes)
        .map_err(failed(path, "read the secret"))?;
    let bad = |reason| PeerError::Secret {
        path: path.to_owned(),
        reason,
    };
    let text = std::str::from_utf8(&bytes).map_err(|_| bad(KeyError::Character))?;
    let text = text.trim_matches([' ', '\t', '\r', '\n']);
    let secret = Secret::new(text).ok_or(bad(KeyError::Length(0)))?;
    // What it trims besides those four is no part of a secret.
    if secret.expose() != text {
        return Err(bad(KeyError::Character));
    }
    Key::new(&secret).map_err(bad)
}

fn write_report(target: &Path, text: &str) -> Result<(), PeerError> {
    let written = if target == Path::new("-") {
        io::stdout().lock().write_all(text.as_bytes())
    } else {
        std::fs::write(target, text)
    };
    written.map_err(failed(target, "write the book"))
}

fn failed(path: &Path, operation: &'static str) -> impl FnOnce(io::Error) -> PeerError {
    let path = path.to_owned();
    move |source| PeerError::File {
        path,
        operation,
        source,
    }
}

fn parse_address(text: &str) -> Result<SocketAddr, String> {
    let address = text.strip_prefix("tcp://").unwrap_or(text);
    let wanted = |_| "accepted: an address and a port, as 127.0.0.1:5555".to_owned();
    address.parse().map_err(wanted)
}

fn parse_name(text: &str) -> Result<Text, String> {
    Text::name(text).ok_or("accepted: 1 to 64 bytes without control characters".to_owned())
}

fn parse_amount(
    text: &str,
    is_good: impl Fn(Amount) -> bool,
    wanted: &str,
) -> Result<Amount, String> {
    let amount = Amount::parse(text).filter(|amount| is_good(*amount));
    amount.ok_or(format!("accepted: a decimal number {wanted}"))
}

fn parse_positive(text: &str) -> Result<Amount, String> {
    parse_amount(text, Amount::is_positive, "above zero")
}

fn parse_not_negative(text: &str) -> Result<Amount, String> {
    parse_amount(
        text,
        |amount| !amount.value().is_sign_negative(),
        "of at least zero",
    )
}

fn parse_ratio(text: &str) -> Result<Amount, String> {
    let is_ratio = |amount: Amount| (0.into()..=1.into()).contains(&amount.value());
    parse_amount(text, is_ratio, "from 0 to 1")
}

/// The codes that a broker has; the others are the protocol's own.
const BROKER_CODES: [Code; 7] = [
    Code::Requote,
    Code::Price,
    Code::Volume,
    Code::Margin,
    Code::MarketClosed,
    Code::Disabled,
    Code::Other,
];

fn parse_code(text: &str) -> Result<Code, String> {
    let found = BROKER_CODES.into_iter().find(|code| code.as_str() == text);
    let names = BROKER_CODES.map(Code::as_str).join(", ");
    found.ok_or(format!("accepted: {names}"))
}
