//! The configuration: every key's rule, the words of every refusal, and who wins over whom.

use super::*;
use clap::Parser;
use metricsd_client::Target;
use program::config::Place;

const MINIMAL: &str = "[environment]\nmode = \"paper\"\n[session]\nsymbol = \"EUR/USD\"\n";

fn resolve(
    text: Option<&str>,
    flags: &[&str],
    variables: &[(&str, &str)],
) -> Result<Config, String> {
    let cli = Cli::try_parse_from(std::iter::once("shadow-session").chain(flags.iter().copied()))
        .unwrap();
    let file = match text {
        Some(text) => ConfigFile::parse(Path::new("f.toml"), text.to_owned())
            .map_err(|error| error.to_string())?,
        None => ConfigFile::default(),
    };
    let environment = |name: &str| {
        variables
            .iter()
            .find(|(variable, _)| *variable == name)
            .map(|(_, value)| OsString::from(value))
    };
    Config::resolve(&cli, &file, &environment).map_err(|error| error.to_string())
}

fn shipped() -> String {
    std::fs::read_to_string(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config/shadow-session.toml"),
    )
    .unwrap()
}

#[test]
fn the_shipped_file_says_the_built_in_defaults() {
    let (shipped, built_in) = (
        resolve(Some(&shipped()), &[], &[]).unwrap(),
        resolve(None, &[], &[]).unwrap(),
    );
    assert_eq!(shipped.to_string(), built_in.to_string());
    assert!(
        shipped
            .to_string()
            .contains("max_order_notional = \"1500\"")
    );
}

#[test]
fn keys_of_a_live_feed_are_checked_and_change_nothing_for_recorded_candles() {
    let live = "poll_interval = \"60s\"\n[feed]\nsource = \"recorded\"\nbase_url = \"https://api.kraken.com\"\nmax_retries = 3\nrate_limit = \"1s\"\n";
    assert_eq!(
        resolve(Some(&format!("{MINIMAL}{live}")), &[], &[])
            .unwrap()
            .to_string(),
        resolve(Some(MINIMAL), &[], &[]).unwrap().to_string()
    );
}

#[test]
fn what_a_dry_run_prints_is_a_configuration_that_means_the_same() {
    let table: [(&str, &[&str]); 4] = [
        (&shipped(), &[]),
        (
            MINIMAL,
            &["--no-logging", "--feed", "synthetic:9223372036854775807"],
        ),
        (
            MINIMAL,
            &[
                "--symbol",
                "BTC/EUR",
                "--timeframe",
                "4h",
                "--log-dir",
                "a \"quoted\" \\ dir",
            ],
        ),
        (
            "[environment]\nmode = \"paper\"\n[session]\nsymbol = \"eth/usd\"\nstart_balance = \"0.50\"\n[telemetry]\nmode = \"a\"\nlisten = \"127.0.0.1:1\"\n[risk]\nmax_daily_loss_pct = 2\n[strategy.ma_crossover]\nallow_short = true",
            &[],
        ),
    ];
    for (text, flags) in table {
        let printed = resolve(Some(text), flags, &[]).unwrap().to_string();
        assert_eq!(
            resolve(Some(&printed), &[], &[]).unwrap().to_string(),
            printed
        );
    }
}

#[test]
fn a_limit_that_is_not_in_the_file_is_not_enforced() {
    let config = resolve(Some(MINIMAL), &[], &[]).unwrap();
    assert_eq!(config.session.limits.limits, [None; 6]);
    let with_one = format!("{MINIMAL}[risk]\nmax_open_positions = 2\n");
    let limits = resolve(Some(&with_one), &[], &[])
        .unwrap()
        .session
        .limits
        .limits;
    assert_eq!(limits, [None, None, None, Some(2.into()), None, None]);
}

