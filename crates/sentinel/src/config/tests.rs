//! Precedence and refusals of the configuration.

mod live;

use std::ffi::OsString;

use super::*;
use metricsd_client::{PORT_VARIABLE, Target};

fn load(text: &str, variables: &[(&str, &str)], arguments: &[&str]) -> Result<Config, String> {
    let arguments = std::iter::once("sentinel").chain(arguments.iter().copied());
    let cli =
        <Cli as clap::Parser>::try_parse_from(arguments).map_err(|error| error.to_string())?;
    let file =
        ConfigFile::parse(Path::new("s.toml"), text.to_owned()).map_err(|e| e.to_string())?;
    let environment = |name: &str| {
        variables
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| OsString::from(value))
    };
    Config::resolve(&cli, &file, &environment).map_err(|error| error.to_string())
}

#[test]
fn the_shipped_file_is_the_built_in_defaults() {
    let text = include_str!("../../../../config/sentinel.toml");
    let without_places = |config: &Config| {
        config
            .lines()
            .iter()
            .map(|line| {
                line.split(')')
                    .map(|part| part.split(" (").next().unwrap().to_owned())
                    .collect::<Vec<_>>()
            })
            .collect::<Vec<_>>()
    };
    let shipped = load(text, &[], &[]).unwrap();
    let built_in = load("", &[], &[]).unwrap();
    assert_eq!(without_places(&shipped), without_places(&built_in));
    let Target::Endpoint { listen } = built_in.telemetry.target else {
        panic!("mode A is the default")
    };
    assert_eq!(listen.to_string(), "127.0.0.1:8000");
    // Every key that is accepted is shown in the file.
    for key in [
        "token_file",
        "mode",
        "multiproc_dir",
        "secret_file",
        "EURUSD",
        "account",
        "confirm",
        "max_order_notional",
        "max_total_exposure",
        "max_symbol_exposure",
        "max_open_positions",
        "max_daily_loss_abs",
        "max_daily_loss_pct",
        "kill_file",
        "reset_secret_file",
    ] {
        assert!(text.contains(&format!("# {key} = ")), "{key}");
    }
}

#[test]
fn a_flag_wins_over_the_environment_over_the_file_over_the_default() {
    let file = "[hub]\nport = 3\n[telemetry]\nlisten = \"0.0.0.0:3\"\n";
    let variables = [("HUB_PORT", "2"), ("METRICS_PORT", "2")];
    let listen = |config: &Config| match config.telemetry.target {
        Target::Endpoint { listen } => listen.to_string(),
        Target::Shards { .. } => "none".to_owned(),
    };
    for (file, variables, arguments, port, address) in [
        ("", &[][..], &[][..], 5001, "127.0.0.1:8000"),
        (file, &[], &[], 3, "0.0.0.0:3"),
        (file, &variables, &[], 2, "127.0.0.1:2"),
        (
            file,
            &variables,
            &["--hub-port", "1", "--metrics-port", "1"],
            1,
            "127.0.0.1:1",
        ),
    ] {
        let config = load(file, variables, arguments).unwrap();
        assert_eq!(config.hub_port.value, port);
        assert_eq!(listen(&config), address);
    }
    // The port of metricsd is not ours.
    let config = load("", &[(PORT_VARIABLE, "9222")], &[]).unwrap();
    assert_eq!(listen(&config), "127.0.0.1:8000");
}

#[test]
fn what_is_stale_follows_the_interval_where_nobody_says_it() {
    for (interval, stale_after) in [("1m", 300), ("5m", 600), ("1h", 7_200)] {
        let config = load(&format!("[market]\ninterval = \"{interval}\""), &[], &[]).unwrap();
        assert_eq!(
            config.stale_after.value.as_secs(),
            stale_after,
            "{interval}"
        );
    }
}

/// Key, its value in the file, its variable, its flag.
type Setting = (
    &'static str,
    &'static str,
    Option<(&'static str, &'static str)>,
    Option<(&'static str, &'static str)>,
);

