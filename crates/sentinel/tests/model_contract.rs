//! `docs/model-contract.md` is what authors of models read: its names, order and limits are those of the program.

use sentinel::features::{BAR_COUNT, NAMES, SCHEMA_VERSION};
use sentinel::model::SUM_TOLERANCE;

const CONTRACT: &str = include_str!("../../../docs/model-contract.md");

/// The rows of the table of features: number and name.
fn rows() -> Vec<(usize, String)> {
    let cells = |line: &str| -> Option<(usize, String)> {
        let mut cells = line.strip_prefix('|')?.split('|').map(str::trim);
        let number = cells.next()?.parse().ok()?;
        let name = cells.next()?.strip_prefix('`')?.strip_suffix('`')?;
        Some((number, name.to_owned()))
    };
    CONTRACT.lines().filter_map(cells).collect()
}

#[test]
fn the_documented_names_and_their_order_are_those_that_are_sent() {
    let expected: Vec<(usize, String)> = NAMES
        .iter()
        .enumerate()
        .map(|(index, name)| (index + 1, (*name).to_owned()))
        .collect();
    assert_eq!(rows(), expected);
}

#[test]
fn the_documented_version_window_and_tolerance_are_those_of_the_program() {
    let title = format!("# The model's wire contract, version {SCHEMA_VERSION}\n");
    assert!(CONTRACT.starts_with(&title));
    assert!(CONTRACT.contains(&format!("exactly the {BAR_COUNT} newest closed bars")));
    assert!(CONTRACT.contains(&format!("1 within {SUM_TOLERANCE:.5} ")));
}

/// The names that the training and the pandas judge use are a list of their own: it must be the same one.
#[test]
fn the_training_uses_the_same_names() {
    let script = include_str!("../training/features.py");
    let list = script
        .split_once("\nNAMES = [")
        .and_then(|(_, rest)| rest.split_once("\n]"))
        .map(|(list, _)| list)
        .expect("features.py has the list");
    let names: Vec<&str> = list.split('"').skip(1).step_by(2).collect();
    assert_eq!(names, NAMES);
}
