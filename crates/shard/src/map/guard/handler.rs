//! The handler of SIGBUS: a store into a shard that somebody else cut short goes into private memory and not into the death of
//! the process, and so does a reader's load.
//!
//! Invariant: a fault outside the watched ranges is answered exactly as if this handler were not there. The handler calls nothing
//! that is not async-signal-safe, and never jumps: it returns, and the faulting instruction runs again. The table only grows; its
//! records are never freed. A range in it is our mapping, or what took its place, until it is given back, which comes before the
//! range is unmapped; ranges that are mapped for writing are never given back.
//!
//! Who installs a handler later and does not call the one it found takes the guard away; the process then dies of a cut as any
//! process does that maps files. So does a thread that blocks SIGBUS.

use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use std::sync::{Mutex, Once, PoisonError};

use super::{Span, Watch};

/// A mapped range and how much of it is still the file. Used again for another range after it was given back.
#[derive(Debug)]
pub(crate) struct Watched {
    span: Span,
    len_bytes: AtomicU64,
    page_len_bytes: usize,
    watch: Watch,
    /// When the first part was lost, in nanoseconds of the wall clock since 1970; 0: never.
    lost_at_unix_nanoseconds: AtomicU64,
}

/// Records of one block of the table.
const BLOCK_LEN: usize = 64;

/// A part of the table. Filled from the front; never emptied.
struct Block {
    records: [AtomicPtr<Watched>; BLOCK_LEN],
    next: AtomicPtr<Block>,
}

static TABLE: Block = Block::new();

/// A block before which all places are taken; null: the first. Places are never given up, so what was true once stays true.
static FILLED_BEFORE: AtomicPtr<Block> = AtomicPtr::new(ptr::null_mut());

/// Records of the table that stand for no range. Readers' only: it is a lock that a fork's child may find taken for ever.
static VACANT: Mutex<Vec<&'static Watched>> = Mutex::new(Vec::new());

/// What handled SIGBUS before; null: nobody. Null again once a handler was called that wanted to be called once.
static PREVIOUS: AtomicPtr<libc::sigaction> = AtomicPtr::new(ptr::null_mut());

impl Block {
    const fn new() -> Block {
        Block {
            records: [const { AtomicPtr::new(ptr::null_mut()) }; BLOCK_LEN],
            next: AtomicPtr::new(ptr::null_mut()),
        }
    }
}

impl Watched {
    pub(crate) fn watch(&self) -> &Watch {
        &self.watch
    }

    /// Whether a part of the range is private memory because the file had nothing for it.
    pub(crate) fn is_cut(&self) -> bool {
        self.watch.held_len_bytes() < self.len_bytes.load(Ordering::Relaxed)
    }

    /// When the first part was lost, in nanoseconds of the wall clock since 1970.
    pub(crate) fn lost_at_unix_nanoseconds(&self) -> Option<u64> {
        let at = self.lost_at_unix_nanoseconds.load(Ordering::Relaxed);
        (at != 0).then_some(at)
    }

    /// Puts private zeros over the page of `address`, which is so many pages into the range, and all behind it: they are beyond the end of
    /// the file too. One page at a time would need a record for each.
    fn lose_from(&self, address: usize, page_offset: u64) -> bool {
        let page_start = address / self.page_len_bytes * self.page_len_bytes;
        let offset = page_offset * self.page_len_bytes as u64;
        self.watch.lose_from(offset, |from, to| {
            debug_assert_eq!(from, offset);
            let len_bytes = (to - from) as usize;
            // SAFETY: whole pages of a range that is our own mapping (module invariant; who faults in it keeps it from being given back),
            // replaced in one step by memory that is readable and writable, so every reference into it stays valid; any bits are
            // valid words. Threads that are in there fault, and then find the new pages.
            let base = unsafe {
                libc::mmap(
                    ptr::with_exposed_provenance_mut(page_start),
                    len_bytes,
                    libc::PROT_READ | libc::PROT_WRITE,
                    libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED | libc::MAP_NORESERVE,
                    -1,
                    0,
                )
            };
            let is_replaced = base != libc::MAP_FAILED;
            if is_replaced && self.lost_at_unix_nanoseconds.load(Ordering::Relaxed) == 0 {
                self.lost_at_unix_nanoseconds
                    .store(now_unix_nanoseconds(), Ordering::Relaxed);
            }
            is_replaced
        })
    }
}

