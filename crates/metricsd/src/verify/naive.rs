//! A second merge, deliberately naive: every entry is looked at once, by its names, and added to a map of samples.
//!
//! Invariant: it shares nothing with `merge` but the rules of `docs/merge-semantics.md`, so that a fault there does not agree with
//! itself here. What cannot be had without knowing who lives is marked, not guessed. Pure.

use std::collections::{BTreeMap, BTreeSet};

use metricsd_exporter::format_float;
use metricsd_shard::{FileKind, GaugeMode, Key};

use super::sources::{Addend, Amount, Doubt, Source};
use crate::archive::Exact;
use crate::policy::{Policy, is_reserved};
use crate::retention::DeadGauges;

/// A label set, sorted by name.
pub(super) type Labels = Vec<(String, String)>;
/// A sample: its name and its labels.
pub(super) type SampleId = (String, Labels);

/// What can be claimed of a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rule {
    /// It only grows.
    Grows,
    /// It only grows, and the daemon may know more of it than the files.
    GrowsBeyond,
    /// A sum of observations: it grows, unless some of them are below zero, which nobody can see in it.
    Drifts,
    /// It moves both ways.
    Moves,
    /// It depends on who lives, or on what only the daemon holds open.
    Unknown,
}

/// A sample as it should be served.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Recomputed {
    pub(super) value: f64,
    pub(super) rule: Rule,
    /// It may be absent and all is well.
    pub(super) is_optional: bool,
}

/// All samples, and what was left out of them by the rules.
#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) samples: BTreeMap<SampleId, Recomputed>,
    /// Entries that the policy refuses.
    pub(super) refused_count: usize,
    /// Entries that lost a conflict to an older shard.
    pub(super) conflicting_count: usize,
    /// There are more series than the limits allow; which of them are served is not recomputed.
    pub(super) is_limited: bool,
}

/// Adds everything up. `known` are the keys of the archive in the order in which they came: who was known first says what a family
/// is, gauges that no file has any more only if nobody else does.
pub(super) fn recompute(
    known: &[(FileKind, Vec<u8>)],
    sources: &[Source],
    policy: &Policy,
    dead_gauges: DeadGauges,
) -> Model {
    let mut sums = Sums::new(policy);
    // Those that decide, and gauges that only the archive has left, which stand back.
    let mut present: [BTreeSet<(FileKind, String)>; 2] = Default::default();
    for source in sources {
        let stands_back = matches!(source.kind, FileKind::Gauge(_)) && !source.is_file;
        let counted = source.addends.iter();
        let counted = counted.filter(|addend| addend.doubt != Some(Doubt::Discarded));
        let served = counted.filter_map(|addend| sums.servable(source.kind, &addend.key).ok());
        present[usize::from(stands_back)].extend(served.map(|key| (source.kind, key.family)));
    }
    for present in present {
        for (kind, key) in known {
            if let Ok(Servable { family, name, .. }) = sums.servable(*kind, key)
                && present.contains(&(*kind, family.clone()))
            {
                // Who is too late for the name founds nothing.
                let _ = sums.check_family(*kind, &family, &name);
            }
        }
    }
    for source in sources {
        for addend in &source.addends {
            match sums.place(source, addend) {
                Ok(()) => {}
                Err(LeftOut::Refused) => sums.model.refused_count += 1,
                Err(LeftOut::Conflict) => sums.model.conflicting_count += 1,
            }
        }
    }
    sums.finish(dead_gauges)
}

enum LeftOut {
    Refused,
    Conflict,
}

/// A key, taken apart.
struct Servable {
    /// The family as the key spells it.
    family: String,
    /// The family as it is exposed.
    name: String,
    sample: String,
    labels: Labels,
    /// Of a histogram's bucket.
    bound: Option<f64>,
}

struct FamilyFacts {
    kind: FileKind,
    /// Its name before escaping.
    spelling: String,
    has_reserved_name: bool,
    has_lost: bool,
}

#[derive(Default)]
struct SumCell {
    sum: Exact,
    has_negative: bool,
    is_held_open: bool,
}

