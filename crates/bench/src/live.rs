//! Shards of live processes, as many as wanted, and the daemon on them.
//!
//! Invariant: this process holds each of the files open for writing, so that the kernel calls every one of them live, and nothing at rest is
//! spared. All keys of a shape are equally long, so that the values lie a fixed distance apart.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use metricsd_shard::{HEADER_LEN_BYTES, Key, encode_entry, encode_header, parse_from};
use rustix::process::{Resource, getrlimit, setrlimit};
use tempfile::TempDir;
use vmap::Map;

use crate::shards::{Retiring, live_shard, scratch};

/// A daemon that has not written for so long has noted what there is: it notes what is new at once, and figures every five seconds.
const NOTED_AFTER: Duration = Duration::from_secs(6);
/// A state that still grows then does not do so on account of the shards.
const NOTED_DEADLINE: Duration = Duration::from_secs(120);

/// How many shards, and what is in each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) shards: u32,
    /// Series of each shard.
    pub(crate) series: u32,
    /// Whether each shard has series of its own, or all have the same.
    pub(crate) has_own_series: bool,
}

impl Shape {
    /// Entries of all shards.
    pub(crate) fn entries(self) -> u64 {
        u64::from(self.shards) * u64::from(self.series)
    }

    /// Series that a scrape shows.
    pub(crate) fn exposed(self) -> u64 {
        if self.has_own_series {
            self.entries()
        } else {
            u64::from(self.series)
        }
    }

    /// The bytes of one shard; its entries count from `first` on.
    fn bytes(self, shard: u32, first: u32) -> Vec<u8> {
        let owner = if self.has_own_series { shard } else { 0 };
        let mut body = Vec::new();
        for number in 0..self.series {
            let key = Key {
                family: "bench_events".into(),
                sample: "bench_events_total".into(),
                labels: vec![
                    ("owner".to_owned(), format!("w{owner:05}")),
                    ("strategy_id".to_owned(), format!("s{number:05}")),
                ],
                help: "Events of the benchmark.".into(),
            };
            let value = f64::from(first + number * 7 + shard);
            body.extend(encode_entry(key.encode().as_bytes(), value, 0.0));
        }
        let mut bytes = encode_header(HEADER_LEN_BYTES + body.len()).to_vec();
        bytes.extend(body);
        bytes
    }
}

/// Live shards in a folder of their own.
#[derive(Debug)]
pub(crate) struct Live {
    shape: Shape,
    folder: TempDir,
    files: Vec<File>,
    /// Where the value of each entry lies in every shard.
    offsets: Vec<usize>,
}

impl Live {
    /// Makes them.
    ///
    /// # Errors
    /// When a file cannot be made.
    pub(crate) fn new(shape: Shape) -> Result<Live> {
        allow_files(u64::from(shape.shards) + 256)?;
        let folder = scratch()?;
        let shards = folder.path().join("shards");
        fs::create_dir(&shards).with_context(|| format!("creating {}", shards.display()))?;
        let mut files = Vec::with_capacity(shape.shards as usize);
        let mut offsets = Vec::new();
        for shard in 0..shape.shards {
            let bytes = shape.bytes(shard, 0);
            if offsets.is_empty() {
                let entries = parse_from(&bytes, HEADER_LEN_BYTES).entries;
                offsets = entries.iter().map(|entry| entry.value_offset).collect();
            }
            files.push(live_shard(&shards, 100_000 + shard, &bytes)?);
        }
        ensure!(
            offsets.len() == shape.series as usize,
            "a shard does not hold what was put into it"
        );
        Ok(Live {
            shape,
            folder,
            files,
            offsets,
        })
    }

    /// Where they are.
    pub(crate) fn directory(&self) -> PathBuf {
        self.folder.path().join("shards")
    }

    /// Bytes from one value to the next.
    pub(crate) fn stride_bytes(&self) -> usize {
        match self.offsets.as_slice() {
            [first, second, ..] => second - first,
            _ => 0,
        }
    }

