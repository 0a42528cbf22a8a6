//! A program's own paths: any method, the whole body or the word that it is too long, and no say over the server's own paths.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use metricsd_exporter::http::{
    Bytes, Endpoint, Limits, PageRequest, PageResponse, Pages, ScrapeResponse, Server, Site,
};

use crate::client::{Client, serve};

/// A server with `/own/…`, which says back what it was sent, and a count of the requests that reached it.
fn echo() -> (Server, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let answer = move |request: PageRequest| {
        counted.fetch_add(1, Ordering::SeqCst);
        let kind = request
            .header("content-type")
            .unwrap_or("nothing")
            .to_owned();
        let body = match request.body {
            Some(body) => format!(
                "{} {} {kind} {}",
                request.method,
                request.path,
                String::from_utf8_lossy(&body)
            ),
            None => "too long".to_owned(),
        };
        PageResponse {
            status: 202,
            content_type: "text/plain",
            body: Bytes::from(body),
            headers: vec![("retry-after", "7".to_owned())],
        }
    };
    let server = serve(
        Endpoint {
            site: Site::default(),
            metrics: Arc::new(|_| ScrapeResponse::text("up 1.0\n")),
            ready: Arc::new(|| Ok(())),
            health: None,
            pages: Some(Pages {
                owns: Arc::new(|path| path.starts_with("/own/")),
                answer: Arc::new(answer),
                body_max_bytes: 10,
                requests_max: 2,
            }),
        },
        Limits::default(),
    );
    (server, count)
}

fn send(server: &Server, request: &str) -> (u16, String) {
    let mut client = Client::connect(server);
    client.send_as_much_as_goes(request);
    let response = client.receive("POST");
    (response.status, response.text().to_owned())
}

#[test]
fn an_own_path_gets_method_path_headers_and_the_whole_body() {
    let (server, _) = echo();
    let request = "POST /own/%2e?q=1 HTTP/1.1\r\nHost: x\r\nContent-Type: a/b\r\nContent-Length: 10\r\n\r\n0123456789";
    assert_eq!(
        send(&server, request),
        (202, "POST /own/%2e a/b 0123456789".to_owned())
    );
    let request = "DELETE /own/x HTTP/1.1\r\nHost: x\r\n\r\n";
    assert_eq!(
        send(&server, request),
        (202, "DELETE /own/x nothing ".to_owned())
    );
    let request = "POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx";
    assert_eq!(send(&server, request).0, 405);
}

#[test]
fn a_body_that_is_too_long_is_not_handed_over_in_part() {
    let (server, _) = echo();
    for request in [
        "POST /own/x HTTP/1.1\r\nHost: x\r\nContent-Length: 11\r\n\r\n0123456789a",
        "POST /own/x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n6\r\n012345\r\n5\r\n6789a\r\n0\r\n\r\n",
    ] {
        assert_eq!(send(&server, request), (202, "too long".to_owned()));
    }
}

#[test]
fn a_body_that_breaks_off_never_reaches_the_program() {
    let (server, count) = echo();
    let request = "POST /own/x HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n0123";
    let mut client = Client::connect(&server);
    client.send(request);
    client.stop_sending();
    client.receive_all();
    assert_eq!(count.load(Ordering::SeqCst), 0);
}
