//! The process stops, or storage fails, at every single operation of a few decisions; then the power goes or does not.
//!
//! Claim: what was acknowledged is there and is reproduced, and nothing that such an end leaves is called damage.

use std::collections::VecDeque;
use std::io::{self, BufReader};

use super::*;
use crate::gateway::intent_log::tests::simulated::{Fault, POWER_CUTS};

/// Two decisions fill a file.
const SHORT: u64 = 21_500;

/// Decisions and outcomes over two days and a rotation by length; those that were acknowledged.
fn write(audit: &mut Audit<Simulated>, from: i64, written: &mut Vec<String>) {
    for index in [from, from + 1, from + 24] {
        if audit.decision(&Made::buy(index).decision()).is_ok() {
            written.push(format!("decision {index}"));
        }
        if audit.outcome(&outcome(index)).is_ok() {
            written.push(format!("outcome {index}"));
        }
    }
}

/// What can be believed, by the names that [`write`] gives.
fn believed(disk: &Simulated) -> Vec<String> {
    let mut found = Vec::new();
    for name in files::in_order(disk.names()) {
        let bytes = disk.contents(&name);
        let mut lines = reader::Lines::new(&bytes[..]);
        while let Some(line) = lines.next().unwrap() {
            let reader::Read::Framed(framed) = reader::read(&line) else {
                continue;
            };
            let index = |at_ms: i64| (at_ms - NOW) / HOUR_MS;
            match framed.record.unwrap() {
                Record::Start(_) => {}
                Record::Decision(record) => found.push(format!("decision {}", index(record.at_ms))),
                Record::Outcome(line) => found.push(format!("outcome {}", index(line.at_ms))),
            }
        }
    }
    found
}

fn assert_kept(disk: &Simulated, written: &[String], at: &str) {
    let believed = believed(disk);
    for name in written {
        assert!(
            believed.contains(name),
            "{at}: {name} was acknowledged and is gone"
        );
    }
    let report = replayed(disk);
    assert!(report.findings.is_empty(), "{at}: {:?}", report.findings);
    assert_eq!(report.decisions, report.reproduced, "{at}");
}

/// Runs with a fault at one operation; whether something was not acknowledged.
fn run(at: usize, fault: Fault) -> bool {
    let disk = Simulated::default();
    disk.fail_at(at, fault);
    let mut written = Vec::new();
    if let Ok(mut audit) = Audit::open_in(disk.clone(), &start(), SHORT) {
        write(&mut audit, 0, &mut written);
    }
    // A failure of the device leaves what its own end leaves: the hardest cuts are enough.
    let step = if fault == Fault::Stop { 1 } else { 3 };
    let mut left: Vec<_> = POWER_CUTS
        .iter()
        .step_by(step)
        .map(|cut| (disk.power_cut(*cut), format!("{fault:?} {at} {cut:?}")))
        .collect();
    left.push((
        disk.process_death(),
        format!("{fault:?} {at} process death"),
    ));
    for (disk, at) in left {
        assert_kept(&disk, &written, &at);
        if fault != Fault::Stop {
            continue;
        }
        // And the next process goes on with it.
        let mut written = written.clone();
        let mut audit = Audit::open_in(disk.clone(), &start(), SHORT).unwrap();
        write(&mut audit, 100, &mut written);
        assert_kept(&disk, &written, &format!("{at}, gone on"));
        if at.ends_with("process death") {
            // What it went on behind may not have been durable when it found it.
            for cut in [&POWER_CUTS[0], &POWER_CUTS[3]] {
                let at = format!("{at}, gone on, {cut:?}");
                assert_kept(&disk.power_cut(*cut), &written, &at);
            }
        }
    }
    written.len() < 6
}

#[test]
fn what_was_acknowledged_is_there_after_an_end_at_any_operation() {
    let whole = Simulated::default();
    let mut audit = Audit::open_in(whole.clone(), &start(), SHORT).unwrap();
    write(&mut audit, 0, &mut Vec::new());
    assert_eq!(whole.names().len(), 3, "one by length, one by day");
    for fault in [Fault::Stop, Fault::Io, Fault::Full] {
        for at in 0..whole.operations() {
            assert!(run(at, fault), "{fault:?} at {at} was not noticed");
        }
        assert!(!run(whole.operations(), fault));
    }
}

#[test]
fn after_a_full_disk_the_next_decision_begins_a_file_with_its_whole_window() {
    let disk = Simulated::default();
    let mut audit = Audit::open_in(disk.clone(), &start(), ROTATE_LEN_BYTES).unwrap();
    audit.decision(&Made::buy(0).decision()).unwrap();
    disk.fail_at(disk.operations(), Fault::Full);
    let error = audit.decision(&Made::buy(1).decision()).unwrap_err();
    assert!(error.is_full());
    let name = &files::in_order(disk.names())[0];
    assert_eq!(
        error.to_string(),
        format!("{name}: cannot append to the audit: no storage space")
    );
    audit.decision(&Made::buy(1).decision()).unwrap();
    assert_eq!(disk.names().len(), 2);
    let second = disk.contents(&files::in_order(disk.names())[1]);
    let report = replayed_file(&second);
    assert!(report.is_good());
    assert_eq!((report.decisions, report.reproduced), (1, 1));
    assert!(replayed(&disk).is_good());
}

#[test]
fn a_disk_that_stays_full_is_not_filled_with_names() {
    let disk = Simulated::default();
    let mut audit = Audit::open_in(disk.clone(), &start(), ROTATE_LEN_BYTES).unwrap();
    disk.fail_at(disk.operations(), Fault::Full);
    assert!(audit.decision(&Made::buy(0).decision()).is_err());
    for _ in 0..20 {
        // A name can be made, the first line cannot.
        disk.fail_at(disk.operations() + 1, Fault::Full);
        assert!(audit.decision(&Made::buy(0).decision()).is_err());
    }
    assert_eq!(disk.names().len(), 1);
}

/// A file that is appended to while it is read: an end of it was seen, and then there is more.
struct Growing(VecDeque<Vec<u8>>);

impl io::Read for Growing {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let next = self.0.pop_front().unwrap_or_default();
        into[..next.len()].copy_from_slice(&next);
        Ok(next.len())
    }
}

#[test]
fn a_line_that_is_written_while_it_is_read_is_no_damage() {
    let disk = Simulated::default();
    let mut audit = Audit::open_in(disk.clone(), &start(), u64::MAX).unwrap();
    audit.outcome(&outcome(0)).unwrap();
    let name = disk.names().pop().unwrap();
    let bytes = disk.contents(&name);
    let last_begins = bytes[..bytes.len() - 1]
        .iter()
        .rposition(|byte| *byte == b'\n')
        .unwrap()
        + 1;
    // Also where all but the end of the last line was there.
    for cut in last_begins..=bytes.len() {
        let (before, after) = bytes.split_at(cut);
        let pieces = [before.to_vec(), Vec::new(), after.to_vec()];
        let growing = BufReader::with_capacity(bytes.len(), Growing(pieces.into()));
        let mut lines = reader::Lines::new(growing);
        let mut framed = 0;
        while let Some(line) = lines.next().unwrap() {
            match reader::read(&line) {
                reader::Read::Framed(_) => framed += 1,
                reader::Read::Torn => {}
                reader::Read::Damaged(why) => panic!("cut at {cut}: {why}"),
            }
        }
        assert!(framed >= 1, "cut at {cut}");
    }
}
