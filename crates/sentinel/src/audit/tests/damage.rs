//! What is changed, missing, moved, torn or garbage, and what the reader says of it.

use super::super::frame::LINE_LEN_MAX_BYTES;
use super::*;

/// The one file of an audit with these many decisions, each with its outcome.
fn file(decisions: i64) -> Vec<u8> {
    let disk = Simulated::default();
    let mut audit = open(&disk);
    for index in 0..decisions {
        audit.decision(&Made::buy(index).decision()).unwrap();
        audit.outcome(&outcome(index)).unwrap();
    }
    disk.contents(&disk.names()[0])
}

/// A start and two outcomes: short, for changes of every byte.
fn short_file() -> Vec<u8> {
    let disk = Simulated::default();
    let mut audit = open(&disk);
    audit.outcome(&outcome(0)).unwrap();
    audit.outcome(&outcome(1)).unwrap();
    disk.contents(&disk.names()[0])
}

fn lines_of(bytes: &[u8]) -> Vec<Vec<u8>> {
    let lines = bytes.split_inclusive(|byte| *byte == b'\n');
    lines.map(<[u8]>::to_vec).collect()
}

fn told(report: &Report) -> Vec<(u64, &str)> {
    let findings = report.findings.iter();
    findings.map(|f| (f.line, f.what.as_str())).collect()
}

#[test]
fn a_change_of_any_byte_is_found() {
    let short = short_file();
    let long = file(2);
    assert!(replayed_file(&short).is_good() && replayed_file(&long).is_good());
    let every = (0..short.len()).map(|at| (&short, at));
    let some = (0..long.len()).step_by(211).map(|at| (&long, at));
    for (whole, at) in every.chain(some) {
        let flipped = whole[at] ^ (1 << (at % 8));
        for byte in [flipped, whole[at] ^ 0x20, b'\n', 0] {
            if byte == whole[at] {
                continue;
            }
            let mut changed = whole.clone();
            changed[at] = byte;
            let report = replayed_file(&changed);
            assert!(!report.is_good(), "byte {at} to {byte:#x}");
            let line = 1 + whole[..at].iter().filter(|byte| **byte == b'\n').count() as u64;
            assert_eq!(report.findings[0].line, line, "byte {at} to {byte:#x}");
        }
    }
}

#[test]
fn a_line_that_is_removed_repeated_or_moved_is_found() {
    let lines = lines_of(&file(3));
    assert_eq!(lines.len(), 7);
    for at in 0..lines.len() - 1 {
        let mut removed = lines.clone();
        removed.remove(at);
        let report = replayed_file(&removed.concat());
        assert!(!report.is_good(), "removed {at}");
        let (line, what) = told(&report)[0];
        assert_eq!(line, at as u64 + 1);
        assert!(what.contains("missing"), "{what}");
        let mut swapped = lines.clone();
        swapped.swap(at, at + 1);
        assert!(!replayed_file(&swapped.concat()).is_good(), "swapped {at}");
    }
    for at in 0..lines.len() {
        for to in at + 1..=lines.len() {
            let mut repeated = lines.clone();
            repeated.insert(to, lines[at].clone());
            let report = replayed_file(&repeated.concat());
            let place = (to as u64 + 1, "it belongs before the line before it");
            assert_eq!(told(&report), [place], "{at} again at {to}");
        }
    }
}

#[test]
fn the_last_line_tells_what_was_cut_off_at_the_end() {
    let whole = file(3);
    let lines = lines_of(&whole);
    let cut = replayed_file(&lines[..5].concat());
    // Nothing in the file itself can tell; the number and the hash, kept elsewhere, do.
    assert!(cut.is_good());
    assert_eq!(
        (cut.last_seq, replayed_file(&whole).last_seq),
        (Some(5), Some(7))
    );
    assert_ne!(cut.last_sha256, replayed_file(&whole).last_sha256);
}

#[test]
fn a_damaged_line_costs_itself_and_what_hangs_on_its_bars() {
    let mut lines = lines_of(&file(3));
    let last = lines[5].len() - 30;
    lines[5][last] ^= 1; // The third decision, behind which only its outcome comes.
    let report = replayed_file(&lines.concat());
    assert_eq!(told(&report), [(6, "its hash is not that of its bytes")]);
    assert_eq!(
        (report.decisions, report.reproduced, report.outcomes),
        (2, 2, 3)
    );
    let mut lines = lines_of(&file(3));
    lines[1][100] ^= 1;
    let report = replayed_file(&lines.concat());
    assert_eq!((report.decisions, report.reproduced), (2, 0));
    let expected = [
        (2, "its hash is not that of its bytes"),
        (4, "input"),
        (6, "input"),
    ];
    assert_eq!(told(&report), expected);
}

