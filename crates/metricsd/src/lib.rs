//! The daemon that owns the one port: merges the shards of trading processes at every scrape and serves them.
//!
//! A scrape walks down this list: [`daemon`] shares collections between scrapes, [`collect`] reads the files, [`merge`] adds the
//! numbers up under a [`policy`], and [`telemetry`] adds the daemon's own families. [`liveness`] and [`sessions`] know who still
//! writes. [`serve`] and [`render`] are the two commands; [`cli`], [`config`] and [`settings`] say what they run on.
//!
//! Invariant: nothing here writes, creates, deletes or renames anything in a shard directory.
#![forbid(unsafe_code)]

pub mod cli;
pub mod collect;
pub mod config;
pub mod daemon;
pub mod directory;
pub mod liveness;
mod lock_holder;
pub mod merge;
pub mod policy;
pub mod procfs_view;
pub mod render;
pub mod rounds;
mod sentence;
pub mod serve;
pub mod sessions;
pub mod settings;
pub mod telemetry;
