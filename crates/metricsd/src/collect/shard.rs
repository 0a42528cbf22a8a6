//! One shard in the index: its entries parsed once, its values read again at every collection unless it is at rest.
//!
//! Invariant: after a reading, keys and values are those of one valid prefix of the file. A file that was cut, rewritten in place
//! or truncated is parsed from scratch; a store into a mapping changes no time stamp and needs nothing parsed. What is loaded from a
//! map is nothing before the file was seen to be the one that was parsed *after* that; entries never come from a map. Must not write.

mod recognising;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use metricsd_shard::{
    Damage, Entry, FileKind, GaugeMode, HEADER_LEN_BYTES, Identity, Liveness, Lost, Parsed,
    READ_LEN_MAX_BYTES, ReadError, ShardFile, ShardName, VALUE_LEN_BYTES, parse_knowing,
};

use super::layout::{Interner, Layout};
use super::maps::{KeptMap, MapBudget};
use super::rest::{FileTimes, is_at_rest};
use crate::archive::{Exact, IdentityKey, swallows_increments};
use crate::books::{SightedEntry, identity_key};
use crate::liveness::Answer;
use crate::merge::{Catalog, ConflictKind, KeyId, Reading, Source, Standing, is_plain_key};

/// How coarse the time stamps of a file may be: within it, a second change may leave the same time. The kernel's coarse clock
/// ticks every 1 to 10 ms.
pub(super) const TIME_GRANULARITY: Duration = Duration::from_millis(100);

const _: () = assert!(
    READ_LEN_MAX_BYTES < u32::MAX as usize,
    "offsets into what is read of a file fit 32 bits"
);

/// Memory that readings use one after the other.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    bytes: Vec<u8>,
    values: Vec<f64>,
    timestamps: Vec<f64>,
}

/// What came of reading only the values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reread {
    /// They were read.
    Done,
    /// They cannot have changed since they were read.
    AtRest,
    /// The file has other entries than before, is damaged, is not open, or cannot be read.
    NeedsParsing,
}

/// Where a shard's file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In the directory.
    Named,
    /// Open, and somewhere else: somebody moved it, or the whole directory.
    Elsewhere,
    /// Open, and deleted by somebody else.
    Deleted,
    /// Gone, and not open: what was read last is all there is.
    Lost,
}

/// What has to be added to what a shard's file holds, because the archive has it or a power cut took it.
#[derive(Debug, Default)]
pub(super) struct Correction {
    /// Of what the archive knows of the shard.
    pub(super) revision: u64,
    pub(super) keys: Vec<KeyId>,
    pub(super) totals: Vec<Exact>,
    pub(super) picks: Vec<u32>,
}

/// The bytes of a shard's keys, back to back, for as long as somebody looks at them.
#[derive(Debug, Default)]
pub(super) struct Spellings {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Spellings {
    fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut begin = 0;
        self.ends.iter().map(move |&end| {
            let key = &self.bytes[begin..end];
            begin = end;
            key
        })
    }
}

/// A shard and what was last read of it.
#[derive(Debug)]
pub struct Shard {
    pub(super) name: ShardName,
    pub(super) file_name: String,
    pub(super) identity: Identity,
    pub(super) identity_key: IdentityKey,
    pub(super) place: Place,
    /// Taken in again after the archive had all of it, because a writer still had it.
    pub(super) is_adopted: bool,
    /// It has no name, nobody writes it, and at the last reading it held exactly what the archive has of it.
    pub(super) is_spent: bool,
    /// Found at start, and nobody watched it while its process lived.
    pub(super) is_news: bool,
    pub(super) standing: Standing,
    pub(super) discarded: Vec<KeyId>,
    pub(super) correction: Correction,
    /// Values and timestamps as the archive was last told; timestamps only where there are any.
    noted_values: Vec<f64>,
    noted_timestamps: Vec<f64>,
    /// The archive was told of the last reading, or of one with the same numbers.
    is_noted: bool,
    /// Open, as long as there are descriptors to spare.
    pub(super) kept: Option<Arc<ShardFile>>,
    /// What its values are loaded from; only while it is open.
    map: Option<KeptMap>,
    /// A map of it was of no use since it was parsed last.
    is_map_refused: bool,
    /// Its entries.
    pub(super) layout: Arc<Layout>,
    values: Vec<f64>,
    /// Only of the most recent gauge modes.
    timestamps: Vec<f64>,
    /// Where the next entry would start.
    end: usize,
    /// Entries that were skipped on the way here; they stay skipped.
    skipped: Option<Damage>,
    /// What is wrong from `end` on.
    damage: Option<Damage>,
    /// The last reading failed as a whole, so the values are those of an earlier one.
    pub(super) read_failed: Option<&'static str>,
    /// The file's times when it was parsed; none while they are so recent that a later change could leave the same ones.
    parsed_at: Option<FileTimes>,
    /// What the last parse had to stop for, if something is wrong from `end` on.
    stopped_by: Option<Obstacle>,
    /// Whether a reading changed any value since somebody was told.
    pub(super) moved: bool,
    /// Before the values were read last.
    values_read_at: Option<Instant>,
    /// Entries whose refusals have been counted.
    pub(super) judged_count: usize,
    /// Conflicts that have been counted.
    pub(super) noted_conflicts: HashSet<(Arc<str>, ConflictKind)>,
}

