//! A Python application is moved over as `docs/migration.md` says: its files are taken out of that page, real gunicorn serves them,
//! its workers are recycled and killed, and every answer is counted.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use xtask::child::{Running, eventually, free_port};
use xtask::scrape::{get, scrape};
use xtask::{tools, workspace};

/// What `prometheus-flask-exporter` counts.
const REQUESTS: &str = "flask_http_request_total";
/// How many requests are made. Workers end after 40 to 60 of theirs.
const REQUEST_COUNT: usize = 400;
/// A worker is killed before each so many.
const KILL_EVERY: usize = 50;
/// Workers take some seconds to import the application when the machine is busy.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn an_application_is_moved_over_by_the_page_and_no_answer_is_lost() -> Result<()> {
    let Some(python) = tools::gunicorn_python() else {
        tools::skip(
            "an_application_is_moved_over_by_the_page_and_no_answer_is_lost",
            "no gunicorn",
        );
        return Ok(());
    };
    let folder = tempfile::tempdir()?;
    write_files_of_the_page(folder.path())?;
    let shards = folder.path().join("web-metrics");
    let port = free_port()?;
    let mut daemon = start_daemon(folder.path(), &shards, port)?;
    let web_port = free_port()?;
    let configuration = folder.path().join("gunicorn.conf.py");
    let mut gunicorn = Running::start(
        &python,
        &[
            "-m",
            "gunicorn",
            "--chdir",
            text(folder.path())?,
            "--config",
            text(&configuration)?,
            "--bind",
            &format!("127.0.0.1:{web_port}"),
            "app:app",
        ],
        &[("PROMETHEUS_MULTIPROC_DIR", text(&shards)?)],
        &folder.path().join("gunicorn.log"),
    )?;
    let mut answered = 0;
    let mut asked = eventually(PATIENCE, "gunicorn answers", || {
        get(web_port, "/get").map(|_| 1)
    })?;
    answered += asked;
    while asked < REQUEST_COUNT {
        if asked % KILL_EVERY == 0 {
            kill_a_worker(gunicorn.id())?;
        }
        asked += 1;
        answered += usize::from(get(web_port, "/get").is_ok());
    }
    ensure!(
        answered > REQUEST_COUNT / 2,
        "only {answered} of {asked} requests were answered"
    );

    let counted = || scrape(port)?.total(REQUESTS).context("no requests");
    let at_the_end = counted()?;
    ensure!(
        (answered as f64..=asked as f64).contains(&at_the_end),
        "{answered} of {asked} requests were answered, {at_the_end} counted"
    );
    gunicorn.terminate()?;
    eventually(PATIENCE, "the files of all workers are absorbed", || {
        let left = fs::read_dir(&shards)?.count();
        ensure!(left == 0, "{left} files are left");
        Ok(())
    })?;
    ensure!(
        counted()? == at_the_end,
        "{at_the_end} before, {} after they were absorbed",
        counted()?
    );
    daemon.kill()?;
    let _daemon = start_daemon(folder.path(), &shards, port)?;
    ensure!(
        counted()? == at_the_end,
        "{at_the_end} before, {} after a restart",
        counted()?
    );
    Ok(())
}

/// Blocks that say which file they are: ```` ```python file=NAME ````.
fn write_files_of_the_page(folder: &Path) -> Result<()> {
    let page = fs::read_to_string(workspace::root().join("docs/migration.md"))?;
    let mut written = Vec::new();
    for block in page.split("\n```python file=").skip(1) {
        let (name, rest) = block.split_once('\n').context("a block of one line")?;
        let (content, _) = rest.split_once("\n```").context("a block without an end")?;
        fs::write(folder.join(name), format!("{content}\n"))?;
        written.push(name.to_owned());
    }
    ensure!(
        written == ["app.py", "gunicorn.conf.py"],
        "the page has {written:?}"
    );
    Ok(())
}

fn start_daemon(folder: &Path, shards: &Path, port: u16) -> Result<Running> {
    let daemon = Running::start(
        &workspace::program("metricsd")?,
        &[
            "serve",
            "--port",
            &port.to_string(),
            "--state-dir",
            text(&folder.join("state"))?,
            "--retire-after",
            "1s",
        ],
        &[("PROMETHEUS_MULTIPROC_DIR", text(shards)?)],
        &folder.join("metricsd.log"),
    )?;
    eventually(PATIENCE, "metricsd is ready", || get(port, "/-/ready"))?;
    Ok(daemon)
}

/// One of the children of gunicorn's master, if it has any at the moment.
fn kill_a_worker(master: u32) -> Result<()> {
    let children = fs::read_to_string(format!("/proc/{master}/task/{master}/children"))?;
    if let Some(worker) = children.split_whitespace().next() {
        let worker = rustix::process::Pid::from_raw(worker.parse()?).context("a PID")?;
        // It may just have come to its own end.
        let _ = rustix::process::kill_process(worker, rustix::process::Signal::KILL);
    }
    Ok(())
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a temporary path in UTF-8")
}
