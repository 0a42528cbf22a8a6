//! The sentinel's part of `docs/metrics.md` is what its telemetry declares. `METRICSD_WRITE_DOCS=1` writes it anew.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends here")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use metricsd_client::{Declaration, Registry};
use sentinel::clock::Clock;
use sentinel::telemetry::Telemetry;

const BEGIN: &str = "<!-- generated: sentinel -->\n";
const END: &str = "<!-- end -->\n";

#[test]
fn the_page_of_metrics_is_what_the_telemetry_declares() {
    let registry = Registry::in_memory();
    let _telemetry = Telemetry::new(&registry, Clock::system().now());
    let generated = rendered(&registry.declarations());
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/metrics.md");
    let page = fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(BEGIN).unwrap();
    let (found, after) = rest.split_once(END).unwrap();
    if std::env::var_os("METRICSD_WRITE_DOCS").is_some() {
        fs::write(&path, format!("{before}{BEGIN}{generated}{END}{after}")).unwrap();
        return;
    }
    assert_eq!(found, generated, "METRICSD_WRITE_DOCS=1 writes it anew");
}

fn rendered(declarations: &[Declaration]) -> String {
    let mut text = "\n| family | type | labels | meaning |\n|---|---|---|---|\n".to_owned();
    let mut domains: BTreeMap<(&str, &[&str]), Vec<&str>> = BTreeMap::new();
    for declared in declarations {
        let names: Vec<String> = declared
            .labels
            .iter()
            .map(|(name, _)| format!("`{name}`"))
            .collect();
        let labels = if names.is_empty() {
            "-".to_owned()
        } else {
            names.join(", ")
        };
        let _ = writeln!(
            text,
            "| `{}` | {} | {labels} | {} |",
            declared.name,
            declared.kind.as_str(),
            declared.help
        );
        for (name, values) in &declared.labels {
            domains
                .entry((name, values))
                .or_default()
                .push(&declared.name);
        }
    }
    text.push_str("\n| label | of | values |\n|---|---|---|\n");
    for ((name, values), families) in domains {
        let values = match values {
            [] => "text, bounded".to_owned(),
            _ => values
                .iter()
                .map(|value| format!("`{value}`"))
                .collect::<Vec<_>>()
                .join(" "),
        };
        let families: Vec<String> = families
            .iter()
            .map(|family| format!("`{family}`"))
            .collect();
        let _ = writeln!(text, "| `{name}` | {} | {values} |", families.join(", "));
    }
    text.push_str("\n| histogram | upper bounds |\n|---|---|\n");
    for declared in declarations
        .iter()
        .filter(|declared| !declared.bounds.is_empty())
    {
        let bounds: Vec<String> = declared.bounds.iter().map(ToString::to_string).collect();
        let _ = writeln!(text, "| `{}` | {} |", declared.name, bounds.join(" "));
    }
    text.push('\n');
    text
}
