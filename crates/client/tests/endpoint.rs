//! Mode A over a real socket, and what happens when it cannot have one.
#![cfg(feature = "serve")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends here")]

mod common;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};

use common::{logged, settings};
use metricsd_client::{Defect, GaugeMode, Registry, Status, Target};

const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Head and body of the answer.
fn get(address: SocketAddr, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_ascii_lowercase(), body.to_owned())
}

#[test]
fn a_scrape_shows_what_was_recorded_before_it_was_asked() {
    let (registry, lines) =
        logged(|| Registry::start(settings(Target::Endpoint { listen: ANY_PORT })));
    let Status::Endpoint { address } = registry.status() else {
        panic!("{:?}", registry.status())
    };
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(
        lines[0].contains("mode=\"A\"") && lines[0].contains(&address.to_string()),
        "{lines:?}"
    );

    let steps = registry.counter("steps_total", "Steps.");
    registry
        .gauge("level", "A gauge has no pid here.", GaugeMode::All)
        .set(1.5);
    for step in 1..=3 {
        steps.inc();
        let (head, body) = get(address, "/metrics");
        assert!(head.starts_with("http/1.1 200"), "{head}");
        assert!(
            head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"),
            "{head}"
        );
        assert!(
            body.contains(&format!("\nsteps_total {step}.0\n")),
            "{body}"
        );
        assert!(body.contains("\nlevel 1.5\n"), "{body}");
        assert_eq!(body, registry.render());
    }
    let (_, body) = get(address, "/metrics?name[]=steps_total");
    assert_eq!(
        body,
        "# HELP steps_total Steps.\n# TYPE steps_total counter\nsteps_total 3.0\n"
    );
    assert!(get(address, "/-/ready").0.starts_with("http/1.1 200"));
}

#[test]
fn a_program_publishes_its_defects_from_zero_on() {
    let registry = Registry::start(settings(Target::Endpoint { listen: ANY_PORT }));
    let sample = |defect: &str, count: u32| {
        format!("judge_me_telemetry_defects_total{{defect=\"{defect}\"}} {count}.0\n")
    };
    for defect in Defect::ALL {
        assert!(
            registry.render().contains(&sample(defect.as_str(), 0)),
            "{}",
            registry.render()
        );
    }
    registry.counter("c_total", "C.").add(-1.0);
    registry
        .counter("judge_me_telemetry_defects", "The name is taken.")
        .add(-1.0);
    assert!(
        registry.render().contains(&sample("negative", 2)),
        "{}",
        registry.render()
    );
    assert!(
        registry.render().contains(&sample("registration", 1)),
        "{}",
        registry.render()
    );
    assert_eq!(registry.defects(Defect::Negative), 2);
}

#[test]
fn an_endpoint_outlives_a_registry_that_was_dropped() {
    let registry = Registry::start(settings(Target::Endpoint { listen: ANY_PORT }));
    let Status::Endpoint { address } = registry.status() else {
        panic!("{:?}", registry.status())
    };
    let steps = registry.counter("steps_total", "Steps.");
    drop(registry);
    steps.inc();
    assert!(get(address, "/metrics").1.contains("\nsteps_total 1.0\n"));
}

#[test]
fn a_busy_port_costs_the_endpoint_and_names_mode_b() {
    let squatter = TcpListener::bind(ANY_PORT).unwrap();
    let busy = squatter.local_addr().unwrap();
    let (registry, lines) = logged(|| Registry::start(settings(Target::Endpoint { listen: busy })));
    assert_eq!(lines.len(), 1, "{lines:?}");
    for part in [
        "WARN",
        &busy.to_string(),
        "PEAKTRADE_METRICS_MODE=B",
        "PEAKTRADE_METRICS_MULTIPROC_DIR",
        &std::process::id().to_string(),
    ] {
        assert!(lines[0].contains(part), "{part}: {lines:?}");
    }
    let Status::Degraded { reason, .. } = registry.status() else {
        panic!("{:?}", registry.status())
    };
    assert!(reason.contains(&busy.to_string()), "{reason}");
    assert!(registry.status().is_degraded());
    let steps = registry.counter("steps_total", "Steps.");
    steps.inc();
    assert_eq!(steps.get(), 1.0);
}