#[test]
fn every_setting_has_the_same_precedence_and_a_blank_variable_is_none() {
    let settings: &[Setting] = &[
        (
            "market.base_url",
            "\"http://f/api\"",
            Some(("EODHD_BASE_URL", "http://v/api")),
            None,
        ),
        (
            "market.symbol",
            "\"FILE\"",
            None,
            Some(("--symbol", "FLAG")),
        ),
        ("market.interval", "\"5m\"", None, None),
        (
            "market.calendar",
            "\"fx\"",
            Some(("SENTINEL_CALENDAR", "always")),
            None,
        ),
        ("market.lookback_bars", "300", None, None),
        ("market.stale_after", "\"3h\"", None, None),
        ("market.timeout", "\"9s\"", None, None),
        (
            "hub.host",
            "\"f\"",
            Some(("HUB_HOST", "v")),
            Some(("--hub-host", "c")),
        ),
        (
            "hub.port",
            "1",
            Some(("HUB_PORT", "2")),
            Some(("--hub-port", "3")),
        ),
        ("hub.timeout", "\"2s\"", None, None),
        ("hub.model", "\"embedded\"", None, Some(("--model", "hub"))),
        (
            "decide.threshold",
            "0.1",
            None,
            Some(("--threshold", "0.3")),
        ),
        ("decide.cooldown", "\"30m\"", None, None),
        ("decide.max_orders_per_minute", "3", None, None),
        ("decide.max_orders_per_day", "5", None, None),
        ("gateway.timeout", "\"6s\"", None, None),
        ("gateway.volume", "\"0.50\"", None, None),
        ("gateway.worst_price_bps", "0", None, None),
        ("gateway.valid_for", "\"100ms\"", None, None),
        ("gateway.heartbeat_every", "\"1s\"", None, None),
        ("gateway.magic", "2147483647", None, None),
        ("gateway.stale_after", "\"1m\"", None, None),
        ("limits.max_order_notional", "\"1.5\"", None, None),
        ("limits.max_total_exposure", "\"2\"", None, None),
        ("limits.max_symbol_exposure", "\"3\"", None, None),
        ("limits.max_open_positions", "4", None, None),
        ("limits.max_daily_loss_abs", "\"5\"", None, None),
        ("limits.max_daily_loss_pct", "6", None, None),
        (
            "state.dir",
            "\"f\"",
            Some(("SENTINEL_STATE_DIR", "v")),
            Some(("--state-dir", "c")),
        ),
        ("state.kill_file", "\"k\"", None, None),
        ("state.reset_secret_file", "\"r\"", None, None),
        (
            "gateway.host",
            "\"f\"",
            Some(("GTW_HOST", "v")),
            Some(("--gtw-host", "c")),
        ),
        (
            "gateway.port",
            "1",
            Some(("GTW_PORT", "2")),
            Some(("--gtw-port", "3")),
        ),
        ("schedule.every", "\"30s\"", None, None),
        ("schedule.at_second", "7", None, None),
    ];
    for (key, in_file, variable, flag) in settings {
        let (section, name) = key.split_once('.').unwrap();
        let file = format!("[{section}]\n{name} = {in_file}\n");
        let shown = |variables: &[(&str, &str)], arguments: &[&str], value: &str, place: &str| {
            let lines = load(&file, variables, arguments).unwrap().lines();
            let line = lines
                .iter()
                .find(|line| line.starts_with(&format!("[{section}]")));
            let wanted = format!("{name} = {} ({place})", value.trim_matches('"'));
            assert!(line.unwrap().contains(&wanted), "{wanted}: {line:?}");
        };
        shown(&[], &[], in_file, "line 2");
        let variables: Vec<(&str, &str)> = variable.iter().copied().collect();
        if let Some((variable, value)) = variable {
            shown(&[(variable, " ")], &[], in_file, "line 2");
            shown(&variables, &[], value, variable);
        }
        if let Some((flag, value)) = flag {
            shown(&variables, &[flag, value], value, flag);
        }
        let default = load("", &[], &[]).unwrap().lines().join("\n");
        assert!(default.contains(&format!("{name} = ")), "{name}");
    }
}

#[test]
fn a_refused_address_is_not_shown_where_it_may_hold_a_secret() {
    for url in [
        "http://user:tok-1234@x/api",
        "https://x/api?api_token=tok-1234",
        "https://x/api#tok-1234",
        "tok-1234@x",
    ] {
        for (file, variables) in [
            (String::new(), &[("EODHD_BASE_URL", url)][..]),
            (format!("[market]\nbase_url = \"{url}\""), &[]),
            (String::new(), &[("HUB_HOST", url)][..]),
        ] {
            let error = load(&file, variables, &[]).unwrap_err();
            assert!(!error.contains("tok-1234"), "{error}");
            assert!(error.contains("found `***`, accepted: "), "{error}");
        }
    }
}

/// File, variables, flags, and what the error says.
type Case = (
    &'static str,
    &'static [(&'static str, &'static str)],
    &'static [&'static str],
    &'static str,
);