struct GaugeCell {
    mode: GaugeMode,
    value: f64,
    timestamp: f64,
    sum: Exact,
    source_count: usize,
    has_doubt: bool,
    is_sure: bool,
}

struct Sums<'a> {
    policy: &'a Policy,
    families: BTreeMap<String, FamilyFacts>,
    /// Which family exposes a name.
    owners: BTreeMap<String, String>,
    plain: BTreeMap<SampleId, (FileKind, SumCell)>,
    /// By family and labels without `le`; bounds by their order.
    buckets: BTreeMap<SampleId, BTreeMap<u64, (f64, SumCell)>>,
    gauges: BTreeMap<SampleId, GaugeCell>,
    model: Model,
}

impl<'a> Sums<'a> {
    fn new(policy: &'a Policy) -> Sums<'a> {
        Sums {
            policy,
            families: BTreeMap::new(),
            owners: BTreeMap::new(),
            plain: BTreeMap::new(),
            buckets: BTreeMap::new(),
            gauges: BTreeMap::new(),
            model: Model::default(),
        }
    }

    fn place(&mut self, source: &Source, addend: &Addend) -> Result<(), LeftOut> {
        let servable = self.servable(source.kind, &addend.key)?;
        self.check_family(source.kind, &servable.family, &servable.name)?;
        let Servable {
            name: family,
            sample,
            mut labels,
            bound,
            ..
        } = servable;
        let owner = self.owners.entry(sample.clone());
        if *owner.or_insert_with(|| family.clone()) != family {
            return Err(LeftOut::Conflict);
        }
        match (source.kind, bound, &addend.amount) {
            (FileKind::Gauge(mode), _, amount) => {
                without(&mut labels, "pid");
                if matches!(mode, GaugeMode::All | GaugeMode::LiveAll) {
                    labels.push(("pid".to_owned(), source.writer.clone()));
                    labels.sort();
                }
                self.add_gauge((sample, labels), mode, amount, addend.doubt);
            }
            (_, Some(bound), amount) => {
                without(&mut labels, "le");
                let row = self.buckets.entry((family, labels)).or_default();
                let (_, cell) = row
                    .entry(order_of(bound))
                    .or_insert((bound, SumCell::default()));
                cell.add(amount, addend.doubt);
            }
            (kind, None, amount) => {
                let cell = self.plain.entry((sample, labels));
                let (_, cell) = cell.or_insert((kind, SumCell::default()));
                cell.add(amount, addend.doubt);
            }
        }
        Ok(())
    }

    /// A key taken apart, if neither it nor the policy forbids to serve it.
    fn servable(&self, kind: FileKind, key: &[u8]) -> Result<Servable, LeftOut> {
        let key = Key::parse(key).map_err(|_| LeftOut::Refused)?;
        let (name, sample) = (escaped(&key.family, true), escaped(&key.sample, true));
        let mut labels: Labels = key
            .labels
            .iter()
            .map(|(name, value)| (escaped(name, false), value.clone()))
            .collect();
        labels.sort();
        let verdict = self.policy.judge(&name, &sample, &labels);
        verdict.map_err(|_| LeftOut::Refused)?;
        let bound = labels.iter().find(|(name, _)| name == "le");
        let bound = match bound.filter(|_| kind == FileKind::Histogram) {
            Some((_, text)) => Some(number_of(text).ok_or(LeftOut::Refused)?),
            None => None,
        };
        Ok(Servable {
            family: key.family,
            name,
            sample,
            labels,
            bound,
        })
    }

    /// The oldest source of a family says what it is.
    fn check_family(&mut self, kind: FileKind, spelling: &str, name: &str) -> Result<(), LeftOut> {
        if !self.families.contains_key(name) {
            let names: Vec<String> = suffixes(kind)
                .iter()
                .map(|suffix| format!("{name}{suffix}"))
                .collect();
            let facts = FamilyFacts {
                kind,
                spelling: spelling.to_owned(),
                has_reserved_name: names.iter().any(|name| is_reserved(name)),
                has_lost: names.iter().any(|name| self.owners.contains_key(name)),
            };
            if !facts.has_lost && !facts.has_reserved_name {
                let owned = names.into_iter().map(|exposed| (exposed, name.to_owned()));
                self.owners.extend(owned);
            }
            self.families.insert(name.to_owned(), facts);
        }
        let facts = &self.families[name];
        if facts.has_reserved_name {
            return Err(LeftOut::Refused);
        }
        if facts.has_lost {
            return Err(LeftOut::Conflict);
        }
        if facts.spelling != spelling {
            return Err(LeftOut::Refused);
        }
        match (facts.kind, kind) {
            (oldest, kind) if oldest == kind => Ok(()),
            (FileKind::Gauge(oldest), FileKind::Gauge(mode)) if plain(oldest) == plain(mode) => {
                Ok(())
            }
            _ => Err(LeftOut::Conflict),
        }
    }

    fn add_gauge(&mut self, id: SampleId, mode: GaugeMode, amount: &Amount, doubt: Option<Doubt>) {
        let (value, timestamp) = match amount {
            Amount::Value { value, timestamp } => (*value, *timestamp),
            Amount::Sum { sum, .. } => (sum.value(), 0.0),
        };
        // A most recent gauge without a time was never set.
        let is_recent = plain(mode) == "mostrecent";
        let is_set = timestamp > 0.0;
        if is_recent && !is_set {
            return;
        }
        let is_new = !self.gauges.contains_key(&id);
        let cell = self.gauges.entry(id).or_insert_with(|| GaugeCell {
            mode,
            value,
            timestamp,
            sum: Exact::default(),
            source_count: 0,
            has_doubt: false,
            is_sure: false,
        });
        match amount {
            Amount::Value { value, .. } => cell.sum.add(*value),
            Amount::Sum { sum, .. } => cell.sum.merge(sum),
        }
        let replaces = match plain(mode) {
            "min" => value < cell.value,
            "max" => value > cell.value,
            "mostrecent" => timestamp > cell.timestamp,
            _ => true,
        };
        if replaces && !is_new {
            (cell.value, cell.timestamp) = (value, timestamp);
        }
        if mode.is_live() {
            cell.mode = mode;
        }
        cell.source_count += 1;
        cell.has_doubt |= doubt.is_some();
        cell.is_sure |= doubt.is_none();
    }

    fn finish(mut self, dead_gauges: DeadGauges) -> Model {
        let samples = &mut self.model.samples;
        for (id, (kind, cell)) in &self.plain {
            let ending = |suffix: &str| id.0.ends_with(suffix);
            let is_observed = matches!(kind, FileKind::Histogram | FileKind::Summary);
            let motion = match kind {
                _ if cell.has_negative => Rule::Moves,
                FileKind::Counter => Rule::Grows,
                _ if is_observed && ending("_count") => Rule::Grows,
                _ if is_observed && ending("_sum") => Rule::Drifts,
                _ => Rule::Moves,
            };
            let rule = cell.rule(motion);
            samples.insert(id.clone(), sure(cell.sum.value(), rule));
        }
        for ((family, labels), row) in &self.buckets {
            // The last bucket is the count, whatever count is stored.
            let mut count = sure(0.0, Rule::Grows);
            for &(bound, _) in row.values() {
                let mut up_to = SumCell::default();
                for (_, cell) in row.values().filter(|(other, _)| *other <= bound) {
                    up_to.sum.merge(&cell.sum);
                    up_to.is_held_open |= cell.is_held_open;
                    up_to.has_negative |= cell.has_negative;
                }
                let motion = match up_to.has_negative {
                    true => Rule::Moves,
                    false => Rule::Grows,
                };
                count = sure(up_to.sum.value(), up_to.rule(motion));
                let mut labels = labels.clone();
                labels.push(("le".to_owned(), spelled(bound)));
                labels.sort();
                samples.insert((format!("{family}_bucket"), labels), count);
            }
            samples.insert((format!("{family}_count"), labels.clone()), count);
        }
        for (id, cell) in &self.gauges {
            samples.insert(id.clone(), cell.recomputed(dead_gauges));
        }
        self.model.is_limited = self.exceeds_limits();
        self.model
    }

    fn exceeds_limits(&self) -> bool {
        let limits = self.policy.limits;
        let mut by_family: BTreeMap<&str, usize> = BTreeMap::new();
        for (sample, _) in self.model.samples.keys() {
            let family = self.owners.get(sample).map_or("", String::as_str);
            *by_family.entry(family).or_default() += 1;
        }
        self.model.samples.len() > limits.series
            || by_family
                .values()
                .any(|&count| count > limits.series_per_family)
    }
}

impl SumCell {
    fn add(&mut self, amount: &Amount, doubt: Option<Doubt>) {
        match amount {
            Amount::Sum { sum, has_negative } => {
                self.sum.merge(sum);
                self.has_negative |= has_negative;
            }
            Amount::Value { value, .. } => self.sum.add(*value),
        }
        self.is_held_open |= doubt.is_some();
    }

