//! A gateway with a simulated broker, for demos and tests: `sentinel paper-gateway`. It moves no money.
//!
//! Invariant: it does with a message what `docs/gateway-protocol.md` says and nothing else, whenever its process ends. Must not touch: the
//! daemon, its link, its intent log. The journal is that of the peer in `ops/gateway`: either one goes on with the other's, which
//! simulates the same broker to the last digit.
//!
//! [`Peer`] are the rules, [`Known`] what they remember, [`JournalFile`] where, [`Book`] the broker, [`Listener`] the socket.

mod book;
mod cli;
mod journal;
mod known;
mod orders;
mod portfolio;
mod quotes;
mod record;
mod report;
mod rules;
mod server;

pub use book::{ACCOUNT, Book, Options, Refused};
pub use cli::{PaperGatewayArguments, PeerError, run};
pub use journal::{Journal, JournalError, JournalFile};
pub use known::{Begun, Judged, Known};
pub use quotes::Quotes;
pub use record::{Due, Record, Verdict};
pub use report::report;
pub use rules::{Answer, Peer};
pub use server::Listener;
