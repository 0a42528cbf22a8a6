//! Which families a registry has, and which registrations contradict them.
//! Invariant: a sample name belongs to one family, and a family to one schema and one label set; the first registration stands.
//! It must not touch cells or log: both may lead back here, and its owner holds a lock.

use std::any::{Any, TypeId};
use std::collections::BTreeMap;
use std::sync::Arc;

use metricsd_shard::Writer;

use crate::declaration::Declaration;
use crate::defects::{Complaints, Defects};
use crate::family::{Handle, Table};
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
    labels: TypeId,
    /// Names, and the values that each can have; none of a text label.
    names: &'static [&'static str],
    values: &'static [&'static [&'static str]],
    /// A `Table` of the handle that `schema` is about.
    table: Arc<dyn Any + Send + Sync>,
}

/// What a registration leads to.
pub(crate) struct Found<H> {
    pub(crate) table: Arc<Table<H>>,
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

    /// The table of this registration, made without touching a cell. `refusal` is what is already known to be wrong with it.
    pub(crate) fn find_or_insert<L: LabelSet, H: Handle>(
        &mut self,
        schema: &Schema,
        refusal: Option<Refusal>,
    ) -> Found<H> {
        let known = match refusal {
            Some(refusal) => Err(refusal),
            None => self.find::<L, H>(schema),
        };
        match known {
            Ok(Some(table)) => Found {
                table,
                refusal: None,
                is_new: false,
            },
            Ok(None) => {
                self.claim(schema);
                let (registered, table) = self.table::<L, H>(schema, self.writer);
                self.families.insert(schema.family.clone(), registered);
                Found {
                    table,
                    refusal: None,
                    is_new: true,
                }
            }
            Err(refusal) => self.detach::<L, H>(schema, refusal),
        }
    }

    /// Every family that stands, by name.
    pub(crate) fn declarations(&self) -> Vec<Declaration> {
        let declared = |registered: &Registered| {
            let names = registered.names.iter().zip(registered.values);
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
    fn find<L: LabelSet, H: Handle>(
        &self,
        schema: &Schema,
    ) -> Result<Option<Arc<Table<H>>>, Refusal> {
        if let Some(known) = self.families.get(&schema.family) {
            let same = known.is::<L>(schema).then(|| known.table()).flatten();
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
    fn detach<L: LabelSet, H: Handle>(&mut self, schema: &Schema, refusal: Refusal) -> Found<H> {
        let shared = schema.shared();
        let is_full = self.detached.len() >= DETACHED_MAX;
        let known = self.detached_table::<L, H>(schema).or_else(|| {
            is_full
                .then(|| self.detached_table::<L, H>(&shared))
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
        let (registered, table) = self.table::<L, H>(schema, self.detached_writer);
        self.detached.push(registered);
        Found {
            table,
            refusal: Some(refusal),
            is_new: true,
        }
    }

    fn detached_table<L: LabelSet, H: Handle>(&self, schema: &Schema) -> Option<Arc<Table<H>>> {
        let known = self.detached.iter().find(|known| known.is::<L>(schema));
        known.and_then(Registered::table)
    }

    fn table<L: LabelSet, H: Handle>(
        &self,
        schema: &Schema,
        writer: Writer,
    ) -> (Registered, Arc<Table<H>>) {
        let complaints = Complaints::new(&schema.family, self.defects.clone());
        let table = Arc::new(Table::new::<L>(schema.clone(), writer, complaints));
        let registered = Registered {
            schema: schema.clone(),
            labels: TypeId::of::<L>(),
            names: L::NAMES,
            values: L::VALUES,
            table: table.clone(),
        };
        (registered, table)
    }
}

impl Registered {
    fn is<L: LabelSet>(&self, schema: &Schema) -> bool {
        self.schema == *schema && self.labels == TypeId::of::<L>()
    }

    fn table<H: Handle>(&self) -> Option<Arc<Table<H>>> {
        self.table.clone().downcast().ok()
    }
}
