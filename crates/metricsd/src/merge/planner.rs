//! Makes a plan: walks the entries of all sources once, oldest source first, and decides conflicts, refusals and limits.
//!
//! Invariant: whoever is older wins, and the loser costs the winner nothing. A label set is served whole or not at all. Must
//! not touch: I/O, the clock, logging.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use metricsd_shard::FileKind;
use smallvec::SmallVec;

use super::bounds::Bounds;
use super::catalog::{Bound, Catalog, Facts, KeyId};
use super::cells::{Cell, CellIndex, Cells};
use super::contest::Place;
use super::elders::Elder;
use super::names::exposed_names;
use super::plan::{FamilyPlan, Group, Planned};
use super::{Conflict, ConflictKind, Findings, Function, RefusedEntry, Source};
use crate::policy::{RefusalReason, SeriesLimits, is_reserved};

/// Samples that a label set may have although a limit is reached: a histogram is served whole or not at all, but not a
/// histogram of a million bounds.
const SAMPLES_BEYOND_LIMIT: usize = 1000;

/// Samples that are looked for one by one.
const GROUP_LEN_MAX_LISTED: usize = 16;

#[derive(Debug)]
pub(super) struct Planner<'a> {
    catalog: &'a Catalog,
    limits: &'a SeriesLimits,
    families: Vec<FamilyPlan>,
    states: Vec<FamilyState>,
    /// Families by the number of their name.
    family_indices: Vec<Option<usize>>,
    /// The family that exposes a name, be it in sample lines or in its TYPE line.
    exposed_by: HashMap<String, usize>,
    /// Whether a family may expose a sample name, as decided when it was first seen.
    owned: HashMap<(usize, u32), bool>,
    /// The last pair of a family and a sample name that was asked for, which is the family's: entries of one stand side by side.
    last_owned: Option<(usize, u32)>,
    groups: Vec<Group>,
    /// For each label set the first family that has it, with the group of both: nearly every set has one family.
    first_groups: Vec<Option<(u32, u32)>>,
    /// The other groups.
    group_indices: HashMap<(usize, u32, Option<u32>), usize>,
    /// The samples of groups of more than [`GROUP_LEN_MAX_LISTED`]; those of others are looked for in the group.
    members: HashMap<(usize, Member), Cell>,
    /// Where a key goes, once known. Not for gauges that are not merged: there it depends on the source.
    placed: Vec<Option<Placed>>,
    pids: HashMap<Arc<str>, u32>,
    /// What came of sources whose entries others have as well, by where their keys are in memory: what is planned for the same keys of the
    /// same kind is the same, but for who comes first.
    alike: HashMap<(*const KeyId, usize, FileKind), Alike>,
    cells: Cells,
    series_count: usize,
    /// The label sets that there is room for; none: whoever comes first.
    admitted: Option<Admitted>,
    findings: Findings,
    reported: HashSet<(usize, usize, ConflictKind)>,
}

/// Label sets by their family's name, with the label `pid` of gauges that are not merged.
pub(super) type Admitted = HashSet<(u32, u32, Option<Arc<str>>)>;

/// What the planner knows of a family besides its plan.
#[derive(Debug)]
struct FamilyState {
    /// Its name before escaping.
    spelling: u32,
    /// Another family exposes one of its names already, so nothing of it is served.
    lost: bool,
    /// One of its names is reserved though neither its own nor its samples' are: a bucket is exposed under its family's name,
    /// whatever it is stored as.
    reserved: bool,
    series_count: usize,
    /// Of the first complete histogram.
    bounds: Option<Bounds>,
}

/// One sample among those of a label set: a name, or a bound by its bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Member {
    Sample(u32),
    Bucket(u64),
}

/// Where an entry goes.
#[derive(Debug, Clone, Copy)]
struct Placed {
    cell: CellIndex,
    /// Group and bound, if it is a bucket.
    bucket: Option<(usize, f64)>,
}

