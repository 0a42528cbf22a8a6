//! What is accepted, and that every fault names file, line and key, what was found and what is accepted.

use std::fs;

use super::*;

const URL_LINE: &str = "url: https://oapi.dingtalk.com/robot/send?access_token=TOKENtoken";

fn load_with(cli: &Cli, text: &str, variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let environment = |name: &str| {
        let found = variables.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| OsString::from(value))
    };
    Config::resolve(cli, Path::new("f.yml"), text, &environment)
}

fn load(text: &str) -> Result<Config, ConfigError> {
    load_with(
        &Cli::default(),
        text,
        &[("FILLED", "from variable"), ("EMPTY", " ")],
    )
}

/// A file with one target, and these lines in it (two spaces deeper than the target).
fn target_with(lines: &str) -> String {
    let lines: String = lines.lines().map(|line| format!("    {line}\n")).collect();
    format!("targets:\n  a:\n{lines}")
}

#[test]
fn the_known_bridges_file_is_taken_as_it_is() {
    let text = r#"
## Request timeout
timeout: 7s
no_builtin_template: false
templates: []
default_message:
  title: '{{ template "legacy.title" . }}'
  text: '{{ template "legacy.content" . }}'
targets:
  webhook1:
    url: https://oapi.dingtalk.com/robot/send?access_token=xxxxxxxxxxxx
    # secret for signature
    secret: SEC000000000000000000000
  webhook2:
    url: https://oapi.dingtalk.com/robot/send?access_token=xxxxxxxxxxxx
  webhook_mention_all:
    url: https://oapi.dingtalk.com/robot/send?access_token=xxxxxxxxxxxx
    mention:
      all: true
  webhook_mention_users:
    url: https://oapi.dingtalk.com/robot/send?access_token=xxxxxxxxxxxx
    mention:
      mobiles: ['15600008827', '18900008325']
    message:
      title: '{{ .GroupLabels.alertname }}'
"#;
    let config = load(text).unwrap();
    assert_eq!(config.targets.len(), 4);
    let of = |name: &str| &config.targets[name];
    assert_eq!(of("webhook1").timeout, Duration::from_secs(7));
    let Kind::DingTalk(robot) = &of("webhook1").kind else {
        panic!("not a robot");
    };
    assert_eq!(robot.secret, Secret::new("SEC000000000000000000000"));
    assert_eq!(robot.token, Secret::new("xxxxxxxxxxxx").unwrap());
    assert!(of("webhook_mention_all").mentions[0].mention.all);
    assert_eq!(
        of("webhook_mention_users").mentions[0]
            .mention
            .mobiles
            .len(),
        2
    );
    assert!(of("webhook2").title.is_some());
    assert_eq!(
        config.listen,
        [SocketAddr::from((Ipv4Addr::LOCALHOST, 8060))]
    );
    assert_eq!(config.external_url, "http://127.0.0.1:8060");
}

