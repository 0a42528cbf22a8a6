//! What goes over the wire: metric families to exposition text and back, and the HTTP surface every exporter needs.
//!
//! The core (everything but [`http`]) is pure: values in, bytes out, no I/O, no clock, no logging. The text equals what
//! Python's `prometheus_client` 0.26 writes for the same families, byte for byte, spelling of numbers included. The server,
//! behind the default feature `server`, runs on a thread of its own; no async code and no client reaches the program.
//!
//! ```
//! use std::io::{Read, Write};
//! use std::sync::Arc;
//!
//! use metricsd_exporter::http::{self, Endpoint, Limits, ScrapeRequest, ScrapeResponse, Site};
//! use metricsd_exporter::{Family, Kind, Series, Value, write_text_filtered};
//!
//! let families = vec![Family {
//!     name: "fills".to_string(),
//!     help: "Orders filled".to_string(),
//!     kind: Kind::Counter,
//!     series: vec![Series {
//!         labels: vec![("side".to_string(), "buy".to_string())],
//!         start_unix_seconds: None,
//!         value: Value::Single(3.0),
//!     }],
//! }];
//! let metrics = move |request: &ScrapeRequest| {
//!     let mut page = Vec::new();
//!     write_text_filtered(&families, &request.names, &mut page);
//!     ScrapeResponse::text(page)
//! };
//!
//! let listeners = http::bind(&["127.0.0.1:0".parse()?])?;
//! let endpoint = Endpoint { site: Site::default(), metrics: Arc::new(metrics), ready: Arc::new(|| Ok(())), health: None, pages: None };
//! let server = http::spawn(listeners, endpoint, Limits::default())?;
//!
//! let mut client = std::net::TcpStream::connect(server.addresses()[0])?;
//! client.write_all(b"GET /metrics HTTP/1.0\r\n\r\n")?;
//! let mut response = String::new();
//! client.read_to_string(&mut response)?;
//! assert!(response.contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"));
//! assert!(response.ends_with("# TYPE fills_total counter\nfills_total{side=\"buy\"} 3.0\n"));
//! server.stop();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]
#![cfg_attr(not(feature = "server"), allow(rustdoc::broken_intra_doc_links))]

#[cfg(feature = "server")]
pub mod http;
mod line;
mod model;
mod name;
mod number;
mod parse;
mod prepared;
mod text;

pub use model::{Family, Kind, Sample, Series, Value};
pub use name::{
    BadName, check_family, check_labels, check_series, is_legal_label_name, is_legal_metric_name,
};
pub use number::format_float;
pub use parse::{ParseError, ParseErrorKind, parse_text};
pub use prepared::{PreparedFamily, PreparedHistogram};
pub use text::{CONTENT_TYPE_TEXT_0_0_4, NameFilter, Written, write_text, write_text_filtered};
