//! The boards against the types that Grafana publishes (`@grafana/schema`), by TypeScript's compiler; both in the releases that
//! `ops/grafana/package-lock.json` names, below `target/xtask/grafana`.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use xtask::{tools, workspace};

use crate::{BOARDS, text};

/// Changes to the text of a board, each of which is a wrong type, value or key.
const MUTATIONS: [(&str, &str); 6] = [
    (r#""h": 4"#, r#""h": "4""#),
    (r#""colorMode": "value""#, r#""colorMode": "loud""#),
    (r#""noValue""#, r#""noVal""#),
    (r#""spanNulls""#, r#""spanNull""#),
    (r#""graphMode""#, r#""graphMod""#),
    (r#""refresh": 2"#, r#""refresh": 7"#),
];

/// The folder with the compiler and the types, or why there is none.
fn install() -> Result<PathBuf> {
    let folder = tools_folder();
    fs::create_dir_all(&folder)?;
    let lock = "package-lock.json";
    let wanted = fs::read(workspace::root().join("ops/grafana").join(lock))?;
    let installed = folder.join("installed");
    if fs::read(&installed).is_ok_and(|found| found == wanted) {
        return Ok(folder);
    }
    for file in ["package.json", lock] {
        fs::copy(
            workspace::root().join("ops/grafana").join(file),
            folder.join(file),
        )?;
    }
    let output = Command::new("npm")
        .args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"])
        .args(["--fetch-retries=1", "--fetch-timeout=20000"])
        .current_dir(&folder)
        .output()
        .context("npm does not start")?;
    ensure!(
        output.status.success(),
        "npm ci ended with {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
            .lines()
            .last()
            .unwrap_or_default()
    );
    // Written last: half an installation must not be taken for one.
    fs::write(installed, wanted)?;
    Ok(folder)
}

fn tools_folder() -> PathBuf {
    workspace::tool_dir().join("grafana")
}

/// What the compiler says of boards, each as a literal of type `Board`.
fn check(folder: &std::path::Path, boards: &[(String, String)]) -> Result<Output> {
    // Beside the packages, where the compiler looks for them; of its own, since tests run side by side.
    let own = tempfile::tempdir_in(folder)?;
    fs::write(own.path().join("board.ts"), include_str!("board.ts"))?;
    let mut command = Command::new("node");
    command
        .arg(folder.join("node_modules/typescript/bin/tsc"))
        .args([
            "--noEmit",
            "--strict",
            "--skipLibCheck",
            "--target",
            "es2022",
        ])
        .args(["--module", "nodenext", "--types", ""])
        .current_dir(own.path());
    for (name, board) in boards {
        let file = format!("{name}.ts");
        let literal = format!(
            "import type {{ Board }} from './board';\nexport const board: Board = {board};\n"
        );
        fs::write(own.path().join(&file), literal)?;
        command.arg(file);
    }
    Ok(command.output()?)
}

#[test]
fn the_boards_have_the_types_that_grafana_publishes() -> Result<()> {
    let folder = match install() {
        Ok(folder) => folder,
        Err(why) => {
            let name = "the_boards_have_the_types_that_grafana_publishes";
            tools::skip(name, &format!("no @grafana/schema: {why:#}"));
            return Ok(());
        }
    };
    let mut boards = Vec::new();
    for name in BOARDS {
        boards.push((name.to_owned(), text(name)?));
    }
    let output = check(&folder, &boards)?;
    ensure!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );

    let whole = text("operations")?;
    let mut changed = Vec::new();
    for (number, (was, by)) in MUTATIONS.into_iter().enumerate() {
        ensure!(whole.contains(was), "'{was}' is not in the board");
        changed.push((format!("changed{number}"), whole.replacen(was, by, 1)));
    }
    let output = check(&folder, &changed)?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    for ((name, _), (_, by)) in changed.iter().zip(MUTATIONS) {
        ensure!(
            said.contains(&format!("{name}.ts(")),
            "'{by}' passes the compiler, which says:\n{said}"
        );
    }
    Ok(())
}
