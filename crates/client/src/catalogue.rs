//! Which families a registry has, and which registrations contradict them.
//! Invariant: a sample name belongs to one family, and a family to one schema and one label set; the first registration stands.
//! It must not touch cells or log: both may lead back here, and its owner holds a lock.

use std::any::{Any, TypeId};
use std::collections::BTreeMap;
use std::sync::Arc;

use metricsd_shard::Writer;

use crate::declaration::Declaration;
use crate::defects::{Complaints, Defects};
use crate::labels::LabelSet;
use crate::schema::{Refusal, Schema};

/// Most families of a registry. Bounds what a program can add to memory and to a scrape by making names of data.
pub(crate) const FAMILIES_MAX: usize = 10_000;
/// Most registrations that cannot stand and get cells of their own; later ones share cells by type and label set.
const DETACHED_MAX: usize = 1_000;

#[derive(Debug)]
pub(crate) struct Catalogue {
    families: BTreeMap<String, Registered>,
    /// Sample name to family: two families that expose the same name would make an exposition that no scraper takes.
    exposed: BTreeMap<String, String>,
    detached: Vec<Registered>,
    writer: Writer,
    /// Has the cells of registrations that cannot stand.
    detached_writer: Writer,
    defects: Arc<Defects>,
}

#[derive(Debug)]
struct Registered {
    schema: Schema,
    labels: Labels,
    /// Where the handles of the family are; what it is, the labels say and the shape of `schema`.
    table: Arc<dyn Any + Send + Sync>,
}

/// What a family's series are distinguished by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Labels {
    /// The label set; none where names and values are known at run time only.
    of: Option<TypeId>,
    /// Names, and the values that each can have; none of a text label.
    names: &'static [&'static str],
    values: &'static [&'static [&'static str]],
}

impl Labels {
    pub(crate) fn of<L: LabelSet>() -> Labels {
        Labels {
            of: Some(TypeId::of::<L>()),
            names: L::NAMES,
            values: L::VALUES,
        }
    }

    /// Names and values that come with each series.
    pub(crate) const OPEN: Labels = Labels {
        of: None,
        names: &[],
        values: &[],
    };
}

/// How a family's table is made, without touching a cell.
pub(crate) type Make<T> = fn(Schema, Writer, Arc<Complaints>) -> T;

/// What a registration leads to.
pub(crate) struct Found<T> {
    pub(crate) table: Arc<T>,
    /// Why the table is a detached one.
    pub(crate) refusal: Option<Refusal>,
    /// Whether nobody asked for it before.
    pub(crate) is_new: bool,
}

impl Catalogue {
    pub(crate) fn new(writer: Writer, defects: Arc<Defects>) -> Catalogue {
        Catalogue {
            families: BTreeMap::new(),
            exposed: BTreeMap::new(),
            detached: Vec::new(),
            writer,
            detached_writer: Writer::in_memory(),
            defects,
        }
    }

    /// The table of this registration. `refusal` is what is already known to be wrong with it.
    pub(crate) fn find_or_insert<T: Any + Send + Sync>(
        &mut self,
        schema: &Schema,
        labels: Labels,
        make: Make<T>,
        refusal: Option<Refusal>,
    ) -> Found<T> {
        let known = match refusal {
            Some(refusal) => Err(refusal),
            None => self.find(schema, labels),
        };
        match known {
            Ok(Some(table)) => Found {
                table,
                refusal: None,
                is_new: false,
            },
            Ok(None) => {
                self.claim(schema);
                let (registered, table) = self.table(schema, labels, make, self.writer);
                self.families.insert(schema.family.clone(), registered);
                Found {
                    table,
                    refusal: None,
                    is_new: true,
                }
            }
            Err(refusal) => self.detach(schema, labels, make, refusal),
        }
    }

    /// Every family that stands, by name.
    pub(crate) fn declarations(&self) -> Vec<Declaration> {
        let declared = |registered: &Registered| {
            let names = registered.labels.names.iter().zip(registered.labels.values);
            Declaration::new(
                &registered.schema,
                names.map(|(name, values)| (*name, *values)).collect(),
            )
        };
        self.families.values().map(declared).collect()
    }

    /// Take the names of `schema`, so that no other family can have them.
    pub(crate) fn claim(&mut self, schema: &Schema) {
        let names = schema.exposed_names().into_iter();
        self.exposed
            .extend(names.map(|name| (name, schema.family.clone())));
    }

    /// The family if it is there, nothing if it may be created.
    fn find<T: Any + Send + Sync>(
        &self,
        schema: &Schema,
        labels: Labels,
    ) -> Result<Option<Arc<T>>, Refusal> {
        if let Some(known) = self.families.get(&schema.family) {
            let same = known.is(schema, labels).then(|| known.table()).flatten();
            return same.map(Some).ok_or(Refusal::Conflict);
        }
        if self.families.len() >= FAMILIES_MAX {
            return Err(Refusal::TooManyFamilies);
        }
        for sample in schema.exposed_names() {
            if let Some(other) = self.exposed.get(&sample) {
                return Err(Refusal::Clash {
                    other: other.clone(),
                    sample,
                });
            }
        }
        Ok(None)
    }

    /// The same mistake again, perhaps in a loop, gets the same cells: memory must not grow by it.
    fn detach<T: Any + Send + Sync>(
        &mut self,
        schema: &Schema,
        labels: Labels,
        make: Make<T>,
        refusal: Refusal,
    ) -> Found<T> {
        let shared = schema.shared();
        let is_full = self.detached.len() >= DETACHED_MAX;
        let known = self.detached_table(schema, labels).or_else(|| {
            is_full
                .then(|| self.detached_table(&shared, labels))
                .flatten()
        });
        if let Some(table) = known {
            return Found {
                table,
                refusal: Some(refusal),
                is_new: false,
            };
        }
        // Beyond the limit the list grows by the types and label sets of the program alone.
        let schema = if is_full { &shared } else { schema };
        let (registered, table) = self.table(schema, labels, make, self.detached_writer);
        self.detached.push(registered);
        Found {
            table,
            refusal: Some(refusal),
            is_new: true,
        }
    }

    fn detached_table<T: Any + Send + Sync>(
        &self,
        schema: &Schema,
        labels: Labels,
    ) -> Option<Arc<T>> {
        let is_it = |known: &&Registered| known.is(schema, labels);
        self.detached.iter().find(is_it).and_then(Registered::table)
    }

    fn table<T: Any + Send + Sync>(
        &self,
        schema: &Schema,
        labels: Labels,
        make: Make<T>,
        writer: Writer,
    ) -> (Registered, Arc<T>) {
        let complaints = Complaints::new(&schema.family, self.defects.clone());
        let table = Arc::new(make(schema.clone(), writer, complaints));
        let registered = Registered {
            schema: schema.clone(),
            labels,
            table: table.clone(),
        };
        (registered, table)
    }
}

impl Registered {
    /// Whether it is the same registration. The help text of an open family is that of the first one, whatever later ones say: they may
    /// come from code that does not know of each other.
    fn is(&self, schema: &Schema, labels: Labels) -> bool {
        let same = match labels.of {
            Some(_) => self.schema == *schema,
            None => self.schema.family == schema.family && self.schema.shape == schema.shape,
        };
        same && self.labels.of == labels.of
    }

    fn table<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        self.table.clone().downcast().ok()
    }
}
