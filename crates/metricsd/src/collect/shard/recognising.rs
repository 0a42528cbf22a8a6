//! Reading a file whose entries another one has as well: from a map, without a copy of it.
//!
//! Invariant: as in [`Shard::load_values`](super::Shard): what was compared and loaded means nothing before the file was seen to be what it
//! was, *after* that. Whatever is not exactly as expected is left to the reading of files that nothing is known of.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use super::super::image::Image;
use super::super::maps::MapBudget;
use super::super::rest::FileTimes;
use super::{Buffers, Shard};

impl Shard {
    /// Nothing of it was read yet.
    pub(in super::super) fn is_new(&self) -> bool {
        self.values_read_at.is_none()
    }

    /// Reads its values if it has exactly the entries of `image`, and if it has no others until now. False: that is not known, and nothing
    /// has changed. `began` is a time before everything that is read.
    pub(in super::super) fn recognise(
        &mut self,
        image: &Image,
        maps: &Arc<MapBudget>,
        buffers: &mut Buffers,
        began: SystemTime,
    ) -> bool {
        let may_have_them = self.is_new() || (self.has_layout(&image.layout) && self.is_whole());
        may_have_them
            && self.name.kind == image.kind
            && self.try_recognise(image, maps, buffers, began).is_some()
    }

    fn try_recognise(
        &mut self,
        image: &Image,
        maps: &Arc<MapBudget>,
        buffers: &mut Buffers,
        began: SystemTime,
    ) -> Option<()> {
        let read_at = Instant::now();
        let file = self.kept.clone()?;
        let stat = file.stat().ok()?;
        let times = FileTimes::of(&stat);
        // A change right after this has to leave other times.
        if stat.len_bytes < image.end as u64 || !times.are_far_from(began, SystemTime::now()) {
            return None;
        }
        let kept = self.map.take();
        let mut map = match kept.filter(|map| map.len_bytes() >= image.end) {
            Some(map) => map,
            None => maps.map(&file, image.end)?,
        };
        // Acquire in there: entries that the length counts are there.
        if map.used_len_bytes() != image.end || !map.has_keys(&image.layout.offsets, &image.words) {
            // For the next image, or for the next reading.
            self.map = (map.used_len_bytes() > 0).then_some(map);
            return None;
        }
        self.load_from(&mut map, &image.layout, buffers).ok()?;
        let stat = file.stat().ok()?;
        if FileTimes::of(&stat) != times || stat.len_bytes < image.end as u64 {
            return None;
        }
        self.map = Some(map);
        if self.is_new() {
            self.layout = Arc::clone(&image.layout);
            self.end = image.end;
            self.read_failed = None;
            self.is_noted = false;
        }
        self.parsed_at = Some(times);
        self.is_map_refused = false;
        self.take_values(buffers, read_at);
        Some(())
    }
}
