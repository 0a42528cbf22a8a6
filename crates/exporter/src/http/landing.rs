//! The landing page: what this is, and where to go.
//!
//! Invariant: every text on the page is escaped, and the page needs no script, style or image, so its policy forbids them all.
//! Must not touch: anything but strings.

use super::Site;

/// Nothing may be loaded, run, framed or submitted; links are all the page has. The icon is an empty inline one.
pub(super) const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// What every server here has.
const LINKS: [(&str, &str); 3] = [
    ("/metrics", "Metrics"),
    ("/-/healthy", "Healthy"),
    ("/-/ready", "Ready"),
];

pub(super) fn page(site: &Site) -> String {
    let title = escaped(&site.title);
    let version = escaped(&site.version);
    let description = escaped(&site.description);
    let own = site
        .links
        .iter()
        .map(|(path, text)| (path.as_str(), text.as_str()));
    let links: String = LINKS
        .into_iter()
        .chain(own)
        .map(|(path, text)| {
            format!(
                "<li><a href=\"{}\">{}</a></li>\n",
                escaped(path),
                escaped(text)
            )
        })
        .collect();
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<link rel=\"icon\" href=\"data:,\">\n\
         <title>{title}</title>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n<p>{description}</p>\n\
         <p>Version {version}</p>\n<ul>\n{links}</ul>\n</main>\n</body>\n</html>\n"
    )
}

fn escaped(text: &str) -> String {
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