/// What came of a source, for the next one with the same entries.
#[derive(Debug)]
struct Alike {
    cells: Arc<[CellIndex]>,
    /// What was found about it.
    conflicts: Range<usize>,
    refusals: Range<usize>,
}

/// Why an entry goes nowhere.
enum Nowhere {
    Refused(RefusalReason),
    /// Lost a conflict, which is reported.
    Lost,
}

/// The source whose entries are being placed.
#[derive(Clone, Copy)]
struct Current {
    index: usize,
    kind: FileKind,
    function: Function,
    pid: u32,
}

impl<'a> Planner<'a> {
    pub(super) fn new(
        catalog: &'a Catalog,
        limits: &'a SeriesLimits,
        admitted: Option<Admitted>,
    ) -> Planner<'a> {
        Planner {
            catalog,
            limits,
            families: Vec::new(),
            states: Vec::new(),
            family_indices: vec![None; catalog.text_count()],
            exposed_by: HashMap::new(),
            owned: HashMap::new(),
            last_owned: None,
            groups: Vec::new(),
            first_groups: vec![None; catalog.label_set_count()],
            group_indices: HashMap::new(),
            members: HashMap::new(),
            placed: vec![None; catalog.len()],
            pids: HashMap::new(),
            alike: HashMap::new(),
            cells: Cells::new(),
            series_count: 0,
            admitted,
            findings: Findings::default(),
            reported: HashSet::new(),
        }
    }

    pub(super) fn finish(self) -> Planned {
        Planned {
            families: self.families,
            groups: self.groups,
            cells: self.cells,
            findings: self.findings,
        }
    }

    /// Founds a family, if there is none of its name yet.
    pub(super) fn found(&mut self, elder: Elder) {
        let facts = self.catalog.facts(elder.key);
        if self.family_indices[facts.family as usize].is_none() {
            self.found_family(elder.kind, &facts);
        }
    }

    /// Gives one entry its place, if there is room for its label set: to find out for which there is.
    pub(super) fn admit(&mut self, (index, entry): Place, source: &Source<'_>) {
        let current = self.current(index, source);
        // Who is refused here is refused again, and reported, when sources are planned.
        let _ = self.place(current, source.id, source.keys[entry]);
    }

    /// The label sets that have a place.
    pub(super) fn admitted(self) -> Admitted {
        let names: Vec<u32> = self.families.iter().map(|family| family.name).collect();
        let groups = self.groups.into_iter();
        groups
            .map(|group| (names[group.family], group.labels, group.pid))
            .collect()
    }

    /// Plans one more source, younger than all before it. Its entries in `withheld` (ascending) are as good as not there.
    pub(super) fn plan(
        &mut self,
        index: usize,
        source: &Source<'_>,
        withheld: &[Place],
    ) -> (Function, Arc<[CellIndex]>) {
        let function = Function::of(source.kind);
        let is_own = function == Function::All || !withheld.is_empty() || source.keys.is_empty();
        if is_own {
            return (function, self.plan_each(index, source, withheld).into());
        }
        let entries = (source.keys.as_ptr(), source.keys.len(), source.kind);
        if let Some(alike) = self.alike.get(&entries) {
            let cells = Arc::clone(&alike.cells);
            let (conflicts, refusals) = (alike.conflicts.clone(), alike.refusals.clone());
            self.findings.repeat(conflicts, refusals, index);
            return (function, cells);
        }
        let (conflict, refusal) = (self.findings.conflicts.len(), self.findings.refusals.len());
        let cells: Arc<[CellIndex]> = self.plan_each(index, source, withheld).into();
        // Who comes first matters where values are compared, not where they are added.
        let for_others = match function {
            Function::Sum => Arc::clone(&cells),
            _ => cells.iter().map(|cell| cell.not_first()).collect(),
        };
        let alike = Alike {
            cells: for_others,
            conflicts: conflict..self.findings.conflicts.len(),
            refusals: refusal..self.findings.refusals.len(),
        };
        self.alike.insert(entries, alike);
        (function, cells)
    }

    fn current(&mut self, index: usize, source: &Source<'_>) -> Current {
        let function = Function::of(source.kind);
        Current {
            index,
            kind: source.kind,
            function,
            pid: self.pid(function, source.id),
        }
    }

    fn plan_each(
        &mut self,
        index: usize,
        source: &Source<'_>,
        withheld: &[Place],
    ) -> Vec<CellIndex> {
        let current = self.current(index, source);
        let mut bounds: HashMap<usize, Bounds> = HashMap::new();
        let mut cells = Vec::with_capacity(source.keys.len());
        let mut withheld = withheld.iter().peekable();
        for (entry, &key) in source.keys.iter().enumerate() {
            if withheld.next_if(|place| place.1 == entry).is_some() {
                cells.push(CellIndex::UNSERVED);
                continue;
            }
            match self.place(current, source.id, key) {
                Ok(Placed { cell, bucket }) => {
                    if let Some((group, bound)) = bucket {
                        bounds.entry(group).or_default().add(bound);
                    }
                    cells.push(cell);
                }
                Err(nowhere) => {
                    if let Nowhere::Refused(reason) = nowhere {
                        self.findings.refusals.push(RefusedEntry {
                            source: index,
                            entry,
                            reason,
                        });
                    }
                    cells.push(CellIndex::UNSERVED);
                }
            }
        }
        self.compare_bounds(index, &bounds);
        cells
    }

    /// The number of a writer, where each has series of its own.
    fn pid(&mut self, function: Function, id: &str) -> u32 {
        if function != Function::All {
            return 0;
        }
        if let Some(&pid) = self.pids.get(id) {
            return pid;
        }
        let next = u32::try_from(self.pids.len());
        let next = next.expect("each source has a file, and there are fewer of those");
        self.pids.insert(id.into(), next);
        next
    }

    fn place(&mut self, current: Current, id: &str, key: KeyId) -> Result<Placed, Nowhere> {
        let facts = self.catalog.facts(key);
        // Before anything else: what is not served must not decide what the family is.
        if let Some(refusal) = facts.refusal {
            return Err(Nowhere::Refused(refusal.reason()));
        }
        if current.kind == FileKind::Histogram && facts.bound == Bound::NotANumber {
            return Err(Nowhere::Refused(RefusalReason::Label));
        }
        let family = self.family(current, &facts)?;
        if let Some(placed) = self.placed[key.index()] {
            return Ok(placed);
        }
        if !self.owns(family, facts.sample) {
            self.report(current.index, family, ConflictKind::Type);
            return Err(Nowhere::Lost);
        }
        if current.function == Function::All {
            let member = Member::Sample(facts.sample);
            let (_, cell) = self.member(
                family,
                (facts.labels_without_pid, Some((current.pid, id))),
                member,
                current.function,
            )?;
            return Ok(Placed { cell, bucket: None });
        }
        let (labels, member) = match (current.kind, facts.bound) {
            (FileKind::Histogram, Bound::At(bound)) => {
                (facts.labels_without_le, Member::Bucket(bound.to_bits()))
            }
            (FileKind::Gauge(_), _) => (facts.labels_without_pid, Member::Sample(facts.sample)),
            _ => (facts.labels, Member::Sample(facts.sample)),
        };
        let (group, cell) = self.member(family, (labels, None), member, current.function)?;
        let bucket = match member {
            Member::Bucket(bits) => Some((group, f64::from_bits(bits))),
            Member::Sample(_) => None,
        };
        self.placed[key.index()] = Some(Placed {
            cell: cell.not_first(),
            bucket,
        });
        Ok(Placed { cell, bucket })
    }

    /// The family of an entry, if the source agrees with the oldest source of that family.
    fn family(&mut self, current: Current, facts: &Facts<'_>) -> Result<usize, Nowhere> {
        let family = match self.family_indices[facts.family as usize] {
            Some(family) => family,
            None => self.found_family(current.kind, facts),
        };
        if self.states[family].reserved {
            return Err(Nowhere::Refused(RefusalReason::ReservedName));
        }
        if self.states[family].lost {
            self.report(current.index, family, ConflictKind::Type);
            return Err(Nowhere::Lost);
        }
        if self.states[family].spelling != facts.family_spelling {
            return Err(Nowhere::Refused(RefusalReason::BadName));
        }
        let FamilyPlan {
            kind: oldest, help, ..
        } = self.families[family];
        if oldest != current.kind {
            let gauges = matches!(
                (oldest, current.kind),
                (FileKind::Gauge(_), FileKind::Gauge(_))
            );
            self.report(
                current.index,
                family,
                if gauges {
                    ConflictKind::Mode
                } else {
                    ConflictKind::Type
                },
            );
            if !gauges || Function::of(oldest) != current.function {
                return Err(Nowhere::Lost);
            }
        }
        if help != facts.help {
            self.report(current.index, family, ConflictKind::Help);
        }
        Ok(family)
    }

    fn found_family(&mut self, kind: FileKind, facts: &Facts<'_>) -> usize {
        let family = self.families.len();
        let names = exposed_names(kind, self.catalog.text(facts.family));
        let reserved = names.iter().any(|name| is_reserved(name));
        let lost = names.iter().any(|name| self.exposed_by.contains_key(name));
        if !lost && !reserved {
            self.exposed_by
                .extend(names.into_iter().map(|name| (name, family)));
        }
        self.families.push(FamilyPlan {
            name: facts.family,
            kind,
            help: facts.help,
        });
        self.states.push(FamilyState {
            spelling: facts.family_spelling,
            lost,
            reserved,
            series_count: 0,
            bounds: None,
        });
        self.family_indices[facts.family as usize] = Some(family);
        family
    }

    /// Whether samples of this name belong to the family: two families must not expose the same name, or a scraper would take
    /// one for the other.
    fn owns(&mut self, family: usize, sample: u32) -> bool {
        if self.last_owned == Some((family, sample)) {
            return true;
        }
        let (owned, exposed_by, catalog) = (&mut self.owned, &mut self.exposed_by, self.catalog);
        let owns = *owned.entry((family, sample)).or_insert_with(|| {
            *exposed_by
                .entry(catalog.text(sample).to_owned())
                .or_insert(family)
                == family
        });
        if owns {
            self.last_owned = Some((family, sample));
        }
        owns
    }

    /// Group and cell of one sample; the cell is marked as first if it is new.
    fn member(
        &mut self,
        family: usize,
        (labels, pid): (u32, Option<(u32, &str)>),
        member: Member,
        function: Function,
    ) -> Result<(usize, CellIndex), Nowhere> {
        let group_key = (family, labels, pid.map(|(number, _)| number));
        let known_group = self.group(group_key);
        if let Some(group) = known_group
            && let Some(cell) = self.cell(group, member)
        {
            return Ok((group, cell.index()));
        }
        let size = known_group.map_or(0, |group| {
            self.groups[group].samples.len() + self.groups[group].buckets.len()
        });
        let limits = self.limits;
        let is_full = self.series_count >= limits.series
            || self.states[family].series_count >= limits.series_per_family;
        let is_refused = match (known_group, &self.admitted) {
            (Some(_), _) => is_full && size >= SAMPLES_BEYOND_LIMIT,
            (None, None) => is_full,
            (None, Some(admitted)) => {
                let pid = pid.map(|(_, text)| text.into());
                !admitted.contains(&(self.families[family].name, labels, pid))
            }
        };
        if is_refused {
            return Err(Nowhere::Refused(RefusalReason::Limit));
        }
        let group = known_group.unwrap_or_else(|| {
            let pid = pid.map(|(_, text)| text.into());
            self.groups.push(Group {
                family,
                labels,
                pid,
                samples: SmallVec::new(),
                buckets: Vec::new(),
            });
            let group = self.groups.len() - 1;
            match &mut self.first_groups[labels as usize] {
                first @ None if group_key.2.is_none() => {
                    *first = Some((narrow(family), narrow(group)));
                }
                _ => drop(self.group_indices.insert(group_key, group)),
            }
            group
        });
        let cell = self.cells.push(function);
        match member {
            Member::Sample(name) => self.groups[group].samples.push((name, cell)),
            Member::Bucket(bits) => self.groups[group]
                .buckets
                .push((f64::from_bits(bits), cell)),
        }
        if size >= GROUP_LEN_MAX_LISTED {
            self.enter_members(group, size, (member, cell));
        }
        self.series_count += 1;
        self.states[family].series_count += 1;
        Ok((group, cell.index().first()))
    }

    fn group(&self, key: (usize, u32, Option<u32>)) -> Option<usize> {
        let (family, labels, pid) = key;
        match self.first_groups[labels as usize] {
            None if pid.is_none() => None,
            Some((first, group)) if pid.is_none() && first as usize == family => {
                Some(group as usize)
            }
            _ => self.group_indices.get(&key).copied(),
        }
    }

    fn cell(&self, group: usize, member: Member) -> Option<Cell> {
        let Group {
            samples, buckets, ..
        } = &self.groups[group];
        if samples.len() + buckets.len() > GROUP_LEN_MAX_LISTED {
            return self.members.get(&(group, member)).copied();
        }
        match member {
            Member::Sample(name) => {
                let found = samples.iter().find(|(other, _)| *other == name);
                found.map(|(_, cell)| *cell)
            }
            Member::Bucket(bits) => {
                let found = buckets.iter().find(|(bound, _)| bound.to_bits() == bits);
                found.map(|(_, cell)| *cell)
            }
        }
    }

    /// Enters a new sample of a group that had `size`, and all others of it if it just became too large to be listed.
    fn enter_members(&mut self, group: usize, size: usize, (member, cell): (Member, Cell)) {
        self.members.insert((group, member), cell);
        if size == GROUP_LEN_MAX_LISTED {
            let Group {
                samples, buckets, ..
            } = &self.groups[group];
            let samples = samples
                .iter()
                .map(|(name, cell)| (Member::Sample(*name), *cell));
            let buckets = buckets
                .iter()
                .map(|(bound, cell)| (Member::Bucket(bound.to_bits()), *cell));
            let all = samples
                .chain(buckets)
                .map(|(member, cell)| ((group, member), cell));
            self.members.extend(all);
        }
    }

    /// Reports the histograms of a source whose bounds are not those of the oldest complete one of their family.
    fn compare_bounds(&mut self, source: usize, bounds: &HashMap<usize, Bounds>) {
        let mut complete: Vec<(usize, Bounds)> = bounds
            .iter()
            .filter(|(_, bounds)| bounds.is_complete())
            .map(|(&group, &bounds)| (group, bounds))
            .collect();
        // By group, so that the winner inside one source does not depend on a hash.
        complete.sort_unstable_by_key(|&(group, _)| group);
        for (group, bounds) in complete {
            let family = self.groups[group].family;
            if *self.states[family].bounds.get_or_insert(bounds) != bounds {
                self.report(source, family, ConflictKind::Buckets);
            }
        }
    }

    fn report(&mut self, source: usize, family: usize, kind: ConflictKind) {
        if self.reported.insert((source, family, kind)) {
            let family = self.catalog.text(self.families[family].name).into();
            self.findings.conflicts.push(Conflict {
                source,
                family,
                kind,
            });
        }
    }
}

impl Findings {
    /// What was found about a source was found about another one as well.
    fn repeat(&mut self, conflicts: Range<usize>, refusals: Range<usize>, source: usize) {
        for place in conflicts {
            let conflict = self.conflicts[place].clone();
            self.conflicts.push(Conflict { source, ..conflict });
        }
        for place in refusals {
            let refusal = self.refusals[place];
            self.refusals.push(RefusedEntry { source, ..refusal });
        }
    }
}

fn narrow(index: usize) -> u32 {
    u32::try_from(index).expect("each group has a cell, and those are counted in 31 bits")
}
