//! The environment: does what a session would be started with lead to the directory that is verified, in Mode B, with nothing live?
//!
//! Invariant: a variable that looks like a secret is named and never shown. The rules are those of the programs that read them.

use std::ffi::OsString;
use std::path::Path;

use metricsd_shard::DIRECTORY_VARIABLES;
use program::live_trading::{SWITCHES, TOKEN, is_off};

use super::{Wiring, ids};
use crate::verify::evidence::Finding;
use crate::verify::record::{Book, Probe};

const MODE_VARIABLE: &str = "PEAKTRADE_METRICS_MODE";

impl Wiring<'_> {
    pub(super) fn environment(&self, book: &mut Book<'_>) {
        let title = "Mode and directory variables agree, and nothing is armed for live trading";
        book.step(ids::ENVIRONMENT, title, |probe| {
            let faults = self.faults(probe);
            if faults.is_empty() {
                let choice = &self.settings.merge.directory;
                return Finding::pass(format!(
                    "sessions started here write to {}, which is verified (named by {})",
                    choice.path.display(),
                    choice.source
                ));
            }
            Finding::fail(
                faults.join("; "),
                "set PEAKTRADE_METRICS_MODE=B and PEAKTRADE_METRICS_MULTIPROC_DIR to the daemon's directory, and unset what arms live trading",
            )
        });
    }

    fn faults(&self, probe: &mut Probe) -> Vec<String> {
        let mut faults = Vec::new();
        let mut look = |name: &str, show: bool| {
            let value = (self.env)(name);
            probe.ask(format!("printenv {name}"), || match &value {
                Some(value) if show => value.to_string_lossy().into_owned(),
                Some(value) if value.is_empty() => "(empty)".to_owned(),
                Some(_) => "(set, not shown)".to_owned(),
                None => "(unset)".to_owned(),
            });
            value.unwrap_or_default()
        };
        let mode = look(MODE_VARIABLE, true);
        let text = mode.to_string_lossy();
        if !text.is_empty() && !text.trim().eq_ignore_ascii_case("B") {
            faults.push(format!(
                "{MODE_VARIABLE}={text}, so that a session would serve its own metrics; expected B or unset"
            ));
        }
        for name in DIRECTORY_VARIABLES {
            let value = look(name, true);
            if !value.is_empty() && !self.is_verified(&value) {
                faults.push(format!(
                    "{name}={} leads to another directory than {}",
                    value.to_string_lossy(),
                    self.settings.merge.directory.path.display()
                ));
            }
        }
        for name in SWITCHES {
            let value = look(name, true);
            if !is_off(&value) {
                faults.push(format!(
                    "{name}={} arms live trading; expected unset, 0, false, no or off",
                    value.to_string_lossy()
                ));
            }
        }
        if !look(TOKEN, false).is_empty() {
            faults.push(format!("{TOKEN} is set; expected unset"));
        }
        faults
    }

    fn is_verified(&self, value: &OsString) -> bool {
        let verified = &self.settings.merge.directory.path;
        let path = std::path::absolute(value).unwrap_or_else(|_| Path::new(value).to_owned());
        let canonical = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        canonical(&path) == canonical(verified)
    }
}