#[test]
fn every_bad_value_names_file_line_key_what_was_found_and_what_is_accepted() {
    let amount =
        "an amount of quote currency in quotes, above 0 and at most 1000000000000000, as \"1500\"";
    let balance = "a decimal in quotes, above 0 and at most 1000000000000, with at most 8 decimals, as \"10000\"";
    let ratio = "a ratio above 0 and at most 1";
    // (table, key, value as in the file, as found, accepted)
    let table = [
        (
            "session",
            "timeframe",
            "\"2h\"",
            "2h",
            "1m 5m 15m 30m 1h 4h 1d 1w",
        ),
        ("session", "start_balance", "\"0\"", "0", balance),
        ("session", "start_balance", "\"-1\"", "-1", balance),
        ("session", "start_balance", "\"1e4\"", "1e4", balance),
        ("session", "start_balance", "\"1_000\"", "1_000", balance),
        (
            "session",
            "start_balance",
            "\"0.123456789\"",
            "0.123456789",
            balance,
        ),
        (
            "session",
            "start_balance",
            "\"1000000000001\"",
            "1000000000001",
            balance,
        ),
        ("session", "position_fraction", "0.0", "0", ratio),
        ("session", "position_fraction", "1.01", "1.01", ratio),
        ("session", "position_fraction", "nan", "NaN", ratio),
        ("session", "position_fraction", "inf", "inf", ratio),
        (
            "session",
            "warmup_candles",
            "49",
            "49",
            "a whole number from 50 (the strategy's longest window) to 10000000",
        ),
        (
            "session",
            "warmup_candles",
            "-1",
            "-1",
            "a whole number from 50 (the strategy's longest window) to 10000000",
        ),
        (
            "feed",
            "source",
            "\"kraken\"",
            "kraken",
            "recorded, synthetic",
        ),
        ("feed", "file", "\"\"", "", "the path of a candle file"),
        (
            "strategy.ma_crossover",
            "fast_window",
            "1",
            "1",
            "a whole number of bars from 2, below slow_window (50)",
        ),
        (
            "strategy.ma_crossover",
            "fast_window",
            "50",
            "50",
            "a whole number of bars from 2, below slow_window (50)",
        ),
        (
            "strategy.ma_crossover",
            "slow_window",
            "0",
            "0",
            "a whole number of bars from 3 to 100000",
        ),
        (
            "execution",
            "fee_rate",
            "-0.1",
            "-0.1",
            "a ratio from 0 to below 1",
        ),
        (
            "execution",
            "fee_rate",
            "1",
            "1",
            "a ratio from 0 to below 1",
        ),
        (
            "execution",
            "slippage_bps",
            "10000.0",
            "10000",
            "basis points from 0 to below 10000",
        ),
        ("execution", "fill_at", "\"close\"", "close", "next_open"),
        ("risk", "max_order_notional", "\"0\"", "0", amount),
        ("risk", "max_total_exposure", "\"x\"", "x", amount),
        ("risk", "max_symbol_exposure", "\"-5\"", "-5", amount),
        (
            "risk",
            "max_open_positions",
            "0",
            "0",
            "a whole number from 1 to 1000000",
        ),
        ("risk", "max_daily_loss_abs", "\"\"", "", amount),
        (
            "risk",
            "max_daily_loss_pct",
            "0",
            "0",
            "percent, above 0 and at most 1000000",
        ),
        ("risk", "warning_factor", "0", "0", ratio),
        ("risk", "warning_factor", "1.1", "1.1", ratio),
        ("telemetry", "mode", "\"C\"", "C", "A, B"),
        (
            "telemetry",
            "multiproc_dir",
            "\"\"",
            "",
            "the path of a directory",
        ),
        (
            "telemetry",
            "listen",
            "\"localhost\"",
            "localhost",
            "an address and a port, as 127.0.0.1:9111",
        ),
        ("run_log", "dir", "\"\"", "", "the path of a directory"),
    ];
    for (section, key, value, found, accepted) in table {
        // The section may be the one of MINIMAL: its keys then go on line 5, else a header does.
        let (text, line) = if section == "session" {
            (format!("{MINIMAL}{key} = {value}\n"), 5)
        } else {
            (format!("{MINIMAL}\n[{section}]\n{key} = {value}\n"), 7)
        };
        let expected =
            format!("f.toml: line {line}: {section}.{key}: found `{found}`, accepted: {accepted}");
        assert_eq!(resolve(Some(&text), &[], &[]).unwrap_err(), expected);
    }
    // Whichever feed is used, and whatever the flag says.
    for source in ["synthetic", "recorded"] {
        for flags in [&[][..], &["--feed", "synthetic:1"]] {
            let seed = format!("{MINIMAL}[feed]\nsource = \"{source}\"\nseed = -1\n");
            assert_eq!(
                resolve(Some(&seed), flags, &[]).unwrap_err(),
                "f.toml: line 7: feed.seed: found `-1`, accepted: a whole number from 0"
            );
            let file = format!("{MINIMAL}[feed]\nsource = \"{source}\"\nfile = \"\"\n");
            assert_eq!(
                resolve(Some(&file), flags, &[]).unwrap_err(),
                "f.toml: line 7: feed.file: found ``, accepted: the path of a candle file"
            );
        }
    }
}

