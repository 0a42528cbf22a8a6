//! File systems that are full to the last byte and the last inode.
#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "each test file uses its own part"
)]

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Begins the names of the files that fill; none of them is a shard's.
const FILLER: &str = "filler-";

/// Writes until not one byte more fits, and makes files until there is no inode left.
pub fn fill(directory: &Path) {
    let path = directory.join(format!("{FILLER}bytes"));
    let mut file = File::options().create(true).append(true).open(path).ok();
    for chunk_len_bytes in [1 << 20, 4096, 1] {
        let chunk = vec![b'x'; chunk_len_bytes];
        while file
            .as_mut()
            .is_some_and(|file| file.write_all(&chunk).is_ok())
        {}
    }
    for number in 0.. {
        let path = directory.join(format!("{FILLER}{number}"));
        if !path.exists() && File::create(path).is_err() {
            return;
        }
    }
}

/// Whether neither a byte nor an inode is left.
pub fn is_full(directory: &Path) -> bool {
    let left = rustix::fs::statvfs(directory).expect("a file system");
    left.f_bavail == 0 && left.f_favail == 0
}

/// Gives everything back.
pub fn make_room(directory: &Path) {
    for entry in std::fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with(FILLER) {
            std::fs::remove_file(path).expect("a file of ours");
        }
    }
}

/// A file system in memory of a known size, unmounted when dropped.
#[derive(Debug)]
pub struct Small {
    at: PathBuf,
}

impl Small {
    /// Mounts one.
    ///
    /// # Errors
    /// Why that is not possible here, in words.
    pub fn mount(at: &Path, len_bytes: u64, inodes: u64) -> Result<Small, String> {
        std::fs::create_dir_all(at).map_err(|err| err.to_string())?;
        let output = Command::new("mount")
            .args(["-t", "tmpfs", "-o"])
            .arg(format!("size={len_bytes},nr_inodes={inodes},mode=777"))
            .args(["tmpfs".as_ref(), at])
            .output()
            .map_err(|err| format!("no mount program: {err}"))?;
        if output.status.success() {
            Ok(Small { at: at.to_owned() })
        } else {
            let said = String::from_utf8_lossy(&output.stderr);
            Err(format!(
                "no file system can be mounted here: {}",
                said.trim()
            ))
        }
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // Lazily, since a killed daemon's descriptors may still be on their way out.
        let _ = Command::new("umount").arg("-l").arg(&self.at).status();
    }
}