#[test]
fn every_fault_names_file_line_and_key_and_what_is_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty");
    fs::write(&empty, " \n").unwrap();
    let of_target = |lines: &str| target_with(&format!("{URL_LINE}\n{lines}"));
    let of_file = |lines: &str| format!("{}{lines}", target_with(URL_LINE));
    let missing = folder.path().join("missing");
    let pipe = folder.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    let table: Vec<(String, &str, &str, &str)> = vec![
        // The text, the line and key, what was found, what is accepted.
        ("targets:\n  a: [\n".into(), "line 3", "", ""),
        (
            "- a\n".into(),
            "line 1: the file",
            "a list",
            "keys and values",
        ),
        (
            String::new(),
            "line 1: the file",
            "no `targets`",
            "targets with names",
        ),
        (
            "targets: {}\n".into(),
            "line 1: targets",
            "0 targets",
            "1 to 64",
        ),
        (
            "targets:\n  1a:\n    type: log\n".into(),
            "line 2: targets.1a",
            "`1a`",
            "begin with a letter",
        ),
        (
            "targets:\n  a:\n    type: sms\n".into(),
            "line 3: targets.a.type",
            "`sms`",
            "dingtalk webhook log",
        ),
        (
            "targets:\n  a: 5\n".into(),
            "line 2: targets.a",
            "a text",
            "keys and values",
        ),
        (
            "targets:\n  a:\n    language: en\n".into(),
            "line 2: targets.a",
            "no `url`",
            "access_token=",
        ),
        (
            of_file("tragets: 1\n"),
            "line 4: tragets",
            "an unknown key",
            "targets",
        ),
        (
            of_target("secrt: SEC1"),
            "line 4: targets.a.secrt",
            "an unknown key",
            "secret",
        ),
        (
            target_with("url: ftp://x?access_token=T"),
            "line 3: targets.a.url",
            "not shown",
            "https://",
        ),
        (
            target_with("url: http://far.example/robot/send?access_token=TOKENtoken"),
            "line 3: targets.a.url",
            "not shown",
            "https://",
        ),
        (
            target_with("url: https://oapi.dingtalk.com/robot/send"),
            "line 3: targets.a.url",
            "not shown",
            "access_token=",
        ),
        (
            of_target("url_file: x"),
            "line 4: targets.a.url_file",
            "a second source",
            "one of url",
        ),
        (
            of_target(&format!("secret_file: {}", missing.display())),
            "line 4: targets.a.secret_file",
            "",
            "",
        ),
        (
            // Waited for, it would keep a reload from its end.
            of_target(&format!("secret_file: {}", pipe.display())),
            "line 4: targets.a.secret_file",
            "cannot read the secret",
            "is not a regular file",
        ),
        (
            of_target(&format!("secret_file: {}", empty.display())),
            "line 4: targets.a.secret_file",
            "nothing",
            "a secret",
        ),
        (
            of_target("secret_env: EMPTY"),
            "line 4: targets.a.secret_env",
            "`EMPTY`, which is not set",
            "a variable",
        ),
        (
            of_target("secret: SEC 1"),
            "line 4: targets.a.secret",
            "not shown",
            "one word",
        ),
        (
            of_target("language: de"),
            "line 4: targets.a.language",
            "`de`",
            "en zh",
        ),
        (
            of_target("format: card"),
            "line 4: targets.a.format",
            "`card`",
            "auto markdown",
        ),
        (
            of_target("timeout: 10"),
            "line 4: targets.a.timeout",
            "`10`",
            "a duration from 100ms to 1m",
        ),
        (
            of_target("timeout: 2h"),
            "line 4: targets.a.timeout",
            "`2h`",
            "a duration from 100ms to 1m",
        ),
        (
            of_target("max_bytes: 20001"),
            "line 4: targets.a.max_bytes",
            "`20001`",
            "from 1000 to 20000",
        ),
        (
            of_target("mute_for: soon"),
            "line 4: targets.a.mute_for",
            "`soon`",
            "a duration",
        ),
        (
            of_target("rate_limit:\n  messages: 20"),
            "line 5: targets.a.rate_limit.messages",
            "`20`",
            "from 2 to 19",
        ),
        (
            of_target("rate_limit:\n  per: 1ms"),
            "line 5: targets.a.rate_limit.per",
            "`1ms`",
            "from 500ms to 1h",
        ),
        (
            of_target("rate_limit:\n  pre: 1s"),
            "line 5: targets.a.rate_limit.pre",
            "an unknown key",
            "messages per",
        ),
        (
            of_target("fallback: b"),
            "line 4: targets.a.fallback",
            "`b`",
            "a",
        ),
        (
            of_target("fallback: a"),
            "line 4: targets.a.fallback",
            "the target itself",
            "another target",
        ),
        (
            of_target("mention:\n  all: maybe"),
            "line 5: targets.a.mention.all",
            "`maybe`",
            "true false",
        ),
        (
            of_target("mention:\n  mobiles: 138"),
            "line 5: targets.a.mention.mobiles",
            "a text",
            "a list",
        ),
        (
            of_target("mention:\n  mobiles: [abc]"),
            "line 5: targets.a.mention.mobiles[0]",
            "`abc`",
            "a telephone number",
        ),
        (
            of_target("mentions:\n  - all: true"),
            "line 5: targets.a.mentions[0]",
            "without a meaning",
            "`match`",
        ),
        (
            of_target("mentions:\n  - match: {severity: critical}"),
            "line 5: targets.a.mentions[0]",
            "without a meaning",
            "`all`",
        ),
        (
            of_target("mentions:\n  - match: {severity: [x]}\n    all: true"),
            "line 5: targets.a.mentions[0].match.severity",
            "a list",
            "one value",
        ),
        (
            of_target("message:\n  title: '{{ range .Alerts }}'"),
            "line 5: targets.a.message.title",
            "`{{ range .Alerts }}`",
            ".GroupLabels.NAME",
        ),
        (
            of_target("message:\n  titel: x"),
            "line 5: targets.a.message.titel",
            "an unknown key",
            "title text",
        ),
        (
            of_target("path: /x"),
            "line 4: targets.a.path",
            "an unknown key",
            "url",
        ),
        (
            target_with("type: webhook\nurl: http://far.example/x\nbearer_token: t"),
            "line 4: targets.a.url",
            "not shown",
            "https:// with a bearer token",
        ),
        (
            of_file("templates: [a.tmpl]\n"),
            "line 4: templates[0]",
            "`a.tmpl`",
            "no template files",
        ),
        (
            of_file("no_builtin_template: true\n"),
            "line 4: no_builtin_template",
            "`true`",
            "false",
        ),
        (
            of_file("default_message:\n  text: '{{ if .Status }}'\n"),
            "line 5: default_message.text",
            "{{ if",
            ".Status",
        ),
        (
            of_file("listen: 8060\n"),
            "line 4: listen",
            "`8060`",
            "127.0.0.1:8060",
        ),
        (
            of_file("external_url: bridge:8060\n"),
            "line 4: external_url",
            "`bridge:8060`",
            "http:// or https://",
        ),
        (
            of_file("external_url: https://u:p@bridge\n"),
            "line 4: external_url",
            "`https://u:p@bridge`",
            "without user",
        ),
        (
            of_file("time_zone: Mars/Base\n"),
            "line 4: time_zone",
            "`Mars/Base`",
            "Asia/Shanghai",
        ),
        (
            of_file("timeout: 0s\n"),
            "line 4: timeout",
            "`0s`",
            "from 100ms",
        ),
        (
            of_file("queue:\n  max_megabytes: 0\n"),
            "line 5: queue.max_megabytes",
            "`0`",
            "from 1 to 65536",
        ),
        (
            of_file("queue:\n  size: 0\n"),
            "line 5: queue.size",
            "an unknown key",
            "path max_megabytes",
        ),
        (
            of_file("queue: data\n"),
            "line 4: queue",
            "a text",
            "keys and values",
        ),
        (
            of_file("deduplicate_for: 8d\n"),
            "line 4: deduplicate_for",
            "`8d`",
            "from 1s to 7d",
        ),
        (
            of_file("retry:\n  min: 0s\n"),
            "line 5: retry.min",
            "`0s`",
            "from 10ms",
        ),
        (
            of_file("retry:\n  min: 1m\n  max: 1s\n"),
            "line 4: retry",
            "`max` below `min`",
            "at least `min`",
        ),
        (
            of_file("dead_man:\n  after: 15m\n"),
            "line 4: dead_man",
            "no `targets`",
            "a list of targets",
        ),
        (
            of_file("dead_man:\n  targets: [b]\n"),
            "line 5: dead_man.targets[0]",
            "`b`",
            "a",
        ),
        (
            of_file("dead_man:\n  targets: [a]\n  after: never\n"),
            "line 6: dead_man.after",
            "`never`",
            "from 1s to 7d",
        ),
        (
            of_file("silence:\n  alertmanager_url: localhost\n"),
            "line 5: silence.alertmanager_url",
            "`localhost`",
            "http://",
        ),
        (
            of_file("silence:\n  key: short\n"),
            "line 5: silence.key",
            "a short key",
            "at least 16 bytes",
        ),
        (
            of_file("silence:\n  default: 2h\n  max: 1h\n"),
            "line 4: silence",
            "`max` below `default`",
            "at least",
        ),
        (
            of_file("runbooks: [x]\n"),
            "line 4: runbooks",
            "a list",
            "one value",
        ),
        (
            of_file("targets:\n  b: {}\n"),
            "line 4: targets",
            "a second time (first in line 1)",
            "once",
        ),
    ];
    for (text, place, found, accepted) in table {
        let error = load(&text).map(|_| ()).expect_err(&text);
        let sentence = program::sentence(&error);
        let begin = format!("f.yml: {place}");
        assert!(
            sentence.starts_with(&begin) && sentence.contains(found) && sentence.contains(accepted),
            "{text}\n{sentence}\nshould begin with {begin:?}, find {found:?}, accept {accepted:?}"
        );
        assert!(
            !sentence.contains("TOKENtoken") && !sentence.contains('\n'),
            "{sentence}"
        );
    }
}

