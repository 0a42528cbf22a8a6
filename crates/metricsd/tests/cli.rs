//! The command line from outside: exit codes, sentences, the lock, signals.

mod common;

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};

use common::{DEADLINE, Daemon, metricsd, run};
use rustix::process::Signal;

/// Runs to the end; gives the exit code and the last line on standard error.
fn fails(command: &mut Command) -> (i32, String) {
    let output = run(command);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !stderr.contains("panicked") && !stderr.contains("backtrace"),
        "{stderr}"
    );
    assert!(output.stdout.is_empty(), "{output:?}");
    (
        output.status.code().expect("no signal"),
        stderr
            .trim_end()
            .lines()
            .last()
            .unwrap_or_default()
            .to_owned(),
    )
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a temporary path in UTF-8")
}

#[test]
fn every_bad_flag_variable_and_key_has_its_sentence_and_exit_code_2() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("m.toml");
    fs::write(&config, "[shards]\ndir = '/x'\n[retired]\nafter = '10s'\n").unwrap();
    let config = text(&config);
    let address = ["--web.listen-address", "[::1]:9111"];
    let port_and_address = [&["--port", "9111"], &address[..]].concat();
    let check = |arguments: &[&str], variables: &[(&str, &str)], sentence: &str| {
        let mut command = metricsd(arguments);
        command.envs(variables.iter().copied());
        command.current_dir(folder.path());
        assert_eq!(fails(&mut command), (2, format!("metricsd: {sentence}")));
    };
    check(
        &port_and_address,
        &[],
        "--port and --web.listen-address both say where to listen; give one of them",
    );
    check(
        &address.repeat(2),
        &[],
        "--web.listen-address [::1]:9111: given twice; give each address once",
    );
    for (variable, value) in [
        ("PEAK_TRADE_METRICSD_PORT", "x"),
        ("PEAKTRADE_METRICS_PORT", "0"),
    ] {
        let accepted = "not a port; accepted: a whole number from 1 to 65535";
        check(
            &[],
            &[(variable, value)],
            &format!("{variable}={value:?}: {accepted}"),
        );
    }
    let accepted =
        "found an unknown section; accepted: shards, state, retire, limits, policy, expect";
    for command in ["serve", "render"] {
        let arguments = [command, "--config.file", config];
        check(&arguments, &[], &format!("{config}:3: retired: {accepted}"));
    }
    let system = "cannot read the configuration file: No such file or directory (os error 2)";
    check(
        &["--config.file", "/nonexistent"],
        &[],
        &format!("/nonexistent: {system}"),
    );
    for arguments in [
        &["--port", "0"][..],
        &["--port", "65536"],
        &["--port", "x"],
        &["--web.config.file", "/x"],
        &["render", "--retire-after", "10s"],
        &["render", "--retain-ended", "24h"],
        &["--log-level", "loud"],
        &["--web.listen-address", "example.org:9111"],
        &["--multiproc-dir", ""],
        &["verify"],
        &["render", "--port", "9111"],
    ] {
        let output = run(metricsd(arguments).current_dir(folder.path()));
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {output:?}");
    }
    let two = [
        ("PROMETHEUS_MULTIPROC_DIR", "/a"),
        ("PEAKTRADE_METRICS_MULTIPROC_DIR", "/b"),
    ];
    let (code, sentence) = fails(metricsd(&[]).envs(two).current_dir(folder.path()));
    assert_eq!(code, 2);
    assert!(
        sentence.contains("PROMETHEUS_MULTIPROC_DIR")
            && sentence.contains("PEAKTRADE_METRICS_MULTIPROC_DIR"),
        "{sentence}"
    );
}

