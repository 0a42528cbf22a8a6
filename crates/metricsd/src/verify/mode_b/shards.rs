//! The shards: there are some, and somebody writes them, as the daemon says and as the directory and procfs show.
//!
//! Invariant: the daemon's word alone is not enough, and neither is a file: a dead session's shard lies there like a live one's.

use super::{Wiring, ids};
use crate::verify::evidence::Finding;
use crate::verify::processes::{DirectoryLook, look_into, writers_of};
use crate::verify::record::{Book, Probe};

const SHARDS: &str = "metricsd_shards";
const SESSIONS: &str = "metricsd_sessions";
const LIVE: &str = "state=\"live\"";

impl Wiring<'_> {
    pub(super) fn shards_present(&self, book: &mut Book<'_>) {
        let title = "There are shards in the verified directory";
        book.step_with(ids::SHARDS_PRESENT, title, self.retry, |probe| {
            let look = match self.look(probe) {
                Ok(look) => look,
                Err(finding) => return finding,
            };
            let bytes: u64 = look.shards.iter().map(|shard| shard.len_bytes).sum();
            if look.shards.is_empty() {
                let directory = self.settings.merge.directory.path.display();
                return Finding::fail(
                    format!("{directory} has no shard"),
                    "start a session with this directory; those of ended ones are absorbed after some seconds",
                );
            }
            Finding::pass(format!("{} shards, {bytes} bytes", look.shards.len()))
        });
    }

    pub(super) fn shards_live(&self, book: &mut Book<'_>) {
        let title = "Somebody writes: by the daemon's word, and by procfs";
        book.step_with(ids::SHARDS_LIVE, title, self.retry, |probe| {
            let page = match self.page_about(Some(&[SHARDS, SESSIONS]), probe) {
                Ok(page) => page,
                Err(finding) => return finding,
            };
            let look = match self.look(probe) {
                Ok(look) => look,
                Err(finding) => return finding,
            };
            let shards = page.total(SHARDS, LIVE).unwrap_or(0.0);
            let sessions = page.total(SESSIONS, LIVE).unwrap_or(0.0);
            let writers = look.writers.len();
            let text = format!(
                "the daemon has {shards} live shards of {sessions} live sessions, procfs shows {writers} processes that write here"
            );
            if shards < 1.0 || sessions < 1.0 {
                Finding::fail(text, "start a session; one that ended is not live, whatever it left behind")
            } else if writers == 0 {
                let hidden = look.hidden;
                Finding::fail(
                    format!("{text} ({hidden} processes may not be looked at)"),
                    "run it as the sessions' user or as root, in a PID namespace that has their processes",
                )
            } else {
                Finding::pass(text)
            }
        });
    }

    fn look(&self, probe: &mut Probe) -> Result<DirectoryLook, Finding> {
        let directory = &self.settings.merge.directory.path;
        let mut look = Err(std::io::Error::other("not looked"));
        probe.ask(
            format!("ls -l {}; {}", directory.display(), writers_of(directory)),
            || {
                look = look_into(directory);
                match &look {
                    Ok(look) => {
                        let shards = look
                            .shards
                            .iter()
                            .map(|shard| format!("{} {} bytes\n", shard.name, shard.len_bytes));
                        let writers = look
                            .writers
                            .iter()
                            .map(|writer| format!("written by {writer}\n"));
                        shards.chain(writers).collect()
                    }
                    Err(err) => err.to_string(),
                }
            },
        );
        look.map_err(|err| {
            Finding::fail(
                format!("{}: cannot be listed: {err}", directory.display()),
                "name the daemon's directory with --multiproc-dir, and run it as a user who may read it",
            )
        })
    }
}
