//! The daemon that owns the one port: merges the shards of trading processes at every scrape and serves them.
//!
//! A scrape walks down this list: [`daemon`] shares collections between scrapes, [`collect`] reads the files, [`merge`] adds the
//! numbers up under a [`policy`], and [`telemetry`] adds the daemon's own families. [`liveness`] and [`sessions`] know who still
//! writes. Beside the scrapes, the [`keeper`] notes in the [`books`] what shards hold and has those of ended processes go
//! through [`retire`] into the [`archive`]. [`serve`] and [`render`] are the commands that merge; [`ledger`], [`verify`], [`inspect`]
//! and [`doctor`] those that look; [`cli`], [`config`] and [`settings`] say what they run on.
//!
//! Invariant: only [`retire`] renames or deletes anything in a shard directory; nothing here writes into a shard.
#![forbid(unsafe_code)]

pub mod archive;
pub mod books;
pub mod cli;
mod clock;
pub mod collect;
pub mod config;
pub mod daemon;
pub mod directory;
pub mod doctor;
pub mod inspect;
pub mod keeper;
pub mod ledger;
pub mod liveness;
mod lock_holder;
pub mod merge;
mod pieces;
pub mod policy;
pub mod procfs_view;
pub mod render;
pub mod report;
pub mod retention;
pub mod retire;
pub mod rounds;
pub mod serve;
pub mod sessions;
pub mod settings;
pub mod state_directory;
pub mod telemetry;
pub mod verify;
