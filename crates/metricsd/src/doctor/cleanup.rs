//! What deletes shards, or will: rules of systemd-tmpfiles, cron, scripts, and places that the system clears.
//!
//! Invariant: a rule is reported with its file and line, so that it can be removed. Must not touch: files.

use std::path::Path;

use super::scripts::Hooks;
use super::{findings_or, some_of, tmpfiles};
use crate::report::Check;

/// Everything that is written down about it.
pub(super) fn check(directory: &Path, hooks: &Hooks) -> Vec<Check> {
    let id = "cleanup_rules";
    let path = directory.display();
    let directory = std::fs::canonicalize(directory).unwrap_or_else(|_| directory.to_owned());
    let mut checks = Vec::new();
    let fate = tmpfiles::fate_of(&directory);
    if let Some(rule) = fate.aged {
        checks.push(Check::fail(
            id,
            format!("systemd-tmpfiles removes old files in {path}: {rule}; a store into a mapping does not make a shard look younger, so shards of live programs go as well"),
            format!("printf 'x %s\\nx %s/*\\n' '{path}' '{path}' >/etc/tmpfiles.d/metricsd.conf"),
        ));
    }
    if let Some(rule) = fate.emptied {
        checks.push(Check::warn(
            id,
            format!("systemd-tmpfiles empties {path} at each boot: {rule}; what sessions stored after the daemon's last note is gone then"),
            "use a directory that nobody empties, such as /dev/shm/prom_multiproc or one below /var/lib, for all programs",
        ));
    }
    if !hooks.deleting.is_empty() {
        checks.push(Check::fail(
            id,
            format!("shards are deleted by {}", some_of(&hooks.deleting)),
            "remove that line: metricsd retires the shards of ended processes itself, and live ones lose theirs",
        ));
    }
    if !hooks.runtime.is_empty() {
        checks.push(Check::fail(
            id,
            format!(
                "systemd removes the directory when the unit stops: {}",
                some_of(&hooks.runtime)
            ),
            "add RuntimeDirectoryPreserve=yes below it, then systemctl daemon-reload",
        ));
    }
    if directory.starts_with("/run/user") {
        checks.push(Check::fail(
            id,
            format!("{path} is below /run/user, which goes when its user logs out"),
            "loginctl enable-linger USER, or use /dev/shm/prom_multiproc for all programs",
        ));
    }
    findings_or(
        checks,
        id,
        "nothing that is written down deletes shards (tmpfiles.d, cron, units, scripts of running programs)",
    )
}
