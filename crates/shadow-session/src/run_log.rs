//! The run log: one folder a run, with `meta.json`, `events.jsonl` (one object a step) and, after an orderly end, `summary.json`.
//!
//! Invariant: an existing folder is never written to; `events.jsonl` is only appended to, and every line carries a sequence number and
//! the CRC of its rest, so that whatever a crash leaves is readable up to the torn tail. A failed write ends the log, never the session.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
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
    /// The disk says no.
    #[error("{}: cannot write the run log", .path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// Written through at least this often while the session is running; what is younger may be lost with the machine or a `kill -9`.
const FLUSH_INTERVAL: Duration = Duration::from_secs(1);

/// An open run log.
#[derive(Debug)]
pub struct RunLog {
    folder: PathBuf,
    events: BufWriter<File>,
    sequence: u64,
    last_flush: Instant,
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
        fs::create_dir_all(base).map_err(|source| RunLogError::Write {
            path: base.to_owned(),
            source,
        })?;
        fs::create_dir(&folder).map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => RunLogError::Exists {
                path: folder.clone(),
            },
            _ => RunLogError::Write {
                path: folder.clone(),
                source,
            },
        })?;
        write_whole(&folder.join("meta.json"), meta)?;
        let path = folder.join("events.jsonl");
        let file = File::options()
            .append(true)
            .create_new(true)
            .open(&path)
            .map_err(|source| RunLogError::Write {
                path: path.clone(),
                source,
            })?;
        Ok(RunLog {
            folder,
            events: BufWriter::new(file),
            sequence: 0,
            last_flush: now,
            line: Vec::new(),
        })
    }

    /// The run's folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Append one event: `{"crc32":"8 hex digits","seq":N,...}`. The CRC is of everything behind its comma, up to the closing brace.
    ///
    /// # Errors
    /// The write failed; the log is not to be used any more.
    pub fn append(&mut self, event: &impl Serialize, now: Instant) -> Result<(), RunLogError> {
        self.sequence += 1;
        self.line.clear();
        self.encode(event)
            .and_then(|()| self.events.write_all(&self.line))
            .map_err(|source| self.write_error(source))?;
        if now.duration_since(self.last_flush) >= FLUSH_INTERVAL {
            self.flush(now)
        } else {
            Ok(())
        }
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
    /// The write failed; the log is not to be used any more.
    pub fn flush_before(&mut self, wait: Duration, now: Instant) -> Result<(), RunLogError> {
        if now.duration_since(self.last_flush) + wait >= FLUSH_INTERVAL {
            self.flush(now)
        } else {
            Ok(())
        }
    }

    fn flush(&mut self, now: Instant) -> Result<(), RunLogError> {
        self.last_flush = now;
        self.events
            .flush()
            .map_err(|source| self.write_error(source))
    }

    /// Everything to the disk, and `summary.json`.
    ///
    /// # Errors
    /// A write failed; what was flushed before is readable.
    pub fn finish(mut self, summary: &Value) -> Result<(), RunLogError> {
        self.events
            .flush()
            .and_then(|()| self.events.get_ref().sync_all())
            .map_err(|source| self.write_error(source))?;
        write_whole(&self.folder.join("summary.json"), summary)
    }

    fn write_error(&self, source: io::Error) -> RunLogError {
        RunLogError::Write {
            path: self.folder.join("events.jsonl"),
            source,
        }
    }
}

/// A file that is there whole or not at all.
fn write_whole(path: &Path, value: &Value) -> Result<(), RunLogError> {
    let unfinished = path.with_extension("json.tmp");
    let write = || {
        let mut file = File::create_new(&unfinished)?;
        serde_json::to_writer_pretty(&mut file, value)?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        fs::rename(&unfinished, path)
    };
    write().map_err(|source| RunLogError::Write {
        path: path.to_owned(),
        source,
    })
}

const CRC_PREFIX: &[u8] = br#"{"crc32":""#;

/// What is readable of an `events.jsonl`.
#[derive(Debug, PartialEq)]
pub struct Events {
    /// The events up to the first damage, in order.
    pub events: Vec<Value>,
    /// Line (from 1) and fault of the first line that cannot be believed; what follows it is not read.
    pub torn: Option<(usize, &'static str)>,
}

/// Read the events of a run, whole or torn.
///
/// # Errors
/// The file cannot be opened or read; damage of its content is no error.
pub fn read_events(path: &Path) -> io::Result<Events> {
    let mut reader = BufReader::new(File::open(path)?);
    let mut events = Vec::new();
    let mut line = Vec::new();
    loop {
        line.clear();
        if reader.read_until(b'\n', &mut line)? == 0 {
            return Ok(Events { events, torn: None });
        }
        match decode(&line, events.len() as u64 + 1) {
            Ok(event) => events.push(event),
            Err(fault) => {
                return Ok(Events {
                    torn: Some((events.len() + 1, fault)),
                    events,
                });
            }
        }
    }
}

fn decode(line: &[u8], sequence: u64) -> Result<Value, &'static str> {
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
    if event.get("seq").and_then(Value::as_u64) != Some(sequence) {
        return Err("wrong sequence number");
    }
    Ok(event)
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
        log.finish(&json!({"steps": events})).unwrap();
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
    fn a_changed_byte_anywhere_ends_the_reading_at_its_line() {
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
            assert_eq!(read.events.len(), 1, "byte {place}");
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
