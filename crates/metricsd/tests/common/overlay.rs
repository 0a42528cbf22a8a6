//! An overlayfs with one lower layer, as the root of a container is.
#![allow(unreachable_pub, reason = "a part of the tests' own")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Mounted until it is dropped.
#[derive(Debug)]
pub struct Overlay {
    at: PathBuf,
}

impl Overlay {
    /// Mounts one inside `folder`, with the lower layer that `fill` makes.
    ///
    /// # Errors
    /// Why that is not possible here, in words.
    pub fn mount(folder: &Path, fill: impl FnOnce(&Path)) -> Result<Overlay, String> {
        let [lower, upper, work, at] =
            ["lower", "upper", "work", "merged"].map(|name| folder.join(name));
        for directory in [&lower, &upper, &work, &at] {
            fs::create_dir(directory).map_err(|err| err.to_string())?;
        }
        fill(&lower);
        let layers = format!(
            "lowerdir={},upperdir={},workdir={}",
            lower.display(),
            upper.display(),
            work.display()
        );
        let output = Command::new("mount")
            .args(["-t", "overlay", "-o", &layers, "overlay"])
            .arg(&at)
            .output()
            .map_err(|err| format!("no mount program: {err}"))?;
        if output.status.success() {
            Ok(Overlay { at })
        } else {
            let said = String::from_utf8_lossy(&output.stderr);
            Err(format!("no overlayfs can be mounted here: {}", said.trim()))
        }
    }

    /// Where the layers are one.
    pub fn path(&self) -> &Path {
        &self.at
    }
}

impl Drop for Overlay {
    fn drop(&mut self) {
        // Lazily, since descriptors may still be open.
        let _ = Command::new("umount").arg("-l").arg(&self.at).status();
    }
}
