//! A full disk, seen from outside: a small file system needs namespaces of its own, so `unshare` starts our program again in them.

use std::ffi::OsString;
use std::iter;
use std::path::Path;

use super::full_disk::{BROKEN, HELD, NOT_POSSIBLE};
use super::stage::Stage;
use super::{Drilled, below};
use crate::verify::child::Running;
use crate::verify::guard::guarded;
use crate::verify::record::Probe;
use program::sentence;

pub(super) fn act(stage: &Stage, probe: &mut Probe) -> Drilled {
    let mut session = OsString::from("--session-bin=");
    session.push(stage.session_program());
    let namespaces = ["--user", "--map-root-user", "--mount"].map(OsString::from);
    // To get into a namespace takes away that it ends with us; so it is asked for again in there.
    let arguments: Vec<OsString> = namespaces
        .into_iter()
        .chain(iter::once(stage.metricsd().into()))
        .chain(guarded(stage.metricsd()))
        .chain(["verify", "mode-b", "--full-disk-stage"].map(OsString::from))
        .chain([stage.folder().into(), session])
        .collect();
    let log = below(stage.folder(), "full-disk.log");
    let mut inside = match Running::start(Path::new("unshare"), &arguments, &[], log) {
        Ok(inside) => inside,
        Err(err) => return Err(format!("{NOT_POSSIBLE} {}", sentence(&err))),
    };
    let status = inside.wait(&stage.stop, super::PATIENCE * 2);
    let output = inside.output();
    probe.ask(inside.command(), || output.clone());
    let said = |word: &str| output.lines().find_map(|line| line.strip_prefix(word));
    if let Some(text) = said(HELD) {
        return Ok(text.trim().to_owned());
    }
    if let Some(text) = said(BROKEN) {
        return Err(text.trim().to_owned());
    }
    if let Some(text) = said(NOT_POSSIBLE) {
        return Err(format!("{NOT_POSSIBLE} {}", text.trim()));
    }
    // Our program said nothing: it was not even started in there.
    match status {
        Some(_) => Err(format!(
            "{NOT_POSSIBLE} no namespaces here: {}",
            output.trim()
        )),
        None => Err(format!("the drill did not end in time: {}", output.trim())),
    }
}
