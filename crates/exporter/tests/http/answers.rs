//! What each path answers to an honest client.

use std::sync::{Arc, Mutex};

use metricsd_exporter::NameFilter;
use metricsd_exporter::http::{Bytes, Endpoint, HealthResponse, Limits, ScrapeResponse, Site};

use crate::client::{Client, ask, serve, server, server_with};

fn endpoint() -> Endpoint {
    Endpoint {
        site: Site {
            title: "<metricsd> & \"co\"".to_string(),
            description: "it's <b>one</b> endpoint".to_string(),
            version: "1.2.3<script>".to_string(),
            links: vec![("/docs?a=1&b=\"2\"".to_string(), "Docs <i>".to_string())],
        },
        metrics: Arc::new(|_| ScrapeResponse::text("up 1.0\n")),
        ready: Arc::new(|| Ok(())),
        health: None,
        pages: None,
    }
}

#[test]
fn metrics_have_the_exact_type_and_their_length_with_and_without_a_query() {
    let server = server(Limits::default());
    for target in [
        "/metrics",
        "/metrics?",
        "/metrics?x=1&y",
        "http://elsewhere/metrics",
    ] {
        let response = ask(&server, "GET", target);
        assert_eq!(
            (response.status, response.text()),
            (200, "up 1.0\n"),
            "{target}"
        );
        assert_eq!(
            response.header("content-type"),
            Some("text/plain; version=0.0.4; charset=utf-8")
        );
        assert_eq!(response.header("content-length"), Some("7"));
        assert_eq!(response.header("connection"), None);
    }
}

#[test]
fn an_empty_page_has_a_length_too() {
    let server = server_with(Limits::default(), |_| ScrapeResponse::text(""));
    for method in ["GET", "HEAD"] {
        let response = ask(&server, method, "/metrics");
        assert_eq!(
            (response.status, response.header("content-length")),
            (200, Some("0"))
        );
    }
}

#[test]
fn head_answers_every_path_with_the_headers_of_get_and_no_body() {
    let server = serve(endpoint(), Limits::default());
    for path in [
        "/",
        "/metrics",
        "/-/healthy",
        "/-/ready",
        "/favicon.ico",
        "/nowhere",
    ] {
        let mut client = Client::connect(&server);
        let get = client.ask("GET", path);
        // Over one connection: bytes of a body that should not be there would be taken for the next response.
        let head = client.ask("HEAD", path);
        let again = client.ask("GET", path);
        assert_eq!(
            (head.status, &head.headers),
            (get.status, &get.headers),
            "{path}"
        );
        assert_eq!(again, get, "{path}");
        assert_eq!(
            get.header("content-length").is_some(),
            path != "/favicon.ico",
            "{path}"
        );
    }
}

#[test]
fn other_methods_are_refused_on_known_paths_and_unknown_paths_name_the_known() {
    let server = server(Limits::default());
    let mut client = Client::connect(&server);
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "BREW"] {
        for path in ["/", "/metrics", "/-/healthy", "/-/ready", "/favicon.ico"] {
            let response = client.ask(method, path);
            assert_eq!(
                (response.status, response.header("allow")),
                (405, Some("GET, HEAD")),
                "{method} {path}"
            );
        }
        assert_eq!(client.ask(method, "/nowhere").status, 404);
    }
    for path in [
        "/metrics/",
        "/Metrics",
        "//metrics",
        "/-/reload",
        "/%6detrics",
        "/../metrics",
    ] {
        let response = client.ask("GET", path);
        assert_eq!(response.status, 404, "{path}");
        assert!(
            response
                .text()
                .contains("/metrics, /-/healthy and /-/ready"),
            "{}",
            response.text()
        );
    }
}

#[test]
fn names_reach_the_scrape_decoded() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let seen_by_scrape = Arc::clone(&seen);
    let server = server_with(Limits::default(), move |request| {
        seen_by_scrape
            .lock()
            .expect("no panic")
            .push(request.names.clone());
        ScrapeResponse::text("")
    });
    for target in [
        "/metrics?name[]=a_total&x=1&name%5B%5D=b%5Fbucket",
        "/metrics?name[]=",
        "/metrics",
    ] {
        assert_eq!(ask(&server, "GET", target).status, 200);
    }
    let named = NameFilter::only(["a_total".to_string(), "b_bucket".to_string()]);
    assert_eq!(
        *seen.lock().expect("no panic"),
        [named, NameFilter::all(), NameFilter::all()]
    );
}