#[test]
fn an_append_that_was_never_acknowledged_is_no_damage() {
    let whole = file(2);
    let before_last = lines_of(&whole)[..4].concat().len();
    for len in (before_last..whole.len()).step_by(7) {
        let report = replayed_file(&whole[..len]);
        assert!(report.is_good(), "{len}: {:?}", report.findings);
        let mut zeros = whole[..len].to_vec();
        zeros.resize(len + 40, 0);
        assert!(replayed_file(&zeros).is_good(), "{len} and zeros");
    }
    // All of it but its end: it is whole.
    assert_eq!(replayed_file(&whole[..whole.len() - 1]).outcomes, 2);
}

#[test]
fn files_that_are_missing_or_cut_are_found_by_the_next_one() {
    let disk = Simulated::default();
    let day = 24;
    for index in 0..3 {
        let mut audit = open(&disk);
        audit.decision(&Made::buy(index * day).decision()).unwrap();
        audit.outcome(&outcome(index * day)).unwrap();
    }
    let report = replayed(&disk);
    assert!(report.is_good(), "{:?}", report.findings);
    assert_eq!((report.decisions, report.outcomes), (3, 3));
    let names = files::in_order(disk.names());
    for name in [&names[2], &names[3]] {
        let missing = disk.process_death();
        missing.remove(name).unwrap();
        assert!(!replayed(&missing).is_good(), "{name}");
    }
    // Older ones that were put away are not missed.
    let put_away = disk.process_death();
    put_away.remove(&names[0]).unwrap();
    assert!(replayed(&put_away).is_good());
    let cut = disk.process_death();
    let lines = lines_of(&cut.contents(&names[1]));
    cut.overwrite(&names[1], lines[..lines.len() - 1].concat());
    let report = replayed(&cut);
    assert!(!report.is_good());
    assert!(
        told(&report)[0].1.contains("missing"),
        "{:?}",
        told(&report)
    );
}

#[test]
fn garbage_is_told_line_by_line_and_not_kept() {
    for garbage in [
        &b"\n"[..],
        b"hello\nworld\n",
        b"\xff\xfe\x00\n\x1b[31mred\n",
        b"{\"sha256\":\"\n",
        b"no end",
        b"{}\n[]\nnull\n",
    ] {
        let report = replayed_file(garbage);
        assert!(!report.is_good() && report.lines == 0, "{garbage:?}");
        assert_eq!(
            report.damaged,
            garbage.split_inclusive(|b| *b == b'\n').count() as u64
        );
        let mut text = Vec::new();
        report.write_text(&mut text).unwrap();
        assert!(
            text.iter()
                .all(|b| *b == b'\n' || (b' '..=b'~').contains(b))
        );
    }
    let mut long = vec![b'x'; 3 * LINE_LEN_MAX_BYTES];
    long.push(b'\n');
    long.extend_from_slice(&short_file());
    let report = replayed_file(&long);
    assert_eq!(
        told(&report),
        [(1, "it is longer than any line of an audit")]
    );
    assert_eq!((report.lines, report.outcomes), (3, 2));
    let many = replayed_file(&b"x\n".repeat(5_000));
    assert_eq!(
        (many.damaged, many.findings.len(), many.findings_left_out),
        (5_000, 1_000, 4_000)
    );
}

#[test]
fn what_a_file_says_reaches_no_terminal_as_a_control() {
    let disk = Simulated::default();
    let mut audit = open(&disk);
    let mut made = Made::buy(0);
    made.model.name = "m\u{1b}]0;title\u{7}\u{202e}\u{9b}31m".to_owned();
    made.model.origin = Origin::Embedded;
    made.verdict = Verdict::Refused {
        reason: crate::gateway::guards::refusal::Reason::Cooldown,
        text: "\r\n\u{1b}[2J".to_owned() + &"x".repeat(5_000),
    };
    audit.decision(&made.decision()).unwrap();
    let report = replayed(&disk);
    assert!(!report.is_good());
    let (mut text, mut json) = (Vec::new(), Vec::new());
    report.write_text(&mut text).unwrap();
    report.write_json(&mut json).unwrap();
    for output in [text, json] {
        assert!(output.len() < 3_000);
        assert!(
            output
                .iter()
                .all(|b| *b == b'\n' || (b' '..=b'~').contains(b))
        );
    }
}

#[test]
fn a_line_of_another_version_is_told_and_not_passed_over() {
    let whole = short_file();
    let first = frame::decode(lines_of(&whole)[0].strip_suffix(b"\n").unwrap()).unwrap();
    let body = format!(
        "\"prev\":\"{}\",\"seq\":2,\"record\":{{\"kind\":\"weather\"}}}}",
        first.own.sha256
    );
    let line = format!("{{\"sha256\":\"{}\",{body}\n", Digest::of(body.as_bytes()));
    let report = replayed_file(&[&lines_of(&whole)[0][..], line.as_bytes()].concat());
    assert!(!report.is_good());
    assert!(
        told(&report)[0]
            .1
            .starts_with("it is whole, and this program does not understand it")
    );
}