    /// What can be claimed of it, if `motion` is how it moves by what its writers do.
    fn rule(&self, motion: Rule) -> Rule {
        match (motion, self.is_held_open) {
            (motion, false) => motion,
            (Rule::Grows, true) => Rule::GrowsBeyond,
            (_, true) => Rule::Unknown,
        }
    }
}

impl GaugeCell {
    fn recomputed(&self, dead_gauges: DeadGauges) -> Recomputed {
        let value = match plain(self.mode) {
            "sum" => self.sum.value(),
            _ => self.value,
        };
        let is_live = self.mode.is_live();
        let may_be_hidden = is_live && dead_gauges != DeadGauges::Keep;
        // Which of several counts depends on who lives; of one alone nothing does.
        let needs_liveness = is_live && (self.source_count > 1 || may_be_hidden);
        let rule = match needs_liveness || self.has_doubt {
            true => Rule::Unknown,
            false => Rule::Moves,
        };
        Recomputed {
            value,
            rule,
            is_optional: may_be_hidden || !self.is_sure,
        }
    }
}

fn sure(value: f64, rule: Rule) -> Recomputed {
    Recomputed {
        value,
        rule,
        is_optional: false,
    }
}

/// The mode without `live`.
fn plain(mode: GaugeMode) -> &'static str {
    mode.as_str().trim_start_matches("live")
}

