//! Starts of the real program: what is refused, with which words and which exit status, and what a refusal leaves behind (nothing).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test stops where it cannot go on"
)]

mod judge;

use std::fs;
use std::path::Path;
use std::process::Command;

use judge::{ended, shadow_session};

const CONFIG: &str = "[environment]\nmode = \"paper\"\n[session]\nsymbol = \"EUR/USD\"\nwarmup_candles = 50\n[feed]\nfile = \"candles.csv\"\n";

/// A directory with `c.toml` and sixty hourly candles in `candles.csv`.
fn directory() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("c.toml"), CONFIG).unwrap();
    fs::write(directory.path().join("candles.csv"), candles("")).unwrap();
    directory
}

fn candles(comment: &str) -> String {
    let mut text = format!("{comment}open_time,open,high,low,close,volume\n");
    for hour in 0..60 {
        text.push_str(&format!(
            "{},1.1,1.3,1.0,1.2,7\n",
            1_483_488_000 + hour * 3_600
        ));
    }
    text
}

fn entries(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// The program refuses: exit status, and one sentence that contains these words.
fn refused(
    arguments: &[&str],
    variables: &[(&str, &str)],
    files: &[(&str, &str)],
    status: i32,
    words: &str,
) {
    let directory = directory();
    for (name, content) in files {
        fs::write(directory.path().join(name), content).unwrap();
    }
    let before = entries(directory.path());
    let output = shadow_session(directory.path(), arguments)
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    let (code, stdout, stderr) = ended(&output);
    assert_eq!(code, Some(status), "{arguments:?} {variables:?}: {stderr}");
    assert!(
        stderr.contains(words),
        "{arguments:?} {variables:?}:\n{stderr}\ndoes not say\n{words}"
    );
    assert!(
        !stderr.contains("panicked") && !stderr.contains("backtrace"),
        "{stderr}"
    );
    assert_eq!(stdout, "", "{arguments:?}: a refusal has no result");
    assert_eq!(
        entries(directory.path()),
        before,
        "{arguments:?}: a refusal leaves nothing behind"
    );
}

#[test]
fn a_bad_flag_or_configuration_ends_with_status_2_and_one_sentence() {
    let flag = |arguments: &[&str], words: &str| {
        refused(
            &[&["--config", "c.toml"], arguments].concat(),
            &[],
            &[],
            2,
            words,
        )
    };
    flag(
        &["--strategy", "rsi_strategy"],
        "unknown strategy; accepted: ma_crossover",
    );
    flag(
        &["--symbol", "EURUSD"],
        "shadow-session: --symbol: found `EURUSD`, accepted: EUR/USD BTC/EUR",
    );
    flag(
        &["--timeframe", "2h"],
        "shadow-session: --timeframe: found `2h`, accepted: 1m 5m 15m 30m 1h 4h 1d 1w",
    );
    flag(
        &["--feed", "kraken"],
        "accepted: recorded:FILE, synthetic:SEED",
    );
    flag(&["--duration", "-1"], "accepted: minutes, 0 or more");
    flag(
        &["--speed", "0"],
        "accepted: max, realtime, or candles per second from 0.000001",
    );
    flag(&["--run-id", "a/b"], "accepted: 1 to 128 letters");
    flag(
        &["--log-level", "loud"],
        "accepted: error, warn, warning, info, debug, trace",
    );
    flag(&["--live"], "unexpected argument '--live'");
    let file = |content: &str, words: &str| {
        refused(
            &["--config", "c.toml"],
            &[],
            &[("c.toml", content)],
            2,
            words,
        )
    };
    file(
        "x = 1\n",
        "shadow-session: c.toml: line 1: x: unknown field `x`, expected one of `environment`, ",
    );
    file(
        "[environment]\nmode = \"live\"\n",
        "shadow-session: c.toml: line 2: environment.mode: found `live`, accepted: paper\n",
    );
    file(
        "[environment]\n",
        "shadow-session: c.toml: line 1 (end of file): environment.mode: missing, accepted: paper\n",
    );
    refused(
        &["--config", "no.toml"],
        &[],
        &[],
        2,
        "shadow-session: no.toml: cannot read the configuration: No such file or directory",
    );
    refused(
        &["--config", "c.toml"],
        &[("PEAKTRADE_METRICS_MODE", "C")],
        &[],
        2,
        "shadow-session: PEAKTRADE_METRICS_MODE: \"C\" is no mode; A ",
    );
    refused(
        &["--config", "c.toml"],
        &[("PEAK_TRADE_METRICSD_PORT", "0")],
        &[],
        2,
        "shadow-session: PEAK_TRADE_METRICSD_PORT: ",
    );
    let two = [
        ("PEAKTRADE_METRICS_MULTIPROC_DIR", "one"),
        ("PROMETHEUS_MULTIPROC_DIR", "other"),
    ];
    refused(
        &["--config", "c.toml"],
        &two,
        &[],
        2,
        "PROMETHEUS_MULTIPROC_DIR",
    );
}

#[test]
fn a_feed_of_another_symbol_or_timeframe_ends_with_status_2_and_says_what_it_holds() {
    let file = |comment: &str, words: &str| {
        refused(
            &["--config", "c.toml"],
            &[],
            &[("candles.csv", &candles(comment))],
            2,
            words,
        );
    };
    file(
        "# symbol: BTC/EUR\n",
        "shadow-session: c.toml: line 4: session.symbol: found `EUR/USD`, but candles.csv holds BTC/EUR; accepted: BTC/EUR, or another feed\n",
    );
    refused(
        &["--config", "c.toml"],
        &[],
        &[("candles.csv", &candles("# timeframe: 1H\n"))],
        1,
        "shadow-session: candles.csv: line 1: timeframe `1H` is unknown; accepted: 1m 5m 15m 30m 1h 4h 1d 1w\n",
    );
    file(
        "# timeframe: 4h\n",
        "shadow-session: session.timeframe (default): found `1h`, but candles.csv holds bars of 4h; accepted: bars of 4h, or another feed\n",
    );
    refused(
        &["--config", "c.toml", "--timeframe", "1m"],
        &[],
        &[],
        2,
        "shadow-session: --timeframe: found `1m`, but candles.csv holds bars of 1h; accepted: bars of 1h, or another feed\n",
    );
    refused(
        &["--config", "c.toml", "--symbol", "EUR/USD"],
        &[],
        &[("candles.csv", &candles("# symbol: BTC/EUR\n"))],
        2,
        "shadow-session: --symbol: found `EUR/USD`, but candles.csv holds BTC/EUR; accepted: BTC/EUR, or another feed\n",
    );
    let timeframe = CONFIG.replace("[feed]", "timeframe = \"1d\"\n[feed]");
    refused(
        &["--config", "c.toml"],
        &[],
        &[("c.toml", &timeframe)],
        2,
        "shadow-session: c.toml: line 6: session.timeframe: found `1d`, but candles.csv holds bars of 1h; accepted: bars of 1h, or another feed\n",
    );
}

#[test]
fn a_feed_that_cannot_be_used_ends_with_status_1_and_names_file_line_and_column() {
    let feed = |flag: &str, content: &str, words: &str| {
        refused(
            &["--config", "c.toml", "--feed", flag],
            &[],
            &[("candles.csv", content)],
            1,
            words,
        );
    };
    let whole = candles("");
    feed(
        "recorded:missing.csv",
        &whole,
        "shadow-session: missing.csv: cannot read the candle file: No such file or directory",
    );
    feed(
        "recorded:.",
        &whole,
        "shadow-session: .: is a directory; expected a regular file of at most 512 MiB\n",
    );
    let broken = whole.replacen("1.1,1.3", "1.1,1.x", 1);
    feed(
        "recorded:candles.csv",
        &broken,
        "shadow-session: candles.csv: line 2, column 3 (high): found `1.x`, expected a decimal number\n",
    );
    feed(
        "recorded:candles.csv",
        "a,b\n1,2\n",
        "shadow-session: candles.csv: line 1: found the header `a,b`, expected the columns open_time,",
    );
    let short: String = whole
        .lines()
        .take(51)
        .map(|line| format!("{line}\n"))
        .collect();
    feed(
        "recorded:candles.csv",
        &short,
        "shadow-session: recorded:candles.csv: holds 50 usable candles, and the warm-up takes 50; accepted: more candles, or a smaller session.warmup_candles\n",
    );
}

#[test]
fn a_feed_of_which_nothing_can_be_traded_is_a_failed_start_that_says_why() {
    let header = "open_time,open,high,low,close,volume\n";
    let rows: Vec<String> = candles("")
        .lines()
        .skip(1)
        .map(|row| format!("{row}\n"))
        .collect();
    let feed = |rows: String, words: &str| {
        let accepted = "and the warm-up takes 50; accepted: more candles, or a smaller session.warmup_candles\n";
        refused(
            &["--config", "c.toml"],
            &[],
            &[("candles.csv", &format!("# timeframe: 1h\n{header}{rows}"))],
            1,
            &format!("shadow-session: recorded:candles.csv: holds {words}, {accepted}"),
        );
    };
    feed(
        rows.iter().rev().cloned().collect(),
        "1 usable candles (dropped: 59 out_of_order from line 4 on)",
    );
    feed(
        rows[0].repeat(100),
        "1 usable candles (dropped: 99 duplicate from line 4 on)",
    );
    // The year 2100.
    let future: String = (0..60)
        .map(|hour| format!("{},1.1,1.3,1.0,1.2,7\n", 4_102_444_800_i64 + hour * 3_600))
        .collect();
    feed(
        future,
        "0 usable candles (dropped: 60 unclosed from line 3 on)",
    );
    feed(
        rows.concat().replace("1.3,", "nan,"),
        "0 usable candles (dropped: 60 non_finite from line 3 on)",
    );
}

#[test]
fn dropped_bars_and_a_tight_order_limit_are_said_once_at_the_default_level() {
    let directory = directory();
    let text = candles("")
        .replace("1483678800,", "1483675200,")
        .replace("1483682400,", "1483675200,");
    fs::write(directory.path().join("candles.csv"), text).unwrap();
    let limit = format!("{CONFIG}[risk]\nmax_order_notional = \"1199\"\n");
    fs::write(directory.path().join("c.toml"), limit).unwrap();
    let arguments = ["--config", "c.toml", "--no-logging", "--log-level", "warn"];
    let (code, stdout, stderr) = ended(
        &shadow_session(directory.path(), &arguments)
            .output()
            .unwrap(),
    );
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stdout.contains("2 duplicate"), "{stdout}");
    let said = |words: &str| stderr.lines().filter(|line| line.contains(words)).count();
    assert_eq!(
        (
            said("candle dropped"),
            said("line=55"),
            said("it blocks exits too"),
            stderr.lines().count()
        ),
        (1, 1, 1, 2),
        "{stderr}"
    );
}

