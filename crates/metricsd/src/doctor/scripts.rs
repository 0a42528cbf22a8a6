//! What scripts and configuration say about the shard directory: of running programs, of cron, of systemd's units.
//!
//! Invariant: only what is written down is reported, with file and line; reading is bounded, and nothing that is no regular file is
//! opened. Must not touch: anything else.

use std::collections::{BTreeSet, HashSet};
use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::processes::{Process, Processes};

/// Longest file that is read.
const TEXT_LEN_MAX_BYTES: u64 = 256 << 10;
/// Most files of one directory that are read.
const FILES_MAX: usize = 3000;
/// A process has no more ancestors than this.
const ANCESTORS_MAX: usize = 64;

const CRON: [&str; 8] = [
    "/etc/crontab",
    "/etc/cron.d",
    "/etc/cron.hourly",
    "/etc/cron.daily",
    "/etc/cron.weekly",
    "/etc/cron.monthly",
    "/var/spool/cron/crontabs",
    "/var/spool/cron",
];

const UNITS: [&str; 4] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
];

/// Lines that do something to the directory, as `FILE:LINE: TEXT`.
#[derive(Debug, Default)]
pub(super) struct Hooks {
    /// They delete it or what is in it.
    pub(super) deleting: Vec<String>,
    /// They remove it when a unit stops.
    pub(super) runtime: Vec<String>,
    /// They call `mark_process_dead`.
    pub(super) marking: Vec<String>,
}

impl Hooks {
    /// Looks through all of it.
    pub(super) fn find(directory: &Path, processes: &Processes) -> Hooks {
        let mut hooks = Hooks::default();
        hooks.look_at_programs(directory, processes);
        for place in CRON {
            for (path, text) in texts_in(Path::new(place)) {
                let lines =
                    lines_of(&path, &text).filter(|(_, line)| is_cron_deleting(line, directory));
                hooks.deleting.extend(lines.map(|(place, _)| place));
            }
        }
        for place in UNITS {
            for (path, text) in texts_in(Path::new(place)) {
                let lines = lines_of(&path, &text).filter(|(_, line)| is_deleting(line, directory));
                hooks.deleting.extend(lines.map(|(place, _)| place));
                hooks
                    .runtime
                    .extend(runtime_directory(&path, &text, directory));
            }
        }
        hooks
    }

    /// Command lines and scripts of programs that name the directory, and of those that started them.
    fn look_at_programs(&mut self, directory: &Path, processes: &Processes) {
        let mut seen = HashSet::new();
        let mut files: BTreeSet<PathBuf> = BTreeSet::new();
        for process in processes.wired() {
            let mut here = Some(process);
            for _ in 0..ANCESTORS_MAX {
                let Some(process) = here.filter(|process| seen.insert(process.pid)) else {
                    break;
                };
                self.look_at_command(process, directory);
                files.extend(named_files(process));
                here = processes.get(process.parent);
            }
        }
        for path in files {
            let Some(text) = read_text(&path) else {
                continue;
            };
            let shown = shown_path(&path);
            for (place, line) in lines_of(&shown, &text) {
                if is_deleting(line, directory) {
                    self.deleting.push(place);
                } else if line.contains("mark_process_dead(") {
                    self.marking.push(place);
                }
            }
        }
    }

    fn look_at_command(&mut self, process: &Process, directory: &Path) {
        let words = process.arguments.iter().map(|word| word.to_string_lossy());
        let command = words.collect::<Vec<_>>().join(" ");
        if command.lines().any(|line| is_deleting(line, directory)) {
            self.deleting.push(process.shown());
        }
    }
}

/// Files that a command line names, as the process itself would find them.
fn named_files(process: &Process) -> Vec<PathBuf> {
    let root = Path::new("/proc").join(process.pid.to_string());
    let from = |word: &OsStr| match Path::new(word).strip_prefix("/") {
        Ok(below) => root.join("root").join(below),
        Err(_) => root.join("cwd").join(word),
    };
    let mut files = Vec::new();
    for word in process.arguments.iter().skip(1) {
        let value = word
            .as_bytes()
            .split(|byte| *byte == b'=')
            .next_back()
            .unwrap_or_default();
        let value = value.strip_prefix(b"file:").unwrap_or(value);
        if !value.is_empty()
            && !value.starts_with(b"-")
            && value.len() < 4096
            && !value.contains(&b'\n')
        {
            files.push(from(OsStr::from_bytes(value)));
        }
    }
    let is_gunicorn = process
        .arguments
        .iter()
        .any(|word| word.as_bytes().ends_with(b"gunicorn"));
    if is_gunicorn {
        files.push(from(OsStr::new("gunicorn.conf.py")));
    }
    files
}

