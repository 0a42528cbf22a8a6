//! Shard files as processes leave them, and daemons on them: what the measurements of retirement share.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use metricsd_shard::{Key, encode_entry, encode_header};
use xtask::child::{Running, free_port};
use xtask::scrape::get;
use xtask::workspace;

/// A directory for shards in memory where the machine has that, as shards are meant to lie; removed when it is dropped.
pub(crate) fn scratch() -> Result<tempfile::TempDir> {
    let shared_memory = Path::new("/dev/shm");
    if shared_memory.is_dir()
        && let Ok(directory) = tempfile::tempdir_in(shared_memory)
    {
        return Ok(directory);
    }
    tempfile::tempdir().context("making a folder")
}

/// The bytes of a counter shard with so many series of a family; each counts 1. With an owner they are its own.
pub(crate) fn counter_bytes(series: u32, owner: Option<u32>) -> Vec<u8> {
    let mut body = Vec::new();
    for number in 0..series {
        let mut labels = vec![("strategy_id".to_owned(), format!("s{number}"))];
        labels.extend(owner.map(|owner| ("owner".to_owned(), format!("w{owner}"))));
        labels.sort();
        let key = Key {
            family: "bench_events".into(),
            sample: "bench_events_total".into(),
            labels,
            help: "Events of the benchmark.".into(),
        };
        body.extend(encode_entry(key.encode().as_bytes(), 1.0, 0.0));
    }
    let mut bytes = encode_header(8 + body.len()).to_vec();
    bytes.extend(body);
    bytes
}

/// A shard whose process lives: somebody has it open for writing until this is dropped. It appears with all it holds.
pub(crate) fn live_shard(directory: &Path, id: u32, bytes: &[u8]) -> Result<File> {
    let other = directory.join(format!("being-born-{id}"));
    let mut file =
        File::create_new(&other).with_context(|| format!("creating {}", other.display()))?;
    file.write_all(bytes).context("writing a shard")?;
    let path = directory.join(format!("counter_{id}.db"));
    fs::rename(&other, &path).with_context(|| format!("creating {}", path.display()))?;
    Ok(file)
}

/// How many shard files there are, retiring ones included.
pub(crate) fn count_files(directory: &Path) -> Result<usize> {
    let entries =
        fs::read_dir(directory).with_context(|| format!("listing {}", directory.display()))?;
    let is_shard = |name: &str| name.ends_with(".db") || name.contains(".db.retiring-");
    Ok(entries
        .filter_map(Result::ok)
        .filter(|entry| is_shard(&entry.file_name().to_string_lossy()))
        .count())
}

/// A daemon that retires soon, on a directory and a state of its own.
#[derive(Debug)]
pub(crate) struct Retiring {
    pub(crate) process: Running,
    pub(crate) port: u16,
}

impl Retiring {
    /// Starts it in a folder with the directory `shards` and the state `state`, and waits until it is ready. Gives the seconds that
    /// took as well.
    pub(crate) fn start(folder: &Path, more: &[&str]) -> Result<(Retiring, f64)> {
        let text = |path: PathBuf| {
            path.into_os_string()
                .into_string()
                .map_err(|path| anyhow::anyhow!("{} is not UTF-8", path.display()))
        };
        let (shards, state) = (text(folder.join("shards"))?, text(folder.join("state"))?);
        let port = free_port()?;
        let port_text = port.to_string();
        let mut arguments = vec![
            "serve",
            "--port",
            &port_text,
            "--multiproc-dir",
            &shards,
            "--state-dir",
            &state,
            "--retire-after",
            "100ms",
        ];
        arguments.extend(more);
        let started = Instant::now();
        let mut process = Running::start(
            &workspace::program("metricsd")?,
            &arguments,
            &[],
            &folder.join("log"),
        )?;
        while get(port, "/-/ready").is_err() {
            if process.ended()?.is_some() || started.elapsed() > Duration::from_secs(120) {
                bail!(
                    "metricsd does not get ready; it printed:\n{}",
                    process.output()
                );
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        let seconds = started.elapsed().as_secs_f64();
        Ok((Retiring { process, port }, seconds))
    }

    /// Resident memory in bytes.
    pub(crate) fn resident_bytes(&self) -> Result<u64> {
        let path = format!("/proc/{}/status", self.process.id());
        let status = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
        let kibibytes = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next())
            .context("no VmRSS")?;
        let kibibytes: u64 = kibibytes.parse().context("VmRSS is no number")?;
        Ok(kibibytes * 1024)
    }

    /// Waits until so many shard files are left; gives the seconds that took.
    pub(crate) fn wait_for_files(&self, directory: &Path, count: usize) -> Result<f64> {
        let started = Instant::now();
        loop {
            let left = count_files(directory)?;
            if left <= count {
                return Ok(started.elapsed().as_secs_f64());
            }
            if started.elapsed() > Duration::from_secs(600) {
                bail!(
                    "{left} shards are left; metricsd printed:\n{}",
                    self.process.output()
                );
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Seconds of one scrape over HTTP, and its body.
    pub(crate) fn scrape(&self) -> Result<(f64, String)> {
        let started = Instant::now();
        let body = get(self.port, "/metrics")?;
        Ok((started.elapsed().as_secs_f64(), body))
    }
}
