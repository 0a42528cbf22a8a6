//! What a live run needs, and what a dry run does with the same file.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::gateway::guards::limits::LimitId;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// A file that arms, but for what a test takes out; the secret is in the folder.
struct Armed {
    folder: tempfile::TempDir,
}

impl Armed {
    fn new() -> Armed {
        let armed = Armed {
            folder: tempfile::tempdir().unwrap(),
        };
        armed.write(&format!(" {SECRET}\r\n\n"), 0o600);
        armed
    }

    fn write(&self, secret: &str, mode: u32) {
        fs::write(self.path(), secret).unwrap();
        fs::set_permissions(self.path(), fs::Permissions::from_mode(mode)).unwrap();
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("secret")
    }

    fn text(&self) -> String {
        format!(
            "[gateway]\nsecret_file = \"{}\"\ncontract_sizes.EURUSD = \"100000\"\n[arm]\naccount = \"4711\"\nconfirm = \"4711\"\n[limits]\nmax_daily_loss_abs = \"500\"\n",
            self.path().display()
        )
    }
}

#[test]
fn a_live_run_has_the_key_the_account_and_the_limits_and_shows_neither_secret_nor_account() {
    let armed = Armed::new();
    let config = load(&armed.text(), &[], &["--live"]).unwrap();
    let live = config.live.as_ref().unwrap();
    assert_eq!(
        (live.arm.is_live, live.arm.account.as_str()),
        (true, "4711")
    );
    assert_eq!(config.telemetry.runs_as, "live");
    let guards = config.guards_settings();
    assert_eq!(guards.arm, live.arm);
    assert_eq!(
        guards.limits[LimitId::MaxDailyLossAbs as usize],
        Some(500.into())
    );
    assert_eq!(guards.limits[LimitId::MaxOrderNotional as usize], None);
    assert_eq!(config.gateway.contract_size("EURUSD"), Some(100_000.into()));
    let lines = config.lines().join("\n");
    assert!(
        lines.contains("contract_sizes.EURUSD = 100000 (line 3)"),
        "{lines}"
    );
    assert!(
        !lines.contains("4711") && !lines.contains("dry run"),
        "{lines}"
    );
    let shown = format!("{config:?}");
    assert!(!shown.contains(SECRET), "{shown}");
}

#[test]
fn without_the_flag_the_same_file_is_a_dry_run_that_touches_no_secret() {
    let armed = Armed::new();
    fs::remove_file(armed.path()).unwrap();
    for arguments in [&[][..], &["--dry-run"]] {
        let config = load(&armed.text(), &[], arguments).unwrap();
        assert!(config.live.is_none());
        assert_eq!(config.telemetry.runs_as, "dry-run");
        assert_eq!(config.guards_settings().arm, guards::Arm::default());
        let lines = config.lines().join("\n");
        assert!(lines.contains("not used: this is a dry run"), "{lines}");
    }
}

#[test]
fn what_a_live_run_lacks_is_named() {
    let armed = Armed::new();
    let whole = armed.text();
    let secret = format!("secret_file = \"{}\"", armed.path().display());
    for (text, message) in [
        (
            whole.replace(&secret, ""),
            "s.toml: gateway.secret_file: not set, --live needs it; accepted: a file with the secret",
        ),
        (
            whole.replace("account = \"4711\"\n", ""),
            "s.toml: arm.account: not set, --live needs it; accepted: the account's name",
        ),
        (
            whole.replace("confirm = \"4711\"\n", ""),
            "s.toml: arm.confirm: not set, --live needs it; accepted: the same as arm.account",
        ),
        (
            whole.replace("confirm = \"4711\"", "confirm = \"4712\""),
            "s.toml: line 6: arm.confirm: found `4712`, accepted: the same as arm.account (`4711`)",
        ),
        (
            whole.replace("EURUSD", "GBPUSD"),
            "s.toml: gateway.contract_sizes.EURUSD: not set, --live needs it; accepted: units of one lot",
        ),
        (
            whole.replace(&secret, "secret_file = \"/nowhere/s\""),
            "s.toml: line 2: gateway.secret_file: /nowhere/s: cannot read the secret of the gateway",
        ),
    ] {
        let error = load(&text, &[], &["--live"]).unwrap_err();
        assert!(error.contains(message), "{error}\n{message}");
    }
    // The symbol of the flag is the one that is traded.
    let error = load(&whole, &[], &["--live", "--symbol", "GBPUSD"]).unwrap_err();
    assert!(error.contains("gateway.contract_sizes.GBPUSD"), "{error}");
}