#[test]
fn every_bad_word_about_state_and_retirement_has_its_sentence_and_exit_code_2() {
    let folder = tempfile::tempdir().unwrap();
    let durations = "a duration such as 250ms, 10s, 5m, 24h, 7d or 1h30m, at most 100y";
    let or_off = format!("off, or {durations}");
    let or_words = format!("keep, drop, or {durations}");
    let empty = "an empty path; leave the flag out for the default";
    let after = "--retire-after <DURATION|off>";
    let retain = "--retain-ended <DURATION>";
    let dead = "--dead-gauges <keep|drop|DURATION>";
    let refused = |arguments: &[&str]| {
        let output = run(metricsd(arguments).current_dir(folder.path()));
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {output:?}");
        assert!(output.stdout.is_empty(), "{output:?}");
        let stderr = String::from_utf8_lossy(&output.stderr);
        stderr.lines().next().unwrap_or_default().to_owned()
    };
    for (flag, value, accepted) in [
        (after, "never", &or_off),
        (after, "10", &or_off),
        (after, "1m1h", &or_off),
        (after, "101y", &or_off),
        (retain, "off", &durations.to_owned()),
        (retain, "1.5h", &durations.to_owned()),
        (dead, "forget", &or_words),
        (dead, "KEEP", &or_words),
    ] {
        let name = flag.split(' ').next().unwrap_or_default();
        assert_eq!(
            refused(&[name, value]),
            format!("error: invalid value '{value}' for '{flag}': accepted is {accepted}")
        );
    }
    // Without a word an empty value is a missing one to the parser of flags.
    assert!(refused(&["--state-dir", ""]).contains("--state-dir <DIR>"));
    assert_eq!(
        refused(&["--state-dir="]),
        format!("error: invalid value '' for '--state-dir <DIR>': {empty}")
    );

    let config = folder.path().join("m.toml");
    let check = |section: &str, sentence: &str| {
        fs::write(&config, section).unwrap();
        for command in ["serve", "render"] {
            let mut command = metricsd(&[command, "--config.file", text(&config)]);
            let sentence = format!("metricsd: {}:2: {sentence}", text(&config));
            assert_eq!(
                fails(command.current_dir(folder.path())),
                (2, sentence),
                "{section}"
            );
        }
    };
    let found = "found the string \"x\"; accepted:";
    check(
        "[retire]\nafter = 'x'",
        &format!("retire.after: {found} {or_off}"),
    );
    check(
        "[retire]\nretain_ended = 'x'",
        &format!("retire.retain_ended: {found} {durations}"),
    );
    check(
        "[retire]\ndead_gauges = 'x'",
        &format!("retire.dead_gauges: {found} {or_words}"),
    );
    check(
        "[retire]\nbefore = 'x'",
        "retire.before: found an unknown key; accepted: after, retain_ended, dead_gauges",
    );
    check(
        "[state]\ndir = true",
        "state.dir: found the word true; accepted: a path, or \"\" for the default",
    );
}

#[test]
fn without_a_home_a_state_directory_must_be_named() {
    let folder = tempfile::tempdir().unwrap();
    let shards = folder.path().join("shards");
    let sentence = "metricsd: no state directory: neither STATE_DIRECTORY, XDG_STATE_HOME nor HOME is set to an absolute path; name one with --state-dir";
    for command in ["serve", "render"] {
        let mut command = metricsd(&[command, "--multiproc-dir", text(&shards)]);
        for variable in ["STATE_DIRECTORY", "XDG_STATE_HOME", "HOME"] {
            command.env_remove(variable);
        }
        assert_eq!(fails(&mut command), (2, sentence.to_owned()));
        command.env("HOME", "relative");
        assert_eq!(fails(&mut command), (2, sentence.to_owned()));
    }
    assert!(!shards.exists(), "nothing was made");
}

#[test]
fn a_directory_that_cannot_be_used_is_one_sentence_and_exit_code_1() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "x").unwrap();
    let (file, below, missing) = (
        text(&file),
        format!("{}/below", text(&file)),
        format!("{}/missing", text(folder.path())),
    );
    let not_a_directory = |path: &str| {
        format!("metricsd: {path}: not a directory; name the shard directory with --multiproc-dir")
    };
    assert_eq!(
        fails(&mut metricsd(&["--multiproc-dir", file])),
        (1, not_a_directory(file))
    );
    assert_eq!(
        fails(&mut metricsd(&["--multiproc-dir", &below])),
        (1, not_a_directory(&below))
    );
    assert_eq!(
        fails(&mut metricsd(&["render", "--multiproc-dir", file])),
        (1, not_a_directory(file))
    );
    let (code, sentence) = fails(&mut metricsd(&["render", "--multiproc-dir", &missing]));
    assert_eq!(code, 1);
    assert!(
        sentence.contains(&missing) && sentence.contains("does not exist"),
        "{sentence}"
    );
    assert!(!Path::new(&missing).exists(), "render creates nothing");
}

#[test]
fn the_absolute_directory_is_made_and_logged_with_its_source() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::spawn(
        metricsd(&["--web.listen-address", "127.0.0.1:0"]).current_dir(folder.path()),
    );
    let expected = folder
        .path()
        .canonicalize()
        .unwrap()
        .join(".ops_local/prom_multiproc");
    assert!(expected.is_dir());
    assert!(daemon.log().contains(text(&expected)), "{}", daemon.log());
    assert!(daemon.log().contains("source="), "{}", daemon.log());
}