/// Watches a mapping of whole pages for ever, and installs the handler before the first.
pub(crate) fn watch(start: usize, len_bytes: usize) -> &'static Watched {
    install_once();
    let watched = new_record();
    watched.begin(start, len_bytes);
    watched
}

/// Watches a mapping of whole pages until [`give_back`], and installs the handler before the first.
pub(crate) fn watch_for_now(start: usize, len_bytes: usize) -> &'static Watched {
    install_once();
    let vacant = VACANT.lock().unwrap_or_else(PoisonError::into_inner).pop();
    let watched = vacant.unwrap_or_else(new_record);
    watched.begin(start, len_bytes);
    watched
}

/// Watches a range no longer. Nobody is in it any more; it is unmapped after this, and not before.
pub(crate) fn give_back(watched: &'static Watched) {
    watched.span.give_back();
    let mut vacant = VACANT.lock().unwrap_or_else(PoisonError::into_inner);
    vacant.push(watched);
}

impl Watched {
    fn begin(&self, start: usize, len_bytes: usize) {
        let page_count = len_bytes.div_ceil(self.page_len_bytes) as u64;
        self.watch.begin_again(len_bytes as u64);
        self.len_bytes.store(len_bytes as u64, Ordering::Relaxed);
        self.lost_at_unix_nanoseconds.store(0, Ordering::Relaxed);
        let is_lent = self
            .span
            .lend((start / self.page_len_bytes) as u64, page_count);
        debug_assert!(is_lent, "{start:#x} + {len_bytes}");
    }
}

/// One more record of the table, for no range yet.
fn new_record() -> &'static Watched {
    let watched: &'static Watched = Box::leak(Box::new(Watched {
        span: Span::nowhere(),
        len_bytes: AtomicU64::new(0),
        page_len_bytes: rustix::param::page_size(),
        watch: Watch::new(0),
        lost_at_unix_nanoseconds: AtomicU64::new(0),
    }));
    let record = ptr::from_ref(watched).cast_mut();
    // SAFETY: null, or a block of the table, which is shared and never freed.
    let filled_before = unsafe { FILLED_BEFORE.load(Ordering::Acquire).as_ref() };
    let mut block = filled_before.unwrap_or(&TABLE);
    loop {
        for place in &block.records {
            // Release: pairs with the Acquire in `watched_at`. Whoever loses a place to another goes on behind it, so there is no gap, in
            // which the handler would stop.
            if place
                .compare_exchange(
                    ptr::null_mut(),
                    record,
                    Ordering::Release,
                    Ordering::Relaxed,
                )
                .is_ok()
            {
                return watched;
            }
        }
        block = next_block(block);
        // Release: pairs with the Acquire above, so that who begins here finds the block made. Else each of ten thousand ranges would look
        // at the places of all before it.
        FILLED_BEFORE.store(ptr::from_ref(block).cast_mut(), Ordering::Release);
    }
}