impl Shard {
    pub(super) fn new(name: ShardName, file_name: String, file: Arc<ShardFile>) -> Shard {
        Shard {
            name,
            file_name,
            identity: file.identity(),
            identity_key: identity_key(&file.identity()),
            place: Place::Named,
            is_adopted: false,
            is_spent: false,
            is_news: false,
            standing: Standing::Unknown,
            discarded: Vec::new(),
            correction: Correction::default(),
            noted_values: Vec::new(),
            noted_timestamps: Vec::new(),
            is_noted: true,
            kept: Some(file),
            map: None,
            is_map_refused: false,
            layout: Arc::default(),
            values: Vec::new(),
            timestamps: Vec::new(),
            end: HEADER_LEN_BYTES,
            skipped: None,
            damage: None,
            read_failed: None,
            parsed_at: None,
            stopped_by: None,
            moved: false,
            values_read_at: None,
            judged_count: 0,
            noted_conflicts: HashSet::new(),
        }
    }

    /// The parsed file name.
    pub fn name(&self) -> &ShardName {
        &self.name
    }

    /// The file name as listed.
    pub fn file_name(&self) -> &str {
        &self.file_name
    }

    /// Which file it is.
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// The open file, if it is kept open.
    pub fn kept_file(&self) -> Option<&Arc<ShardFile>> {
        self.kept.as_ref()
    }

    /// Whether any of its values was seen to move since [`Collector::forget_moves`](super::Collector::forget_moves): not every
    /// reading is a collection.
    pub fn has_moved(&self) -> bool {
        self.moved
    }

