//! The page: it is served, as text 0.0.4, and it is a sentinel's own.
//!
//! Invariant: 200 is 200: a redirection, an error page or a page of another type is none.

use metricsd_exporter::CONTENT_TYPE_TEXT_0_0_4;

use super::reading::Samples;
use super::{Inspection, ids};
use crate::verify::evidence::{Ended, Finding};
use crate::verify::page::{Page, defects, named};
use crate::verify::record::{Book, Retry};

/// What says which version serves.
const BUILD_INFO: &str = "sentinel_build_info";

/// What says that the page is not a sentinel's own.
const COLLECTOR: &str = "metricsd_build_info";

impl Inspection<'_> {
    pub(super) fn http_ok(&mut self, book: &mut Book<'_>) {
        let title = "The page is served with status 200";
        let url = self.args.target.page();
        self.is_served = true;
        let mut first = None;
        let ended = book.step_with(ids::HTTP_OK, title, self.retry, |probe| {
            let (answer, time) = match self.ask(&url, None, probe) {
                Ok(answered) => answered,
                Err(finding) => {
                    return Finding::fail(
                        finding.text,
                        "start the sentinel in Mode A, or name its own address with --target; one that hangs is told from one that is gone by the check port_owner",
                    );
                }
            };
            if answer.status != 200 {
                return Finding::fail(
                    format!("{url} answers with status {}, expected 200", answer.status),
                    "make sure that the address is the sentinel's",
                );
            }
            probe.file("metrics-first.prom", &answer.body);
            let page = Page::read(answer.body.clone());
            first = Samples::of(answer, time).ok();
            Finding::pass(format!(
                "200, {} bytes, {} samples",
                page.bytes.len(),
                page.samples.len()
            ))
        });
        self.first = first;
        self.is_served = ended == Ended::Pass;
        self.has_waited(ended);
    }

    pub(super) fn content_type(&self, book: &mut Book<'_>) {
        let title = "The page is declared as text 0.0.4";
        let url = self.args.target.page();
        book.step(ids::CONTENT_TYPE, title, |probe| {
            match self.ask(&url, Some(&[]), probe) {
                Ok((answer, _)) if answer.content_type == CONTENT_TYPE_TEXT_0_0_4 => {
                    Finding::pass(format!("{CONTENT_TYPE_TEXT_0_0_4}, exactly"))
                }
                Ok((answer, _)) => Finding::fail(
                    format!(
                        "found {:?}, expected {CONTENT_TYPE_TEXT_0_0_4:?}",
                        answer.content_type
                    ),
                    "ask the sentinel itself, without a proxy that rewrites headers",
                ),
                Err(finding) => finding,
            }
        });
    }

    pub(super) fn exposition_valid(&self, book: &mut Book<'_>) {
        let title = "The page is text 0.0.4: UTF-8, every series once, comments before samples, counts that are counts";
        let url = self.args.target.page();
        book.step(ids::EXPOSITION_VALID, title, |probe| {
            let (answer, _) = match self.ask(&url, Some(&[]), probe) {
                Ok(answered) => answered,
                Err(finding) => return finding,
            };
            let page = Page::read(answer.body);
            let found = defects(&page);
            if page.samples.is_empty() {
                return Finding::fail(
                    "the page has no sample at all",
                    "make sure that the address is the sentinel's",
                );
            }
            if found.is_empty() {
                Finding::pass(format!("{} samples, no defect", page.samples.len()))
            } else {
                Finding::fail(
                    named(&found),
                    "ask the sentinel itself, without anything in between that puts pages together",
                )
            }
        });
    }

    pub(super) fn build_info(&self, book: &mut Book<'_>) {
        let check = (
            ids::BUILD_INFO,
            "The page is one sentinel's own, of one version",
        );
        self.judge(book, check, &[BUILD_INFO, COLLECTOR], Retry::NEVER, |page| {
            if page.family(COLLECTOR).is_some() {
                return Finding::fail(
                    "this is metricsd's page, on which a sentinel in Mode B has neither health nor process",
                    "name the address of a sentinel in Mode A; in Mode B use `metricsd verify mode-b --expect sentinel_trading_cycles_total`",
                );
            }
            let versions: Vec<(&str, Option<f64>)> = page
                .series(BUILD_INFO)
                .iter()
                .map(|series| {
                    let version = super::reading::label_of(series, "version").unwrap_or_default();
                    (version, super::reading::number(&series.value))
                })
                .collect();
            match versions.as_slice() {
                [(version, Some(1.0))] if !version.is_empty() => {
                    Finding::pass(format!("a sentinel of version {version}"))
                }
                [] => Finding::fail(
                    format!("{BUILD_INFO} has no sample"),
                    "name the sentinel's own address with --target",
                ),
                found => Finding::fail(
                    format!("{BUILD_INFO} is {found:?}, expected one version at 1"),
                    "ask one sentinel, without anything in between that puts pages together",
                ),
            }
        });
    }
}