#[test]
fn a_configuration_that_is_no_file_or_too_long_is_refused_at_once() {
    let directory = directory();
    let path = |name: &str| directory.path().join(name);
    assert!(
        Command::new("mkfifo")
            .arg(path("fifo.toml"))
            .status()
            .unwrap()
            .success()
    );
    let large = fs::File::create(path("large.toml")).unwrap();
    large.set_len((1 << 20) + 1).unwrap();
    fs::write(path("latin1.toml"), b"# caf\xe9\n").unwrap();
    let accepted = "; accepted: a TOML file of at most 1 MiB\n";
    for (name, words) in [
        ("/dev/zero", format!("is not a regular file{accepted}")),
        ("fifo.toml", format!("is not a regular file{accepted}")),
        (".", format!("is a directory{accepted}")),
        ("large.toml", format!("is too large{accepted}")),
        (
            "latin1.toml",
            "cannot read the configuration: invalid utf-8 sequence of 1 bytes from index 5\n"
                .to_owned(),
        ),
    ] {
        // A start that reads without end or waits for a writer would be ended by the limit, with another status.
        let output = Command::new("timeout")
            .args(["20", env!("CARGO_BIN_EXE_shadow-session"), "--config", name])
            .current_dir(directory.path())
            .output()
            .unwrap();
        let (code, stdout, stderr) = ended(&output);
        assert_eq!(
            (code, stdout.as_str(), stderr),
            (Some(2), "", format!("shadow-session: {name}: {words}"))
        );
    }
}