#[test]
fn a_flag_beats_a_variable_beats_the_file_and_all_of_them_are_checked() {
    let text = format!("{}listen: 127.0.0.1:1003\n", target_with("type: log"));
    let port = |cli: &Cli, variables: &[(&str, &str)]| {
        load_with(cli, &text, variables).map(|config| config.listen[0].port())
    };
    let with_flag = Cli {
        listen_address: Some("127.0.0.1:1001".to_owned()),
        ..Cli::default()
    };
    let variable = [("ALERTBRIDGE_LISTEN", "127.0.0.1:1002")];
    assert_eq!(port(&with_flag, &variable).unwrap(), 1001);
    assert_eq!(port(&Cli::default(), &variable).unwrap(), 1002);
    assert_eq!(port(&Cli::default(), &[]).unwrap(), 1003);
    let error = port(&with_flag, &[("ALERTBRIDGE_LISTEN", "x")]).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("ALERTBRIDGE_LISTEN: found `x`"),
        "{error}"
    );
    let all = Cli {
        listen_address: Some(":1004".to_owned()),
        ..Cli::default()
    };
    let config = load_with(&all, &text, &[]).unwrap();
    assert!(
        config
            .listen
            .iter()
            .all(|address| address.ip().is_unspecified() && address.port() == 1004)
    );
    assert_eq!(config.external_url, "http://127.0.0.1:1004");
}

