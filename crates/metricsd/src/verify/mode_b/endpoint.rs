//! The page and the two endpoints beside it: status and content type.
//!
//! Invariant: 200 is 200: a redirection, an error page or a page of another type is none.

use metricsd_exporter::CONTENT_TYPE_TEXT_0_0_4;

use super::{Wiring, ids};
use crate::verify::evidence::{Ended, Finding};
use crate::verify::page::Page;
use crate::verify::record::{Book, Probe, Retry};

/// What says which version serves.
const BUILD_INFO: &str = "metricsd_build_info";

impl Wiring<'_> {
    pub(super) fn http_ok(&mut self, book: &mut Book<'_>) {
        let title = "The page is served with status 200";
        let mut before = None;
        let ended = book.step_with(ids::HTTP_OK, title, self.retry, |probe| {
            match self.page(probe) {
                Ok(page) => {
                    probe.file("metrics-before.prom", &page.bytes);
                    let text = format!(
                        "200, {} bytes, {} samples{}",
                        page.bytes.len(),
                        page.samples.len(),
                        served_by(&page)
                    );
                    before = Some(page);
                    Finding::pass(text)
                }
                Err(finding) => finding,
            }
        });
        self.before = before.unwrap_or_default();
        if ended != Ended::Pass {
            // Every later check asks for the page once more; that often is enough.
            self.retry = Retry::NEVER;
        }
    }

    pub(super) fn content_type(&self, book: &mut Book<'_>) {
        let title = "The page is declared as text 0.0.4";
        let url = self.settings.url.to_string();
        book.step_with(ids::CONTENT_TYPE, title, self.retry, |probe| {
            match self.client.page(&url, Some(&[]), probe) {
                Ok(answer) if answer.content_type == CONTENT_TYPE_TEXT_0_0_4 => {
                    Finding::pass(format!("{CONTENT_TYPE_TEXT_0_0_4}, exactly"))
                }
                Ok(answer) => Finding::fail(
                    format!(
                        "found {:?}, expected {CONTENT_TYPE_TEXT_0_0_4:?}",
                        answer.content_type
                    ),
                    "ask metricsd itself, without a proxy that rewrites headers",
                ),
                Err(err) => unreachable_page(&err),
            }
        });
    }

    pub(super) fn healthy(&self, book: &mut Book<'_>) {
        self.says_yes(book, ids::HEALTHY, "/-/healthy", "The process answers");
    }

    pub(super) fn ready(&self, book: &mut Book<'_>) {
        self.says_yes(book, ids::READY, "/-/ready", "The last collection worked");
    }

    fn says_yes(&self, book: &mut Book<'_>, id: &str, path: &str, title: &str) {
        let url = format!("{}{path}", self.settings.base);
        book.step_with(id, title, self.retry, |probe| {
            match self.client.get(&url, &[], probe) {
                Ok(answer) if answer.status == 200 => Finding::pass(format!("{path} answers 200")),
                Ok(answer) => Finding::fail(
                    format!("{path} answers {}: {}", answer.status, answer.text().trim()),
                    "read the daemon's log; what /-/ready says is why it cannot collect",
                ),
                Err(err) => unreachable_page(&err),
            }
        });
    }

    /// The page as it is now; its beginning is written down.
    pub(super) fn page(&self, probe: &mut Probe) -> Result<Page, Finding> {
        self.page_about(None, probe)
    }

    /// The page as it is now; the lines of these names are written down.
    pub(super) fn page_about(
        &self,
        names: Option<&[&str]>,
        probe: &mut Probe,
    ) -> Result<Page, Finding> {
        let url = self.settings.url.to_string();
        match self.client.page(&url, names, probe) {
            Ok(answer) if answer.status == 200 => Ok(Page::read(answer.body)),
            Ok(answer) => Err(Finding::fail(
                format!("{url} answers with status {}, expected 200", answer.status),
                "make sure that the address is metricsd's and its path /metrics",
            )),
            Err(err) => Err(unreachable_page(&err)),
        }
    }
}

/// The version of the daemon, by its own word.
fn served_by(page: &Page) -> String {
    let version = page
        .named(BUILD_INFO)
        .find_map(|sample| sample.series.split('"').nth(1));
    version.map_or_else(String::new, |version| format!(", of metricsd {version}"))
}

fn unreachable_page(err: &str) -> Finding {
    Finding::fail(
        err,
        "start `metricsd serve`, or name its address with --url",
    )
}
