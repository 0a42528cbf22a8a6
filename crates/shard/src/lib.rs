//! The shard file: layout, key, name, reader, liveness, writer. Byte-compatible with the multiprocess mode of Python's
//! `prometheus_client`.
//!
//! A *shard* is one small file that one process writes and anybody may read: `counter_ID.db`, `gauge_livemax_ID.db` and so
//! on. `docs/shard-format.md` describes the bytes.
//!
//! What holds everywhere here:
//! - a reader is total: any bytes of any file give a valid prefix of entries or a typed error, never a panic;
//! - the directory is hostile input: sizes and counts are bounded, links are not followed, only regular files are read;
//! - only the `map` module has unsafe code.
#![deny(unsafe_code)]

mod directory;
mod extent;
mod file;
mod identity;
mod key;
mod layout;
mod liveness;
mod loom;
#[allow(
    unsafe_code,
    reason = "mappings, and libc calls that no safe binding offers; every block names its obligations"
)]
mod map;
mod name;
mod old_format;
#[cfg(not(loom))]
mod process;
mod reader;
#[cfg(not(loom))]
mod writer;

pub use directory::{
    DEFAULT_DIRECTORY, DIRECTORY_VARIABLES, DirectoryChoice, DirectoryError, DirectorySource,
    LEGACY_DIRECTORY_VARIABLE, any_directory_variable_set, choose_directory,
};
pub use file::{FILE_LEN_MAX_BYTES, FileStat, OpenError, READ_LEN_MAX_BYTES, ReadError, ShardFile};
pub use identity::{BirthTime, Identity};
pub use key::{KEY_LEN_MAX_BYTES, Key, KeyError, LABEL_COUNT_MAX};
pub use layout::{
    HEADER_LEN_BYTES, TIMESTAMP_LEN_BYTES, VALUE_LEN_BYTES, encode_entry, encode_header,
    entry_len_bytes, value_offset_bytes,
};
pub use liveness::{
    FileSystem, Liveness, SelfTestFailure, UnknownReason, file_system_supports_leases, self_test,
};
pub use map::lease::{ignore_sigio, ignore_sigxfsz};
#[cfg(not(loom))]
pub use map::read_only::{Lost, ShardMap};
#[cfg(loom)]
pub use map::{
    cell::Cell,
    guard::{Span, Watch},
    lane::Lane,
    moves::Moves,
    pointer::{Added, CellPointer},
    slot::{CellSlot, Stored},
};
pub use name::{
    FileKind, GaugeMode, Instance, NameError, ShardName, WriterId, WriterIdError,
    original_of_retiring, retiring_file_name,
};
#[cfg(not(loom))]
pub use process::{
    PROCESS_FILE_LEN_MAX_BYTES, ProcessFile, ProcessFileError, process_file_id, process_file_name,
};
pub use reader::{Damage, Entry, Parsed, REASONS, parse_from, parse_knowing, read_value};
#[cfg(not(loom))]
pub use writer::{Create, ProcessInfo, Series, SharedEntry, Snapshot, Writer, WriterStatus};
