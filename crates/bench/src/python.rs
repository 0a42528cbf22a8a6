//! Python's side: one interpreter that makes a scrape of a directory each time it is asked, as `prometheus_client`'s endpoint does.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result};

/// Collects and renders once a line of input; answers with seconds and the length of the body.
const PROGRAM: &str = "
import sys, time
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
for _ in sys.stdin:
    start = time.perf_counter()
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=sys.argv[1])
    body = generate_latest(registry)
    print(time.perf_counter() - start, len(body), flush=True)
";

/// The running interpreter.
#[derive(Debug)]
pub(crate) struct Scraper {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Scraper {
    /// Starts the interpreter on a directory.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(crate) fn start(python: &Path, directory: &Path) -> Result<Scraper> {
        let mut command = Command::new(python);
        command
            .arg("-c")
            .arg(PROGRAM)
            .arg(directory)
            .env("PROMETHEUS_MULTIPROC_DIR", directory);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting Python")?;
        let input = child.stdin.take().context("a piped child without input")?;
        let output = BufReader::new(
            child
                .stdout
                .take()
                .context("a piped child without output")?,
        );
        Ok(Scraper {
            child,
            input,
            output,
        })
    }

    /// One scrape: seconds as Python measured them, without HTTP.
    ///
    /// # Errors
    /// When Python failed.
    pub(crate) fn scrape(&mut self) -> Result<f64> {
        self.input
            .write_all(b"go\n")
            .context("asking Python for a scrape")?;
        let mut line = String::new();
        self.output
            .read_line(&mut line)
            .context("reading Python's answer")?;
        let seconds = line
            .split_whitespace()
            .next()
            .context("Python gave no answer")?;
        seconds.parse().with_context(|| format!("reading '{line}'"))
    }
}

impl Drop for Scraper {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