    /// What is wrong with it, if anything: the word for the metric of unreadable shards.
    pub fn defect_reason(&self) -> Option<&'static str> {
        let damage = self.damage.as_ref().or(self.skipped.as_ref());
        self.read_failed.or_else(|| damage.map(Damage::reason))
    }

    /// The last reading failed, so nobody knows what the file holds now.
    pub fn is_unread(&self) -> bool {
        self.read_failed.is_some()
    }

    /// What is wrong with it, for the log.
    pub fn defect_sentence(&self) -> String {
        match (
            self.read_failed,
            self.damage.as_ref().or(self.skipped.as_ref()),
        ) {
            (Some(_), _) => "cannot be read; the values of the last reading are served".to_owned(),
            (None, Some(damage)) => damage.to_string(),
            (None, None) => String::new(),
        }
    }

    pub(super) fn source(&self) -> Source<'_> {
        Source {
            kind: self.name.kind,
            id: &self.name.id,
            keys: self.keys(),
            timestamps: &self.timestamps,
            standing: self.standing,
            discarded: &self.discarded,
            is_news: self.is_news,
        }
    }

    /// The correction as a source of its own, if there is one.
    pub(super) fn correction_source(&self) -> Option<Source<'_>> {
        (!self.correction.keys.is_empty()).then(|| Source {
            keys: &self.correction.keys,
            timestamps: &[],
            discarded: &[],
            ..self.source()
        })
    }

    pub(super) fn correction_reading(&self) -> Option<Reading<'_>> {
        (!self.correction.keys.is_empty()).then(|| Reading::Sums {
            totals: &self.correction.totals,
            picks: &self.correction.picks,
        })
    }

    /// The keys of its entries, in file order.
    pub(super) fn keys(&self) -> &[KeyId] {
        &self.layout.keys
    }

    /// The entries whose value or timestamp is another than the archive was told, by index.
    pub(super) fn changed_entries(&self) -> Vec<usize> {
        if self.is_noted {
            return Vec::new();
        }
        let is_other = |entry: &usize| {
            let bits = |values: &[f64]| values.get(*entry).map(|value| value.to_bits());
            bits(&self.noted_values) != bits(&self.values)
                || bits(&self.noted_timestamps) != bits(&self.timestamps)
        };
        (0..self.entry_count()).filter(is_other).collect()
    }

    /// Whether the archive was ever told of it.
    pub(super) fn was_noted(&self) -> bool {
        !self.noted_values.is_empty()
    }

    /// The archive has been told everything.
    pub(super) fn set_noted(&mut self) {
        replace(&mut self.noted_values, &self.values);
        replace(&mut self.noted_timestamps, &self.timestamps);
        self.is_noted = true;
    }

    /// The bytes of the keys of its entries.
    pub(super) fn spellings(&self, catalog: &Catalog) -> Spellings {
        let mut spellings = Spellings::default();
        for &key in self.keys() {
            catalog.append_spelling(key, &mut spellings.bytes);
            spellings.ends.push(spellings.bytes.len());
        }
        spellings
    }

    /// All entries as they were read last, in file order.
    pub(super) fn entries<'a>(&self, spellings: &'a Spellings) -> Vec<SightedEntry<'a>> {
        let entries = spellings.iter().zip(&self.values).enumerate();
        let entry = |(index, (key, &value))| SightedEntry {
            key,
            value,
            timestamp: self.timestamps.get(index).copied().unwrap_or(0.0),
        };
        entries.map(entry).collect()
    }

    /// How many of its values no longer change when one is added.
    pub(super) fn swallowing_count(&self) -> usize {
        let swallows = |value: &&f64| swallows_increments(**value);
        self.values.iter().filter(swallows).count()
    }

    /// Whether the archive took it over before and it was taken in again for a late writer.
    pub fn is_adopted(&self) -> bool {
        self.is_adopted
    }

    /// Whether it only waits to be taken out of the index.
    pub fn is_spent(&self) -> bool {
        self.is_spent
    }

    /// How many entries it has.
    pub fn entry_count(&self) -> usize {
        self.layout.len()
    }

    /// Where its file is.
    pub fn place(&self) -> Place {
        self.place
    }

    /// Which file it is, as the archive names it.
    pub fn identity_key(&self) -> &IdentityKey {
        &self.identity_key
    }

    pub(super) fn reading(&self) -> Reading<'_> {
        Reading::Values {
            values: &self.values,
            timestamps: &self.timestamps,
        }
    }

    /// The descriptor is wanted for something else.
    pub(super) fn close(&mut self) {
        self.kept = None;
        self.map = None;
    }

    /// Brings the values up to date if no entry has to be parsed for it. Needs nothing but the shard, so many can be read at a
    /// time. `answer` is what the kernel knows of writers, where that can spare a reading.
    pub(super) fn read_values_only(
        &mut self,
        answer: Option<Answer>,
        maps: &Arc<MapBudget>,
        buffers: &mut Buffers,
    ) -> Reread {
        let Some(file) = self.kept.clone() else {
            // By a name that it no longer has, another file could be opened.
            return if self.place == Place::Named {
                Reread::NeedsParsing
            } else {
                Reread::Done
            };
        };
        let now = Instant::now();
        if answer.is_none_or(|answer| answer.liveness != Liveness::Idle)
            && let Some(reread) = self.load_values(&file, maps, buffers, now)
        {
            return reread;
        }
        // The time is asked for before the content: a change in between is seen by the next reading.
        let Ok(stat) = file.stat() else {
            return Reread::NeedsParsing;
        };
        let times = FileTimes::of(&stat);
        if self.parsed_at != Some(times) || self.read_failed.is_some() {
            return Reread::NeedsParsing;
        }
        if let (Some(answer), Some(read_at)) = (answer, self.values_read_at)
            && is_at_rest(answer, times, read_at, now)
        {
            return Reread::AtRest;
        }
        if file.read_used(&mut buffers.bytes).is_err() {
            return Reread::NeedsParsing;
        }
        let bytes = buffers.bytes.as_slice();
        let is_as_parsed = match self.stopped_by {
            None => used_len_bytes(bytes) == self.end,
            // Parsing again would stop at the same place, and take one thread for all damaged files.
            Some(obstacle) => obstacle == Obstacle::at(bytes, self.end),
        };
        if !is_as_parsed {
            return Reread::NeedsParsing;
        }
        self.read_values(buffers, now);
        Reread::Done
    }

    /// As [`Shard::read_values_only`], from a map. None: that is not possible, or nothing that could be relied on; nothing is changed
    /// then.
    fn load_values(
        &mut self,
        file: &ShardFile,
        maps: &Arc<MapBudget>,
        buffers: &mut Buffers,
        read_at: Instant,
    ) -> Option<Reread> {
        let parsed_at = self.parsed_at?;
        if self.is_map_refused || self.stopped_by.is_some() || self.read_failed.is_some() {
            return None;
        }
        let kept = self.map.take();
        let mut map = match kept.filter(|map| map.len_bytes() >= self.end) {
            Some(map) => map,
            None => maps.map(file, self.end)?,
        };
        // Acquire in there: entries that the length counts are there, and those that were parsed are where they were.
        let used_len_bytes = map.used_len_bytes();
        if used_len_bytes != self.end {
            // A map whose header is gone may be private memory, and would say so of whatever stands in the file later.
            self.map = (used_len_bytes > self.end).then_some(map);
            return Some(Reread::NeedsParsing);
        }
        if self.load_from(&mut map, &self.layout, buffers).is_err() {
            // Read from the file and, if that is not what it was, parsed anew; then it may be mapped again.
            self.is_map_refused = true;
            return None;
        }
        // After the loads: a file that was cut or written to before now shows that here. What changes later is seen by the next reading.
        let stat = file.stat().ok()?;
        if FileTimes::of(&stat) != parsed_at || stat.len_bytes < self.end as u64 {
            return None;
        }
        self.map = Some(map);
        self.take_values(buffers, read_at);
        Some(Reread::Done)
    }

    /// Loads what a file of this layout has, into the buffers.
    fn load_from(
        &self,
        map: &mut KeptMap,
        layout: &Layout,
        buffers: &mut Buffers,
    ) -> Result<(), Lost> {
        let Buffers {
            values, timestamps, ..
        } = buffers;
        values.resize(layout.len(), 0.0);
        let timestamp_count = if self.has_timestamps() {
            values.len()
        } else {
            0
        };
        timestamps.resize(timestamp_count, 0.0);
        map.load(&layout.offsets, values, timestamps)
    }

    /// Whether its entries are those of all its bytes.
    pub(super) fn is_whole(&self) -> bool {
        self.damage.is_none() && self.skipped.is_none() && self.read_failed.is_none()
    }

    /// Whether its entries are these.
    pub(super) fn has_layout(&self, layout: &Arc<Layout>) -> bool {
        Arc::ptr_eq(&self.layout, layout)
    }

    /// Where its entries end.
    pub(super) fn end(&self) -> usize {
        self.end
    }

    /// Reads the file again, entries included. True if entries came or went, so that a new plan is needed. `began` is a time before
    /// everything that is read.
    ///
    /// # Errors
    /// The file cannot be read at all; entries and values stay what they were.
    pub(super) fn read(
        &mut self,
        file: &ShardFile,
        buffers: &mut Buffers,
        interner: &mut Interner<'_>,
        began: SystemTime,
    ) -> Result<bool, ReadError> {
        let read_at = Instant::now();
        let stat = file.stat().map_err(|source| ReadError {
            path: self.file_name.clone().into(),
            source,
        })?;
        let times = FileTimes::of(&stat);
        file.read_used(&mut buffers.bytes)?;
        let buffer = buffers.bytes.as_slice();
        let used_len_bytes = used_len_bytes(buffer);
        let rewritten = self.parsed_at != Some(times) || used_len_bytes < self.end;
        let changed = if rewritten {
            self.parse_from_scratch(buffer, interner)
        } else if used_len_bytes > self.end || self.damage.is_some() {
            self.parse_new(buffer, interner)
        } else {
            false
        };
        let is_believed = times.are_far_from(began, SystemTime::now());
        self.parsed_at = is_believed.then_some(times);
        self.is_map_refused = false;
        self.stopped_by = self
            .damage
            .is_some()
            .then(|| Obstacle::at(buffer, self.end));
        self.read_values(buffers, read_at);
        Ok(changed)
    }

    fn parse_from_scratch(&mut self, bytes: &[u8], interner: &mut Interner<'_>) -> bool {
        let expected = match self.layout.len() {
            0 => interner.expected(self.name.kind, &self.layout, 0),
            _ => Some(Arc::clone(&self.layout)),
        };
        let parsed = parse(
            bytes,
            HEADER_LEN_BYTES,
            0,
            expected.as_deref(),
            interner.catalog,
        );
        self.skipped = None;
        self.set_damage(parsed.damage);
        self.end = parsed.end;
        let known = self.layout.len();
        let is_there = |(index, entry): (usize, &Entry<'_>)| {
            let Entry { key, value_offset } = *entry;
            self.layout.has(index, interner.catalog, value_offset, key)
        };
        let same = parsed.entries.len() >= known
            && parsed.entries[..known].iter().enumerate().all(is_there);
        if !same {
            self.values.clear();
            self.noted_values.clear();
            self.noted_timestamps.clear();
        }
        let from = if same { known } else { 0 };
        self.extend(from, &parsed.entries[from..], interner);
        !same || parsed.entries.len() > known
    }

    fn parse_new(&mut self, bytes: &[u8], interner: &mut Interner<'_>) -> bool {
        let known = self.layout.len();
        let expected = interner.expected(self.name.kind, &self.layout, known);
        let parsed = parse(
            bytes,
            self.end,
            known,
            expected.as_deref(),
            interner.catalog,
        );
        self.set_damage(parsed.damage);
        self.end = parsed.end;
        self.extend(known, &parsed.entries, interner);
        !parsed.entries.is_empty()
    }

    /// The first `known` entries, and these behind them, are what the file has.
    fn extend(&mut self, known: usize, new: &[Entry<'_>], interner: &mut Interner<'_>) {
        if !new.is_empty() || known != self.layout.len() {
            self.layout = interner.extend(self.name.kind, &self.layout, known, new);
            self.is_noted = false;
        }
    }

    fn set_damage(&mut self, damage: Option<Damage>) {
        match damage {
            // Skipped entries lie before the new end, so the next parse will not meet them again.
            Some(skipped @ Damage::BadKey { .. }) => {
                self.skipped.get_or_insert(skipped);
                self.damage = None;
            }
            damage => self.damage = damage,
        }
    }

    /// Takes the values out of the bytes that were read.
    fn read_values(&mut self, buffers: &mut Buffers, read_at: Instant) {
        let Buffers {
            bytes,
            values,
            timestamps,
        } = buffers;
        let words = |further: usize| {
            let offsets = self.layout.offsets.iter();
            offsets.map(move |&offset| offset as usize + further)
        };
        values.clear();
        values.extend(words(0).map(|offset| word(bytes, offset)));
        timestamps.clear();
        if self.has_timestamps() {
            timestamps.extend(words(VALUE_LEN_BYTES).map(|offset| word(bytes, offset)));
        }
        self.take_values(buffers, read_at);
    }

    /// Takes values over that were read, one for each entry.
    fn take_values(&mut self, buffers: &Buffers, read_at: Instant) {
        // An entry that is new has moved if it is not at zero.
        let new_count = self.layout.len().saturating_sub(self.values.len());
        self.values.reserve_exact(new_count);
        self.values.resize(self.layout.len(), 0.0);
        let moved = replace(&mut self.values, &buffers.values);
        self.moved |= moved;
        let set = replace(&mut self.timestamps, &buffers.timestamps);
        self.is_noted &= !moved && !set;
        self.values_read_at = Some(read_at);
    }

    fn has_timestamps(&self) -> bool {
        matches!(
            self.name.kind,
            FileKind::Gauge(GaugeMode::MostRecent | GaugeMode::LiveMostRecent)
        )
    }
}

