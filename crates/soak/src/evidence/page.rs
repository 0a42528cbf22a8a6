//! The metrics as `metricsd` has them when everything has ended: the sums over all lives of the sentinel.
//!
//! Invariant: merged by `metricsd`'s own `render` from the shards that the killed processes left, and read by series.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use clap::Parser as _;
use metricsd::cli::{Cli, Command};
use metricsd::settings::MergeSettings;

/// Samples by `name{labels}`, as on the page.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Page(pub BTreeMap<String, f64>);

impl Page {
    /// What `metricsd render` prints for these shards.
    ///
    /// # Errors
    /// There are none, or they cannot be merged.
    pub fn render(shards: &Path, state: &Path) -> Result<Page> {
        let words = [
            "metricsd".as_ref(),
            "render".as_ref(),
            "--multiproc-dir".as_ref(),
        ];
        let cli = Cli::try_parse_from(words.into_iter().chain([
            shards.as_os_str(),
            "--state-dir".as_ref(),
            state.as_os_str(),
        ]))?;
        let Some(Command::Render(arguments)) = cli.command else {
            anyhow::bail!("no command of metricsd");
        };
        let settings = MergeSettings::resolve(&arguments, &|_| None)?;
        let mut text = Vec::new();
        metricsd::render::render(&settings, &mut text).context("merging the metrics")?;
        Page::parse(&String::from_utf8(text).context("the metrics are no text")?)
    }

    fn parse(text: &str) -> Result<Page> {
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        let samples = samples.map(|line| {
            let (series, value) = line.rsplit_once(' ').context("a sample without a value")?;
            Ok((series.to_owned(), value.parse().context("a value")?))
        });
        Ok(Page(samples.collect::<Result<_>>()?))
    }

    /// The sum of a family's series that have all these labels.
    pub fn sum(&self, family: &str, labels: &[(&str, &str)]) -> f64 {
        let is_of = |series: &str| {
            let (name, rest) = series.split_once('{').unwrap_or((series, ""));
            let has =
                |(label, value): &(&str, &str)| rest.contains(&format!("{label}=\"{value}\""));
            name == family && labels.iter().all(has)
        };
        let samples = self.0.iter().filter(|(series, _)| is_of(series));
        samples.map(|(_, value)| value).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_is_over_the_series_that_have_all_labels() {
        let text =
            "# TYPE a counter\na{x=\"1\",y=\"2\"} 3.0\na{x=\"1\",y=\"3\"} 4.0\nab 9.0\nb 1.0\n";
        let page = Page::parse(text).unwrap();
        assert_eq!(page.sum("a", &[("x", "1")]), 7.0);
        assert_eq!(page.sum("a", &[("x", "1"), ("y", "3")]), 4.0);
        assert_eq!(page.sum("a", &[("x", "2")]), 0.0);
        assert_eq!(page.sum("b", &[]), 1.0);
    }
}