/// What samples of a kind are called behind their family's name, the name of its TYPE line among them.
fn suffixes(kind: FileKind) -> &'static [&'static str] {
    match kind {
        FileKind::Counter => &["_total"],
        FileKind::Info => &["_info"],
        FileKind::Gauge(_) | FileKind::StateSet | FileKind::Untyped => &[""],
        FileKind::Histogram => &["", "_bucket", "_sum", "_count"],
        FileKind::GaugeHistogram => &["", "_bucket"],
        FileKind::Summary => &["", "_sum", "_count"],
    }
}

fn without(labels: &mut Labels, left_out: &str) {
    labels.retain(|(name, _)| name != left_out);
}

/// `_` for every character that a name in text 0.0.4 cannot have.
fn escaped(name: &str, may_have_colon: bool) -> String {
    let is_legal = |place: usize, c: char| match c {
        'a'..='z' | 'A'..='Z' | '_' => true,
        '0'..='9' => place > 0,
        ':' => may_have_colon,
        _ => false,
    };
    let characters = name.chars().enumerate();
    characters
        .map(|(place, c)| if is_legal(place, c) { c } else { '_' })
        .collect()
}

/// The number that Python's `float()` reads; none for NaN.
fn number_of(text: &str) -> Option<f64> {
    let text = text.trim();
    let pieces: Vec<&str> = text.split('_').collect();
    let between_digits = pieces.windows(2).all(|pair| {
        pair[0].ends_with(|c: char| c.is_ascii_digit())
            && pair[1].starts_with(|c: char| c.is_ascii_digit())
    });
    let number: f64 = pieces.concat().parse().ok()?;
    // Zero has one sign.
    (between_digits && !number.is_nan()).then_some(number + 0.0)
}

fn spelled(number: f64) -> String {
    let mut text = Vec::new();
    format_float(number, &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

/// Whole numbers in the order of the doubles.
fn order_of(number: f64) -> u64 {
    let bits = number.to_bits();
    if number.is_sign_negative() {
        !bits
    } else {
        bits | 1 << 63
    }
}
