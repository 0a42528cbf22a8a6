//! Bringing all shards up to date: values, and the entries of those that are new, have grown or were written anew.
//!
//! Invariant: entries are taken in in the order of shards, whatever number of threads reads, because that is the order in which new keys
//! get their numbers. Must not list, and opens nothing but shards that the index knows.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::SystemTime;

use metricsd_shard::file_system_supports_leases;

use super::Collector;
use super::image::{FILES_MIN, IMAGES_MAX, Image};
use super::index::Opened;
use super::layout::{Interner, Layout};
use super::reading::{read_values, recognise_all};
use super::rest::faults_set_times;
use super::shard::Shard;
use crate::liveness::Answers;

/// What came of reading the shards.
#[derive(Debug, Default)]
pub(super) struct Read {
    /// Entries came or went.
    pub(super) entries_changed: bool,
    /// A name led to another file than before.
    pub(super) files_replaced: bool,
    pub(super) at_rest_count: usize,
}

impl Collector {
    /// Reads every shard.
    pub(super) fn read_shards(&mut self, answers: &Answers, now: SystemTime) -> Read {
        let times_tell =
            file_system_supports_leases(self.directory_fd()).is_ok_and(faults_set_times);
        let answer = |shard: &Shard| match times_tell {
            true => answers.get(&shard.identity).copied(),
            false => None,
        };
        let visited = read_values(
            self.index.shards_mut(),
            &mut self.buffers,
            &self.maps,
            &answer,
        );
        let mut read = Read {
            at_rest_count: visited.at_rest_count,
            ..Read::default()
        };
        self.parse_all(visited.to_parse, now, &mut read);
        if read.files_replaced {
            self.index.restore_order();
        }
        read
    }

    /// Parses the shards at these positions, ascending. As soon as two of them have the same entries, all others that have them too are
    /// spared that.
    fn parse_all(&mut self, mut to_parse: Vec<usize>, now: SystemTime, read: &mut Read) {
        let mut images: Vec<Arc<Layout>> = Vec::new();
        let mut next = 0;
        while let Some(&position) = to_parse.get(next) {
            next += 1;
            let kind = self.index.shards()[position].name.kind;
            let last = self.layouts.last(kind).cloned();
            let Some(position) = self.parse(position, now, read) else {
                continue;
            };
            // What one file alone has is nothing to expect of others.
            let layout = &self.index.shards()[position].layout;
            let is_shared = last.is_some_and(|last| Arc::ptr_eq(&last, layout));
            let is_known = images.iter().any(|image| Arc::ptr_eq(image, layout));
            let has_room = images.len() < IMAGES_MAX && to_parse.len() - next >= FILES_MIN;
            if !is_shared || is_known || !has_room {
                continue;
            }
            images.push(Arc::clone(layout));
            let Some(image) = self.image(position) else {
                continue;
            };
            let recognised = recognise_all(
                self.index.shards_mut(),
                &mut self.buffers,
                &self.maps,
                (&image, &to_parse[next..]),
                now,
            );
            read.entries_changed |= recognised.entries_changed;
            to_parse = recognised.to_parse;
            next = 0;
        }
    }

    /// Reads the shard at `position`, and says at which one it is now. None: it cannot be read.
    fn parse(&mut self, position: usize, now: SystemTime, read: &mut Read) -> Option<usize> {
        let keeps = self.state.is_some();
        let opened = self.index.file_of(self.directory.as_fd(), position, keeps);
        let Opened {
            file,
            position,
            is_other,
        } = match opened {
            Ok(opened) => opened,
            Err(err) => {
                self.index.shards_mut()[position].read_failed = err.reason();
                return None;
            }
        };
        read.files_replaced |= is_other;
        let shard = &mut self.index.shards_mut()[position];
        let mut interner = Interner {
            catalog: &mut self.catalog,
            layouts: &mut self.layouts,
            policy: &self.policy,
        };
        match shard.read(&file, &mut self.buffers[0], &mut interner, now) {
            Ok(entries_changed) => {
                shard.read_failed = None;
                read.entries_changed |= entries_changed;
                Some(position)
            }
            Err(err) => {
                shard.read_failed = Some(err.reason());
                None
            }
        }
    }

    /// What the files look like that have the entries of the shard at `position`.
    fn image(&self, position: usize) -> Option<Image> {
        let shard = &self.index.shards()[position];
        let is_whole = shard.is_whole();
        is_whole
            .then(|| Image::of(shard.name.kind, &shard.layout, shard.end(), &self.catalog))
            .flatten()
    }
}