#[test]
fn a_wrong_value_names_its_place_and_what_is_accepted_also_where_another_layer_wins() {
    let table: &[Case] = &[
        (
            "[hub]\n\nport = 0",
            &[],
            &["--hub-port", "1"],
            "s.toml: line 3: hub.port: found `0`, accepted: a whole number from 1 to 65535",
        ),
        (
            "",
            &[("HUB_PORT", "x")],
            &["--hub-port", "1"],
            "HUB_PORT: found `x`, accepted: a whole number from 1 to 65535",
        ),
        (
            "",
            &[],
            &["--gtw-port", "70000"],
            "--gtw-port: found `70000`, accepted",
        ),
        (
            "",
            &[],
            &["--metrics-port", "0"],
            "--metrics-port: found `0`, accepted: a whole number from 1 to 65535",
        ),
        (
            "",
            &[("METRICS_PORT", "http")],
            &[],
            "METRICS_PORT: found `http`",
        ),
        (
            "",
            &[],
            &["--threshold", "nan"],
            "--threshold: found `nan`, accepted: a number from 0 to 1",
        ),
        (
            "",
            &[],
            &["--threshold", "-0.1"],
            "--threshold: found `-0.1`",
        ),
        (
            "",
            &[],
            &["--symbol", "EUR/USD"],
            "--symbol: found `EUR/USD`, accepted: 3 to 12 capital letters and digits",
        ),
        (
            "",
            &[],
            &["--model", "mock"],
            "--model: found `mock`, accepted: hub embedded",
        ),
        (
            "",
            &[("SENTINEL_CALENDAR", "nyse")],
            &[],
            "SENTINEL_CALENDAR: found `nyse`, accepted: fx always",
        ),
        (
            "",
            &[("EODHD_BASE_URL", "ftp://x")],
            &[],
            "EODHD_BASE_URL: found `ftp://x`",
        ),
        (
            "[market]\ntimeout = \"61s\"",
            &[],
            &[],
            "line 2: market.timeout: found `61s`, accepted: a duration from 1ms to 60s",
        ),
        (
            "[hub]\ntimeout = \"0s\"",
            &[],
            &[],
            "line 2: hub.timeout: found `0s`, accepted: a duration from 1ms to 60s",
        ),
        (
            "[telemetry]\nlisten = \"127.0.0.1:0\"",
            &[],
            &[],
            "line 2: telemetry.listen: found `127.0.0.1:0`, accepted: an address and port",
        ),
        (
            "[market]\ninterval = \"2h\"",
            &[],
            &[],
            "line 2: market.interval: found `2h`, accepted: 1m 5m 1h",
        ),
        (
            "[market]\nstale_after = \"30m\"",
            &[],
            &[],
            "line 2: market.stale_after: found `30m`, accepted: at least the interval (1h)",
        ),
        (
            "[market]\nlookback_bars = 199",
            &[],
            &[],
            "line 2: market.lookback_bars: found `199`, accepted: a whole number from 200 to 5000",
        ),
        (
            "[schedule]\nevery = \"1500ms\"",
            &[],
            &[],
            "line 2: schedule.every",
        ),
        (
            "[decide]\nthreshold = \"high\"",
            &[],
            &[],
            "line 2: decide.threshold: found string \"high\", accepted: a number",
        ),
        (
            "[decide]\nmin = 1",
            &[],
            &[],
            "line 2: decide.min: unknown field `min`, expected one of `threshold`, `cooldown`, `max_orders_per_minute`, `max_orders_per_day`",
        ),
        (
            "[gateway]\nvolume = \"0.0\"",
            &[],
            &[],
            "line 2: gateway.volume: found `0.0`, accepted: an amount above 0 and at most",
        ),
        (
            "[gateway]\ntimeout = \"2h\"",
            &[],
            &[],
            "line 2: gateway.timeout: found `2h`, accepted: a duration from 1ms to 60s",
        ),
        (
            "[gateway]\nsecret = \"x\"",
            &[],
            &[],
            "line 2: gateway.secret: unknown field `secret`",
        ),
        (
            "[arm]\nacount = \"1\"",
            &[],
            &[],
            "line 2: arm.acount: unknown field `acount`, expected `account` or `confirm`",
        ),
        (
            "[gateway]\nvalid_for = \"99ms\"",
            &[],
            &[],
            "line 2: gateway.valid_for: found `99ms`, accepted: a duration from 100ms to 60s",
        ),
        (
            "[gateway]\nheartbeat_every = 5",
            &[],
            &[],
            "line 2: gateway.heartbeat_every: found integer `5`, accepted: a duration in quotes",
        ),
        (
            "[gateway]\nworst_price_bps = 1001",
            &[],
            &[],
            "line 2: gateway.worst_price_bps: found `1001`, accepted: a whole number from 0 to 1000",
        ),
        (
            "[gateway]\nmagic = 2147483648",
            &[],
            &[],
            "line 2: gateway.magic: found `2147483648`, accepted: a whole number from 0 to 2147483647",
        ),
        (
            "[gateway.contract_sizes]\nEURUSD = \"0\"",
            &[],
            &[],
            "line 2: gateway.contract_sizes: found `EURUSD = 0`, accepted: an amount above 0",
        ),
        (
            "[gateway.contract_sizes]\n\"eur/usd\" = \"1\"",
            &[],
            &[],
            "line 2: gateway.contract_sizes: found `eur/usd = 1`, accepted: symbols of 3 to 12",
        ),
        (
            "[limits]\nmax_order_notional = \"-1\"",
            &[],
            &[],
            "line 2: limits.max_order_notional: found `-1`, accepted: an amount of the account's currency",
        ),
        (
            "[limits]\nmax_open_positions = 0",
            &[],
            &[],
            "line 2: limits.max_open_positions: found `0`, accepted: a whole number from 1 to 1000000",
        ),
        (
            "[limits]\nmax_daily_loss_pct = nan",
            &[],
            &[],
            "line 2: limits.max_daily_loss_pct: found `NaN`, accepted: percent, above 0",
        ),
        (
            "[limits]\nmax_order_notional = 1500",
            &[],
            &[],
            "line 2: limits.max_order_notional: found integer `1500`, accepted: text in quotes",
        ),
        (
            "[arm]\naccount = \"\"",
            &[],
            &[],
            "line 2: arm.account: found ``, accepted: the account's name at the gateway",
        ),
        (
            "[decide]\nmax_orders_per_minute = 1025",
            &[],
            &[],
            "line 2: decide.max_orders_per_minute: found `1025`, accepted: a whole number from 0 to 1024",
        ),
        (
            "[state]\ndir = \" \"",
            &[],
            &[],
            "line 2: state.dir: found ` `, accepted: a directory",
        ),
        (
            "[telemetry]\nmode = \"C\"",
            &[],
            &[],
            "line 2: telemetry.mode: found `C`, accepted: A B",
        ),
        (
            "[market]\ntoken_file = \"/nowhere/t\"",
            &[],
            &[],
            "s.toml: line 2: market.token_file: /nowhere/t: cannot read the token",
        ),
    ];
    for (file, variables, arguments, message) in table {
        let error = load(file, variables, arguments).unwrap_err();
        assert!(error.contains(message), "{error}\n{message}");
    }
}

