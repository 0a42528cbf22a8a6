//! Leaving halted.

use super::super::reset::{ResetSecret, SecretError, reset};
use super::*;
use program::secret::Secret;

fn secret_file(text: &str) -> Result<ResetSecret, SecretError> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("reset");
    std::fs::write(&path, text).unwrap();
    ResetSecret::read(&path)
}

#[test]
fn only_the_right_secret_leaves_halted_and_every_attempt_is_on_record() {
    let directory = tempfile::tempdir().unwrap();
    let (mut log, _) = IntentLog::open(directory.path(), NOW).unwrap();
    let secret = secret_file("correct horse battery\n").unwrap();
    let right = Secret::new("correct horse battery").unwrap();
    log.tighten(TradingState::Halted, HaltReason::Operator, NOW)
        .unwrap();
    for wrong in ["correct horse batterz", "correct horse batter", "x"] {
        let attempt = Secret::new(wrong).unwrap();
        assert!(!reset(&mut log, &secret, &attempt, NOW).unwrap());
        assert_eq!(log.state().unwrap().trading(), TradingState::Halted);
    }
    drop(log);
    let (mut log, _) = IntentLog::open(directory.path(), NOW).unwrap();
    let state = log.state().unwrap();
    assert_eq!(
        (state.trading(), state.resets_refused()),
        (TradingState::Halted, 3)
    );
    assert!(reset(&mut log, &secret, &right, NOW).unwrap());
    assert!(
        reset(&mut log, &secret, &right, NOW).is_err(),
        "nothing to leave"
    );
    drop(log);
    let (log, _) = IntentLog::open(directory.path(), NOW).unwrap();
    let state = log.state().unwrap();
    assert_eq!(
        (state.trading(), state.reason()),
        (TradingState::Active, None)
    );
}

#[test]
fn a_secret_that_is_easily_guessed_or_not_there_is_refused() {
    assert!(matches!(
        secret_file("short \n"),
        Err(SecretError::Length { found: 5, .. })
    ));
    assert!(matches!(
        secret_file(&"x".repeat(5_000)),
        Err(SecretError::Length { .. })
    ));
    assert!(matches!(
        secret_file(&" ".repeat(100)),
        Err(SecretError::Length { found: 0, .. })
    ));
    let missing = ResetSecret::read(std::path::Path::new("/nonexistent/reset"));
    assert!(matches!(missing, Err(SecretError::Read { .. })));
    assert_eq!(
        format!("{:?}", secret_file("correct horse battery").unwrap()),
        "ResetSecret(***)"
    );
}
