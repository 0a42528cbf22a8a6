//! The shard directory on a real file system.
//!
//! Invariant: everything goes through one directory descriptor, so a directory that is replaced by name is not followed; a
//! name with a slash is refused; no name is taken from another file, and none is deleted that does not lead to the inode,
//! with the birth time, that is meant. This is the only code of the daemon that renames or deletes a shard.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use metricsd_shard::{BirthTime, Identity, Liveness, ShardFile};
use rustix::fs::{
    AtFlags, Mode, OFlags, RenameFlags, StatxFlags, fsync, openat, renameat_with, statx, unlinkat,
};
use rustix::io::{Errno, retry_on_intr};

use super::shelf::{Named, Shelf};
use crate::directory::ShardDirectory;

const DIRECTORY_FLAGS: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC);

/// Whether a sync of a directory has failed. Of the process and not of a shelf: what a device lost is lost to every descriptor,
/// and only a new start, which finds out what is there, may forget it.
static A_SYNC_FAILED: AtomicBool = AtomicBool::new(false);

/// A directory of shards, by a descriptor of its own, and somebody who asks the kernel who writes them: all leases are taken
/// on one thread, which is not the one that retires.
#[derive(Debug)]
pub struct ShardShelf<A> {
    directory: OwnedFd,
    ask: A,
}

impl<A> ShardShelf<A>
where
    A: FnMut(&[(Identity, Arc<ShardFile>)]) -> Vec<Liveness>,
{
    /// The directory that is open there, wherever its path leads by now.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn open(directory: &ShardDirectory, ask: A) -> io::Result<ShardShelf<A>> {
        // Opened anew, because a duplicate would share the lock.
        let open = || openat(directory, c".", DIRECTORY_FLAGS, Mode::empty());
        Ok(ShardShelf {
            directory: retry_on_intr(open)?,
            ask,
        })
    }

    fn leads_to(&self, name: &str, file: &ShardFile) -> rustix::io::Result<Named> {
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        let wanted = StatxFlags::INO | StatxFlags::BTIME;
        let found = match retry_on_intr(|| statx(&self.directory, name, flags, wanted)) {
            Ok(found) => found,
            Err(Errno::NOENT) => return Ok(Named::Nothing),
            Err(errno) => return Err(errno),
        };
        let knows_birth = found.stx_mask & StatxFlags::BTIME.bits() != 0;
        let birth = knows_birth.then_some(BirthTime {
            unix_seconds: found.stx_btime.tv_sec,
            nanoseconds: found.stx_btime.tv_nsec,
        });
        let identity = file.identity();
        // The descriptor keeps the inode from being given away, so its number alone would tell; the birth time is the belt.
        Ok(
            match (found.stx_ino, birth) == (identity.inode, identity.birth) {
                true => Named::Done,
                false => Named::Other,
            },
        )
    }
}

impl<A> Shelf for ShardShelf<A>
where
    A: FnMut(&[(Identity, Arc<ShardFile>)]) -> Vec<Liveness>,
{
    type File = Arc<ShardFile>;

    fn rename(&mut self, file: &Arc<ShardFile>, from: &str, to: &str) -> io::Result<Named> {
        refuse_paths(&[from, to])?;
        let at = self.directory.as_fd();
        match self.leads_to(from, file)? {
            Named::Done => {}
            other => return Ok(other),
        }
        let rename = |from: &str, to: &str| {
            retry_on_intr(|| renameat_with(at, from, at, to, RenameFlags::NOREPLACE))
        };
        match rename(from, to) {
            Ok(()) => {}
            Err(Errno::NOENT) => return Ok(Named::Nothing),
            Err(errno) => return Err(errno.into()),
        }
        let found = self.leads_to(to, file)?;
        if found == Named::Other {
            // Somebody put another file there between the look and the rename: it gets its name back. Where that is taken
            // again it keeps the retiring one, under which it is served just as well.
            let _ = rename(to, from);
        }
        Ok(found)
    }

    fn unlink(&mut self, file: &Arc<ShardFile>, name: &str) -> io::Result<Named> {
        refuse_paths(&[name])?;
        match self.leads_to(name, file)? {
            Named::Done => {}
            other => return Ok(other),
        }
        match retry_on_intr(|| unlinkat(&self.directory, name, AtFlags::empty())) {
            Ok(()) => Ok(Named::Done),
            Err(Errno::NOENT) => Ok(Named::Nothing),
            Err(errno) => Err(errno.into()),
        }
    }

    fn sync(&mut self) -> io::Result<()> {
        // A descriptor of its own each time: one that reported a failure once says nothing afterwards.
        let open = || openat(&self.directory, c".", DIRECTORY_FLAGS, Mode::empty());
        match fsync(retry_on_intr(open)?) {
            // Some file systems have nothing to sync in a directory and say so.
            Err(Errno::INVAL) | Ok(()) => Ok(()),
            Err(errno) => {
                A_SYNC_FAILED.store(true, Ordering::Relaxed);
                Err(errno.into())
            }
        }
    }

    fn is_sound(&self) -> bool {
        !A_SYNC_FAILED.load(Ordering::Relaxed)
    }

    fn link_count(&mut self, file: &Arc<ShardFile>) -> io::Result<u64> {
        Ok(file.stat()?.link_count)
    }

    fn ask(&mut self, files: &[&Arc<ShardFile>]) -> Vec<Liveness> {
        let files: Vec<_> = files
            .iter()
            .map(|file| (file.identity(), Arc::clone(file)))
            .collect();
        (self.ask)(&files)
    }

    fn read(&mut self, file: &Arc<ShardFile>, buffer: &mut Vec<u8>) -> io::Result<()> {
        file.read_used(buffer).map_err(|error| error.source)
    }
}

fn refuse_paths(names: &[&str]) -> io::Result<()> {
    match names.iter().any(|name| name.contains('/')) {
        true => Err(Errno::INVAL.into()),
        false => Ok(()),
    }
}