#[test]
fn an_unknown_key_or_a_value_of_another_type_names_file_line_and_key() {
    let table = [
        (
            format!("{MINIMAL}poll_interval = \"60\"\n"),
            "f.toml: line 5: session.poll_interval: found `60`, accepted: a duration above 0 in quotes, as \"250ms\" or \"10s\"",
        ),
        (
            format!("{MINIMAL}[feed]\nbase_url = \"x\"\n"),
            "f.toml: line 6: feed.base_url: found `x`, accepted: an address that begins with https:// or http://",
        ),
        (
            format!("{MINIMAL}[strategy.rsi]\nperiod = 14\n"),
            "f.toml: line 5: strategy.rsi: unknown field `rsi`, expected `ma_crossover`",
        ),
        (
            format!("{MINIMAL}[strategy.ma_crossover]\nfast_period = 10\n"),
            "f.toml: line 6: strategy.ma_crossover.fast_period: unknown field `fast_period`, expected one of `fast_window`, `slow_window`, `allow_short`",
        ),
        (
            format!("{MINIMAL}[riks]\n"),
            "f.toml: line 5: riks: unknown field `riks`, expected one of `environment`, `session`, `feed`, `strategy`, `execution`, `risk`, `telemetry`, `run_log`",
        ),
        (
            format!("{MINIMAL}start_balance = 10000\n"),
            "f.toml: line 5: session.start_balance: found integer `10000`, accepted: an amount as text, such as \"10000\"",
        ),
        (
            format!("{MINIMAL}position_fraction = \"0.1\"\n"),
            "f.toml: line 5: session.position_fraction: found string \"0.1\", accepted: a number, such as 0.1",
        ),
        (
            format!("{MINIMAL}warmup_candles = 200.5\n"),
            "f.toml: line 5: session.warmup_candles: found floating point `200.5`, accepted: a whole number, such as 20",
        ),
    ];
    for (text, message) in table {
        assert_eq!(resolve(Some(&text), &[], &[]).unwrap_err(), message);
    }
    let error = resolve(Some("[environment\nmode = 1"), &[], &[]).unwrap_err();
    assert!(
        error.starts_with("f.toml: line 1: ") && !error.contains('\n'),
        "{error}"
    );
    let error = resolve(Some(&format!("{MINIMAL}symbol = \"BTC/EUR\"\n")), &[], &[]).unwrap_err();
    assert!(
        error.starts_with("f.toml: line 5: session.symbol: duplicate key"),
        "{error}"
    );
}

#[test]
fn paper_in_exactly_this_spelling_is_the_only_environment() {
    for mode in ["live", "Paper", "PAPER", " paper", "testnet", "shadow", ""] {
        let error = resolve(Some(&MINIMAL.replace("paper", mode)), &[], &[]).unwrap_err();
        assert_eq!(
            error,
            format!("f.toml: line 2: environment.mode: found `{mode}`, accepted: paper")
        );
    }
}

#[test]
fn a_file_must_say_mode_and_symbol_and_a_flag_may_say_the_symbol() {
    let no_mode = "[session]\nsymbol = \"EUR/USD\"\n";
    assert_eq!(
        resolve(Some(no_mode), &[], &[]).unwrap_err(),
        "f.toml: line 2 (end of file): environment.mode: missing, accepted: paper"
    );
    let no_symbol = "[environment]\nmode = \"paper\"\n";
    assert_eq!(
        resolve(Some(no_symbol), &[], &[]).unwrap_err(),
        "f.toml: line 2 (end of file): session.symbol: missing, accepted: a symbol, as EUR/USD"
    );
    assert_eq!(
        resolve(Some(no_symbol), &["--symbol", "btc/usd"], &[])
            .unwrap()
            .symbol
            .value
            .as_str(),
        "BTC/USD"
    );
    assert!(resolve(Some(""), &[], &[]).is_err());
}

