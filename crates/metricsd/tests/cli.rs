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
    fs::write(&config, "[shards]\ndir = '/x'\n[retire]\nafter = '10s'\n").unwrap();
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
    let accepted = "found an unknown section; accepted: shards, limits, policy, expect";
    for command in ["serve", "render"] {
        let arguments = [command, "--config.file", config];
        check(&arguments, &[], &format!("{config}:3: retire: {accepted}"));
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
        &["--state-dir", "/x"],
        &["--retire-after", "10s"],
        &["--web.config.file", "/x"],
        &["--dead-gauges", "keep"],
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
            "--help",
            "--log-level",
            "--multiproc-dir",
            "--port",
            "--web.listen-address",
            "--web.max-requests"
        ]
    );
}
