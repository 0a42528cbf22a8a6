//! The run log: one folder a run, with `meta.json`, `events.jsonl` (one object a step) and, after an orderly end, `summary.json`.
//!
//! Invariant: an existing folder is never written to; `events.jsonl` is only appended to, and every line carries a sequence number and
//! the CRC of its rest, so that whatever a crash or a full disk leaves is readable but for the torn lines. A failed write costs the
//! events that it held and those of the second after it, whose numbers are then missing; it never costs the session.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::Value;

use crate::run_id::RunId;

/// Why a run log cannot be begun or continued.
#[derive(Debug, thiserror::Error)]
pub enum RunLogError {
    /// A run of that name was logged before.
    #[error("{}: the run folder exists already and is not overwritten; give another --run-id or --log-dir", .path.display())]
    Exists {
        /// The folder.
        path: PathBuf,
    },
    /// The folder of runs, or the one of this run in it, cannot be made.
    #[error("{}: cannot make the folder of the run log", .path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The disk says no.
    #[error("{}: cannot write the run log", .path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// Written through at least this often while the session is running; what is younger may be lost with a `kill -9`.
const FLUSH_INTERVAL: Duration = Duration::from_secs(1);

/// Written through as soon as that much is waiting, so that a `kill -9` costs at most these bytes of events, however fast they come.
pub const UNWRITTEN_LEN_MAX_BYTES: usize = 8 << 10;

/// How soon a write is tried again after one failed; the events in between are lost.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// An open run log.
#[derive(Debug)]
pub struct RunLog {
    folder: PathBuf,
    file: File,
    /// Whole lines that are not in the file yet.
    unwritten: Vec<u8>,
    sequence: u64,
    last_flush: Instant,
    /// Set while writes fail.
    retry_at: Option<Instant>,
    /// Whether the file ends in the middle of a line.
    torn: bool,
    lost: u64,
    line: Vec<u8>,
}

#[derive(Serialize)]
struct Line<'a, T> {
    seq: u64,
    #[serde(flatten)]
    event: &'a T,
}

impl RunLog {
    /// Make the folder `base/id` and write `meta.json` into it.
    ///
    /// # Errors
    /// The folder exists, or cannot be made or written.
    pub fn create(
        base: &Path,
        id: &RunId,
        meta: &Value,
        now: Instant,
    ) -> Result<RunLog, RunLogError> {
        let folder = base.join(id.as_str());
        fs::create_dir_all(base).map_err(|source| RunLogError::Folder {
            path: base.to_owned(),
            source,
        })?;
        fs::create_dir(&folder).map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => RunLogError::Exists {
                path: folder.clone(),
            },
            _ => RunLogError::Folder {
                path: folder.clone(),
                source,
            },
        })?;
        match begin(&folder, meta) {
            Ok(file) => Ok(RunLog {
                folder,
                file,
                unwritten: Vec::new(),
                sequence: 0,
                last_flush: now,
                retry_at: None,
                torn: false,
                lost: 0,
                line: Vec::new(),
            }),
            Err(error) => {
                // The folder is ours, made a moment ago: left behind it would say that there was a run, and keep its name taken.
                let _ = fs::remove_dir_all(&folder);
                Err(error)
            }
        }
    }

    /// The run's folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Events that a failed write or the wait after one has cost so far; their sequence numbers are missing in the file.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Whether the last write failed.
    pub fn is_failing(&self) -> bool {
        self.retry_at.is_some()
    }

    /// Append one event: `{"crc32":"8 hex digits","seq":N,...}`. The CRC is of everything behind its comma, up to the closing brace.
    /// For a second after a failed write events are dropped and counted, since a disk that is full is full for a while.
    ///
    /// # Errors
    /// A write failed just now. The log is to be used on: it tries again.
    pub fn append(&mut self, event: &impl Serialize, now: Instant) -> Result<(), RunLogError> {
        self.sequence += 1;
        if self.retry_at.is_some_and(|retry_at| now < retry_at) {
            self.lost += 1;
            return Ok(());
        }
        self.line.clear();
        if let Err(source) = self.encode(event) {
            self.lost += 1;
            return Err(self.write_error(source));
        }
        self.unwritten.extend_from_slice(&self.line);
        let due = self.unwritten.len() >= UNWRITTEN_LEN_MAX_BYTES
            || self.is_failing()
            || now.duration_since(self.last_flush) >= FLUSH_INTERVAL;
        if due { self.flush(now) } else { Ok(()) }
    }

    fn encode(&mut self, event: &impl Serialize) -> io::Result<()> {
        const CRC_PLACE: &[u8] = br#"{"crc32":"00000000","#;
        self.line.extend_from_slice(CRC_PLACE);
        serde_json::to_writer(
            &mut self.line,
            &Line {
                seq: self.sequence,
                event,
            },
        )?;
        // The object was written whole; its opening brace is the one in front of the CRC.
        self.line.remove(CRC_PLACE.len());
        let crc = format!("{:08x}", crc32fast::hash(&self.line[CRC_PLACE.len()..]));
        self.line[CRC_PREFIX.len()..CRC_PREFIX.len() + 8].copy_from_slice(crc.as_bytes());
        self.line.push(b'\n');
        Ok(())
    }

    /// Write through before a wait of that length, if the events would otherwise be older than a second when it ends.
    ///
    /// # Errors
    /// The write failed; what waited is lost, and the log is to be used on.
    pub fn flush_before(&mut self, wait: Duration, now: Instant) -> Result<(), RunLogError> {
        if now.duration_since(self.last_flush) + wait >= FLUSH_INTERVAL {
            self.flush(now)
        } else {
            Ok(())
        }
    }

    fn flush(&mut self, now: Instant) -> Result<(), RunLogError> {
        self.last_flush = now;
        if self.unwritten.is_empty() {
            return Ok(());
        }
        let fresh = self.torn;
        if fresh {
            // On a fresh line: the torn one costs itself and nothing behind it.
            self.unwritten.insert(0, b'\n');
        }
        let (written, result) = write_as_far_as_possible(&mut self.file, &self.unwritten);
        if let Some(last) = self.unwritten[..written].last() {
            self.torn = *last != b'\n';
        }
        // A line without its end is not in the file. The fresh line's end, first of all, is no event's.
        let ends = |bytes: &[u8]| bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
        let missed = ends(&self.unwritten[written..]);
        self.lost += missed - u64::from(fresh && written == 0);
        self.unwritten.clear();
        self.retry_at = result.is_err().then(|| now + RETRY_INTERVAL);
        result.map_err(|source| self.write_error(source))
    }

    /// What waits, then `summary.json`, which is tried however the events went. `durable` waits for the disk as well.
    ///
    /// # Errors
    /// Every write that failed; what was written before is readable.
    pub fn finish(mut self, summary: &Value, durable: bool, now: Instant) -> Vec<RunLogError> {
        let events = self.flush(now).and_then(|()| {
            if durable {
                self.file
                    .sync_all()
                    .map_err(|source| self.write_error(source))
            } else {
                Ok(())
            }
        });
        let summary = write_whole(&self.folder.join("summary.json"), summary, durable);
        [events, summary]
            .into_iter()
            .filter_map(Result::err)
            .collect()
    }

    fn write_error(&self, source: io::Error) -> RunLogError {
        RunLogError::Write {
            path: self.folder.join("events.jsonl"),
            source,
        }
    }
}