#[test]
fn a_second_daemon_says_who_is_first_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    common::shards::write_shard(
        folder.path(),
        "counter_1.db",
        &[(common::shards::counter("kept"), 4.0)],
    );
    let daemon = Daemon::start(folder.path());
    // By another path to the same directory, on the port that is taken: the lock comes first.
    let link = folder.path().with_extension("link");
    std::os::unix::fs::symlink(folder.path(), &link).unwrap();
    let port = daemon.address().port().to_string();
    let (code, sentence) = fails(&mut metricsd(&[
        "--multiproc-dir",
        text(&link),
        "--port",
        &port,
    ]));
    fs::remove_file(&link).unwrap();
    assert_eq!(code, 1);
    assert!(
        sentence.contains(&format!("already served by process {} (", daemon.id())),
        "{sentence}"
    );
    assert!(
        sentence.contains("--multiproc-dir"),
        "the holder's command line is there: {sentence}"
    );
    assert_eq!(common::expect_value(&daemon.scrape(), "kept_total"), 4.0);
    assert_eq!(daemon.get("/-/ready").status, 200);
    // The lock goes with the process, however it ends.
    daemon.kill();
    assert_eq!(
        common::expect_value(&Daemon::start(folder.path()).scrape(), "kept_total"),
        4.0
    );
}

#[test]
fn a_second_daemon_on_the_same_state_says_who_is_first_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let [shards, other, state, link] =
        ["shards", "other", "state", "link"].map(|name| folder.path().join(name));
    for (directory, value) in [(&shards, 4.0), (&other, 1.0)] {
        fs::create_dir(directory).unwrap();
        let entries = [(common::shards::counter("kept"), value)];
        common::shards::write_shard(directory, "counter_1.db", &entries);
    }
    let daemon = Daemon::start_with(&shards, &["--state-dir", text(&state)]);
    assert_eq!(common::expect_value(&daemon.scrape(), "kept_total"), 4.0);
    std::os::unix::fs::symlink(&state, &link).unwrap();
    let mut second = metricsd(&["--multiproc-dir", text(&other), "--state-dir", text(&link)]);
    let (code, sentence) = fails(second.args(["--web.listen-address", "127.0.0.1:0"]));
    assert_eq!(code, 1);
    let begin = format!(
        "metricsd: {}: already in use by process {} (",
        text(&link),
        daemon.id()
    );
    assert!(sentence.starts_with(&begin), "{sentence}");
    let end = "); stop it first or name another state directory with --state-dir";
    assert!(sentence.ends_with(end), "{sentence}");
    assert_eq!(common::expect_value(&daemon.scrape(), "kept_total"), 4.0);
    let names = fs::read_dir(&other).unwrap();
    let names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["counter_1.db"]);
    // The lock goes with the process, however it ends.
    daemon.kill();
    Daemon::start_with(&shards, &["--state-dir", text(&state)]);
}

#[test]
fn a_state_directory_that_cannot_be_used_is_one_sentence_and_exit_code_1() {
    let folder = tempfile::tempdir().unwrap();
    let shards = folder.path().join("shards");
    fs::create_dir(&shards).unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "x").unwrap();
    let itself = "the shard directory itself, in which the state would be lost with the shards; name another directory with --state-dir";
    let no_directory = "not a directory; name the state directory with --state-dir";
    for (state, complaint) in [(&shards, itself), (&file, no_directory)] {
        for command in ["serve", "render"] {
            let mut command = metricsd(&[command, "--multiproc-dir", text(&shards)]);
            assert_eq!(
                fails(command.args(["--state-dir", text(state)])),
                (1, format!("metricsd: {}: {complaint}", text(state)))
            );
        }
    }
    assert_eq!(fs::read_dir(&shards).unwrap().count(), 0);
}