#[test]
fn an_unknown_symbol_or_timeframe_names_its_flag_or_line_and_lists_what_there_is() {
    let error = resolve(Some(&MINIMAL.replace("EUR/USD", "EURUSD")), &[], &[]).unwrap_err();
    assert!(
        error.starts_with(
            "f.toml: line 4: session.symbol: found `EURUSD`, accepted: EUR/USD BTC/EUR"
        ),
        "{error}"
    );
    let error = resolve(Some(MINIMAL), &["--symbol", "DOGE/EUR"], &[]).unwrap_err();
    assert!(
        error.starts_with("--symbol: found `DOGE/EUR`, accepted: EUR/USD BTC/EUR"),
        "{error}"
    );
    let error = resolve(Some(MINIMAL), &["--timeframe", "1H"], &[]).unwrap_err();
    assert_eq!(
        error,
        "--timeframe: found `1H`, accepted: 1m 5m 15m 30m 1h 4h 1d 1w"
    );
}

#[test]
fn flags_win_over_the_file_and_the_file_over_the_defaults() {
    let text = format!(
        "{MINIMAL}timeframe = \"4h\"\n[feed]\nfile = \"a.csv\"\n[run_log]\nenabled = false\n"
    );
    let of_file = resolve(Some(&text), &[], &[]).unwrap();
    assert_eq!(
        (of_file.timeframe.value, of_file.feed),
        (Timeframe::H4, FeedChoice::Recorded("a.csv".into()))
    );
    assert_eq!(
        (of_file.run_log_dir, of_file.duration, of_file.speed),
        (None, None, Speed::Max)
    );
    let flags = [
        "--timeframe",
        "1d",
        "--feed",
        "recorded:b.csv",
        "--log-dir",
        "runs",
        "--duration",
        "0.5",
        "--speed",
        "10",
    ];
    let of_flags = resolve(Some(&text), &flags, &[]).unwrap();
    assert_eq!(
        (of_flags.timeframe.value, of_flags.feed),
        (Timeframe::D1, FeedChoice::Recorded("b.csv".into()))
    );
    let placed = |dir: &str, place| {
        Some(Placed {
            value: PathBuf::from(dir),
            place,
        })
    };
    assert_eq!(
        of_flags.run_log_dir,
        placed("runs", Place::Flag("--log-dir"))
    );
    assert_eq!(
        (of_flags.duration, of_flags.speed),
        (Some(Duration::from_secs(30)), Speed::CandlesPerSecond(10.0))
    );
    assert_eq!(
        resolve(Some(&text), &["--duration", "0"], &[])
            .unwrap()
            .duration,
        None,
        "0 is to the end of the feed"
    );
    assert_eq!(
        resolve(None, &["--no-logging"], &[]).unwrap().run_log_dir,
        None
    );
    assert_eq!(
        resolve(None, &[], &[]).unwrap().run_log_dir,
        placed("live_runs", Place::Default("run_log.dir"))
    );
}

#[test]
fn the_environment_wins_over_the_file_in_telemetry_and_a_bad_variable_is_refused() {
    let directory = |config: Config| match config.telemetry.target {
        Target::Shards { directory } => directory,
        Target::Endpoint { listen } => panic!("{listen}"),
    };
    let text = format!("{MINIMAL}[telemetry]\nmultiproc_dir = \"/from/file\"\n");
    assert_eq!(
        directory(resolve(Some(&text), &[], &[]).unwrap()),
        Path::new("/from/file")
    );
    let variable = [("PEAKTRADE_METRICS_MULTIPROC_DIR", "/from/variable")];
    assert_eq!(
        directory(resolve(Some(&text), &[], &variable).unwrap()),
        Path::new("/from/variable")
    );
    let default = directory(resolve(Some(MINIMAL), &[], &[]).unwrap());
    assert!(
        default.is_absolute() && default.ends_with(".ops_local/prom_multiproc"),
        "{default:?}"
    );
    let mode_a = resolve(Some(&text), &[], &[("PEAKTRADE_METRICS_MODE", "a")]).unwrap();
    assert!(matches!(mode_a.telemetry.target, Target::Endpoint { .. }));
    let error = resolve(Some(&text), &[], &[("PEAKTRADE_METRICS_MODE", "C")]).unwrap_err();
    assert!(error.starts_with("PEAKTRADE_METRICS_MODE: "), "{error}");
    let two = [
        ("PEAKTRADE_METRICS_MULTIPROC_DIR", "/one"),
        ("PROMETHEUS_MULTIPROC_DIR", "/other"),
    ];
    let error = resolve(Some(&text), &[], &two).unwrap_err();
    assert!(
        error.contains("PEAKTRADE_METRICS_MULTIPROC_DIR")
            && error.contains("PROMETHEUS_MULTIPROC_DIR"),
        "{error}"
    );
}