#[test]
fn readiness_answers_with_its_reason_in_one_line_while_health_stays() {
    let reason = Arc::new(Mutex::new(Err(
        "no collection yet\r\nInjected: header".to_string()
    )));
    let current = Arc::clone(&reason);
    let ready = Arc::new(move || current.lock().expect("no panic").clone());
    let server = serve(
        Endpoint {
            ready,
            ..endpoint()
        },
        Limits::default(),
    );
    let response = ask(&server, "GET", "/-/ready");
    assert_eq!(
        (response.status, response.text()),
        (503, "not ready: no collection yet  Injected: header\n")
    );
    assert_eq!(ask(&server, "GET", "/-/healthy").status, 200);
    *reason.lock().expect("no panic") = Ok(());
    let response = ask(&server, "GET", "/-/ready");
    assert_eq!((response.status, response.text()), (200, "ready\n"));
}

#[test]
fn a_program_that_tells_its_health_answers_with_its_json_and_with_503_when_it_does_not_serve() {
    let silent = serve(endpoint(), Limits::default());
    assert_eq!(ask(&silent, "GET", "/health").status, 404);
    let is_serving = Arc::new(Mutex::new(true));
    let current = Arc::clone(&is_serving);
    let health = move || HealthResponse {
        is_serving: *current.lock().expect("no panic"),
        body: Bytes::from_static(b"{}"),
    };
    let server = serve(
        Endpoint {
            health: Some(Arc::new(health)),
            pages: None,
            ..endpoint()
        },
        Limits::default(),
    );
    for status in [200, 503] {
        *is_serving.lock().expect("no panic") = status == 200;
        let response = ask(&server, "GET", "/health?verbose");
        assert_eq!((response.status, response.text()), (status, "{}"));
        assert_eq!(response.header("content-type"), Some("application/json"));
    }
    assert_eq!(ask(&server, "HEAD", "/health").status, 503);
    assert_eq!(ask(&server, "POST", "/health").status, 405);
    assert!(
        ask(&server, "GET", "/nowhere")
            .text()
            .contains("/metrics, /health, /-/healthy and /-/ready")
    );
}

#[test]
fn a_scrape_without_metrics_says_why() {
    let server = server_with(Limits::default(), |_| ScrapeResponse::Unavailable {
        reason: "/shards:\nno such directory".to_string(),
    });
    let response = ask(&server, "GET", "/metrics");
    assert_eq!(
        (response.status, response.text()),
        (503, "no metrics: /shards: no such directory\n")
    );
    assert_eq!(
        response.header("content-type"),
        Some("text/plain; charset=utf-8")
    );
}

#[test]
fn the_landing_page_escapes_everything_and_allows_nothing() {
    let server = serve(endpoint(), Limits::default());
    let response = ask(&server, "GET", "/");
    assert_eq!(
        (response.status, response.header("content-type")),
        (200, Some("text/html; charset=utf-8"))
    );
    let policy = response
        .header("content-security-policy")
        .expect("a policy");
    assert!(
        policy.starts_with("default-src 'none';") && !policy.contains("unsafe"),
        "{policy}"
    );
    assert_eq!(response.header("x-content-type-options"), Some("nosniff"));
    let page = response.text();
    for expected in [
        "<title>&lt;metricsd&gt; &amp; &quot;co&quot;</title>",
        "<p>it&#39;s &lt;b&gt;one&lt;/b&gt; endpoint</p>",
        "Version 1.2.3&lt;script&gt;",
        "<a href=\"/metrics\">Metrics</a>",
        "<a href=\"/-/healthy\">Healthy</a>",
        "<a href=\"/-/ready\">Ready</a>",
        "<a href=\"/docs?a=1&amp;b=&quot;2&quot;\">Docs &lt;i&gt;</a>",
    ] {
        assert!(page.contains(expected), "{expected} is missing in {page}");
    }
}

#[test]
fn the_icon_is_nothing() {
    let response = ask(&server(Limits::default()), "GET", "/favicon.ico");
    assert_eq!((response.status, response.body.len()), (204, 0));
}
