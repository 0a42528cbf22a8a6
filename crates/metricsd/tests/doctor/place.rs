//! A place that the doctor looks at, in namespaces of its own, and what it says of it.

use std::fs;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::{Daemon, eventually, metricsd, run};
use crate::outsider::{Outsider, our_writer, skip};
use metricsd_shard::file_system_supports_leases;
use tempfile::TempDir;

/// Set in the process that runs in namespaces.
const INSIDE: &str = "METRICSD_TEST_INSIDE";

/// Runs the test in namespaces. True in there; false outside, when it has passed there or cannot be run.
pub(crate) fn inside(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let namespaces = ["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"];
    let mut command = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    let probe = Command::new("unshare")
        .args(command.get_args())
        .args(namespaces)
        .arg("true")
        .output();
    if !probe.is_ok_and(|output| output.status.success()) {
        skip(test, "no namespaces here");
        return false;
    }
    let output = command
        .args(namespaces)
        .arg(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    false
}

/// One line of the report, with what comes next.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) outcome: String,
    pub(crate) id: String,
    pub(crate) text: String,
    pub(crate) next: String,
}

/// What the doctor said.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) code: i32,
    pub(crate) lines: Vec<Line>,
}

impl Report {
    pub(crate) fn of(command: &mut Command) -> Report {
        let output = run(command);
        let text = String::from_utf8(output.stdout).unwrap();
        let mut lines: Vec<Line> = Vec::new();
        for line in text.lines() {
            if let Some(next) = line.strip_prefix("NEXT|") {
                lines.last_mut().unwrap().next = next.to_owned();
                continue;
            }
            let words: Vec<&str> = line.splitn(3, '|').collect();
            lines.push(Line {
                outcome: words[0].to_owned(),
                id: words[1].to_owned(),
                text: words[2].to_owned(),
                next: String::new(),
            });
        }
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        Report {
            code: output.status.code().unwrap(),
            lines,
        }
    }

    pub(crate) fn found(&self) -> Vec<&Line> {
        self.lines
            .iter()
            .filter(|line| line.outcome != "PASS")
            .collect()
    }

    /// Nothing was found but this, and both sentences name the thing.
    #[track_caller]
    pub(crate) fn only(&self, outcome: &str, id: &str, text: &str, next: &str) {
        let found = self.found();
        assert_eq!(found.len(), 1, "{found:#?}");
        assert_eq!(
            (found[0].outcome.as_str(), found[0].id.as_str()),
            (outcome, id),
            "{found:#?}"
        );
        self.has(outcome, id, text, next);
        assert_eq!(self.code, i32::from(outcome == "FAIL"));
    }

    #[track_caller]
    pub(crate) fn has(&self, outcome: &str, id: &str, text: &str, next: &str) {
        let is_it = |line: &&Line| {
            line.outcome == outcome
                && line.id == id
                && line.text.contains(text)
                && line.next.contains(next)
        };
        assert!(
            self.lines.iter().any(|line| is_it(&line)),
            "no {outcome}|{id}|{text}|{next} in {:#?}",
            self.found()
        );
    }
}

/// Directories of a daemon, and the daemon.
pub(crate) struct Place {
    pub(crate) daemon: Option<Daemon>,
    pub(crate) shards: PathBuf,
    pub(crate) state: PathBuf,
    pub(crate) folder: TempDir,
}

impl Place {
    /// Below `target`, on the disk that the project is on; none where that one does not last.
    pub(crate) fn new(test: &str) -> Option<Place> {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        if let Err(kind) = file_system_supports_leases(File::open(folder.path()).unwrap().as_fd()) {
            skip(test, &format!("the project is on {kind}"));
            return None;
        }
        fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let place = Place {
            daemon: None,
            shards: folder.path().join("shards"),
            state: folder.path().join("state"),
            folder,
        };
        fs::create_dir(&place.shards).unwrap();
        Some(place)
    }

    /// With a running daemon.
    pub(crate) fn served(test: &str) -> Option<Place> {
        let mut place = Place::new(test)?;
        place.serve();
        Some(place)
    }

    pub(crate) fn serve(&mut self) {
        self.daemon = Some(Daemon::start_with(
            &self.shards,
            &["--state-dir", self.state.to_str().unwrap()],
        ));
    }

    pub(crate) fn command(&self) -> Command {
        let (shards, state) = (self.shards.to_str().unwrap(), self.state.to_str().unwrap());
        metricsd(&["doctor", "--multiproc-dir", shards, "--state-dir", state])
    }

    pub(crate) fn examine(&self) -> Report {
        Report::of(&mut self.command())
    }

    pub(crate) fn session(&self, directory: &Path) -> Outsider {
        let mut command = Command::new("env");
        command.arg(format!(
            "PROMETHEUS_MULTIPROC_DIR={}",
            self.shards.display()
        ));
        our_writer(command, directory, "a-session")
    }

    /// A program that only has variables and a working directory.
    pub(crate) fn program(&self, variables: &[(&str, &str)], working_directory: &Path) -> Outsider {
        sleeper("exec sleep 600", variables, working_directory)
    }
}

/// A program other than a shell; it has become that when this returns.
pub(crate) fn sleeper(
    script: &str,
    variables: &[(&str, &str)],
    working_directory: &Path,
) -> Outsider {
    let program = Outsider::start(
        Command::new("sh")
            .args(["-c", script])
            .current_dir(working_directory)
            .envs(variables.iter().copied()),
    );
    eventually("another program", || {
        let name = fs::read_to_string(format!("/proc/{}/comm", program.id())).unwrap();
        match name.trim() {
            "sleep" => Ok(()),
            _ => Err(name),
        }
    });
    program
}