#[test]
fn secrets_come_from_the_file_another_file_or_a_variable_and_are_shown_nowhere() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    fs::write(&file, "from file\n").unwrap();
    let text = format!(
        "{}silence:\n  key_env: FILLED\n",
        target_with(
            &format!("{URL_LINE}\nsecret_file: {}", file.display()).replace("from file", "")
        )
    );
    // A secret with a blank is refused for a robot; a key may hold one, but not be short.
    let error = load(&text).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("secret_file: found another text (not shown)"),
        "{error}"
    );
    fs::write(&file, "SECfromfile\n").unwrap();
    let error = load(&text).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("silence.key_env: found a short key"),
        "{error}"
    );
    let config = load_with(
        &Cli::default(),
        &text,
        &[("FILLED", "sixteen bytes at least")],
    )
    .unwrap();
    let shown = format!("{config:?}");
    for secret in ["SECfromfile", "sixteen bytes", "TOKENtoken"] {
        assert!(!shown.contains(secret), "{shown}");
    }
    let target = &config.targets["a"];
    assert_eq!(
        target.without_secrets("x SECfromfile y access_token=TOKENtoken z"),
        "x *** y access_token=*** z"
    );
}

#[test]
fn rules_name_who_is_mentioned_for_which_alerts_and_nobody_for_resolved_ones() {
    let text = target_with(&format!(
        "{URL_LINE}\nmention:\n  user_ids: [u1]\nmentions:\n  - match: {{severity: critical, team: fx}}\n    mobiles: ['13800000000']\n    all: true"
    ));
    let config = load(&text).unwrap();
    let target = &config.targets["a"];
    let labels = |pairs: &[(&str, &str)]| -> crate::payload::Labels {
        pairs
            .iter()
            .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
            .collect()
    };
    let full = labels(&[("severity", "critical"), ("team", "fx")]);
    let part = labels(&[("severity", "critical")]);
    use crate::payload::Status::{Firing, Resolved};
    let mention = target.mention_for([(&full, Firing), (&full, Firing)].into_iter());
    assert!(mention.all && mention.mobiles == ["13800000000"] && mention.user_ids == ["u1"]);
    let mention = target.mention_for([(&part, Firing), (&full, Resolved)].into_iter());
    assert!(!mention.all && mention.mobiles.is_empty() && mention.user_ids == ["u1"]);
    assert!(
        target
            .mention_for([(&full, Resolved)].into_iter())
            .is_nobody()
    );
}

#[test]
fn the_shipped_example_is_accepted_with_the_variables_it_names() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config/alertbridge.yml");
    let text = fs::read_to_string(&path).unwrap();
    let variables = [
        (
            "DINGTALK_WEBHOOK_URL",
            "https://oapi.dingtalk.com/robot/send?access_token=T",
        ),
        ("DINGTALK_SECRET", "SECx"),
    ];
    load_with(&Cli::default(), &text, &variables).unwrap();
}