/// The block behind this one, made if it is missing.
fn next_block(block: &'static Block) -> &'static Block {
    let next = block.next.load(Ordering::Acquire);
    // SAFETY: null, or made from a leaked box below; never freed.
    if let Some(next) = unsafe { next.as_ref() } {
        return next;
    }
    let new = Box::into_raw(Box::new(Block::new()));
    let stored =
        block
            .next
            .compare_exchange(ptr::null_mut(), new, Ordering::AcqRel, Ordering::Acquire);
    let next = stored.map_or_else(|other| other, |_| new);
    // SAFETY: either `new`, or what another thread leaked in the same way; never freed, never written but through atomics.
    unsafe { &*next }
}

/// The range that this address is in, and how many pages into it that is.
fn watched_at(address: usize) -> Option<(&'static Watched, u64)> {
    let mut block = Some(&TABLE);
    while let Some(present) = block {
        for place in &present.records {
            // SAFETY: null, or made from a leaked `Watched` in `new_record`, which is shared and never freed.
            let watched = unsafe { place.load(Ordering::Acquire).as_ref() }?;
            let page = (address / watched.page_len_bytes) as u64;
            if let Some(offset) = watched.span.offset_of(page) {
                return Some((watched, offset));
            }
        }
        // SAFETY: null, or made from a leaked box in `next_block`; never freed.
        block = unsafe { present.next.load(Ordering::Acquire).as_ref() };
    }
    None
}

/// Best effort: where no handler may be installed, files are as dangerous as any mapped file.
fn install_once() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let Some(found) = exchange(None) else {
            return;
        };
        // Known before ours can be called.
        PREVIOUS.store(Box::into_raw(Box::new(found)), Ordering::Release);
        // SAFETY: all zeros are a valid `sigaction`: no flags, an empty mask, the default action.
        let mut ours: libc::sigaction = unsafe { std::mem::zeroed() };
        ours.sa_sigaction = on_sigbus as *const () as usize;
        // The mask and SA_NODEFER of the handler before us, since it runs as a part of ours.
        ours.sa_mask = found.sa_mask;
        ours.sa_flags = libc::SA_SIGINFO
            | libc::SA_ONSTACK
            | libc::SA_RESTART
            | (found.sa_flags & libc::SA_NODEFER);
        if let Some(replaced) = exchange(Some(&ours))
            && replaced.sa_sigaction != found.sa_sigaction
        {
            // Somebody installed another one between the two calls.
            PREVIOUS.store(Box::into_raw(Box::new(replaced)), Ordering::Release);
        }
    });
}

/// Installs an action for SIGBUS, if one is given, and gives the one before.
fn exchange(new: Option<&libc::sigaction>) -> Option<libc::sigaction> {
    // SAFETY: as above.
    let mut old: libc::sigaction = unsafe { std::mem::zeroed() };
    let new = new.map_or(ptr::null(), ptr::from_ref);
    // SAFETY: null or a whole action whose handler lives as long as the program; memory of the right size for the old one.
    let status = unsafe { libc::sigaction(libc::SIGBUS, new, &raw mut old) };
    (status == 0).then_some(old)
}

extern "C" fn on_sigbus(
    signal: libc::c_int,
    info: *mut libc::siginfo_t,
    context: *mut libc::c_void,
) {
    // SAFETY: the thread's own errno, which the interrupted code may be about to read.
    let errno = unsafe { *libc::__errno_location() };
    // SAFETY: installed with SA_SIGINFO, so the kernel gives a whole `siginfo_t`; the address is read for faults only.
    let code = unsafe { (*info).si_code };
    let is_guarded = code == libc::BUS_ADRERR && {
        // SAFETY: as above.
        let address = unsafe { (*info).si_addr() } as usize;
        watched_at(address).is_some_and(|(watched, offset)| watched.lose_from(address, offset))
    };
    if !is_guarded {
        pass_on(signal, info, context, code);
    }
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = errno };
}

/// Does what would have been done without us.
fn pass_on(
    signal: libc::c_int,
    info: *mut libc::siginfo_t,
    context: *mut libc::c_void,
    code: libc::c_int,
) {
    // Sent by somebody (or told of a bad page that nobody has touched): when the handler returns, nothing faults again.
    let is_fault = code > 0 && code != libc::BUS_MCEERR_AO;
    // SAFETY: null, or made from a leaked box in `install_once`; never freed.
    let previous = unsafe { PREVIOUS.load(Ordering::Acquire).as_ref() };
    let action = previous.map_or(libc::SIG_DFL, |previous| previous.sa_sigaction);
    match (action, previous) {
        // The kernel ignores a fault's signal for nobody: it kills.
        (libc::SIG_IGN, _) if !is_fault => {}
        (libc::SIG_DFL | libc::SIG_IGN, _) | (_, None) => {
            // SAFETY: all zeros are the default action, without flags and mask.
            let default: libc::sigaction = unsafe { std::mem::zeroed() };
            exchange(Some(&default));
            if !is_fault {
                // SAFETY: no pointers; the signal waits until this handler returns.
                unsafe { libc::raise(signal) };
            }
        }
        (action, Some(previous)) => {
            if previous.sa_flags & libc::SA_RESETHAND != 0 {
                PREVIOUS.store(ptr::null_mut(), Ordering::Release);
            }
            if previous.sa_flags & libc::SA_SIGINFO != 0 {
                // SAFETY: whoever installed it with SA_SIGINFO said that it is such a function.
                let handler = unsafe {
                    std::mem::transmute::<
                        usize,
                        extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void),
                    >(action)
                };
                handler(signal, info, context);
            } else {
                // SAFETY: neither SIG_DFL nor SIG_IGN, and without SA_SIGINFO: such a function.
                let handler =
                    unsafe { std::mem::transmute::<usize, extern "C" fn(libc::c_int)>(action) };
                handler(signal);
            }
        }
    }
}