#[test]
fn a_secret_that_the_gateway_would_not_take_is_refused_without_being_shown() {
    let armed = Armed::new();
    for (secret, message) in [
        (
            "short-secret",
            "the secret has 12 bytes, 32 to 512 are accepted",
        ),
        ("", "the secret has 0 bytes"),
        (&"x".repeat(513), "the secret has 513 bytes"),
        (
            &format!("{SECRET} {SECRET}"),
            "not printable ASCII, or a space",
        ),
        // Not white space of the protocol: the gateway has another key, or none.
        (
            &format!("{SECRET}\u{a0}"),
            "not printable ASCII, or a space",
        ),
        (&format!("{SECRET}\u{c}"), "not printable ASCII, or a space"),
    ] {
        armed.write(secret, 0o600);
        let error = load(&armed.text(), &[], &["--live"]).unwrap_err();
        assert!(error.contains(message), "{error}\n{message}");
        assert!(error.starts_with("s.toml: line 2: gateway.secret_file: "));
        assert!(!error.contains("0123456789"), "{error}");
    }
}

#[test]
fn a_secret_that_others_can_read_and_a_halt_that_could_not_be_left_are_warned_of() {
    let armed = Armed::new();
    let reset = armed.folder.path().join("reset");
    fs::write(&reset, "0123456789abcdef").unwrap();
    fs::set_permissions(&reset, fs::Permissions::from_mode(0o600)).unwrap();
    let with_reset = format!(
        "{}[state]\nreset_secret_file = \"{}\"\n",
        armed.text(),
        reset.display()
    );
    let warnings = |text: &str| load(text, &[], &["--live"]).unwrap().live.unwrap().warnings;
    assert!(warnings(&with_reset).is_empty());
    let text = armed.text();
    let without = warnings(text.split("[limits]").next().unwrap());
    assert!(without[0].contains("state.reset_secret_file is not set"));
    assert!(without[1].contains("none of [limits] is set"));
    // A reset would be refused, which is better known before it is needed.
    fs::write(&reset, "short").unwrap();
    let found = warnings(&with_reset);
    assert!(found[0].contains("has 5 bytes"), "{found:?}");
    fs::remove_file(&reset).unwrap();
    let found = warnings(&with_reset);
    assert!(found[0].contains("cannot read"), "{found:?}");
    fs::write(&reset, "0123456789abcdef").unwrap();
    fs::set_permissions(&reset, fs::Permissions::from_mode(0o600)).unwrap();
    for mode in [0o640, 0o604] {
        armed.write(SECRET, mode);
        let found = warnings(&with_reset);
        assert_eq!(found.len(), 1, "{mode:o}");
        assert!(
            found[0].contains("others can read this secret"),
            "{found:?}"
        );
    }
}

#[test]
fn the_kill_file_is_in_the_state_directory_unless_another_is_named() {
    let config = load("", &[], &["--state-dir", "x"]).unwrap();
    assert_eq!(config.state.kill_file.value, Path::new("x/kill"));
    let config = load(
        "[state]\nkill_file = \"/run/k\"",
        &[],
        &["--state-dir", "x"],
    )
    .unwrap();
    assert_eq!(config.state.kill_file.value, Path::new("/run/k"));
}
