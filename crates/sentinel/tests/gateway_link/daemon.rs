//! The whole program with a gateway that answers heartbeats and nothing else.

use std::fs;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use sentinel::gateway::protocol::{Heartbeat, ReplyBody, RequestBody, Text};

use crate::liars::{Liar, reply, signed};
use crate::site::{SECRET, eventually, free_port};

/// A process that does not end by itself within 900 ms is ended with status 1.
#[test]
fn sigterm_in_the_middle_of_an_exchange_ends_the_program_by_itself() {
    let liar = Liar::start(|request, bytes| {
        let heartbeat = ReplyBody::Heartbeat(Heartbeat {
            account: Text::name("1000001").unwrap(),
            is_connected: true,
            is_trading_allowed: true,
            is_killed: false,
            started_at: 0,
        });
        let is_heartbeat = request.body == RequestBody::Heartbeat;
        let reply = is_heartbeat.then(|| signed(&reply(request, bytes, heartbeat)));
        reply.into_iter().map(|reply| vec![reply]).collect()
    });
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("secret"), SECRET).unwrap();
    let config = format!(
        "[market]\nbase_url = \"http://127.0.0.1:1/api\"\n\
         [gateway]\nport = {}\nsecret_file = \"{}\"\ntimeout = \"60s\"\n\
         [gateway.contract_sizes]\nEURUSD = \"100000\"\n[arm]\naccount = \"1000001\"\nconfirm = \"1000001\"\n",
        liar.port,
        at("secret").display()
    );
    fs::write(at("sentinel.toml"), config).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_sentinel"))
        .args(["--live", "--model", "embedded", "--config.file"])
        .arg(at("sentinel.toml"))
        .args(["--metrics-port", &free_port().to_string(), "--state-dir"])
        .arg(at("state"))
        .env_clear()
        .env("EODHD_API_TOKEN", "a-token")
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(at("log")).unwrap())
        .spawn()
        .unwrap();
    let said = || fs::read_to_string(at("log")).unwrap_or_default();
    // The link's own heartbeats begin with these letters; anything else is an exchange that the program waits for.
    eventually("a question of the program", || {
        let ended = child.try_wait().unwrap();
        assert_eq!(ended, None, "{}", said());
        liar.has_got(|id| !id.starts_with("hb-")).then_some(())
    });
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let status = eventually("its end", || child.try_wait().unwrap());
    assert_eq!(status.code(), Some(0), "{}", said());
}
