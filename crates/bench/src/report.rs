//! The report: what was measured, medians with their range, and ratios.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// Lines of Markdown, printed as they come and written at the end.
#[derive(Debug)]
pub(crate) struct Report {
    text: String,
}

/// Seconds of repeated runs of one thing.
#[derive(Debug, Clone, Default)]
pub(crate) struct Timings {
    seconds: Vec<f64>,
}

impl Timings {
    /// Adds one run.
    pub(crate) fn push(&mut self, seconds: f64) {
        self.seconds.push(seconds);
        self.seconds.sort_by(f64::total_cmp);
    }

    /// The middle value; 0 when nothing was measured.
    pub(crate) fn median(&self) -> f64 {
        self.seconds
            .get(self.seconds.len() / 2)
            .copied()
            .unwrap_or(0.0)
    }

    /// `median (least to greatest)` in milliseconds.
    pub(crate) fn in_milliseconds(&self) -> String {
        let (least, greatest) = (
            self.seconds.first().unwrap_or(&0.0),
            self.seconds.last().unwrap_or(&0.0),
        );
        format!(
            "{:.2} ms ({:.2} to {:.2})",
            self.median() * 1e3,
            least * 1e3,
            greatest * 1e3
        )
    }
}

impl Report {
    /// An empty report that names the machine's class.
    pub(crate) fn new() -> Report {
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpu
            .lines()
            .find_map(|line| line.strip_prefix("model name"))
            .unwrap_or("unknown")
            .trim_start_matches([' ', '\t', ':']);
        let mut report = Report {
            text: String::new(),
        };
        report.line("# Measurements");
        report.line(&format!("{model}, {cores} cores, Linux {}. Medians (least to greatest) of one interleaved run; read the ratios.", kernel.trim()));
        report
    }

    /// Adds a line, and shows it.
    pub(crate) fn line(&mut self, line: &str) {
        println!("{line}");
        self.text.push_str(line);
        self.text.push('\n');
    }

    /// Writes the report.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let folder = path.parent().context("a report needs a folder")?;
        fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
        fs::write(path, &self.text).with_context(|| format!("writing {}", path.display()))?;
        println!("\nwritten to {}", path.display());
        Ok(())
    }
}
