//! The report: what was measured, medians with their range, and ratios.
//!
//! Invariant: a figure stands in the report and among the [figures](Report::figure) that targets are computed of, or in neither.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// Lines of Markdown, printed as they come and written at the end.
#[derive(Debug, Clone, Default)]
pub(crate) struct Report {
    text: String,
    figures: BTreeMap<String, f64>,
    /// File name and content of each picture.
    pictures: Vec<(String, String)>,
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
    /// Adds a line, and shows it.
    pub(crate) fn line(&mut self, line: &str) {
        println!("{line}");
        self.text.push_str(line);
        self.text.push('\n');
    }

    /// Notes a figure under a name, for the targets.
    pub(crate) fn figure(&mut self, name: &str, value: f64) {
        self.figures.insert(name.to_owned(), value);
    }

    /// A figure that was noted in this run.
    pub(crate) fn noted(&self, name: &str) -> Option<f64> {
        self.figures.get(name).copied()
    }

    /// All figures whose name begins like that, with the rest of it.
    pub(crate) fn noted_below<'a>(
        &'a self,
        beginning: &'a str,
    ) -> impl Iterator<Item = (&'a str, f64)> {
        self.figures
            .iter()
            .filter_map(move |(name, &value)| Some((name.strip_prefix(beginning)?, value)))
    }

    /// Adds a picture and the line that shows it.
    pub(crate) fn picture(&mut self, file_name: &str, description: &str, svg: String) {
        self.line(&format!("\n![{description}](pictures/{file_name})"));
        self.pictures.push((file_name.to_owned(), svg));
    }

    /// Where the next line will stand.
    pub(crate) fn mark(&self) -> usize {
        self.text.len()
    }

    /// The same report with text where a mark was taken.
    pub(crate) fn with(&self, mark: usize, text: &str) -> Report {
        let mut report = self.clone();
        report.text.insert_str(mark, text);
        report
    }

    /// Writes the text as `name` into a folder, the pictures below it, and the figures beside it.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub(crate) fn write(&self, folder: &Path, name: &str) -> Result<()> {
        let pictures = folder.join("pictures");
        fs::create_dir_all(&pictures)
            .with_context(|| format!("creating {}", pictures.display()))?;
        let write = |path: &Path, text: &str| {
            fs::write(path, text).with_context(|| format!("writing {}", path.display()))
        };
        for (file_name, svg) in &self.pictures {
            write(&pictures.join(file_name), svg)?;
        }
        let path = folder.join(name);
        write(&path, &self.text)?;
        println!("\nwritten to {}", path.display());
        Ok(())
    }

    /// The figures, one a line: name, tabulator, value.
    pub(crate) fn figures_as_text(&self) -> String {
        let lines = self.figures.iter();
        lines
            .map(|(name, value)| format!("{name}\t{value}\n"))
            .collect()
    }
}
