//! The bridge's part of `docs/metrics.md` is what its telemetry declares. `METRICSD_WRITE_DOCS=1` writes it anew.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends here")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use alertbridge::telemetry::Telemetry;
use metricsd_client::{Declaration, Registry};

const BEGIN: &str = "<!-- generated: alertbridge -->\n";
const END: &str = "<!-- end -->\n";

#[test]
fn the_page_of_metrics_is_what_the_telemetry_declares() {
    let registry = Registry::in_memory();
    let _telemetry = Telemetry::new(&registry);
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
    let mut domains: BTreeMap<(&str, &[&str]), Vec<String>> = BTreeMap::new();
    for declared in declarations {
        let names = declared.labels.iter().map(|(name, _)| format!("`{name}`"));
        let names: Vec<String> = names.collect();
        let labels = match names.is_empty() {
            true => "-".to_owned(),
            false => names.join(", "),
        };
        let (name, kind, help) = (&declared.name, declared.kind.as_str(), &declared.help);
        let _ = writeln!(text, "| `{name}` | {kind} | {labels} | {help} |");
        for (label, values) in &declared.labels {
            let families = domains.entry((label, values)).or_default();
            families.push(format!("`{name}`"));
        }
    }
    text.push_str("\n| label | of | values |\n|---|---|---|\n");
    for ((name, values), families) in domains {
        let values: Vec<String> = values.iter().map(|value| format!("`{value}`")).collect();
        let values = match values.is_empty() {
            true => "text, bounded".to_owned(),
            false => values.join(" "),
        };
        let _ = writeln!(text, "| `{name}` | {} | {values} |", families.join(", "));
    }
    text.push('\n');
    text
}
