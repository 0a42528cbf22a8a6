//! Pages on their way out: shared, compressed once, their memory used again.
//!
//! Invariant: a page is compressed at most once in each coding, however many scrapes share it, and what comes of it lives no longer
//! than the page or its last reader. Must not touch: what a page says.

use std::fmt;
use std::io::{self, Write};
use std::mem;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;

use super::encoding::Coding;

/// Below, a page fits into a packet or two as it is, and compressing it saves nobody anything.
pub(super) const COMPRESSED_FROM_BYTES: usize = 2 << 10;

/// Level 1: a page is all repetition, so higher levels take three times as long for a few per cent.
const GZIP_LEVEL: u32 = 1;

/// Level 1, for the same reason.
#[cfg(feature = "zstd")]
const ZSTD_LEVEL: i32 = 1;

/// What pages shrink to, roughly: room to begin with.
const EXPECTED_RATIO: usize = 8;

/// The page of one collection. Clones share it, and what it is compressed to.
#[derive(Clone)]
pub struct ScrapeBody(Arc<Forms>);

/// A page as it is and as far as somebody asked for it compressed.
struct Forms {
    text: Bytes,
    /// Nothing inside if it failed.
    gzip: OnceLock<Option<Bytes>>,
    #[cfg(feature = "zstd")]
    zstd: OnceLock<Option<Bytes>>,
}

impl ScrapeBody {
    /// The page as it is.
    pub fn text(&self) -> &Bytes {
        &self.0.text
    }

    /// The page in this coding; nothing if that cannot be had. Takes its time the first time.
    pub(super) fn coded(&self, coding: Coding) -> Option<Bytes> {
        let text = &self.0.text;
        match coding {
            Coding::Identity => Some(text.clone()),
            Coding::Gzip => self.0.gzip.get_or_init(|| gzip(text).ok()).clone(),
            #[cfg(feature = "zstd")]
            Coding::Zstd => self.0.zstd.get_or_init(|| zstd(text).ok()).clone(),
        }
    }
}

impl<T: Into<Bytes>> From<T> for ScrapeBody {
    fn from(text: T) -> ScrapeBody {
        ScrapeBody(Arc::new(Forms {
            text: text.into(),
            gzip: OnceLock::new(),
            #[cfg(feature = "zstd")]
            zstd: OnceLock::new(),
        }))
    }
}

impl fmt::Debug for ScrapeBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.text.fmt(f)
    }
}

impl PartialEq for ScrapeBody {
    fn eq(&self, other: &ScrapeBody) -> bool {
        self.0.text == other.0.text
    }
}

impl Eq for ScrapeBody {}

fn gzip(text: &[u8]) -> io::Result<Bytes> {
    let room = Vec::with_capacity(text.len() / EXPECTED_RATIO);
    let mut encoder = GzEncoder::new(room, Compression::new(GZIP_LEVEL));
    encoder.write_all(text)?;
    Ok(Bytes::from(encoder.finish()?))
}

#[cfg(feature = "zstd")]
fn zstd(text: &[u8]) -> io::Result<Bytes> {
    let room = Vec::with_capacity(text.len() / EXPECTED_RATIO);
    let mut encoder = zstd::stream::write::Encoder::new(room, ZSTD_LEVEL)?;
    encoder.set_pledged_src_size(Some(text.len() as u64))?;
    encoder.write_all(text)?;
    Ok(Bytes::from(encoder.finish()?))
}

/// Memory for pages of one kind, one after the other: each is written where an earlier one was that nobody reads any more. Fresh
/// memory costs a page fault for every 4 KiB.
#[derive(Debug, Clone, Default)]
pub struct PageMemory {
    /// What came back last; empty while it is in use.
    spare: Arc<Mutex<Vec<u8>>>,
}

impl PageMemory {
    /// Empty, with room for as long a page as before if nobody reads that one any more.
    pub fn take(&self) -> Vec<u8> {
        mem::take(&mut *self.spare.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The page; its memory comes back when its last reader is done.
    pub fn page(&self, text: Vec<u8>) -> Bytes {
        Bytes::from_owner(Lent {
            text,
            home: self.clone(),
        })
    }
}

/// A page in lent memory.
struct Lent {
    text: Vec<u8>,
    home: PageMemory,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.text
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let mut text = mem::take(&mut self.text);
        // Room that pages do not need any more is given up.
        if text.capacity() / 4 > text.len() {
            return;
        }
        text.clear();
        let mut spare = self
            .home
            .spare
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if spare.capacity() < text.capacity() {
            *spare = text;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_of_a_page_is_used_again_after_its_last_reader() {
        let memory = PageMemory::default();
        let mut text = memory.take();
        text.extend_from_slice(&[b'a'; 5000]);
        let place = text.as_ptr();
        let page = memory.page(text);
        let reader = page.clone();
        assert_eq!(page.as_ptr(), place);
        drop(page);
        assert_eq!(memory.take().capacity(), 0, "somebody reads it");
        assert_eq!(reader.len(), 5000);
        drop(reader);
        let text = memory.take();
        assert!(text.is_empty() && text.as_ptr() == place);
    }

    #[test]
    fn memory_for_pages_that_were_much_longer_is_given_up() {
        let memory = PageMemory::default();
        drop(memory.page(vec![b'a'; 100_000]));
        let mut text = memory.take();
        assert_eq!(text.capacity(), 100_000);
        text.extend_from_slice(b"short");
        drop(memory.page(text));
        assert_eq!(memory.take().capacity(), 0);
    }

    #[test]
    fn a_shared_page_is_compressed_once() {
        let page = ScrapeBody::from(vec![b'a'; 5000]);
        let other = page.clone();
        let (one, another) = (page.coded(Coding::Gzip), other.coded(Coding::Gzip));
        let [one, another] = [one, another].map(|coded| coded.expect("it can be compressed"));
        assert_eq!(one.as_ptr(), another.as_ptr());
        assert!(one.len() < 100);
    }
}