/// Parses entries, of which those that are expected there, and those that are spelled as usual, are known to be valid.
fn parse<'a>(
    bytes: &'a [u8],
    from: usize,
    index: usize,
    expected: Option<&Layout>,
    catalog: &Catalog,
) -> Parsed<'a> {
    parse_knowing(bytes, from, |new, entry| {
        let Entry { key, value_offset } = *entry;
        expected.is_some_and(|expected| expected.has(index + new, catalog, value_offset, key))
            || is_plain_key(key)
    })
}

/// Puts the new numbers in the place of the old ones, with no more memory than they need: there are millions. Says whether any is another
/// one, bit for bit.
fn replace(old: &mut Vec<f64>, new: &[f64]) -> bool {
    if old.len() != new.len() {
        old.clear();
        old.reserve_exact(new.len());
        old.extend_from_slice(new);
        return true;
    }
    let pairs = old.iter_mut().zip(new);
    let bits = pairs.fold(0, |bits, (old, new)| {
        let differing = old.to_bits() ^ new.to_bits();
        *old = *new;
        bits | differing
    });
    bits != 0
}

/// What decides where a walk over entries stops, apart from the entries before: as long as it is the same, so is the damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Obstacle {
    read_len_bytes: usize,
    header: Option<[u8; 4]>,
    key_len: Option<[u8; 4]>,
}