#[test]
fn the_state_directory_is_made_where_the_highest_layer_says_and_logged_with_its_source() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().canonicalize().unwrap();
    let place = |name: &str| folder.join(name);
    let config = place("m.toml");
    let from_file = place("from_file");
    fs::write(&config, format!("[state]\ndir = {:?}\n", text(&from_file))).unwrap();
    let config = ["--config.file", text(&config)];
    let from_flag = place("from_flag");
    let flag = ["--state-dir", text(&from_flag)];
    let variable = ("STATE_DIRECTORY", "from_variable:unused");
    let nothing = ("STATE_DIRECTORY", "");
    for (arguments, variable, made, source) in [
        (
            [config, flag].concat(),
            variable,
            "from_flag",
            "flag --state-dir",
        ),
        (
            config.to_vec(),
            variable,
            "from_variable",
            "environment variable STATE_DIRECTORY",
        ),
        (config.to_vec(), nothing, "from_file", "configuration file"),
        (
            Vec::new(),
            nothing,
            "xdg/metricsd",
            "default below XDG_STATE_HOME",
        ),
        (
            Vec::new(),
            nothing,
            "home/.local/state/metricsd",
            "default below HOME",
        ),
    ] {
        assert!(!place(made).exists(), "{made}");
        let mut command = metricsd(&["--multiproc-dir", "shards"]);
        command
            .args(arguments)
            .args(["--web.listen-address", "127.0.0.1:0"])
            .current_dir(&folder)
            .envs([variable])
            .env("HOME", place("home"))
            .env_remove("XDG_STATE_HOME");
        if made.starts_with("xdg") {
            command.env("XDG_STATE_HOME", place("xdg"));
        }
        let daemon = Daemon::spawn(&mut command);
        let mut path = place(made);
        if made.ends_with("metricsd") {
            let names = fs::read_dir(&path).unwrap();
            let names: Vec<_> = names.map(|entry| entry.unwrap().path()).collect();
            assert_eq!(names.len(), 1, "{names:?}");
            path = names[0].clone();
            let hash = text(path.file_name().unwrap().as_ref());
            assert_eq!(hash.len(), 16, "{hash}");
        }
        assert!(fs::read_dir(&path).unwrap().count() > 0, "{path:?}");
        let line = format!(
            "state directory directory={} source={source}",
            path.display()
        );
        assert!(daemon.log().contains(&line), "{line}: {}", daemon.log());
    }
    assert!(!place("unused").exists());
}

#[test]
fn state_inside_the_shard_directory_is_warned_of_and_counts_as_not_durable() {
    let folder = tempfile::tempdir().unwrap();
    let inside = folder.path().join("inside");
    let daemon = Daemon::start_with(folder.path(), &["--state-dir", text(&inside)]);
    let page = daemon.scrape();
    assert_eq!(common::expect_value(&page, "metricsd_state_durable"), 0.0);
    let warning = "it is inside the shard directory and goes with it";
    assert!(daemon.log().contains(warning), "{}", daemon.log());
}

#[test]
fn retirement_can_be_switched_off_by_flag_and_by_key_and_is_on_without_them() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("m.toml");
    fs::write(&config, "[retire]\nafter = 'off'\n").unwrap();
    let shards = folder.path().join("shards");
    let state = folder.path().join("state");
    let state = ["--state-dir", text(&state)];
    let key = ["--config.file", text(&config)];
    for (arguments, is_on) in [
        (&[][..], true),
        (&["--retire-after", "off"], false),
        (&key, false),
        (&[key[0], key[1], "--retire-after", "1h"], true),
    ] {
        let daemon = Daemon::start_with(&shards, &[&state, arguments].concat());
        common::eventually("retirement to be as wished", || {
            let page = daemon.scrape();
            // Without liveness, as on overlayfs, it stays off.
            let can = common::value_of(
                &page,
                "metricsd_liveness_mode{mode=\"leases\",reason=\"passed\"}",
            );
            let found = common::expect_value(&page, "metricsd_retirement_enabled");
            let expected = f64::from(u8::from(is_on && can.is_some()));
            if found == expected {
                return Ok(());
            }
            Err(format!("{arguments:?}: {found}, expected {expected}"))
        });
    }
}

#[test]
fn a_busy_port_names_its_owner_and_is_exit_code_1() {
    let folder = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let (code, sentence) = fails(&mut metricsd(&[
        "--multiproc-dir",
        text(folder.path()),
        "--port",
        &port,
    ]));
    assert_eq!(code, 1);
    assert!(
        sentence.starts_with(&format!("metricsd: 127.0.0.1:{port}: ")),
        "{sentence}"
    );
    assert!(
        sentence.contains(&std::process::id().to_string()),
        "this process owns the port: {sentence}"
    );
}

#[test]
fn the_port_variable_moves_the_port_on_loopback_and_the_flag_wins_over_it() {
    let folder = tempfile::tempdir().unwrap();
    // A port that was free a moment ago; nothing else in these tests asks for fixed ones.
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let variable = ("PEAK_TRADE_METRICSD_PORT", port.to_string());
    let daemon =
        Daemon::spawn(metricsd(&["--multiproc-dir", text(folder.path())]).envs([variable]));
    assert_eq!(daemon.address().to_string(), format!("127.0.0.1:{port}"));
    let variable = ("PEAKTRADE_METRICS_PORT", "1".to_owned());
    drop(daemon);
    let daemon = Daemon::spawn(
        metricsd(&[
            "--multiproc-dir",
            text(folder.path()),
            "--web.listen-address",
            "127.0.0.1:0",
        ])
        .envs([variable]),
    );
    assert_ne!(daemon.address().port(), 1);
}

