//! Reading the values of many shards, on as many threads as help.
//!
//! Invariant: every shard is visited once, whatever number of threads the system gives. Must not touch: the index, the catalog.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use super::image::Image;
use super::maps::MapBudget;
use super::shard::{Buffers, Reread, Shard};
use crate::liveness::Answer;

/// Shards that a thread takes at a time: fewer would be read sooner than a thread starts.
const SHARDS_AT_A_TIME: usize = 64;

/// Threads that read at the same time. They wait for memory, which more of them do not get faster.
pub(super) const THREADS_MAX: usize = 4;

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Visited {
    /// Positions of the shards that need more than their values read.
    pub(super) to_parse: Vec<usize>,
    /// Shards that were spared a reading.
    pub(super) at_rest_count: usize,
}

/// Reads the values of every shard, with one thread for each of the buffers, this one included. `answer` says what the kernel knows of
/// a shard's writers, where that can spare a reading.
pub(super) fn read_values(
    shards: &mut [Shard],
    buffers: &mut [Buffers],
    maps: &Arc<MapBudget>,
    answer: &(impl Fn(&Shard) -> Option<Answer> + Sync),
) -> Visited {
    let visit =
        |position: usize, shard: &mut Shard, buffers: &mut Buffers, visited: &mut Visited| {
            match shard.read_values_only(answer(shard), maps, buffers) {
                Reread::Done => {}
                Reread::AtRest => visited.at_rest_count += 1,
                Reread::NeedsParsing => visited.to_parse.push(position),
            }
        };
    let mut all = Visited::default();
    for visited in visit_all(shards, buffers, &visit) {
        all.to_parse.extend(visited.to_parse);
        all.at_rest_count += visited.at_rest_count;
    }
    // The order of threads must not show: it is the order in which new keys get their numbers.
    all.to_parse.sort_unstable();
    all
}

/// What came of comparing shards with an image.
#[derive(Debug, Default)]
pub(super) struct Recognised {
    /// Positions of those that still need parsing, ascending.
    pub(super) to_parse: Vec<usize>,
    /// Some got their entries by this.
    pub(super) entries_changed: bool,
}

/// Compares the shards at some positions (ascending) with an image, on as many threads as [`read_values`]. `now` is a time before that.
pub(super) fn recognise_all(
    shards: &mut [Shard],
    buffers: &mut [Buffers],
    maps: &Arc<MapBudget>,
    (image, positions): (&Image, &[usize]),
    now: SystemTime,
) -> Recognised {
    let visit =
        |position: usize, shard: &mut Shard, buffers: &mut Buffers, some: &mut Recognised| {
            if positions.binary_search(&position).is_err() {
                return;
            }
            let was_new = shard.is_new();
            match shard.recognise(image, maps, buffers, now) {
                true => some.entries_changed |= was_new,
                false => some.to_parse.push(position),
            }
        };
    let mut all = Recognised::default();
    for some in visit_all(shards, buffers, &visit) {
        all.to_parse.extend(some.to_parse);
        all.entries_changed |= some.entries_changed;
    }
    // As above.
    all.to_parse.sort_unstable();
    all
}

/// Visits every shard, with one thread for each of the buffers, this one included, and gives what came of it for each thread.
fn visit_all<R: Default + Send>(
    shards: &mut [Shard],
    buffers: &mut [Buffers],
    visit: &(impl Fn(usize, &mut Shard, &mut Buffers, &mut R) + Sync),
) -> Vec<R> {
    let helpers_wanted = shards.len().div_ceil(SHARDS_AT_A_TIME).saturating_sub(1);
    let parts = Mutex::new(shards.chunks_mut(SHARDS_AT_A_TIME).enumerate());
    let take = || parts.lock().unwrap_or_else(PoisonError::into_inner).next();
    let work = |buffers: &mut Buffers| {
        let mut result = R::default();
        while let Some((part, shards)) = take() {
            for (index, shard) in shards.iter_mut().enumerate() {
                visit(part * SHARDS_AT_A_TIME + index, shard, buffers, &mut result);
            }
        }
        result
    };
    let Some((own_buffers, buffers)) = buffers.split_first_mut() else {
        return Vec::new();
    };
    std::thread::scope(|scope| {
        let helper = |buffers| {
            std::thread::Builder::new()
                .name("reading".into())
                .spawn_scoped(scope, || work(buffers))
        };
        // A thread that the system does not give is work for the others.
        let helpers: Vec<_> = buffers
            .iter_mut()
            .take(helpers_wanted)
            .map_while(|buffers| helper(buffers).ok())
            .collect();
        let mut results = vec![work(own_buffers)];
        for helper in helpers {
            results.push(helper.join().expect("reading is total"));
        }
        results
    })
}
