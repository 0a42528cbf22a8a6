//! What a power cut leaves of one simulated file and of one directory.
//!
//! Invariant: what was synced is there. Of the rest each write and each change of a name is kept, lost, torn at any byte, or
//! replaced by zeros or garbage, as the seed says.

use std::collections::BTreeMap;

/// A small generator: the same numbers from the same seed on every machine (splitmix64).
#[derive(Debug, Clone)]
pub struct Dice(pub u64);

impl Dice {
    /// A number below `sides`; 0 if there are none.
    pub fn below(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        if sides == 0 {
            0
        } else {
            (mixed % sides as u64) as usize
        }
    }
}

/// How much of what was not synced a power cut leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    Nothing,
    Everything,
    /// Up to some point everything, then nothing.
    Prefix,
    /// Each thing by itself.
    Anything,
    /// All changes of names and nothing of the data.
    NamesOnly,
    /// All data and no change of a name.
    DataOnly,
}

impl Style {
    /// The first seeds are the styles without choices, so that a few seeds try them all.
    pub(super) fn of(seed: u64) -> Style {
        match seed {
            0 => Style::Nothing,
            1 => Style::Everything,
            2 => Style::NamesOnly,
            3 => Style::DataOnly,
            seed if seed % 3 == 0 => Style::Prefix,
            _ => Style::Anything,
        }
    }
}

/// One file: what other processes see, and what is known to be on the medium.
#[derive(Debug, Clone, Default)]
pub(super) struct FileImage {
    pub(super) live: Vec<u8>,
    base: Vec<u8>,
    writes: Vec<Write>,
    /// Room that is reserved.
    pub(super) reserved_len: usize,
}

#[derive(Debug, Clone)]
struct Write {
    offset: usize,
    bytes: Vec<u8>,
    state: WriteState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WriteState {
    Pending,
    Synced,
    /// A sync failed: the system has forgotten that it still has to be written.
    Doomed,
}

impl FileImage {
    /// A file whose content is on the medium.
    pub(super) fn durable(bytes: Vec<u8>) -> FileImage {
        FileImage {
            live: bytes.clone(),
            base: bytes,
            ..FileImage::default()
        }
    }

    /// A store into the file.
    pub(super) fn write(&mut self, offset: usize, bytes: &[u8]) {
        put(&mut self.live, offset, bytes);
        let bytes = bytes.to_vec();
        self.writes.push(Write {
            offset,
            bytes,
            state: WriteState::Pending,
        });
    }

    /// A sync that succeeds. Writes that an earlier one lost stay lost.
    pub(super) fn sync(&mut self) {
        if self
            .writes
            .iter()
            .all(|write| write.state != WriteState::Doomed)
        {
            self.writes.clear();
            self.base.clone_from(&self.live);
        }
        self.turn(WriteState::Synced);
    }

    /// A sync that fails.
    pub(super) fn fail_sync(&mut self) {
        self.turn(WriteState::Doomed);
    }

    fn turn(&mut self, state: WriteState) {
        let pending = self
            .writes
            .iter_mut()
            .filter(|write| write.state == WriteState::Pending);
        pending.for_each(|write| write.state = state);
    }

