//! A unit of `ops/systemd` as its keys and values, and as it would be below another root directory.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use xtask::workspace;

/// The shipped units, and the programs that they start.
pub(crate) const UNITS: [(&str, &str); 4] = [
    ("metricsd.service", "metricsd"),
    ("shadow-session@.service", "shadow-session"),
    ("sentinel.service", "sentinel"),
    ("alertbridge.service", "alertbridge"),
];

/// Which file of `ops/etc` is installed where. `%i` of a template unit is `example`.
pub(crate) const CONFIGURATIONS: [(&str, &str); 4] = [
    ("metricsd.toml", "/etc/metricsd/metricsd.toml"),
    ("shadow-session.toml", "/etc/shadow-session/example.toml"),
    ("sentinel.toml", "/etc/sentinel/sentinel.toml"),
    ("alertbridge.yml", "/etc/alertbridge/alertbridge.yml"),
];

/// The folder of the units.
pub(crate) fn folder() -> PathBuf {
    workspace::root().join("ops/systemd")
}

/// The lines `Key=Value` of a unit's `[Service]`, in order, with `%i` replaced.
pub(crate) struct Unit(Vec<(String, String)>);

impl Unit {
    /// Reads a shipped one.
    pub(crate) fn read(name: &str) -> Result<Unit> {
        let path = folder().join(name);
        let text =
            fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        let service = text
            .split_once("\n[Service]\n")
            .and_then(|(_, rest)| rest.split_once("\n[Install]\n"))
            .with_context(|| format!("{name} has no [Service] before an [Install]"))?
            .0;
        let lines = service
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'));
        let keys = lines.map(|line| {
            let (key, value) = line
                .split_once('=')
                .with_context(|| format!("{name}: `{line}` is no assignment"))?;
            Ok((key.to_owned(), value.replace("%i", "example")))
        });
        Ok(Unit(keys.collect::<Result<_>>()?))
    }

    /// Every value of a key.
    pub(crate) fn all(&self, key: &str) -> Vec<&str> {
        let of_key = self.0.iter().filter(|(name, _)| name == key);
        of_key.map(|(_, value)| value.as_str()).collect()
    }

    /// The value of a key that is there once.
    pub(crate) fn one(&self, key: &str) -> Result<&str> {
        let values = self.all(key);
        ensure!(values.len() == 1, "{key} is there {} times", values.len());
        Ok(values[0])
    }

    /// `ExecStart` as words, with every path but the program's below `root`.
    pub(crate) fn command(&self, root: &Path) -> Result<Vec<String>> {
        let line = self.one("ExecStart")?;
        ensure!(
            !line.contains(['"', '\'', '\\', '$', '%']),
            "`{line}`: quotes, variables and specifiers are not read here"
        );
        let mut words = line.split_whitespace();
        let program = words.next().context("an empty ExecStart")?;
        let name = program
            .strip_prefix("/usr/bin/")
            .with_context(|| format!("{program} is not where the packages put it"))?;
        let program = workspace::program(name)?;
        let mut command = vec![program.to_str().context("a path in UTF-8")?.to_owned()];
        command.extend(words.map(|word| below(root, word)));
        Ok(command)
    }

    /// `Environment` and what systemd adds to it, with every path below `root`; the directories are made.
    pub(crate) fn environment(&self, root: &Path) -> Result<Vec<(String, String)>> {
        let mut variables = Vec::new();
        for assignment in self.all("Environment") {
            let (name, value) = assignment.split_once('=').context("no assignment")?;
            variables.push((name.to_owned(), below(root, value)));
        }
        for (key, variable, place) in [
            ("StateDirectory", "STATE_DIRECTORY", "/var/lib"),
            ("LogsDirectory", "LOGS_DIRECTORY", "/var/log"),
        ] {
            for name in self.all(key) {
                let directory = below(root, &format!("{place}/{name}"));
                fs::create_dir_all(&directory)?;
                variables.push((variable.to_owned(), directory));
            }
        }
        for directory in self.all("ReadWritePaths") {
            fs::create_dir_all(below(root, directory))?;
        }
        Ok(variables)
    }
}

/// Puts the shipped configurations where they are installed, below `root`, with their paths below it too.
pub(crate) fn install_configurations(root: &Path) -> Result<()> {
    for (source, place) in CONFIGURATIONS {
        let text = fs::read_to_string(workspace::root().join("ops/etc").join(source))?;
        let place = PathBuf::from(below(root, place));
        fs::create_dir_all(place.parent().context("a file in a directory")?)?;
        fs::write(place, text.replace("/var/", &below(root, "/var/")))?;
    }
    Ok(())
}

fn below(root: &Path, word: &str) -> String {
    match word.starts_with('/') {
        true => format!("{}{word}", root.display()),
        false => word.to_owned(),
    }
}
