//! How an error looks: plain text, HTML or JSON, whichever the client accepts.  Glance: WebOb's
//! error pages, byte for byte.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::response::Response;
use serde_json::json;

use super::status::{Fault, Words, title, usual_explanation};

/// What of the request the error page depends on.
pub(super) struct Asked {
    pub(super) method: Method,
    accept: Option<HeaderValue>,
    content_type: Option<HeaderValue>,
}

impl Asked {
    pub(super) fn new(method: &Method, headers: &HeaderMap) -> Self {
        Self {
            method: method.clone(),
            accept: headers.get(header::ACCEPT).cloned(),
            content_type: headers.get(header::CONTENT_TYPE).cloned(),
        }
    }
}

/// The three looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    Plain,
    Html,
    Json,
}

/// The page for a fault.
pub(super) fn page(fault: Fault, asked: &Asked) -> Response {
    let look = match (&asked.method, &asked.accept) {
        // A HEAD has no body to negotiate; Glance leaves WebOb's default on it.
        (&Method::HEAD, _) => Look::Html,
        (_, None) => Look::Plain,
        (_, Some(accept)) => choose(accept.to_str().unwrap_or("*/*")),
    };
    let line = format!("{} {}", fault.status.as_u16(), title(fault.status));
    let (kind, body) = match look {
        Look::Plain => {
            let body = strip_tags(&body(&fault, asked, str::to_string));
            ("text/plain; charset=UTF-8", format!("{line}\n\n{body}"))
        }
        Look::Html => {
            let body = body(&fault, asked, escape);
            let page = format!(
                "<html>\n <head>\n  <title>{line}</title>\n </head>\n <body>\n  \
                 <h1>{line}</h1>\n  {body}\n </body>\n</html>"
            );
            ("text/html; charset=UTF-8", page)
        }
        Look::Json => {
            let message = body(&fault, asked, str::to_string);
            let page = json!({"message": message, "code": line, "title": title(fault.status)});
            ("application/json", page.to_string())
        }
    };
    let body = if asked.method == Method::HEAD { Body::empty() } else { Body::from(body) };
    let mut response = Response::new(body);
    *response.status_mut() = fault.status;
    if let Some((name, value)) = fault.header.map(|header| *header) {
        response.headers_mut().insert(name, value);
    }
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

fn body(fault: &Fault, asked: &Asked, escape: impl Fn(&str) -> String) -> String {
    let usual = || usual_explanation(fault.status);
    match &fault.words {
        Words::Explanation(text) => format!("{}<br /><br />\n\n\n", escape(text)),
        Words::Detail(detail) => format!("{}<br /><br />\n{}\n\n", usual(), escape(detail)),
        Words::Bare(text) => escape(text),
        Words::Method => format!(
            "The method {} is not allowed for this resource. <br /><br />\n",
            escape(asked.method.as_str())
        ),
        Words::MediaType(detail) => format!(
            "The request media type {} is not supported by this server.\n<br /><br />\n{}",
            // WebOb leaves its placeholder when there is nothing to put into it.
            escape(match &asked.content_type {
                Some(kind) => kind.to_str().unwrap_or(""),
                None => "${CONTENT_TYPE}",
            }),
            escape(detail)
        ),
    }
}

/// WebOb's way from its HTML to text: line ends become spaces, `<br>` a line end, tags nothing.
fn strip_tags(html: &str) -> String {
    let html = html.replace('\n', " ").replace('\r', "");
    let mut text = String::with_capacity(html.len());
    let mut rest = html.as_str();
    while let Some(open) = rest.find('<') {
        text.push_str(&rest[..open]);
        rest = &rest[open..];
        let Some(close) = rest.find('>') else { break };
        if rest.as_bytes().get(1..3).is_some_and(|tag| tag.eq_ignore_ascii_case(b"br")) {
            text.push('\n');
        }
        rest = &rest[close + 1..];
    }
    text.push_str(rest);
    text
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#x27;"),
            c => escaped.push(c),
        }
    }
    escaped
}

/// Which look an `Accept` header asks for; HTML when both are as welcome.
fn choose(accept: &str) -> Look {
    let html = quality(accept, "text", "html");
    let json = quality(accept, "application", "json");
    if html > 0 && html >= json {
        Look::Html
    } else if json > 0 {
        Look::Json
    } else {
        Look::Plain
    }
}

/// How welcome a type is, in thousandths: the quality of the most specific range that names it.
fn quality(accept: &str, kind: &str, subtype: &str) -> u16 {
    let mut best = (0, 0);
    for range in accept.split(',') {
        let mut parts = range.split(';').map(str::trim);
        let specific = match parts.next().and_then(|range| range.split_once('/')) {
            Some((k, s)) if k.eq_ignore_ascii_case(kind) && s.eq_ignore_ascii_case(subtype) => 3,
            Some((k, "*")) if k.eq_ignore_ascii_case(kind) => 2,
            Some(("*", "*")) => 1,
            _ => continue,
        };
        let q = parts.find_map(|part| part.strip_prefix("q=").or(part.strip_prefix("Q=")));
        let q = q.map_or(1.0, |q| q.parse().unwrap_or(0.0_f32));
        if specific > best.0 {
            best = (specific, (q.clamp(0.0, 1.0) * 1000.0) as u16);
        }
    }
    best.1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_look_follows_accept() {
        for (accept, look) in [
            ("*/*", Look::Html),
            ("text/html", Look::Html),
            ("application/json", Look::Json),
            ("application/json, text/plain;q=0.5", Look::Json),
            ("text/html;q=0.1, application/json", Look::Json),
            ("text/*;q=0, */*", Look::Json),
            ("text/plain", Look::Plain),
            ("image/png", Look::Plain),
            ("", Look::Plain),
        ] {
            assert_eq!(choose(accept), look, "{accept}");
        }
    }

    #[test]
    fn text_loses_tags_and_html_keeps_none() {
        assert_eq!(strip_tags("a<br /><br />\n<b>x</b>\n"), "a\n\n x ");
        assert_eq!(strip_tags("1 < 2"), "1 < 2");
        assert_eq!(escape("<script>'\""), "&lt;script&gt;&#x27;&quot;");
    }
}
