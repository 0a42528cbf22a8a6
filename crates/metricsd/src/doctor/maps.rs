//! The mappings of a process: how many, and which shards among them are mapped for reading only.
//!
//! Invariant: reading is bounded; a process with more mappings than fit counts as having at least those. Must not touch: anything
//! but procfs.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;

/// Most of a process's list that is read: 65,530 mappings, the usual limit, need a tenth of it.
const LEN_MAX_BYTES: u64 = 64 << 20;

/// What is mapped.
#[derive(Debug, Default)]
pub(super) struct Maps {
    pub(super) count: usize,
    /// Files ending in `.db` that are mapped shared and not writable.
    pub(super) read_only: Vec<PathBuf>,
}

impl Maps {
    /// Nothing where the process has ended or may not be looked at.
    pub(super) fn of(pid: u32) -> Maps {
        match File::open(format!("/proc/{pid}/maps")) {
            Ok(file) => Maps::read(BufReader::new(file.take(LEN_MAX_BYTES))),
            Err(_) => Maps::default(),
        }
    }

    fn read(lines: impl BufRead) -> Maps {
        let mut maps = Maps::default();
        for line in lines.lines().map_while(Result::ok) {
            maps.count += 1;
            let mut fields = line.split_whitespace();
            let permissions = fields.nth(1).unwrap_or_default();
            if permissions.starts_with("r--s")
                && let Some(at) = line.find('/')
                && line.ends_with(".db")
            {
                maps.read_only.push(PathBuf::from(&line[at..]));
            }
        }
        maps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_are_told_from_writers() {
        let text = "7f00-7f01 rw-s 00000000 00:1b 7   /s/counter_1.db\n7f02-7f03 r--s 00000000 00:1b 8   /s/counter_2.db\n7f04-7f05 r-xp 00000000 00:00 0 \n";
        let maps = Maps::read(text.as_bytes());
        assert_eq!(maps.count, 3);
        assert_eq!(maps.read_only, [PathBuf::from("/s/counter_2.db")]);
    }
}