#[test]
fn a_folder_for_run_logs_that_somebody_named_and_that_cannot_be_one_ends_with_status_1() {
    let accepted = "accepted: a folder that can be made or written to: ";
    for dir in ["candles.csv", "/proc/x", "candles.csv/below"] {
        refused(
            &["--config", "c.toml", "--log-dir", dir],
            &[],
            &[],
            1,
            &format!("shadow-session: --log-dir: found `{dir}`, {accepted}"),
        );
    }
    let key = format!("{CONFIG}[run_log]\ndir = \"candles.csv\"\n");
    refused(
        &["--config", "c.toml"],
        &[],
        &[("c.toml", &key)],
        1,
        &format!("shadow-session: c.toml: line 9: run_log.dir: found `candles.csv`, {accepted}"),
    );
}

#[test]
fn signals_are_caught_before_the_flags_are_looked_at() {
    // With four descriptors the loader has one to spare and the handlers, which need two, cannot be set up: whatever comes before
    // them would still work.
    let directory = directory();
    let program = env!("CARGO_BIN_EXE_shadow-session");
    let output = Command::new("sh")
        .args(["-c", "ulimit -n 4; exec \"$0\" --no-such-flag", program])
        .current_dir(directory.path())
        .env("PEAK_TRADE_LIVE_ENABLED", "1")
        .output()
        .unwrap();
    let (code, _, stderr) = ended(&output);
    assert_eq!(code, Some(1), "{stderr}");
    assert!(
        stderr.starts_with("shadow-session: signals cannot be watched: "),
        "{stderr}"
    );
}

