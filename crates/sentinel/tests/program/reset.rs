//! `sentinel reset` as a process, on logs as they are on disk.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output};

use sentinel::decide::TradingState;
use sentinel::gateway::intent_log::IntentLog;
use sentinel::gateway::intent_log::record::HaltReason;
use tempfile::TempDir;

const SECRET: &str = "correct horse battery";
/// 2023-11-14T22:13:20Z.
const HALTED_AT_MS: i64 = 1_700_000_000_000;

/// A state directory with a log, a configuration and the secret.
struct World {
    folder: TempDir,
}

impl World {
    fn new() -> World {
        let world = World {
            folder: tempfile::tempdir().unwrap(),
        };
        fs::create_dir_all(world.intents()).unwrap();
        fs::write(world.at("reset-secret"), format!("{SECRET}\n")).unwrap();
        world.configure(&format!(
            "reset_secret_file = \"{}\"\n",
            world.at("reset-secret").display()
        ));
        world
    }

    fn halted() -> World {
        let world = World::new();
        let mut log = world.open();
        log.tighten(TradingState::Halted, HaltReason::KillSwitch, HALTED_AT_MS)
            .unwrap();
        world
    }

    fn configure(&self, state: &str) {
        // The token file is not there: no other section is looked at.
        let text = format!("[market]\ntoken_file = \"/nowhere\"\n[state]\n{state}");
        fs::write(self.at("sentinel.toml"), text).unwrap();
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn intents(&self) -> PathBuf {
        self.at("state/live/intents")
    }

    fn open(&self) -> IntentLog<sentinel::gateway::intent_log::storage::Disk> {
        IntentLog::open(&self.intents(), HALTED_AT_MS).unwrap().0
    }

    fn trading(&self) -> TradingState {
        self.open().state().unwrap().trading()
    }

    fn reset(&self, attempt: &str) -> Output {
        fs::write(self.at("attempt"), attempt).unwrap();
        Command::new(env!("CARGO_BIN_EXE_sentinel"))
            .arg("reset")
            .arg("--state-dir")
            .arg(self.at("state"))
            .arg("--reset-secret-file")
            .arg(self.at("attempt"))
            .arg("--config")
            .arg(self.at("sentinel.toml"))
            .env_clear()
            .current_dir(self.folder.path())
            .output()
            .unwrap()
    }
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn error(output: &Output) -> String {
    let text = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(!text.contains("horse"), "{text}");
    text
}

#[test]
fn only_the_secret_leaves_halted_and_wrong_attempts_are_on_record() {
    let world = World::halted();
    for attempts in 1..=2 {
        let wrong = world.reset("correct horse batterz");
        assert_eq!(wrong.status.code(), Some(1));
        let text = error(&wrong);
        assert!(
            text.contains(&format!("it is on record, {attempts} so far")),
            "{text}"
        );
        assert!(text.contains("stays halted (kill_switch)"), "{text}");
        assert_eq!(world.trading(), TradingState::Halted);
    }
    let right = world.reset(&format!(" {SECRET}\n\n"));
    assert_eq!(right.status.code(), Some(0), "{}", error(&right));
    let text = out(&right);
    assert!(
        text.contains("it was halted by kill_switch since 2023-11-14T22:13:20Z"),
        "{text}"
    );
    assert!(!text.contains("order"), "{text}");
    assert_eq!(world.trading(), TradingState::Active);
    let again = world.reset("any word at all is not looked at");
    assert_eq!(again.status.code(), Some(0));
    assert!(out(&again).contains("trading is not halted but active; nothing was changed"));
}

#[test]
fn what_is_open_is_told_also_of_a_log_of_the_first_format() {
    let world = World::new();
    let intent = |id: &str, bar: i64| {
        format!(
            r#"{{"id":"{id}","idempotency_key":"key-{bar}","bar_open_time":{bar},"side":"sell","symbol":"EURUSD","volume":"0.10","valid_until_ms":1700000005000,"decided_at_ms":1700000000000}}"#
        )
    };
    let records = [
        r#"{"kind":"snapshot","state":{"trading":"active","reason":null,"last_decided_bar":null,"open":[],"orphans":[],"recent_orders_ms":[],"last_order_ms":null,"order_day":-9223372036854775808,"orders_in_day":0,"day_opening":null,"resets_refused":0,"last_seq":0}}"#.to_owned(),
        format!(r#"{{"kind":"decided","intent":{}}}"#, intent("first", 60)),
        r#"{"kind":"outcome","id":"first","outcome":"filled","at_ms":1700000000100}"#.to_owned(),
        format!(r#"{{"kind":"decided","intent":{}}}"#, intent("second", 120)),
        r#"{"kind":"outcome","id":"second","outcome":"unknown","at_ms":1700000000100}"#.to_owned(),
        r#"{"kind":"tightened","state":"halted","reason":"daily_loss","at_ms":1700000000000}"#.to_owned(),
    ];
    let lines: String = records
        .iter()
        .enumerate()
        .map(|(index, record)| {
            let rest = format!(r#""seq":{},"record":{record}}}"#, index + 1);
            format!(
                "{{\"crc32\":\"{:08x}\",{rest}\n",
                crc32fast::hash(rest.as_bytes())
            )
        })
        .collect();
    let name = format!("intents-{:020}.jsonl", 1);
    fs::write(world.intents().join(name), lines).unwrap();
    let output = world.reset(SECRET);
    assert_eq!(output.status.code(), Some(0), "{}", error(&output));
    let text = out(&output);
    assert!(!text.contains("damaged"), "{text}");
    assert!(text.contains("halted by daily_loss"), "{text}");
    assert!(
        text.contains(
            "no known outcome: order second: sell 0.10 EURUSD, decided 2023-11-14T22:13:20Z"
        ),
        "{text}"
    );
    assert!(text.contains("the next start asks the gateway about these orders"));
    assert!(!text.contains("first"), "{text}");
}

#[test]
fn beside_a_daemon_or_a_kill_file_nothing_is_reset() {
    let world = World::halted();
    let held = world.open();
    let locked = world.reset(SECRET);
    assert_eq!(locked.status.code(), Some(1));
    let text = error(&locked);
    assert!(
        text.contains("belongs to a running daemon, which has to be stopped first"),
        "{text}"
    );
    drop(held);
    fs::write(world.at("state/kill"), "").unwrap();
    let killed = world.reset(SECRET);
    assert_eq!(killed.status.code(), Some(1));
    let text = error(&killed);
    assert!(
        text.contains("state/kill: the kill file is there"),
        "{text}"
    );
    assert_eq!(world.trading(), TradingState::Halted);
    fs::remove_file(world.at("state/kill")).unwrap();
    assert_eq!(world.reset(SECRET).status.code(), Some(0));
}

#[test]
fn what_cannot_be_compared_is_said_and_nothing_is_made() {
    let world = World::halted();
    world.configure("");
    let unset = world.reset(SECRET);
    assert_eq!(unset.status.code(), Some(2));
    assert!(error(&unset).contains("state.reset_secret_file: not set"));
    world.configure("reset_secret_file = \"reset-secret\"\n");
    fs::write(world.at("reset-secret"), "short").unwrap();
    let short = world.reset("short");
    assert_eq!(short.status.code(), Some(2));
    assert!(error(&short).contains("reset-secret: the reset secret has 5 bytes, 16 to 4096"));
    fs::write(world.at("reset-secret"), SECRET).unwrap();
    let empty = world.reset(" \n");
    assert_eq!(empty.status.code(), Some(2));
    assert!(error(&empty).contains("attempt: the reset secret has 0 bytes"));
    assert_eq!(world.trading(), TradingState::Halted);
    fs::rename(world.at("state"), world.at("elsewhere")).unwrap();
    let nowhere = world.reset(SECRET);
    assert_eq!(nowhere.status.code(), Some(1));
    assert!(error(&nowhere).contains("there is no intent log of a live run"));
    assert!(!world.at("state").exists());
}

#[test]
fn another_user_than_the_daemons_changes_nothing() {
    let world = World::halted();
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(world.intents(), Some(12_345), None).unwrap();
    } else {
        fs::rename(world.intents(), world.at("aside")).unwrap();
        std::os::unix::fs::symlink("/usr", world.intents()).unwrap();
    }
    let files = fs::read_dir(world.intents()).unwrap().count();
    let output = world.reset(SECRET);
    assert_eq!(output.status.code(), Some(1));
    let text = error(&output);
    assert!(
        text.contains("live/intents: the intent log belongs to user"),
        "{text}"
    );
    assert_eq!(fs::read_dir(world.intents()).unwrap().count(), files);
}

#[test]
fn a_log_that_cannot_be_written_stays_halted_and_says_why() {
    if rustix::process::geteuid().is_root() {
        // No permission keeps root out: the directory is a file instead.
        let world = World::halted();
        fs::rename(world.intents(), world.at("aside")).unwrap();
        fs::write(world.intents(), "").unwrap();
        let output = world.reset(SECRET);
        assert_eq!(output.status.code(), Some(1));
        assert!(error(&output).contains("live/intents: cannot lock the intent log"));
        return;
    }
    let world = World::halted();
    fs::set_permissions(world.intents(), fs::Permissions::from_mode(0o500)).unwrap();
    let output = world.reset(SECRET);
    assert_eq!(output.status.code(), Some(1));
    assert!(error(&output).contains("intent log"));
    fs::set_permissions(world.intents(), fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(world.trading(), TradingState::Halted);
}
