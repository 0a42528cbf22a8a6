//! The Debian packages: everything that they ship is in the source, a unit has its account, and a configuration stays the operator's.
//!
//! With `METRICSD_TEST_LONG` and `cargo deb` they are built as well.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use xtask::{tools, workspace};

use crate::unit::{self, CONFIGURATIONS, UNITS, Unit};

/// `[package.metadata.deb]` of each program, as cargo reads it.
fn packages() -> Result<Vec<(String, Value)>> {
    let output = workspace::cargo(&["metadata", "--no-deps", "--format-version=1", "--offline"])
        .output()
        .context("starting cargo")?;
    let metadata: Value = serde_json::from_slice(&output.stdout)?;
    let all = metadata["packages"].as_array().context("no packages")?;
    let found = all.iter().filter_map(|package| {
        let deb = &package["metadata"]["deb"];
        let name = package["name"].as_str()?;
        (!deb.is_null()).then(|| (name.to_owned(), deb.clone()))
    });
    Ok(found.collect())
}

/// Each asset as its source, its place and its mode.
fn assets(deb: &Value) -> Vec<[String; 3]> {
    let of = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let rows = deb["assets"].as_array();
    rows.into_iter()
        .flatten()
        .map(|row| [of(&row[0]), of(&row[1]), of(&row[2])])
        .collect()
}

#[test]
fn every_package_ships_its_program_its_unit_and_its_configuration() -> Result<()> {
    let packages = packages()?;
    ensure!(packages.len() == UNITS.len(), "{} packages", packages.len());
    for ((unit, program), (source, place)) in UNITS.into_iter().zip(CONFIGURATIONS) {
        let found = packages.iter().find(|(name, _)| name == program);
        let (_, deb) = found.with_context(|| format!("{program} is not packaged"))?;
        let assets = assets(deb);
        let ships = |from: &str, to: &str| {
            assets
                .iter()
                .any(|[source, place, _]| source == from && place == to)
        };
        ensure!(ships(&format!("target/release/{program}"), "usr/bin/"));
        let from = format!("../../ops/systemd/{unit}");
        ensure!(
            ships(&from, "usr/lib/systemd/system/"),
            "{program}: no unit"
        );
        let from = format!("../../ops/systemd/{program}.sysusers.conf");
        let to = format!("usr/lib/sysusers.d/{program}.conf");
        ensure!(ships(&from, &to), "{program}: no account");
        let configuration = place.trim_start_matches('/');
        ensure!(ships(&format!("../../ops/etc/{source}"), configuration));
        // dpkg asks before it replaces what an operator changed.
        ensure!(
            deb["conf-files"][0] == *place,
            "{program}: {place} is no conffile"
        );
        for [from, _, _] in &assets {
            let relative = from.trim_start_matches("../../");
            let path = workspace::root().join(relative);
            let there = match relative.split_once("/*") {
                Some((folder, _)) => workspace::root().join(folder).is_dir(),
                None => relative.starts_with("target/release/") || path.is_file(),
            };
            ensure!(there, "{program}: {from} is not there");
        }
        check_scripts(program, unit)?;
    }
    Ok(())
}

/// The scripts are of a shell, make the account first, start what is named so, and delete nothing.
fn check_scripts(program: &str, unit: &str) -> Result<()> {
    let folder = workspace::root().join("ops/debian").join(program);
    for script in ["postinst", "prerm", "postrm"] {
        let path = folder.join(script);
        let parsed = Command::new("sh").arg("-n").arg(&path).status()?;
        ensure!(parsed.success(), "{}", path.display());
        let text = fs::read_to_string(&path)?;
        ensure!(
            !text.contains("rm -") && !text.contains("userdel"),
            "{}: it deletes",
            path.display()
        );
    }
    let text = fs::read_to_string(folder.join("postinst"))?;
    let account = text.find(&format!("systemd-sysusers {program}.conf"));
    let account = account.with_context(|| format!("{program}: no account is made"))?;
    let started = text.find(&format!("systemctl enable --now {unit}"));
    ensure!(started.is_none_or(|started| account < started));
    // A unit with LoadCredential= does not start without the directory.
    if let [credential] = Unit::read(unit)?.all("LoadCredential")[..] {
        let (_, directory) = credential.split_once(':').context("no path")?;
        let made = format!("install -d -m 0700 {directory}");
        ensure!(text.contains(&made), "{program}: nothing makes {directory}");
    }
    Ok(())
}

#[test]
fn sysusers_makes_every_account_and_group_that_a_unit_names() -> Result<()> {
    const NAME: &str = "sysusers_makes_every_account_and_group_that_a_unit_names";
    if !rustix::process::geteuid().is_root() {
        tools::skip(NAME, "only root may let systemd-sysusers write accounts");
        return Ok(());
    }
    for (unit, program) in UNITS {
        let folder = tempfile::tempdir()?;
        fs::create_dir(folder.path().join("etc"))?;
        let made = Command::new("systemd-sysusers")
            .arg(format!("--root={}", folder.path().display()))
            .arg(unit::folder().join(format!("{program}.sysusers.conf")))
            .output();
        let Ok(made) = made else {
            tools::skip(NAME, "no systemd-sysusers");
            return Ok(());
        };
        ensure!(
            made.status.success(),
            "{program}: {}",
            String::from_utf8_lossy(&made.stderr)
        );
        let unit = Unit::read(unit)?;
        let users = names(folder.path(), "etc/passwd")?;
        let groups = names(folder.path(), "etc/group")?;
        ensure!(
            users.contains(unit.one("User")?),
            "{program}: no user in {users:?}"
        );
        for group in unit
            .all("Group")
            .into_iter()
            .chain(unit.all("SupplementaryGroups"))
        {
            ensure!(
                groups.contains(group),
                "{program}: no {group} in {groups:?}"
            );
        }
    }
    Ok(())
}

fn names(root: &Path, file: &str) -> Result<BTreeSet<String>> {
    let text = fs::read_to_string(root.join(file))?;
    let names = text.lines().filter_map(|line| line.split(':').next());
    Ok(names.map(str::to_owned).collect())
}

#[test]
fn cargo_deb_builds_every_package() -> Result<()> {
    const NAME: &str = "cargo_deb_builds_every_package";
    if std::env::var_os("METRICSD_TEST_LONG").is_none() {
        // It takes a release build of everything.
        return Ok(());
    }
    let has_it = workspace::cargo(&["deb", "--version"]).output()?;
    if !has_it.status.success() {
        tools::skip(NAME, "no cargo deb; `cargo install cargo-deb` installs it");
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    for (_, program) in UNITS {
        let file = folder.path().join(format!("{program}.deb"));
        let file = file.to_str().context("a path in UTF-8")?;
        workspace::run(&mut workspace::cargo(&[
            "deb",
            "--quiet",
            "--package",
            program,
            "--output",
            file,
        ]))?;
        let listed = Command::new("dpkg-deb")
            .args(["--contents", file])
            .output()?;
        let listed = String::from_utf8_lossy(&listed.stdout);
        ensure!(listed.contains(&format!("./usr/bin/{program}")), "{listed}");
    }
    Ok(())
}