#[test]
fn where_live_trading_is_armed_nothing_starts_and_nothing_else_is_looked_at() {
    let table = [
        ("PEAK_TRADE_LIVE_ENABLED", "1"),
        ("PEAK_TRADE_LIVE_ENABLED", "true"),
        ("PEAK_TRADE_LIVE_ENABLED", "TRUE"),
        ("PEAK_TRADE_LIVE_ENABLED", "yes"),
        ("PEAK_TRADE_LIVE_ARMED", "on"),
        ("PEAK_TRADE_LIVE_ARMED", "2"),
        ("PEAK_TRADE_LIVE_ARMED", " "),
    ];
    for (variable, value) in table {
        refused(
            &["--config", "c.toml"],
            &[(variable, value)],
            &[],
            1,
            &format!(
                "shadow-session: {variable}: found `{value}`, and this program never trades for real"
            ),
        );
        // Before flags and files: neither is looked at.
        refused(&["--no-such-flag"], &[(variable, value)], &[], 1, variable);
        refused(
            &["--config", "no.toml", "--dry-run"],
            &[(variable, value)],
            &[],
            1,
            variable,
        );
    }
    for token in ["x", "0", "false"] {
        refused(
            &["--config", "c.toml"],
            &[("PT_LIVE_CONFIRM_TOKEN", token)],
            &[],
            1,
            "shadow-session: PT_LIVE_CONFIRM_TOKEN: found a value (not shown)",
        );
    }
    let directory = directory();
    for value in ["", "0", "false", "FALSE", "no", "Off"] {
        let mut command = shadow_session(directory.path(), &["--config", "c.toml", "--dry-run"]);
        command
            .env("PEAK_TRADE_LIVE_ENABLED", value)
            .env("PEAK_TRADE_LIVE_ARMED", value)
            .env("PT_LIVE_CONFIRM_TOKEN", "");
        assert!(command.output().unwrap().status.success(), "{value:?}");
    }
}

#[test]
fn a_dry_run_prints_a_configuration_that_is_accepted_again_and_changes_nothing() {
    let directory = directory();
    let before = entries(directory.path());
    let dry = |arguments: &[&str]| {
        let output = shadow_session(directory.path(), &[arguments, &["--dry-run"]].concat())
            .output()
            .unwrap();
        let (code, stdout, stderr) = ended(&output);
        assert_eq!(code, Some(0), "{stderr}");
        stdout
    };
    let printed = dry(&[
        "--config",
        "c.toml",
        "--strategy",
        "ma_crossover",
        "--run-id",
        "r",
    ]);
    assert!(printed.starts_with("# configuration: c.toml\n# strategy: ma_crossover\n# feed: recorded:candles.csv, 60 candles\n# run: r\n[environment]\n"), "{printed}");
    assert_eq!(entries(directory.path()), before);
    fs::write(directory.path().join("again.toml"), &printed).unwrap();
    let again = dry(&["--config", "again.toml", "--run-id", "r"]);
    assert_eq!(again.replace("again.toml", "c.toml"), printed);
    // A dry run looks at the feed too.
    refused(
        &[
            "--config",
            "c.toml",
            "--dry-run",
            "--feed",
            "recorded:no.csv",
        ],
        &[],
        &[],
        1,
        "no.csv: cannot read the candle file",
    );
}

#[test]
fn without_a_file_the_built_in_defaults_stand_and_the_default_file_wins_over_them() {
    let directory = tempfile::tempdir().unwrap();
    let dry = || {
        ended(
            &shadow_session(directory.path(), &["--dry-run"])
                .output()
                .unwrap(),
        )
    };
    let (code, _, stderr) = dry();
    assert_eq!(code, Some(1));
    assert!(
        stderr.contains("data/eurusd-1h-2017.csv: cannot read the candle file"),
        "{stderr}"
    );
    fs::create_dir(directory.path().join("data")).unwrap();
    fs::copy(
        judge::root().join("data/eurusd-1h-2017.csv"),
        directory.path().join("data/eurusd-1h-2017.csv"),
    )
    .unwrap();
    let (code, stdout, stderr) = dry();
    assert_eq!(code, Some(0), "{stderr}");
    assert!(
        stdout.starts_with("# configuration: built-in defaults\n")
            && stdout.contains("6225 candles"),
        "{stdout}"
    );
    fs::create_dir(directory.path().join("config")).unwrap();
    let text = "[environment]\nmode = \"paper\"\n[session]\nsymbol = \"EUR/USD\"\nstart_balance = \"777\"\n";
    fs::write(directory.path().join("config/shadow-session.toml"), text).unwrap();
    let (_, stdout, _) = dry();
    assert!(
        stdout.starts_with("# configuration: config/shadow-session.toml\n")
            && stdout.contains("start_balance = \"777\""),
        "{stdout}"
    );
}
