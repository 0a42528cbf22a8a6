//! Programs: writers in trouble, those that do not meet, and others that do the same.

use std::fs;
use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::common::shards::{counter, write_shard};
use crate::common::{Daemon, metricsd};
use crate::outsider::Outsider;
use crate::place::{Place, Report, inside};

#[test]
fn a_writer_in_trouble_and_limits_that_are_near_are_named() {
    let test = "programs::a_writer_in_trouble_and_limits_that_are_near_are_named";
    if !inside(test) {
        return;
    }
    let Some(mut place) = Place::served(test) else {
        return;
    };
    let shards = place.shards.to_str().unwrap().to_owned();
    let variables = [("PROMETHEUS_MULTIPROC_DIR", shards.as_str())];
    // As many as it has open: what it inherits from this process differs.
    let program = place.program(&variables, Path::new("/"));
    let open_count = fs::read_dir(format!("/proc/{}/fd", program.id()))
        .unwrap()
        .count();
    let limited = Command::new("prlimit")
        .arg(format!("--nofile={open_count}:"))
        .args(["--pid", &program.id().to_string()])
        .status();
    assert!(limited.unwrap().success());
    let near = format!("{open_count} of {open_count} files open");
    place
        .examine()
        .only("FAIL", "open_files", &near, "LimitNOFILE");
    drop(program);

    if let Some(python) = crate::common::python(test) {
        let script = "import mmap\nmaps = [mmap.mmap(-1, 4096) for _ in range(60000)]\nprint('ready', flush=True)\ninput()";
        let mut mapping =
            Outsider::start(Command::new(python).args(["-c", script]).envs(variables));
        mapping.expect("ready");
        let limit = fs::read_to_string("/proc/sys/vm/max_map_count").unwrap();
        if limit.trim().parse::<u32>().unwrap() < 66_000 {
            place.examine().only(
                "FAIL",
                "memory_maps",
                &format!("of {} mappings", limit.trim()),
                "sysctl -w vm.max_map_count=",
            );
        }
    }

    // The daemon: fewer descriptors than shards.
    place.daemon = None;
    let mut command = Command::new("prlimit");
    command.args([
        "--nofile=64:64",
        env!("CARGO_BIN_EXE_metricsd"),
        "serve",
        "--web.listen-address",
        "127.0.0.1:0",
    ]);
    command
        .arg("--multiproc-dir")
        .arg(&place.shards)
        .arg("--state-dir")
        .arg(&place.state)
        .stderr(Stdio::piped());
    let daemon = Daemon::spawn(&mut command);
    let open: Vec<File> = (0..20)
        .map(|number| {
            let path = write_shard(
                &place.shards,
                &format!("counter_{number}.db"),
                &[(counter("a"), 1.0)],
            );
            File::options().write(true).open(path).unwrap()
        })
        .collect();
    place.examine().only(
        "WARN",
        "open_files",
        "keeps 16 of 20 shards open",
        "LimitNOFILE",
    );
    drop((daemon, open));
}

#[test]
fn programs_that_do_not_meet_are_named() {
    let test = "programs::programs_that_do_not_meet_are_named";
    if !inside(test) {
        return;
    }
    let Some(place) = Place::served(test) else {
        return;
    };
    let shards = place.shards.to_str().unwrap();
    let (variable, ours) = (
        "PROMETHEUS_MULTIPROC_DIR",
        "PEAKTRADE_METRICS_MULTIPROC_DIR",
    );
    let elsewhere = place.folder.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    let id = "same_directory";
    {
        let program = place.program(&[(variable, "shards")], &elsewhere);
        let named = format!("process {}", program.id());
        place
            .examine()
            .only("FAIL", id, &named, &format!("{variable}={shards}"));
    }
    {
        let _program = place.program(&[("PEAKTRADE_METRICS_MODE", "B")], &elsewhere);
        place.examine().only(
            "FAIL",
            id,
            ".ops_local/prom_multiproc",
            &format!("{ours}={shards}"),
        );
    }
    {
        let _program = place.program(&[(variable, elsewhere.to_str().unwrap())], Path::new("/"));
        place
            .examine()
            .only("WARN", id, "elsewhere", &format!("{variable}={shards}"));
        let state = place.folder.path().join("other_state");
        let _other = Daemon::start_with(&elsewhere, &["--state-dir", state.to_str().unwrap()]);
        assert!(
            place.examine().found().is_empty(),
            "another daemon serves it"
        );
    }
    {
        // Relative, and right.
        let _program = place.program(&[(variable, "shards")], place.folder.path());
        assert!(
            place.examine().found().is_empty(),
            "{:#?}",
            place.examine().found()
        );
    }
    let id = "variable_spelling";
    {
        let program = place.program(&[("prometheus_multiproc_dir", shards)], Path::new("/"));
        place
            .examine()
            .only("WARN", id, &format!("process {}", program.id()), variable);
    }
    let report = Report::of(place.command().env("prometheus_multiproc_dir", shards));
    report.only("WARN", id, "this command", variable);
}

