//! Alertmanager itself: it answers, runs on its configuration, and is the one that Prometheus sends to.
//!
//! Invariant: who it is, is compared by what it answers; two names of one address are one Alertmanager, and one name may be two. Its
//! configuration, which may hold tokens, is read and not written down.

use serde_json::Value;

use super::asks::{in_time, step};
use super::{Hub, Party, ids, yaml};
use crate::verify::evidence::Finding;
use crate::verify::http::Answer;
use crate::verify::page::Page;
use crate::verify::record::{Book, Probe};

const RELOAD: &str = "alertmanager_config_last_reload_successful";
const START: &str = "process_start_time_seconds";

/// What sends to the other one.
const POINT_IT: &str = "name it below alerting.alertmanagers in Prometheus' configuration and reload it, or name the one that Prometheus sends to with --alertmanager";

impl Hub<'_> {
    pub(super) fn alertmanager_ready(&mut self, book: &mut Book<'_>) {
        let title = "Alertmanager answers and is ready";
        let check = self.check(ids::ALERTMANAGER_READY, title, &[]);
        let (mut ahead, mut routes) = (None, None);
        let ended = step(book, check, self.retry(), |probe| {
            self.alertmanager_is_ready(probe)?;
            let (status, answer) = self.status_at(&self.args.alertmanager, probe)?;
            let version = status["versionInfo"]["version"].as_str();
            let Some((version, config)) = version.zip(status["config"]["original"].as_str()) else {
                return Err(Finding::fail(
                    format!(
                        "{} tells no version and no configuration of Alertmanager",
                        self.args.alertmanager
                    ),
                    "name Alertmanager's own address with --alertmanager",
                ));
            };
            // It has whole seconds.
            ahead = answer
                .date
                .map(|date| 0.5 - jiff::Timestamp::now().duration_since(date).as_secs_f64());
            routes = yaml::parse(config)
                .ok()
                .and_then(|documents| documents.into_iter().next());
            Ok(Finding::pass(format!(
                "Alertmanager {version}, started {}",
                status["uptime"]
                    .as_str()
                    .unwrap_or("at a time that it does not tell")
            )))
        });
        self.alertmanager_ahead = ahead;
        self.routes = routes;
        self.note(Party::Alertmanager, ended);
    }

    /// Its status, of which the configuration is not written down.
    fn status_at(&self, base: &str, probe: &mut Probe) -> Result<(Value, Answer), Finding> {
        self.alertmanager_at(base, "status", &[], probe, |answer| {
            let mut status: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
            if let Some(status) = status.as_object_mut() {
                status.remove("config");
            }
            status.to_string()
        })
    }

    pub(super) fn alertmanager_config(&self, book: &mut Book<'_>) {
        let title = "Alertmanager runs on the configuration that it read last";
        let check = self.check(ids::ALERTMANAGER_CONFIG, title, &[Party::Alertmanager]);
        step(book, check, self.retry(), |probe| {
            let page = self.alertmanager_page(&[RELOAD], probe)?;
            match page.value(RELOAD) {
                Some(1.0) => Ok(Finding::pass(format!("{RELOAD} is 1"))),
                Some(value) => Err(Finding::fail(
                    format!(
                        "{RELOAD} is {value}: the last reading failed, the one before is in force"
                    ),
                    "amtool check-config FILE says what is wrong with it; then reload Alertmanager (SIGHUP)",
                )),
                None => Err(Finding::fail(
                    format!("no {RELOAD} on its page"),
                    "name Alertmanager's own address with --alertmanager",
                )),
            }
        });
    }

    pub(super) fn alertmanager_cluster(&self, book: &mut Book<'_>) {
        let title = "Alertmanager's cluster is whole, or there is none";
        let check = self.check(ids::ALERTMANAGER_CLUSTER, title, &[Party::Alertmanager]);
        step(book, check, self.retry(), |probe| {
            let (status, _) = self.status_at(&self.args.alertmanager, probe)?;
            let state = status["cluster"]["status"].as_str().unwrap_or("nothing");
            let failed = self
                .alertmanager_page(&["alertmanager_cluster_"], probe)?
                .value("alertmanager_cluster_failed_peers")
                .unwrap_or_default();
            let peers = status["cluster"]["peers"].as_array().map_or(0, Vec::len);
            match state {
                "disabled" => Ok(Finding::pass("no cluster: it is alone")),
                "ready" if failed == 0.0 => Ok(Finding::pass(format!("ready, {peers} peers"))),
                _ => Err(Finding::fail(
                    format!(
                        "the cluster is {state} with {peers} peers, {failed} failed; expected ready or disabled"
                    ),
                    "start the peers that are named with --cluster.peer, or wait until it has settled",
                )),
            }
        });
    }

    /// Its own page of metrics.
    pub(super) fn alertmanager_page(
        &self,
        names: &[&str],
        probe: &mut Probe,
    ) -> Result<Page, Finding> {
        let next = "name Alertmanager's own address with --alertmanager";
        self.page(&self.args.alertmanager, names, next, probe)
    }

    /// A page of metrics, of which the lines of these names are written down.
    pub(super) fn page(
        &self,
        base: &str,
        names: &[&str],
        next: &str,
        probe: &mut Probe,
    ) -> Result<Page, Finding> {
        let url = format!("{base}/metrics");
        let answer = self.client.page(&url, Some(names), probe);
        let answer = in_time(answer, &url, next, probe)?;
        if answer.status != 200 {
            let text = format!("{url} answers {}, expected 200", answer.status);
            return Err(Finding::fail(text, next));
        }
        Ok(Page::read(answer.body))
    }

    pub(super) fn alertmanager_known(&mut self, book: &mut Book<'_>) {
        let title = "Prometheus sends to this Alertmanager";
        let needs = [Party::Prometheus, Party::Alertmanager];
        let check = self.check(ids::ALERTMANAGER_KNOWN, title, &needs);
        let mut is_known = false;
        step(book, check, self.retry(), |probe| {
            let data = self.prometheus("alertmanagers", &[], None, probe)?;
            let urls = data["activeAlertmanagers"].as_array().into_iter().flatten();
            let urls: Vec<&str> = urls.filter_map(|known| known["url"].as_str()).collect();
            if urls.is_empty() {
                return Err(Finding::fail("Prometheus knows no Alertmanager", POINT_IT));
            }
            let mut others = Vec::new();
            for url in &urls {
                match self.is_this(url, probe)? {
                    Ok(how) => {
                        is_known = true;
                        return Ok(Finding::pass(format!(
                            "{url} is it by {how}; {} known",
                            urls.len()
                        )));
                    }
                    Err(why) => others.push(format!("{url} {why}")),
                }
            }
            Err(Finding::fail(
                format!(
                    "none that Prometheus sends to is {}: {}",
                    self.args.alertmanager,
                    others.join("; ")
                ),
                POINT_IT,
            ))
        });
        self.is_known = is_known;
    }

    /// Whether it is the Alertmanager behind an address of Prometheus', and by what; else why not.
    fn is_this(
        &self,
        url: &str,
        probe: &mut Probe,
    ) -> Result<Result<&'static str, String>, Finding> {
        let base = url.split("/api/v").next().unwrap_or(url);
        let (named, _) = self.status_at(&self.args.alertmanager, probe)?;
        match self.status_at(base, probe) {
            Ok((known, _)) => {
                let who = |status: &Value| {
                    [
                        &status["uptime"],
                        &status["versionInfo"],
                        &status["cluster"]["name"],
                    ]
                    .map(Value::clone)
                };
                Ok(
                    if who(&named) == who(&known) && !named["uptime"].is_null() {
                        Ok("its answer")
                    } else {
                        Err(format!(
                            "is another one, started {}",
                            known["uptime"]
                                .as_str()
                                .unwrap_or("at a time that it does not tell")
                        ))
                    },
                )
            }
            // Its name may be one of a network that this host is not in. Prometheus is, and may scrape it.
            Err(finding) => self.is_this_by_scrape(base, &finding.text, probe),
        }
    }

    /// The same by the start of the process, as Prometheus scraped it from that address.
    fn is_this_by_scrape(
        &self,
        base: &str,
        unreachable: &str,
        probe: &mut Probe,
    ) -> Result<Result<&'static str, String>, Finding> {
        let scraped = self
            .targets
            .iter()
            .find(|target| target.url.strip_suffix("/metrics") == Some(base));
        let Some(target) = scraped else {
            return Ok(Err(format!(
                "does not answer here ({unreachable}), and is no target of Prometheus"
            )));
        };
        let labels: Vec<String> = target
            .labels
            .iter()
            .map(|(name, value)| format!("{name}={value:?}"))
            .collect();
        let found = self.vector(&format!("{START}{{{}}}", labels.join(",")), probe)?;
        let page = self.alertmanager_page(&[START], probe)?;
        let start = page.value(START);
        Ok(match (found.first(), start) {
            (Some(sample), Some(start)) if (sample.value - start).abs() < 0.01 => {
                Ok("the start of its process, as Prometheus scrapes it")
            }
            _ => Err(format!(
                "does not answer here ({unreachable}), and Prometheus scrapes another process there"
            )),
        })
    }
}
