//! A lane: the right to store into certain cells alone, which one thread at a time has, and the table that leads to them.
//!
//! Invariant: who takes a lane sees everything that its owner before stored into its cells. The table is replaced by its owner only, under
//! the writers' lock, and its pointers change under that lock; a table that was replaced is never freed, since somebody may read it still.

use std::ptr;

use super::pointer::CellPointer;
use crate::loom::{AtomicBool, AtomicPtr, Ordering};

/// The cells of one lane by the numbers of their slots.
#[derive(Debug)]
struct Table {
    pointers: Box<[CellPointer]>,
}

/// One lane.
#[derive(Debug)]
pub struct Lane {
    is_owned: AtomicBool,
    /// Null, or a leaked table.
    table: AtomicPtr<Table>,
}

impl Lane {
    /// A lane without owner and cells.
    #[cfg(not(loom))]
    pub const fn new() -> Lane {
        Lane {
            is_owned: AtomicBool::new(false),
            table: AtomicPtr::new(ptr::null_mut()),
        }
    }

    /// A lane without owner and cells.
    #[cfg(loom)]
    pub fn new() -> Lane {
        Lane {
            is_owned: AtomicBool::new(false),
            table: AtomicPtr::new(ptr::null_mut()),
        }
    }

    /// Makes the caller the owner; false if there is one.
    #[must_use]
    pub fn take(&self) -> bool {
        // Acquire: pairs with the Release in `give_back`, so that the cells hold what the owner before stored last.
        self.is_owned
            .compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
    }

    /// Ends the caller's ownership. It stores into none of the lane's cells any more.
    pub fn give_back(&self) {
        // Release: pairs with the Acquire in `take`.
        self.is_owned.store(false, Ordering::Release);
    }

    /// The cells that this lane has, by the numbers of their slots.
    pub fn table(&self) -> &'static [CellPointer] {
        // Acquire: pairs with the Release in `grow_to`.
        let table = self.table.load(Ordering::Acquire);
        // SAFETY: null, or made from a leaked box in `grow_to`, which is shared and never freed.
        unsafe { table.as_ref() }.map_or(&[], |table| &table.pointers)
    }

    /// Makes the table long enough for `len` slots. For the owner only, under the writers' lock.
    pub fn grow_to(&self, len: usize) {
        let old = self.table();
        if len <= old.len() {
            return;
        }
        let pointer = |index: usize| {
            let pointer = CellPointer::empty();
            if let Some(cell) = old.get(index).and_then(CellPointer::cell) {
                pointer.point_to(cell);
            }
            pointer
        };
        let pointers = (0..len).map(pointer).collect();
        let new = Box::into_raw(Box::new(Table { pointers }));
        // Release: pairs with the Acquire in `table`.
        self.table.store(new, Ordering::Release);
    }
}
