//! The last check: what is served is what shards, archive and journal come to.

use super::{Wiring, ids};
use crate::report::{Outcome, has_passed};
use crate::verify::evidence::Finding;
use crate::verify::record::Book;
use crate::verify::totals::prove;

impl Wiring<'_> {
    pub(super) fn totals_proven(&self, book: &mut Book<'_>) {
        let title = "Every total equals what is recomputed without the daemon";
        book.step(ids::TOTALS_PROVEN, title, |probe| {
            let merge = &self.settings.merge;
            let asked = format!(
                "metricsd verify totals --multiproc-dir {} --state-dir {} --url {}",
                merge.directory.path.display(),
                merge.state.path.display(),
                self.settings.url
            );
            let mut finding = Finding::fail("nothing was compared", "run `metricsd verify totals`");
            probe.ask(asked, || {
                let totals = prove(&self.settings.merge, &self.settings.url);
                let failed = totals
                    .checks
                    .iter()
                    .find(|check| check.outcome != Outcome::Pass);
                finding = match failed {
                    None if has_passed(&totals.checks) => {
                        let of = |id| totals.checks.iter().find(|check| check.id == id);
                        let check = of("totals_equal").or(totals.checks.last());
                        Finding::pass(check.map_or("", |check| check.text.as_str()))
                    }
                    Some(failed) => Finding::fail(
                        format!("{}: {}", failed.id, failed.text),
                        failed
                            .next
                            .clone()
                            .unwrap_or_else(|| "run `metricsd verify totals`".to_owned()),
                    ),
                    None => finding.clone(),
                };
                let checks = totals.checks.iter().map(|check| {
                    let word = if check.outcome == Outcome::Pass {
                        "PASS"
                    } else {
                        "FAIL"
                    };
                    format!("{word}|{}|{}", check.id, check.text)
                });
                checks.chain(totals.lines()).collect::<Vec<_>>().join("\n")
            });
            finding
        });
    }
}