#[test]
fn sigterm_and_sigint_end_it_with_exit_code_0_even_while_a_client_is_silent() {
    for signal in [Signal::TERM, Signal::INT] {
        let folder = tempfile::tempdir().unwrap();
        let daemon = Daemon::start(folder.path());
        let silent = TcpStream::connect(daemon.address()).unwrap();
        common::signal(daemon.id(), signal);
        let address = daemon.address();
        let status = daemon.terminate();
        assert_eq!(status.code(), Some(0), "{signal:?}");
        assert!(TcpStream::connect(address).is_err());
        drop(silent);
    }
}

/// Guards against a logger that panics in the thread of a scrape when nobody reads the log any more.
#[test]
fn a_log_that_nobody_reads_costs_no_scrape() {
    let folder = tempfile::tempdir().unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let address = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let port = address.port().to_string();
    let mut command = metricsd(&["--multiproc-dir", text(folder.path()), "--port", &port]);
    let mut child = command
        .stdout(Stdio::null())
        .stderr(writer)
        .spawn()
        .unwrap();
    common::eventually("the daemon listens", || {
        TcpStream::connect(address)
            .map(drop)
            .map_err(|err| err.to_string())
    });
    for name in ["foo_1.db", "foo_2.db"] {
        fs::write(folder.path().join(name), "something to warn of").unwrap();
        let page = common::request(address, "GET", "/metrics");
        assert_eq!(page.status, 200, "{page:?}");
    }
    let page = common::request(address, "GET", "/metrics").body;
    let refused = "metricsd_unreadable_shards{reason=\"bad_type\"}";
    assert_eq!(common::expect_value(&page, refused), 2.0);
    common::signal(child.id(), Signal::TERM);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn sigio_does_not_end_it() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(folder.path());
    common::signal(daemon.id(), Signal::IO);
    daemon.scrape();
}

#[test]
fn the_service_manager_hears_of_readiness_after_the_first_collection_and_of_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    let receive = || {
        let mut buffer = [0; 256];
        let length = socket.recv(&mut buffer).expect("a notification");
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    };
    let shards = folder.path().join("shards");
    let mut command = metricsd(&[
        "--multiproc-dir",
        text(&shards),
        "--web.listen-address",
        "127.0.0.1:0",
    ]);
    let daemon = Daemon::spawn(command.env("NOTIFY_SOCKET", &path));
    assert_eq!(receive().trim(), "READY=1");
    assert_eq!(daemon.get("/-/ready").status, 200);
    assert!(daemon.terminate().success());
    assert_eq!(receive().trim(), "STOPPING=1");
}

#[test]
fn render_prints_the_merged_families_only_beside_a_running_daemon() {
    let folder = tempfile::tempdir().unwrap();
    common::shards::write_shard(
        folder.path(),
        "counter_1.db",
        &[(common::shards::counter("c"), 2.0)],
    );
    let daemon = Daemon::start(folder.path());
    let output = run(&mut metricsd(&[
        "render",
        "--multiproc-dir",
        text(folder.path()),
        "--log-level",
        "ERROR",
    ]));
    assert!(output.status.success());
    let expected = "# HELP c_total h\n# TYPE c_total counter\nc_total 2.0\n";
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
    assert!(daemon.scrape().starts_with(expected));
}

#[test]
fn a_reader_of_render_that_has_left_is_no_error() {
    let folder = tempfile::tempdir().unwrap();
    common::shards::write_shard(
        folder.path(),
        "counter_1.db",
        &[(common::shards::counter("c"), 2.0)],
    );
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = run(metricsd(&["render", "--multiproc-dir", text(folder.path())]).stdout(writer));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && !stderr.contains("panicked"),
        "{stderr}"
    );
}

#[test]
fn the_help_lists_flags_that_work_and_no_others() {
    let output = run(&mut metricsd(&["serve", "--help"]));
    let help = String::from_utf8(output.stdout).unwrap();
    let flags: Vec<&str> = help
        .split_whitespace()
        .filter(|word| word.starts_with("--") && word.len() > 2)
        .collect();
    let mut names: Vec<&str> = flags
        .iter()
        .map(|flag| flag.trim_end_matches(['.', ',', ';']))
        .collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(
        names,
        [
            "--config.file",
            "--dead-gauges",
            "--help",
            "--log-level",
            "--multiproc-dir",
            "--port",
            "--retain-ended",
            "--retire-after",
            "--state-dir",
            "--web.listen-address",
            "--web.max-requests"
        ]
    );
}