#[test]
fn other_daemons_and_collectors_are_named() {
    let test = "programs::other_daemons_and_collectors_are_named";
    if !inside(test) {
        return;
    }
    let Some(mut place) = Place::served(test) else {
        return;
    };
    let pid = place.daemon.as_ref().unwrap().id();
    // The daemon keeps its state elsewhere.
    let real = place.state.clone();
    place.state = place.folder.path().join("not_this");
    fs::create_dir(&place.state).unwrap();
    place.examine().has(
        "FAIL",
        "state_lock",
        &format!("process {pid}"),
        real.to_str().unwrap(),
    );
    // Another daemon has the state.
    let other = place.folder.path().join("other");
    fs::create_dir(&other).unwrap();
    place.state = real;
    place.daemon = None;
    let second = Daemon::start_with(&other, &["--state-dir", place.state.to_str().unwrap()]);
    let report = place.examine();
    report.has(
        "FAIL",
        "state_lock",
        &format!("process {}", second.id()),
        "of its own",
    );
    report.has("WARN", "daemon", other.to_str().unwrap(), "metricsd serve");
    assert_eq!(report.found().len(), 2, "{report:#?}");
    drop(second);

    place.serve();
    let shard = write_shard(&place.shards, "counter_1.db", &[(counter("a"), 1.0)]);
    let _writer = File::options().write(true).open(&shard).unwrap();
    {
        let mut reader = Outsider::start(
            Command::new("sh")
                .args(["-c", "exec 3<\"$1\"; echo ready; read -r line", "sh"])
                .arg(&shard),
        );
        reader.expect("ready");
        place.examine().only(
            "FAIL",
            "second_collector",
            &format!("process {}", reader.id()),
            "--retire-after off",
        );
    }
    let Some(python) = crate::common::python(test) else {
        return;
    };
    let endpoint = "from prometheus_client import CollectorRegistry, start_http_server\n\
                    from prometheus_client.multiprocess import MultiProcessCollector\n\
                    registry = CollectorRegistry()\nMultiProcessCollector(registry)\n\
                    start_http_server(0, addr='127.0.0.1', registry=registry)\nprint('ready', flush=True)\ninput()";
    let mut command = Command::new(python);
    command
        .args(["-c", endpoint])
        .env("PROMETHEUS_MULTIPROC_DIR", &place.shards);
    let mut collector = Outsider::start(&mut command);
    collector.expect("ready");
    place.examine().only(
        "WARN",
        "second_collector",
        &format!("process {}", collector.id()),
        "MultiProcessCollector",
    );
    place.daemon = None;
    place.daemon = Some(Daemon::start_with(
        &place.shards,
        &[
            "--state-dir",
            place.state.to_str().unwrap(),
            "--retire-after",
            "off",
        ],
    ));
    assert!(place.examine().found().is_empty(), "nothing is retired");
    // The file says it as well, seen from the daemon's own working directory.
    fs::write(
        place.folder.path().join("off.toml"),
        "[retire]\nafter = \"off\"\n",
    )
    .unwrap();
    for (flags, retires) in [
        (["--config.file", "off.toml"].as_slice(), false),
        (&["--config.file=off.toml", "--retire-after=1h"], true),
    ] {
        place.daemon = None;
        let mut command = metricsd(&["serve", "--web.listen-address", "127.0.0.1:0"]);
        command
            .args(["--multiproc-dir", place.shards.to_str().unwrap()])
            .args(["--state-dir", place.state.to_str().unwrap()])
            .args(flags)
            .current_dir(place.folder.path());
        place.daemon = Some(Daemon::spawn(&mut command));
        assert_eq!(place.examine().found().is_empty(), !retires, "{flags:?}");
    }
}