    /// Takes away what daemons before left: the next one has seen nothing.
    ///
    /// # Errors
    /// When the state directory cannot be removed.
    pub(crate) fn forget_daemons(&self) -> Result<()> {
        let state = self.folder.path().join("state");
        match fs::remove_dir_all(&state) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("removing {}", state.display()))
            }
            _ => Ok(()),
        }
    }

    /// Waits until a daemon has noted everything in its state directory: nothing in there has grown for [`NOTED_AFTER`].
    ///
    /// # Errors
    /// When the directory cannot be read, or goes on growing.
    pub(crate) fn wait_until_noted(&self) -> Result<()> {
        let state = self.folder.path().join("state");
        let started = Instant::now();
        let (mut known, mut since) = (folder_bytes(&state)?, Instant::now());
        while since.elapsed() < NOTED_AFTER {
            ensure!(
                started.elapsed() < NOTED_DEADLINE,
                "{}: it still grows after {NOTED_DEADLINE:?}",
                state.display()
            );
            thread::sleep(Duration::from_millis(100));
            let now = folder_bytes(&state)?;
            if now != known {
                (known, since) = (now, Instant::now());
            }
        }
        Ok(())
    }

    /// A daemon on them, with room for all their series, and the seconds until it was ready. It may be started again and again.
    ///
    /// # Errors
    /// When it does not get ready.
    pub(crate) fn daemon(&self) -> Result<(Retiring, f64)> {
        let most = 2 * self.shape.exposed().max(10_000);
        let config = self.folder.path().join("metricsd.toml");
        let limits = format!("[limits]\nseries = {most}\nseries_per_family = {most}\n");
        fs::write(&config, limits).with_context(|| format!("writing {}", config.display()))?;
        let config = config.to_str().context("a path in UTF-8")?;
        Retiring::start(self.folder.path(), &["--config.file", config])
    }

    /// Gives all entries other values, as if their processes had counted `first` more.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub(crate) fn count(&self, first: u32) -> Result<()> {
        for (shard, file) in (0..).zip(&self.files) {
            for (&offset, number) in self.offsets.iter().zip(0..) {
                let value = f64::from(first + number * 7 + shard);
                file.write_all_at(&value.to_le_bytes(), offset as u64)
                    .context("counting in a shard")?;
            }
        }
        Ok(())
    }

    /// What a scrape has to show for [`FIRST_SERIES`] when the shards count from `first` on.
    pub(crate) fn first_total(&self, first: u32) -> f64 {
        let shards = match self.shape.has_own_series {
            true => 1.0,
            false => f64::from(self.shape.shards),
        };
        shards * f64::from(first) + shards * (shards - 1.0) / 2.0
    }
}

/// The series that every directory has, as it is shown.
pub(crate) const FIRST_SERIES: &str =
    "bench_events_total{owner=\"w00000\",strategy_id=\"s00000\"} ";

/// The limit of any collection from these files: their values loaded once from kept maps, in the order in which they lie.
#[derive(Debug)]
pub(crate) struct Strided {
    maps: Vec<Map>,
    first: usize,
    stride: usize,
    count: usize,
}

impl Strided {
    /// Maps them all.
    ///
    /// # Errors
    /// When a file cannot be mapped.
    pub(crate) fn new(live: &Live) -> Result<Strided> {
        let directory = live.directory();
        let maps = (0..live.shape.shards).map(|shard| map(&directory, shard));
        Ok(Strided {
            maps: maps.collect::<Result<_>>()?,
            first: live.offsets.first().copied().unwrap_or(0),
            stride: live.stride_bytes().max(8),
            count: live.offsets.len(),
        })
    }

    /// The sum of all values; eight additions at a time, so that none waits for the one before.
    pub(crate) fn sum(&self) -> f64 {
        let mut total = 0.0;
        for map in &self.maps {
            // The last value has less than a stride behind it.
            let values = map[self.first..].chunks(self.stride).take(self.count);
            let mut sums = [0.0; 8];
            for (turn, value) in values.enumerate() {
                let bytes = value.first_chunk::<8>().copied().unwrap_or_default();
                sums[turn & 7] += f64::from_le_bytes(bytes);
            }
            total += sums.iter().sum::<f64>();
        }
        total
    }
}

fn map(directory: &Path, shard: u32) -> Result<Map> {
    let path = directory.join(format!("counter_{}.db", 100_000 + shard));
    match Map::with_options().open(&path) {
        Ok((map, _)) => Ok(map),
        Err(error) => anyhow::bail!("mapping {}: {error}", path.display()),
    }
}

/// Raises the number of files that this process and its children may have open, if it is lower.
fn allow_files(wanted: u64) -> Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < wanted) {
        ensure!(
            limit.maximum.is_none_or(|most| most >= wanted),
            "{wanted} open files are needed, the hard limit is {:?}",
            limit.maximum
        );
        limit.current = limit.maximum.or(Some(wanted));
        setrlimit(Resource::Nofile, limit).context("raising the limit of open files")?;
    }
    Ok(())
}

fn folder_bytes(folder: &Path) -> Result<u64> {
    let bytes = |folder: &Path| -> std::io::Result<u64> {
        let mut bytes = 0;
        for file in fs::read_dir(folder)? {
            bytes += file?.metadata()?.len();
        }
        Ok(bytes)
    };
    bytes(folder).with_context(|| format!("reading {}", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_loads_every_value_of_every_live_shard_once() {
        let shape = Shape {
            shards: 3,
            series: 20,
            has_own_series: true,
        };
        let live = Live::new(shape).unwrap();
        let strided = Strided::new(&live).unwrap();
        let sum = |first: u32| -> f64 {
            let values = (0..3)
                .flat_map(|shard| (0..20).map(move |number| f64::from(first + number * 7 + shard)));
            values.sum()
        };
        assert_eq!(strided.sum(), sum(0));
        live.count(5).unwrap();
        assert_eq!(strided.sum(), sum(5));
        assert_eq!(live.first_total(5), 5.0);
    }
}
