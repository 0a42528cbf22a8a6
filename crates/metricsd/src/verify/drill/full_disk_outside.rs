//! A full disk, seen from outside: a small file system needs namespaces of its own, so `unshare` starts our program again in them.

use std::ffi::OsString;
use std::path::Path;

use super::full_disk::{BROKEN, HELD, NOT_POSSIBLE};
use super::stage::Stage;
use super::{Drilled, below};
use crate::sentence::one_sentence;
use crate::verify::child::Running;
use crate::verify::mode_b::record::Probe;

pub(super) fn act(stage: &Stage, probe: &mut Probe) -> Drilled {
    let arguments: [OsString; 9] = [
        "--user".into(),
        "--map-root-user".into(),
        "--mount".into(),
        stage.metricsd().into(),
        "verify".into(),
        "mode-b".into(),
        "--full-disk-stage".into(),
        stage.folder().into(),
        {
            let mut flag = OsString::from("--session-bin=");
            flag.push(stage.session_program());
            flag
        },
    ];
    let log = below(stage.folder(), "full-disk.log");
    let mut inside = match Running::start(Path::new("unshare"), &arguments, &[], log) {
        Ok(inside) => inside,
        Err(err) => return Err(format!("{NOT_POSSIBLE} {}", one_sentence(&err))),
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
