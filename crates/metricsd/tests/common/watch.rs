//! What must hold between two pages, whoever died in between: no series that counts goes backwards or disappears.
#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "each test file uses its own part"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The highest value that was shown of each series that counts.
#[derive(Debug, Default)]
pub struct Highest {
    values: BTreeMap<String, f64>,
    pages: u64,
}

impl Highest {
    /// Looks at the next page.
    ///
    /// # Errors
    /// The series that went backwards, in words.
    pub fn check(&mut self, page: &str) -> Result<(), String> {
        let shown: BTreeMap<&str, f64> = page
            .lines()
            .filter(|line| counts(line))
            .filter_map(|line| {
                let (series, value) = line.rsplit_once(' ')?;
                Some((series, value.parse().ok()?))
            })
            .collect();
        for (series, &before) in &self.values {
            match shown.get(series.as_str()) {
                None => return Err(format!("{series} was {before:?} and is gone")),
                Some(&now) if now < before => {
                    return Err(format!("{series} was {before:?} and is {now:?}"));
                }
                Some(_) => {}
            }
        }
        for (series, value) in shown {
            self.values.insert(series.to_owned(), value);
        }
        self.pages += 1;
        Ok(())
    }

    /// How many pages it has seen.
    pub fn pages(&self) -> u64 {
        self.pages
    }
}

/// A sample of a counter or histogram that is not the daemon's own, which begin anew with it.
fn counts(line: &str) -> bool {
    let name = line.split(['{', ' ']).next().unwrap_or_default();
    let ends = ["_total", "_bucket", "_count", "_sum"];
    !name.starts_with("metricsd_")
        && !name.starts_with("process_")
        && ends.iter().any(|end| name.ends_with(end))
}

/// The shard files of a directory, retiring ones included; none when the directory is not there.
pub fn shard_files(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return Vec::new();
    };
    let mut files: Vec<PathBuf> = entries
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.ends_with(".db") || name.contains(".db.retiring-")
        })
        .collect();
    files.sort();
    files
}

/// A few random choices, repeatable by their seed.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The choices of one part of a run, the same whatever the other parts do.
    pub fn of(seed: u64, part: u64) -> Random {
        let mut random = Random((seed ^ part.wrapping_mul(0x9e37_79b9_7f4a_7c15)) | 1);
        for _ in 0..8 {
            random.below(2);
        }
        random
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

/// The seed of a run: `METRICSD_TEST_SEED`, else another one each time.
pub fn seed() -> u64 {
    match std::env::var("METRICSD_TEST_SEED") {
        Ok(seed) => seed.parse().expect("METRICSD_TEST_SEED is a whole number"),
        Err(_) => std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(1, |now| u64::from(now.subsec_nanos())),
    }
}

/// How many times the ordinary length: 1, or 100 with `METRICSD_TEST_LONG`.
pub fn length_factor() -> u64 {
    match std::env::var_os("METRICSD_TEST_LONG") {
        Some(_) => 100,
        None => 1,
    }
}

/// Says that a test is skipped, and notes it for the count.
#[allow(
    clippy::print_stderr,
    reason = "whoever runs the tests has to see what was skipped"
)]
pub fn skip(test: &str, why: &str) {
    use std::io::Write;
    eprintln!("SKIPPED: {why}");
    if let Some(path) = std::env::var_os("METRICSD_TEST_SKIPS") {
        let mut file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .expect("the file for skips");
        writeln!(file, "{test}: {why}").expect("the file for skips");
    }
}
