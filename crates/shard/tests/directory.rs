//! Which directory is chosen, over every layer that can name one.
#![allow(
    clippy::unwrap_used,
    reason = "a test ends at the first thing that does not hold"
)]

use std::collections::BTreeMap;
use std::env::current_dir;
use std::ffi::OsString;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use metricsd_shard::{
    DEFAULT_DIRECTORY, DirectoryChoice, DirectoryError, DirectorySource,
    any_directory_variable_set, choose_directory,
};

const OWN: &str = "PEAKTRADE_METRICS_MULTIPROC_DIR";
const PYTHON: &str = "PROMETHEUS_MULTIPROC_DIR";
const LEGACY: &str = "prometheus_multiproc_dir";

fn choose(
    flag: Option<&str>,
    variables: &[(&str, &str)],
    file: Option<&str>,
) -> Result<DirectoryChoice, DirectoryError> {
    let variables: BTreeMap<&str, &str> = variables.iter().copied().collect();
    let env = |name: &str| variables.get(name).map(OsString::from);
    choose_directory(flag.map(Path::new), &env, file.map(Path::new))
}

#[test]
fn flag_beats_environment_beats_file_beats_default() {
    let check = |flag, variables: &[(&str, &str)], file, path: &str, source| {
        let choice = choose(flag, variables, file).unwrap();
        assert_eq!((choice.path, choice.source), (PathBuf::from(path), source));
    };
    let default = current_dir().unwrap().join(DEFAULT_DIRECTORY);
    check(
        Some("/flag"),
        &[(OWN, "/own")],
        Some("/file"),
        "/flag",
        DirectorySource::Flag,
    );
    check(
        None,
        &[(OWN, "/own")],
        Some("/file"),
        "/own",
        DirectorySource::Variable(OWN),
    );
    check(
        None,
        &[(PYTHON, "/python")],
        Some("/file"),
        "/python",
        DirectorySource::Variable(PYTHON),
    );
    check(
        None,
        &[(LEGACY, "/legacy")],
        Some("/file"),
        "/legacy",
        DirectorySource::Variable(LEGACY),
    );
    check(None, &[], Some("/file"), "/file", DirectorySource::File);
    check(
        None,
        &[],
        None,
        default.to_str().unwrap(),
        DirectorySource::Default,
    );
}

#[test]
fn empty_values_are_unset_and_an_empty_flag_is_an_error() {
    let choice = choose(None, &[(OWN, ""), (PYTHON, "/python")], Some("")).unwrap();
    assert_eq!(choice.source, DirectorySource::Variable(PYTHON));
    assert_eq!(
        choose(None, &[(OWN, "")], Some("")).unwrap().source,
        DirectorySource::Default
    );
    assert!(matches!(
        choose(Some(""), &[(OWN, "/own")], None),
        Err(DirectoryError::EmptyFlag)
    ));
}

#[test]
fn relative_paths_are_resolved_against_the_working_directory() {
    let choice = choose(None, &[(OWN, "./a/b")], None).unwrap();
    assert_eq!(choice.path, current_dir().unwrap().join("a/b"));
}

#[test]
fn variables_that_disagree_are_an_error_naming_both_unless_a_flag_decides() {
    for (first, second) in [(OWN, PYTHON), (OWN, LEGACY), (PYTHON, LEGACY)] {
        let variables = [(first, "/one"), (second, "/two")];
        let message = choose(None, &variables, Some("/file"))
            .unwrap_err()
            .to_string();
        for part in [first, second, "/one", "/two"] {
            assert!(message.contains(part), "{message}");
        }
        assert_eq!(
            choose(Some("/flag"), &variables, None).unwrap().path,
            Path::new("/flag")
        );
    }
}

#[test]
fn variables_agree_when_they_are_the_same_directory_in_other_words() {
    let dir = tempfile::tempdir().unwrap();
    let real = dir.path().join("real");
    let link = dir.path().join("link");
    std::fs::create_dir(&real).unwrap();
    symlink(&real, &link).unwrap();
    let check = |first: &Path, second: &Path| {
        let choice = choose(
            None,
            &[
                (OWN, first.to_str().unwrap()),
                (PYTHON, second.to_str().unwrap()),
            ],
            None,
        )
        .unwrap();
        assert_eq!(
            (choice.path.as_path(), choice.source),
            (first, DirectorySource::Variable(OWN))
        );
        assert_eq!(choice.warnings, Vec::<String>::new());
    };
    check(&real, &link);
    check(&real.join("not/yet"), &link.join("x/../not/./yet/"));
    check(
        &current_dir().unwrap().join("not-yet"),
        &current_dir().unwrap().join("./not-yet"),
    );
    // Two directories that do not exist yet are still two.
    let (one, two) = (link.join("one"), real.join("two"));
    assert!(
        choose(
            None,
            &[
                (OWN, one.to_str().unwrap()),
                (PYTHON, two.to_str().unwrap())
            ],
            None
        )
        .is_err()
    );
}

#[test]
fn the_old_spelling_is_warned_of_when_it_decides() {
    let choice = choose(None, &[(LEGACY, "/legacy")], None).unwrap();
    assert_eq!(choice.warnings.len(), 1);
    assert!(
        choice.warnings[0].contains(LEGACY) && choice.warnings[0].contains(PYTHON),
        "{:?}",
        choice.warnings
    );
    assert_eq!(
        choose(None, &[(LEGACY, "/same"), (OWN, "/same")], None)
            .unwrap()
            .warnings,
        Vec::<String>::new()
    );
}

#[test]
fn sources_are_named_for_people() {
    let names = [
        DirectorySource::Flag,
        DirectorySource::Variable(OWN),
        DirectorySource::File,
        DirectorySource::Default,
    ]
    .map(|source| source.to_string());
    assert_eq!(
        names,
        [
            "flag --multiproc-dir",
            "environment variable PEAKTRADE_METRICS_MULTIPROC_DIR",
            "configuration file",
            "default"
        ]
    );
}

#[test]
fn any_variable_that_is_not_empty_counts_as_set() {
    for name in [OWN, PYTHON, LEGACY] {
        assert!(
            any_directory_variable_set(&|asked| (asked == name).then(|| "/x".into())),
            "{name}"
        );
        assert!(
            !any_directory_variable_set(&|asked| (asked == name).then(OsString::new)),
            "{name}"
        );
    }
    assert!(!any_directory_variable_set(&|_| None));
}