/// `/proc/PID/cwd/x` as what it leads to.
fn shown_path(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

/// A line that removes what is in the directory, named by its path or by its variable.
fn is_deleting(line: &str, directory: &Path) -> bool {
    let line = line.trim();
    if line.starts_with('#') || line.starts_with(';') {
        return false;
    }
    let names = line.contains(&*directory.to_string_lossy())
        || line
            .to_ascii_uppercase()
            .contains("PROMETHEUS_MULTIPROC_DIR")
        || line.contains("PEAKTRADE_METRICS_MULTIPROC_DIR");
    let words = [
        "rm -",
        "rm \"",
        "rm $",
        "rm /",
        "rmtree(",
        "os.remove(",
        "os.unlink(",
        ".unlink(",
        " -delete",
        "tmpwatch",
        "tmpreaper",
    ];
    names && words.iter().any(|word| line.contains(word))
}

/// As [`is_deleting`], and clean-ups of a directory above.
fn is_cron_deleting(line: &str, directory: &Path) -> bool {
    let cleans = ["tmpwatch", "tmpreaper", " -delete"]
        .iter()
        .any(|word| line.contains(word));
    let is_above = |word: &str| {
        let word = word.trim_matches(['"', '\'', ';']).trim_end_matches('/');
        word.len() > 1 && word.starts_with('/') && directory.starts_with(word)
    };
    is_deleting(line, directory)
        || cleans && !line.trim().starts_with('#') && line.split_whitespace().any(is_above)
}

/// `RuntimeDirectory=` of a unit that is not told to keep it.
fn runtime_directory(path: &Path, text: &str, directory: &Path) -> Option<String> {
    let keeps = |line: &str| {
        let value = line.trim().strip_prefix("RuntimeDirectoryPreserve=");
        value.is_some_and(|value| ["yes", "true", "1", "on"].contains(&value.trim()))
    };
    if text.lines().any(keeps) {
        return None;
    }
    let is_it = |line: &str| {
        let value = line.trim().strip_prefix("RuntimeDirectory=");
        value.is_some_and(|value| {
            value
                .split_whitespace()
                .any(|name| directory.starts_with(Path::new("/run").join(name)))
        })
    };
    lines_of(path, text)
        .find(|(_, line)| is_it(line))
        .map(|(place, _)| place)
}

fn lines_of<'t>(path: &Path, text: &'t str) -> impl Iterator<Item = (String, &'t str)> {
    let path = path.display().to_string();
    text.lines()
        .enumerate()
        .map(move |(number, line)| (format!("{path}:{}: {}", number + 1, line.trim()), line))
}

/// A file, or the files of a directory and of the directories in it.
fn texts_in(place: &Path) -> Vec<(PathBuf, String)> {
    let mut texts = Vec::new();
    let mut left = vec![(place.to_owned(), 0)];
    let mut seen_count = 0;
    while let Some((path, depth)) = left.pop() {
        let is_directory = fs::symlink_metadata(&path).is_ok_and(|it| it.is_dir());
        if is_directory && depth < 2 {
            let entries = fs::read_dir(&path).into_iter().flatten().flatten();
            left.extend(
                entries
                    .take(FILES_MAX)
                    .map(|entry| (entry.path(), depth + 1)),
            );
        } else if !is_directory && seen_count < FILES_MAX {
            seen_count += 1;
            texts.extend(read_text(&path).map(|text| (path, text)));
        }
    }
    texts
}

/// What a regular file of moderate length says, if it is text.
pub(super) fn read_text(path: &Path) -> Option<String> {
    let is_fit =
        |metadata: &fs::Metadata| metadata.is_file() && metadata.len() <= TEXT_LEN_MAX_BYTES;
    // Looked at before it is opened, because to open a device can do something; and again, because it may have been replaced.
    fs::metadata(path).ok().filter(is_fit)?;
    let flags = (rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY).bits();
    let mut options = OpenOptions::new();
    let file = options
        .read(true)
        .custom_flags(flags.cast_signed())
        .open(path)
        .ok()?;
    file.metadata().ok().filter(is_fit)?;
    let mut text = String::new();
    file.take(TEXT_LEN_MAX_BYTES)
        .read_to_string(&mut text)
        .ok()?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_delete_are_told_from_others() {
        let directory = Path::new("/run/app/prom");
        for line in [
            "rm -rf /run/app/prom && gunicorn app",
            "ExecStartPre=/bin/rm -rf /run/app/prom",
            "shutil.rmtree(os.environ['PROMETHEUS_MULTIPROC_DIR'])",
            "rm -f $prometheus_multiproc_dir/*.db",
        ] {
            assert!(is_deleting(line, directory), "{line}");
        }
        for line in [
            "mkdir -p /run/app/prom",
            "# rm -rf /run/app/prom",
            "rm -rf /run/other",
            "export PROMETHEUS_MULTIPROC_DIR=/run/app/prom",
        ] {
            assert!(!is_deleting(line, directory), "{line}");
        }
        assert!(is_cron_deleting(
            "0 4 * * * root tmpreaper 7d /run/app",
            directory
        ));
        assert!(!is_cron_deleting(
            "0 4 * * * root tmpreaper 7d /tmp",
            directory
        ));
    }

    #[test]
    fn a_runtime_directory_is_removed_unless_it_is_kept() {
        let directory = Path::new("/run/app/prom");
        let unit = "[Service]\nRuntimeDirectory=app\n";
        let found = runtime_directory(Path::new("/u.service"), unit, directory);
        assert_eq!(found.as_deref(), Some("/u.service:2: RuntimeDirectory=app"));
        for kept in [
            "[Service]\nRuntimeDirectory=app\nRuntimeDirectoryPreserve=yes\n",
            "[Service]\nRuntimeDirectory=other\n",
        ] {
            assert_eq!(runtime_directory(Path::new("/u"), kept, directory), None);
        }
    }
}
