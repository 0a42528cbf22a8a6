//! What a report is about: host, user, versions and places, as the system tells them.
//!
//! Invariant: what cannot be told is said to be unknown. Reads only.

use std::fs;

use rustix::process::getuid;
use rustix::system::uname;

use crate::verify::evidence::{Subject, Verified, redact};

/// Who verifies what, and where. `title` names it at the head of the report.
pub fn describe(title: &'static str, verified: Vec<Verified>) -> Subject {
    let words: Vec<String> = std::env::args_os()
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let system = uname();
    let text = |text: &std::ffi::CStr| text.to_string_lossy().into_owned();
    Subject {
        title,
        command: redact(words.iter().map(String::as_str)),
        version: env!("CARGO_PKG_VERSION"),
        verified,
        host: text(system.nodename()),
        kernel: format!(
            "{} {} {}",
            text(system.sysname()),
            text(system.release()),
            text(system.machine())
        ),
        user: user(),
        working_directory: std::env::current_dir()
            .map_or_else(|_| "unknown".to_owned(), |path| path.display().to_string()),
    }
}

/// The user's name by the system's table: a variable could say anything.
fn user() -> String {
    let uid = getuid().as_raw();
    let table = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = table.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    });
    match name {
        Some(name) => format!("{name} (uid {uid})"),
        None => format!("uid {uid}"),
    }
}