#[test]
fn the_token_comes_from_the_variable_or_the_file_and_is_never_shown() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    std::fs::write(&path, "in-the-file\n").unwrap();
    let file = format!("[market]\ntoken_file = \"{}\"", path.display());
    let variable = [(TOKEN_VARIABLE, "in-the-variable")];
    for (variables, token) in [(&[][..], "in-the-file"), (&variable, "in-the-variable")] {
        let config = load(&file, variables, &[]).unwrap();
        assert_eq!(config.token.as_ref().unwrap().value.expose(), token);
        let shown = format!("{config:?} {:?}", config.lines());
        assert!(!shown.contains("in-the-"), "{shown}");
        assert!(shown.contains("token = *** ("));
    }
    assert_eq!(load("", &[], &[]).unwrap().token, None);
    for bad in ["two words", "\u{feff}word", "wo\u{7}rd", "wörd"] {
        std::fs::write(&path, bad).unwrap();
        let error = load(&file, &[], &[]).unwrap_err();
        assert!(
            error.contains("one word") && !error.contains(bad),
            "{error}"
        );
    }
    std::fs::write(&path, "x".repeat(1 << 20)).unwrap();
    assert!(load(&file, &[], &[]).unwrap_err().contains("one word"));
}

/// The daemon once hung in the opening of a pipe, and answered no signal; and took all memory for a device that never ends.
#[test]
fn a_secret_that_is_no_file_is_refused_and_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    let live =
        "[arm]\naccount = \"1\"\nconfirm = \"1\"\n[gateway.contract_sizes]\nEURUSD = \"1\"\n";
    for path in [pipe.as_path(), Path::new("/dev/zero")] {
        let token = format!("[market]\ntoken_file = \"{}\"", path.display());
        let secret = format!("{live}[gateway]\nsecret_file = \"{}\"", path.display());
        for (file, arguments) in [(token, &[][..]), (secret, &["--live"][..])] {
            let error = load(&file, &[], arguments).unwrap_err();
            let named = format!("_file: {}: cannot read the ", path.display());
            assert!(error.contains(&named), "{error}");
        }
        let reset = crate::gateway::guards::reset::ResetSecret::read(path).unwrap_err();
        assert!(
            reset.to_string().contains("is not a regular file"),
            "{reset}"
        );
        assert_eq!(super::secrets::warn_of(path), None);
    }
}