    /// The content after a power cut.
    pub(super) fn after_power_cut(&self, style: Style, dice: &mut Dice) -> Vec<u8> {
        let mut content = self.base.clone();
        let unsynced = self
            .writes
            .iter()
            .filter(|write| write.state != WriteState::Synced)
            .count();
        let mut kept = dice.below(unsynced + 1);
        for write in &self.writes {
            let (offset, bytes) = (write.offset, &write.bytes);
            if write.state == WriteState::Synced {
                put(&mut content, offset, bytes);
                continue;
            }
            match style {
                Style::Nothing | Style::NamesOnly => {}
                Style::Everything | Style::DataOnly => put(&mut content, offset, bytes),
                Style::Prefix if kept > 0 => {
                    put(&mut content, offset, bytes);
                    kept -= 1;
                }
                Style::Prefix => {
                    let torn = dice.below(bytes.len() + 1);
                    put(&mut content, offset, &bytes[..torn]);
                    break;
                }
                Style::Anything => tear(&mut content, write, dice),
            }
        }
        content
    }
}

/// Leaves something of one write.
fn tear(content: &mut Vec<u8>, write: &Write, dice: &mut Dice) {
    let (offset, bytes) = (write.offset, &write.bytes);
    let (from, to) = (dice.below(bytes.len() + 1), dice.below(bytes.len() + 1));
    let (from, to) = (from.min(to), from.max(to));
    match dice.below(7) {
        0 => {}
        1 => put(content, offset, bytes),
        2 => put(content, offset, &bytes[..to]),
        // The end arrived, the beginning did not.
        3 => put(content, offset + from, &bytes[from..]),
        // A hole in the middle.
        4 => {
            put(content, offset, &bytes[..from]);
            put(content, offset + to, &bytes[to..]);
        }
        // The length arrived, the data did not.
        5 => put(content, offset, &vec![0; to]),
        _ => {
            let garbage: Vec<u8> = (0..to).map(|_| dice.below(256) as u8).collect();
            put(content, offset, &garbage);
        }
    }
}

fn put(content: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if bytes.is_empty() {
        return;
    }
    if content.len() < end {
        content.resize(end, 0);
    }
    content[offset..end].copy_from_slice(bytes);
}

/// A change of the directory.
#[derive(Debug, Clone)]
pub(super) enum NameChange {
    Create {
        name: String,
        inode: u64,
    },
    Rename {
        from: String,
        to: String,
        inode: u64,
    },
    Remove {
        name: String,
        inode: u64,
    },
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<String, u64>) {
        match self {
            NameChange::Create { name, inode } => {
                names.insert(name.clone(), *inode);
            }
            NameChange::Rename { from, to, inode } => {
                if names.get(from) == Some(inode) {
                    names.remove(from);
                }
                names.insert(to.clone(), *inode);
            }
            NameChange::Remove { name, inode } => {
                if names.get(name) == Some(inode) {
                    names.remove(name);
                }
            }
        }
    }
}

/// The names: what other processes see, and what is known to be on the medium.
#[derive(Debug, Clone, Default)]
pub(super) struct NamesImage {
    pub(super) live: BTreeMap<String, u64>,
    base: BTreeMap<String, u64>,
    changes: Vec<(NameChange, WriteState)>,
}

impl NamesImage {
    /// Names that are on the medium.
    pub(super) fn durable(names: BTreeMap<String, u64>) -> NamesImage {
        NamesImage {
            live: names.clone(),
            base: names,
            changes: Vec::new(),
        }
    }

    /// A change.
    pub(super) fn change(&mut self, change: NameChange) {
        change.apply(&mut self.live);
        self.changes.push((change, WriteState::Pending));
    }

    /// A sync that succeeds. Changes that an earlier one lost stay open for ever.
    pub(super) fn sync(&mut self) {
        if self
            .changes
            .iter()
            .all(|(_, state)| *state != WriteState::Doomed)
        {
            self.changes.clear();
            self.base.clone_from(&self.live);
        }
        self.turn(WriteState::Synced);
    }

    /// A sync that fails.
    pub(super) fn fail_sync(&mut self) {
        self.turn(WriteState::Doomed);
    }

    fn turn(&mut self, to: WriteState) {
        let pending = self
            .changes
            .iter_mut()
            .filter(|(_, state)| *state == WriteState::Pending);
        pending.for_each(|(_, state)| *state = to);
    }

    /// The names after a power cut.
    pub(super) fn after_power_cut(&self, style: Style, dice: &mut Dice) -> BTreeMap<String, u64> {
        let mut names = self.base.clone();
        let prefix = dice.below(self.changes.len() + 1);
        for (index, (change, state)) in self.changes.iter().enumerate() {
            let is_kept = match style {
                _ if *state == WriteState::Synced => true,
                Style::Nothing | Style::DataOnly => false,
                Style::Everything | Style::NamesOnly => true,
                Style::Prefix => index < prefix,
                Style::Anything => dice.below(2) == 0,
            };
            if is_kept {
                change.apply(&mut names);
            }
        }
        names
    }
}