/// `meta.json` and an empty `events.jsonl`.
fn begin(folder: &Path, meta: &Value) -> Result<File, RunLogError> {
    write_whole(&folder.join("meta.json"), meta, true)?;
    let path = folder.join("events.jsonl");
    File::options()
        .append(true)
        .create_new(true)
        .open(&path)
        .map_err(|source| RunLogError::Write { path, source })
}

/// How many bytes are in the file now, and what stopped it.
fn write_as_far_as_possible(file: &mut impl Write, bytes: &[u8]) -> (usize, io::Result<()>) {
    let mut written = 0;
    while written < bytes.len() {
        match file.write(&bytes[written..]) {
            Ok(0) => return (written, Err(io::ErrorKind::WriteZero.into())),
            Ok(count) => written += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (written, Err(error)),
        }
    }
    (written, Ok(()))
}

/// A file that is there whole or not at all.
fn write_whole(path: &Path, value: &Value, durable: bool) -> Result<(), RunLogError> {
    let unfinished = path.with_extension("json.tmp");
    let write = || {
        let mut file = File::create_new(&unfinished)?;
        serde_json::to_writer_pretty(&mut file, value)?;
        file.write_all(b"\n")?;
        if durable {
            file.sync_all()?;
        }
        fs::rename(&unfinished, path)
    };
    write().map_err(|source| {
        // Half a file is of no use to anybody; that it cannot be removed either changes nothing.
        let _ = fs::remove_file(&unfinished);
        RunLogError::Write {
            path: path.to_owned(),
            source,
        }
    })
}

const CRC_PREFIX: &[u8] = br#"{"crc32":""#;