impl Obstacle {
    fn at(bytes: &[u8], end: usize) -> Obstacle {
        Obstacle {
            read_len_bytes: bytes.len(),
            header: bytes.first_chunk().copied(),
            key_len: bytes
                .get(end..)
                .and_then(|rest| rest.first_chunk())
                .copied(),
        }
    }
}

/// How many of the bytes are in use by the header, as far as they were read.
fn used_len_bytes(bytes: &[u8]) -> usize {
    let used = bytes
        .first_chunk()
        .map_or(0, |word| i32::from_le_bytes(*word));
    usize::try_from(used).unwrap_or(0).min(bytes.len())
}

/// The double at `offset`; entries end within the bytes that they were parsed from, so there always is one.
#[inline]
fn word(bytes: &[u8], offset: usize) -> f64 {
    bytes
        .get(offset..)
        .and_then(|rest| rest.first_chunk())
        .map_or(0.0, |word| f64::from_le_bytes(*word))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::super::layout::Layouts;
    use super::*;
    use crate::policy::Policy;

    #[test]
    fn a_damaged_shard_is_parsed_once_as_long_as_its_file_is_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("counter_1.db");
        let entry = metricsd_shard::encode_entry(br#"["a_total", "a", {}, "h"]"#, 1.0, 0.0);
        let used = i32::try_from(HEADER_LEN_BYTES + entry.len() + 8).unwrap();
        let header = [used.to_le_bytes(), [0; 4]].concat();
        // An entry whose length is none ends the walk.
        std::fs::write(&path, [&header, &entry, &[0xff; 8][..]].concat()).unwrap();
        let directory = std::fs::File::open(folder.path()).unwrap();
        let file = Arc::new(ShardFile::open_at(directory.as_fd(), "counter_1.db").unwrap());
        let name = ShardName::parse("counter_1.db").unwrap();
        let mut shard = Shard::new(name, "counter_1.db".to_owned(), Arc::clone(&file));
        let (mut buffers, mut catalog) = (Buffers::default(), Catalog::default());
        let maps = MapBudget::of_this_process();
        // Later than the file's times, so that they may be believed.
        let later = SystemTime::now() + TIME_GRANULARITY * 10;
        let (policy, mut layouts) = (Policy::default(), Layouts::default());
        let mut interner = Interner {
            catalog: &mut catalog,
            layouts: &mut layouts,
            policy: &policy,
        };
        assert_eq!(
            shard.read_values_only(None, &maps, &mut buffers),
            Reread::NeedsParsing
        );
        shard
            .read(&file, &mut buffers, &mut interner, later)
            .unwrap();
        assert!(shard.damage.is_some());
        assert_eq!(
            shard.read_values_only(None, &maps, &mut buffers),
            Reread::Done
        );
        assert_eq!(shard.values, [1.0]);
        let end = shard.end;
        assert_ne!(
            Obstacle::at(&buffers.bytes, end),
            Obstacle::at(&[&buffers.bytes[..end], &entry].concat(), end),
            "another entry there is another obstacle"
        );
        std::fs::write(&path, [&header, &entry, &[0xfe; 8][..]].concat()).unwrap();
        shard.parsed_at = Some(FileTimes::of(&file.stat().unwrap()));
        assert_eq!(
            shard.read_values_only(None, &maps, &mut buffers),
            Reread::NeedsParsing,
            "changed without a trace in the times"
        );
    }
}