fn now_unix_nanoseconds() -> u64 {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: a pointer to memory that lives through the call, which is async-signal-safe.
    unsafe { libc::clock_gettime(libc::CLOCK_REALTIME, &raw mut now) };
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    let nanoseconds = u64::try_from(now.tv_nsec).unwrap_or_default();
    seconds
        .saturating_mul(1_000_000_000)
        .saturating_add(nanoseconds)
        .max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A range at an address where no process has one: records only, nothing is mapped.
    fn range(number: usize) -> (usize, usize) {
        let page = rustix::param::page_size();
        ((1 << 50) + number * 16 * page, 2 * page)
    }

    #[test]
    fn records_are_found_by_their_addresses_while_they_are_lent_and_are_used_again() {
        let mut known: Vec<*const Watched> = Vec::new();
        for round in 0..3 {
            let lent: Vec<&'static Watched> = (0..150)
                .map(|number| {
                    let (start, len_bytes) = range(number);
                    watch_for_now(start, len_bytes)
                })
                .collect();
            for (number, record) in lent.iter().enumerate() {
                let (start, len_bytes) = range(number);
                for (address, pages) in [(start, 0), (start + len_bytes - 1, 1)] {
                    let (found, offset) = watched_at(address).expect("lent");
                    assert!(ptr::eq(found, *record) && offset == pages);
                }
                assert!(watched_at(start + len_bytes).is_none());
                assert!(!record.is_cut(), "a new range is whole");
                record
                    .watch()
                    .lose_from(0, |_, _| true)
                    .then_some(())
                    .expect("nothing is mapped there, and nothing is replaced");
            }
            if round == 0 {
                known = lent.iter().map(|record| ptr::from_ref(*record)).collect();
            }
            for record in lent {
                assert!(known.contains(&ptr::from_ref(record)), "round {round}");
                give_back(record);
            }
            assert!(watched_at(range(0).0).is_none());
        }
    }

    #[test]
    fn every_record_is_found_however_many_threads_enter_theirs_at_the_same_time() {
        const THREADS: usize = 4;
        const RECORDS: usize = 20 * BLOCK_LEN;
        // Behind the ranges of the other test.
        let of = |thread: usize, number: usize| range(1_000_000 + thread * RECORDS + number);
        let is_found = |thread, number, record: &Watched| {
            let (start, _) = of(thread, number);
            watched_at(start).is_some_and(|(found, pages)| ptr::eq(found, record) && pages == 0)
        };
        let start_together = std::sync::Barrier::new(THREADS);
        let enter = |thread: usize| {
            start_together.wait();
            let record = |number| {
                let (start, len_bytes) = of(thread, number);
                let record = new_record();
                record.begin(start, len_bytes);
                // At once, as a fault would.
                assert!(is_found(thread, number, record), "{thread} {number}");
                record
            };
            (0..RECORDS).map(record).collect::<Vec<&'static Watched>>()
        };
        let entered: Vec<Vec<&'static Watched>> = std::thread::scope(|scope| {
            let enter = &enter;
            let threads = (0..THREADS).map(|thread| scope.spawn(move || enter(thread)));
            let threads: Vec<_> = threads.collect();
            let joined = threads.into_iter().map(|thread| thread.join());
            joined
                .map(|records| records.expect("no assertion failed"))
                .collect()
        });
        for (thread, records) in entered.iter().enumerate() {
            for (number, record) in records.iter().enumerate() {
                assert!(is_found(thread, number, record), "{thread} {number}");
                record.span.give_back();
            }
        }
    }
}