/// What is readable of an `events.jsonl`.
#[derive(Debug, PartialEq)]
pub struct Events {
    /// The events that can be believed, in order.
    pub events: Vec<Value>,
    /// Sequence numbers before that of the last event that no event has: lost to a failed write or to damage.
    pub missing: u64,
    /// Line (from 1) and fault of the first line that cannot be believed.
    pub torn: Option<(usize, &'static str)>,
}

/// Read the events of a run, whole or torn. A line that cannot be believed costs itself and nothing behind it.
///
/// # Errors
/// The file cannot be opened or read; damage of its content is no error.
pub fn read_events(path: &Path) -> io::Result<Events> {
    let mut reader = BufReader::new(File::open(path)?);
    let mut read = Events {
        events: Vec::new(),
        missing: 0,
        torn: None,
    };
    let (mut line, mut number, mut last) = (Vec::new(), 0, 0);
    loop {
        line.clear();
        if reader.read_until(b'\n', &mut line)? == 0 {
            read.missing = last - read.events.len() as u64;
            return Ok(read);
        }
        number += 1;
        match decode(&line, last) {
            Ok((event, sequence)) => {
                read.events.push(event);
                last = sequence;
            }
            Err(fault) => read.torn = read.torn.or(Some((number, fault))),
        }
    }
}

/// The event and its sequence number, which must be above the last one's.
fn decode(line: &[u8], last: u64) -> Result<(Value, u64), &'static str> {
    let line = line.strip_suffix(b"\n").ok_or("no end of line")?;
    let rest = line.strip_prefix(CRC_PREFIX).ok_or("no checksum")?;
    let (crc, body) = rest.split_at_checked(8).ok_or("no checksum")?;
    let body = body.strip_prefix(b"\",").ok_or("no checksum")?;
    let crc = std::str::from_utf8(crc)
        .ok()
        .and_then(|crc| u32::from_str_radix(crc, 16).ok())
        .ok_or("no checksum")?;
    if crc32fast::hash(body) != crc {
        return Err("wrong checksum");
    }
    let event: Value = serde_json::from_slice(line).map_err(|_| "no JSON")?;
    match event.get("seq").and_then(Value::as_u64) {
        Some(sequence) if sequence > last => Ok((event, sequence)),
        _ => Err("wrong sequence number"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn log_of(events: u64) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let now = Instant::now();
        let mut log = RunLog::create(
            directory.path(),
            &"run".parse().unwrap(),
            &json!({"program": "x"}),
            now,
        )
        .unwrap();
        for step in 1..=events {
            log.append(&json!({"step": step, "close": "1.05\n\"quoted\""}), now)
                .unwrap();
        }
        assert!(log.finish(&json!({"steps": events}), true, now).is_empty());
        let path = directory.path().join("run/events.jsonl");
        (directory, path)
    }

    #[test]
    fn what_is_appended_is_read_back_in_order_with_a_summary_beside_it() {
        let (directory, path) = log_of(3);
        let read = read_events(&path).unwrap();
        assert_eq!(read.torn, None);
        let steps: Vec<_> = read
            .events
            .iter()
            .map(|event| (event["seq"].as_u64(), event["step"].as_u64()))
            .collect();
        assert_eq!(
            steps,
            [(Some(1), Some(1)), (Some(2), Some(2)), (Some(3), Some(3))]
        );
        let json = |name: &str| {
            serde_json::from_slice::<Value>(
                &fs::read(directory.path().join("run").join(name)).unwrap(),
            )
            .unwrap()
        };
        assert_eq!(json("meta.json"), json!({"program": "x"}));
        assert_eq!(json("summary.json"), json!({"steps": 3}));
        let mut names: Vec<_> = fs::read_dir(directory.path().join("run"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        assert_eq!(names, ["events.jsonl", "meta.json", "summary.json"]);
    }

    #[test]
    fn cut_at_any_byte_the_log_reads_up_to_the_torn_line_and_no_further() {
        let (_directory, path) = log_of(4);
        let whole = fs::read(&path).unwrap();
        for end in 0..=whole.len() {
            fs::write(&path, &whole[..end]).unwrap();
            let read = read_events(&path).unwrap();
            let complete = whole[..end].iter().filter(|byte| **byte == b'\n').count();
            let clean = end == 0 || whole[end - 1] == b'\n';
            assert_eq!(read.events.len(), complete, "cut at {end}");
            assert_eq!(read.torn.is_none(), clean, "cut at {end}");
        }
    }

    #[test]
    fn a_changed_byte_anywhere_costs_its_line_and_nothing_behind_it() {
        let (_directory, path) = log_of(3);
        let whole = fs::read(&path).unwrap();
        let first_line = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        let second_line = first_line
            + whole[first_line..]
                .iter()
                .position(|byte| *byte == b'\n')
                .unwrap()
            + 1;
        for place in first_line..second_line {
            let mut damaged = whole.clone();
            damaged[place] ^= 1;
            fs::write(&path, &damaged).unwrap();
            let read = read_events(&path).unwrap();
            // Without its end a line takes the next one along.
            let left = if place + 1 == second_line { 1 } else { 2 };
            assert_eq!(read.events.len(), left, "byte {place}");
            assert_eq!(read.missing, left as u64 - 1, "byte {place}");
            assert_eq!(read.torn.map(|(line, _)| line), Some(2), "byte {place}");
        }
    }

    #[test]
    fn an_existing_run_is_refused_and_left_as_it_is() {
        let (directory, path) = log_of(2);
        let before = fs::read(&path).unwrap();
        let again = RunLog::create(
            directory.path(),
            &"run".parse().unwrap(),
            &json!({}),
            Instant::now(),
        );
        assert!(matches!(again, Err(RunLogError::Exists { .. })));
        assert_eq!(fs::read(&path).unwrap(), before);
    }

    #[test]
    fn a_failed_write_costs_its_events_and_those_of_the_next_second_and_the_log_goes_on_on_a_fresh_line()
     {
        let directory = tempfile::tempdir().unwrap();
        let begin = Instant::now();
        let mut log =
            RunLog::create(directory.path(), &"run".parse().unwrap(), &json!({}), begin).unwrap();
        let path = directory.path().join("run/events.jsonl");
        let at = |millis: u64| begin + Duration::from_millis(millis);
        log.append(&json!({}), at(1_000)).unwrap();
        // A disk that is full in the middle of a line, as one that takes a part of what is written.
        fs::write(
            &path,
            [&fs::read(&path).unwrap(), &b"{\"crc32\":\"00"[..]].concat(),
        )
        .unwrap();
        log.torn = true;
        let real = std::mem::replace(
            &mut log.file,
            File::options().write(true).open("/dev/full").unwrap(),
        );
        log.append(&json!({}), at(1_100)).unwrap();
        assert!(log.append(&json!({}), at(2_000)).is_err());
        assert!(log.is_failing());
        // Within a second nothing is tried, and so nothing fails.
        log.append(&json!({}), at(2_999)).unwrap();
        assert!(log.append(&json!({}), at(3_000)).is_err());
        log.file = real;
        log.append(&json!({}), at(3_500)).unwrap();
        assert_eq!(log.lost(), 5);
        log.append(&json!({}), at(4_000)).unwrap();
        assert!(!log.is_failing());
        assert!(log.finish(&json!({}), true, at(4_100)).is_empty());
        let read = read_events(&path).unwrap();
        let numbers: Vec<_> = read
            .events
            .iter()
            .map(|event| event["seq"].as_u64().unwrap())
            .collect();
        assert_eq!((numbers, read.missing), (vec![1, 7], 5));
        assert_eq!(read.torn, Some((2, "no checksum")));
    }

    #[test]
    fn a_write_that_stops_in_the_middle_counts_every_line_that_is_not_whole() {
        struct Full(usize);
        impl Write for Full {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                let count = bytes.len().min(self.0);
                self.0 -= count;
                if count == 0 {
                    Err(io::ErrorKind::StorageFull.into())
                } else {
                    Ok(count)
                }
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        for (room, written) in [(0, 0), (3, 3), (4, 4), (9, 9)] {
            let (count, result) = write_as_far_as_possible(&mut Full(room), b"abc\ndef\ng");
            assert_eq!((count, result.is_ok()), (written, room == 9));
        }
    }

    #[test]
    fn a_summary_is_written_also_when_the_events_could_not_be() {
        let directory = tempfile::tempdir().unwrap();
        let now = Instant::now();
        let mut log =
            RunLog::create(directory.path(), &"run".parse().unwrap(), &json!({}), now).unwrap();
        log.file = File::options().write(true).open("/dev/full").unwrap();
        log.append(&json!({}), now).unwrap();
        assert_eq!(log.finish(&json!({"steps": 1}), false, now).len(), 1);
        assert!(directory.path().join("run/summary.json").exists());
    }

    #[test]
    fn events_are_in_the_file_before_they_are_a_second_old() {
        let directory = tempfile::tempdir().unwrap();
        let begin = Instant::now();
        let mut log =
            RunLog::create(directory.path(), &"run".parse().unwrap(), &json!({}), begin).unwrap();
        let path = directory.path().join("run/events.jsonl");
        let mut count_after = |millis: u64, wait: Option<u64>| {
            let now = begin + Duration::from_millis(millis);
            match wait {
                None => log.append(&json!({}), now).unwrap(),
                Some(wait) => log.flush_before(Duration::from_millis(wait), now).unwrap(),
            }
            read_events(&path).unwrap().events.len()
        };
        assert_eq!(count_after(0, None), 0);
        assert_eq!(count_after(999, None), 0);
        assert_eq!(count_after(1_000, None), 3, "a second after the last flush");
        assert_eq!(count_after(1_100, None), 3);
        assert_eq!(
            count_after(1_100, Some(500)),
            3,
            "it will be flushed in time after this wait"
        );
        assert_eq!(
            count_after(1_100, Some(900)),
            4,
            "after this wait it would be too late"
        );
    }
}
