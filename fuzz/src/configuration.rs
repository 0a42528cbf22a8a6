//! Configuration files: written by people, so a fault must name the file and the line.

use std::path::Path;
use std::sync::OnceLock;

use clap::Parser;
use metricsd::config::FileConfig;
use shadow_session::cli::Cli;
use shadow_session::config::Config;

/// Stands in every message about it.
const PATH: &str = "fuzzed.toml";

/// Any text as the file of each program.
pub fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Err(err) = FileConfig::parse(Path::new(PATH), text) {
        check_sentence(&err.to_string());
    }
    static CLI: OnceLock<Cli> = OnceLock::new();
    let cli = CLI.get_or_init(|| Cli::parse_from(["shadow-session"]));
    if let Err(err) = Config::of_text(cli, Path::new(PATH), text.to_owned(), &|_| None) {
        check_sentence(&err.to_string());
    }
}

fn check_sentence(sentence: &str) {
    assert!(sentence.contains(PATH), "it names the file: {sentence}");
    assert!(
        !sentence.chars().any(char::is_control),
        "it is one line that does nothing to a terminal: {sentence:?}"
    );
}
