//! Reading an exporter over loopback: one scrape as a map from series to value, and Prometheus' query API.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// One scrape: the text of each series (`name{labels}`) and its value.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Scrape {
    /// Series text exactly as exposed, to value.
    pub samples: BTreeMap<String, f64>,
}

impl Scrape {
    /// Reads exposition text; comment lines are passed over.
    ///
    /// # Errors
    /// Names the first line that is no sample.
    pub fn parse(text: &str) -> Result<Scrape> {
        let mut samples = BTreeMap::new();
        for line in text
            .lines()
            .filter(|line| !line.starts_with('#') && !line.is_empty())
        {
            let (series, value) = line
                .rsplit_once(' ')
                .with_context(|| format!("no value in line '{line}'"))?;
            let value = value
                .parse()
                .with_context(|| format!("no number in line '{line}'"))?;
            samples.insert(series.to_owned(), value);
        }
        Ok(Scrape { samples })
    }

    /// The sum over every series of one sample name; absent when there is none.
    pub fn total(&self, name: &str) -> Option<f64> {
        let values: Vec<f64> = self.of(name).map(|(_, value)| value).collect();
        (!values.is_empty()).then(|| values.iter().sum())
    }

    /// The series of one sample name.
    pub fn of<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (&'a str, f64)> {
        let mine = move |series: &str| {
            series
                .strip_prefix(name)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('{'))
        };
        self.samples
            .iter()
            .filter(move |(series, _)| mine(series))
            .map(|(series, value)| (series.as_str(), *value))
    }

    /// Series that only ever grow: counters, and the parts of histograms.
    pub fn growing(&self) -> impl Iterator<Item = (&str, f64)> {
        let grows = |series: &str| {
            let name = series.split('{').next().unwrap_or(series);
            ["_total", "_bucket", "_count", "_sum"]
                .iter()
                .any(|ending| name.ends_with(ending))
        };
        self.samples
            .iter()
            .filter(move |(series, _)| grows(series))
            .map(|(series, value)| (series.as_str(), *value))
    }
}

/// The body of `http://127.0.0.1:port/path`.
///
/// # Errors
/// When nothing answers within ten seconds or the status is not 200.
pub fn get(port: u16, path: &str) -> Result<String> {
    let url = format!("http://127.0.0.1:{port}{path}");
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(Duration::from_secs(10)))
        .proxy(None)
        .build()
        .into();
    let mut response = agent
        .get(&url)
        .call()
        .with_context(|| format!("asking {url}"))?;
    response
        .body_mut()
        .with_config()
        .limit(256 << 20)
        .read_to_string()
        .with_context(|| format!("reading {url}"))
}

/// One scrape of the exporter at `port`.
///
/// # Errors
/// As [`get`] and [`Scrape::parse`].
pub fn scrape(port: u16) -> Result<Scrape> {
    Scrape::parse(&get(port, "/metrics")?)
}

/// An instant query against a Prometheus at `port`: one (labels, value) for each series of the answer.
///
/// # Errors
/// When Prometheus does not answer, or answers with anything but a vector.
pub fn query(port: u16, expression: &str) -> Result<Vec<(BTreeMap<String, String>, f64)>> {
    let url = format!("http://127.0.0.1:{port}/api/v1/query");
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(Duration::from_secs(10)))
        .proxy(None)
        .build()
        .into();
    let body = agent
        .get(&url)
        .query("query", expression)
        .call()
        .with_context(|| format!("asking {url} for {expression}"))?
        .body_mut()
        .read_to_string()?;
    let answer: serde_json::Value =
        serde_json::from_str(&body).context("reading Prometheus' answer")?;
    if answer["data"]["resultType"] != "vector" {
        bail!("{expression} gave {body} where a vector was expected");
    }
    let rows = answer["data"]["result"]
        .as_array()
        .context("a vector without rows")?;
    rows.iter()
        .map(|row| {
            let labels = serde_json::from_value(row["metric"].clone()).context("reading labels")?;
            let value = row["value"][1]
                .as_str()
                .context("a sample without value")?
                .parse()
                .context("a sample that is no number")?;
            Ok((labels, value))
        })
        .collect()
}
