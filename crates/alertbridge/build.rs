//! Takes the runbooks of `docs/runbooks` into the program, so that a link in a message works wherever the program runs.

use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let here = env::var("CARGO_MANIFEST_DIR").map_err(io::Error::other)?;
    let directory = Path::new(&here).join("../../docs/runbooks");
    println_to_cargo(&format!("cargo::rerun-if-changed={}", directory.display()))?;
    let mut files = Vec::new();
    if directory.is_dir() {
        for entry in fs::read_dir(&directory)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "md") {
                files.push(path.canonicalize()?);
            }
        }
    }
    files.sort();
    let mut source = "&[\n".to_owned();
    for path in files {
        let name = path
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        // Writing into a string cannot fail.
        let _ = writeln!(source, "    ({name:?}, include_str!({path:?})),");
    }
    source.push_str("]\n");
    let out = env::var("OUT_DIR").map_err(io::Error::other)?;
    fs::write(Path::new(&out).join("runbooks.rs"), source)
}

fn println_to_cargo(line: &str) -> io::Result<()> {
    use io::Write as _;
    writeln!(io::stdout().lock(), "{line}")
}
