//! Pages. Invariant: every foreign text is escaped, and a page loads nothing and runs nothing.

use metricsd_exporter::http::{Bytes, PageResponse};

/// Nothing may be loaded, run or framed; a form goes back to where it came from.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Text as HTML, also within an attribute.
pub(crate) fn escaped(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            c => html.push(c),
        }
    }
    html
}

/// A page with this title, which is escaped here, and this body, which is not.
pub(crate) fn page(status: u16, title: &str, body: &str) -> PageResponse {
    let title = escaped(title);
    let html = format!(
        "<!DOCTYPE html>\n<html>\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<meta name=\"referrer\" content=\"no-referrer\">\n<title>{title}</title>\n\
         <style>body{{font-family:sans-serif;max-width:50rem;margin:1rem auto;padding:0 1rem}}pre{{white-space:pre-wrap}}button,select,input{{font-size:1rem;padding:.4rem}}</style>\n\
         </head>\n<body>\n<h1>{title}</h1>\n{body}\n</body>\n</html>\n"
    );
    PageResponse {
        status,
        content_type: "text/html; charset=utf-8",
        body: Bytes::from(html),
        headers: vec![(
            "content-security-policy",
            CONTENT_SECURITY_POLICY.to_owned(),
        )],
    }
}

/// One line of plain text.
pub(crate) fn plain(status: u16, text: &str) -> PageResponse {
    PageResponse {
        status,
        content_type: "text/plain; charset=utf-8",
        body: Bytes::from(format!("{text}\n")),
        headers: Vec::new(),
    }
}