#[test]
fn a_value_that_does_not_go_with_a_default_is_named_itself_with_its_line() {
    let table = [
        (
            "slow_window = 20",
            "f.toml: line 6: strategy.ma_crossover.slow_window: found `20`, accepted: a whole number of bars above fast_window (20, the default), or a smaller fast_window in the file",
        ),
        (
            "slow_window = 201",
            "f.toml: line 6: strategy.ma_crossover.slow_window: found `201`, accepted: at most session.warmup_candles (200, the default), or a larger session.warmup_candles in the file",
        ),
        (
            "slow_window = 2",
            "f.toml: line 6: strategy.ma_crossover.slow_window: found `2`, accepted: a whole number of bars from 3 to 100000",
        ),
    ];
    for (line, message) in table {
        let text = format!("{MINIMAL}[strategy.ma_crossover]\n{line}\n");
        assert_eq!(resolve(Some(&text), &[], &[]).unwrap_err(), message);
    }
}

#[test]
fn a_value_is_checked_also_where_a_flag_wins_over_it() {
    let table: [(&str, &[&str], &str); 4] = [
        (
            "timeframe = \"2h\"\n",
            &["--timeframe", "1h"],
            "f.toml: line 5: session.timeframe: found `2h`",
        ),
        (
            "[feed]\nsource = \"x\"\n",
            &["--feed", "synthetic:1"],
            "f.toml: line 6: feed.source: found `x`",
        ),
        (
            "[run_log]\ndir = \"\"\n",
            &["--log-dir", "logs"],
            "f.toml: line 6: run_log.dir: found ``",
        ),
        (
            "",
            &["--symbol", "BTC/EUR"],
            "f.toml: line 4: session.symbol: found `EURUSD`",
        ),
    ];
    for (lines, flags, message) in table {
        let mut text = format!("{MINIMAL}{lines}");
        if lines.is_empty() {
            text = text.replace("EUR/USD", "EURUSD");
        }
        let error = resolve(Some(&text), flags, &[]).unwrap_err();
        assert!(error.starts_with(message), "{error}");
    }
}

#[test]
fn a_refusal_names_the_inline_key_the_decimals_and_no_more_than_a_line_of_the_value() {
    let table = [
        (
            "environment = {mode=\"paper\"}\nsession = {symbol=\"EUR/USD\", position_fraction = \"x\"}\n".to_owned(),
            "f.toml: line 2: session.position_fraction: found string \"x\", accepted: a number, such as 0.1",
        ),
        (
            "environment = {mode=\"paper\"}\nsession = {symbol=\"EUR/USD\", foo = 1}\n".to_owned(),
            "f.toml: line 2: session.foo: unknown field `foo`",
        ),
        ("environment = \"paper\"\n".to_owned(), "f.toml: line 1: environment: found string \"paper\", accepted: a table with keys"),
        (
            format!("{MINIMAL}position_fraction = 0.333333333333\n"),
            "f.toml: line 5: session.position_fraction: found `0.333333333333`, accepted: a ratio above 0 and at most 1, with at most 10 decimals",
        ),
        (
            format!("{MINIMAL}[risk]\nmax_daily_loss_abs = \"1.00000000001\"\n"),
            "f.toml: line 6: risk.max_daily_loss_abs: found `1.00000000001`, accepted: an amount of quote currency in quotes, above 0 and at most 1000000000000000, as \"1500\", with at most 10 decimals",
        ),
        (
            format!("{MINIMAL}timeframe = \"{}\"\n", "x".repeat(500)),
            "f.toml: line 5: session.timeframe: found `xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx...`, accepted: 1m",
        ),
    ];
    for (text, message) in table {
        let error = resolve(Some(&text), &[], &[]).unwrap_err();
        assert!(error.starts_with(message), "{error}");
    }
}
