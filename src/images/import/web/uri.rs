//! A URI taken apart, with no two ways to read it.
//!
//! Parsers disagree about odd spellings, and what one of them checks another one connects to.  So
//! only a spelling that means the same to all is accepted: printable ASCII, no user and password,
//! no escapes in the host, a host that is written as it will be used, and `http` or `https`.

use std::fmt;
use std::net::IpAddr;

use url::{Host, Url};

/// Longer ones are refused.
const LONGEST: usize = 8192;

/// What to ask for, and from whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    url: Url,
    /// Whom to ask.
    pub host: TargetHost,
    /// The port to connect to, whether it was written or not.
    pub port: u16,
}

/// Who is asked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TargetHost {
    /// A name, in lower case, without a dot at its end.
    Name(String),
    /// An address.
    Address(IpAddr),
}

impl fmt::Display for TargetHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(address) => write!(f, "{address}"),
        }
    }
}

impl Target {
    /// Takes a URI apart; `None` when it could mean several things, or nothing of use.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > LONGEST || !is_plain(text) {
            return None;
        }
        let (scheme, rest) = text.split_once("://")?;
        if !["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
            return None;
        }
        let authority = rest.split(['/', '?', '#']).next().filter(|written| !written.is_empty())?;
        if authority.contains(['@', '%']) {
            return None;
        }
        let mut url = Url::parse(text).ok()?;
        let written = without_port(authority);
        let host = match url.host()? {
            Host::Domain(name) if name.eq_ignore_ascii_case(written) => {
                let name = name.strip_suffix('.').unwrap_or(name).to_owned();
                if name.is_empty() || name.split('.').any(str::is_empty) {
                    return None;
                }
                url.set_host(Some(&name)).ok()?;
                TargetHost::Name(name)
            }
            Host::Ipv4(address) if address.to_string() == written => {
                TargetHost::Address(address.into())
            }
            Host::Ipv6(address) => TargetHost::Address(address.into()),
            Host::Domain(_) | Host::Ipv4(_) => return None,
        };
        url.set_fragment(None);
        let port = url.port_or_known_default().filter(|port| *port != 0)?;
        Some(Self { url, host, port })
    }

    /// Where a `Location` header that this target answered with leads.
    pub fn redirected(&self, location: &str) -> Option<Self> {
        if !is_plain(location) {
            return None;
        }
        // Whatever names a host is read as strictly as at first; the rest stays on this host.
        if location.starts_with("//") {
            return Self::parse(&format!("{}:{location}", self.scheme()));
        }
        let before_path = location.split(['/', '?', '#']).next().unwrap_or_default();
        if before_path.contains(':') {
            return Self::parse(location);
        }
        let target = Self::parse(self.url.join(location).ok()?.as_str())?;
        (target.host == self.host && target.port == self.port).then_some(target)
    }

    /// The host as the URI has it: an IPv6 address is in brackets.
    pub fn host_in_uri(&self) -> String {
        match &self.host {
            TargetHost::Address(IpAddr::V6(address)) => format!("[{address}]"),
            host => host.to_string(),
        }
    }

    /// `http` or `https`.
    pub fn scheme(&self) -> &str {
        self.url.scheme()
    }

    /// The URI in its usual spelling, without a fragment.
    pub fn as_str(&self) -> &str {
        self.url.as_str()
    }
}

/// The URI without its query, which may hold a secret (a signature, for example).
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.url.as_str().split('?').next().unwrap_or_default())
    }
}

/// Printable ASCII, and nothing that a parser may skip or take for a slash.
fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\')
}

fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Option<(String, u16)> {
        Target::parse(text).map(|target| (target.host.to_string(), target.port))
    }

    #[test]
    fn plain_uris_are_read() {
        for (text, host, port) in [
            ("http://example.org", "example.org", 80),
            ("https://example.org/a/b?c=d#e", "example.org", 443),
            ("HTTP://Example.ORG:8080/", "example.org", 8080),
            ("http://example.org./x", "example.org", 80),
            ("http://example.org:/x", "example.org", 80),
            ("http://8.8.8.8/x", "8.8.8.8", 80),
            ("http://127.0.0.1:1/", "127.0.0.1", 1),
            ("http://[2606:4700::1111]:81/x", "2606:4700::1111", 81),
            ("http://[0:0:0:0:0:0:0:1]/", "::1", 80),
            ("http://xn--bcher-kva.example/", "xn--bcher-kva.example", 80),
            ("http://under_score.example/%20%2f..", "under_score.example", 80),
        ] {
            assert_eq!(read(text), Some((host.to_owned(), port)), "{text}");
        }
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused() {
        for text in [
            "",
            "abc",
            "None",
            "file:///etc/passwd",
            "ftp://x/y",
            "gopher://x/",
            "//x/",
            "http:",
            "http:/x",
            "http:x",
            "http://",
            "http:///x",
            "http://:80/",
            "http://?x",
            "http://#",
            // addresses that are no dotted quads
            "http://2130706433/",
            "http://0x7f000001/",
            "http://017700000001/",
            "http://127.1/",
            "http://127.0.1/",
            "http://0177.0.0.1/",
            "http://0x7f.0.0.1/",
            "http://127.0.0.1./",
            "http://127.000.000.001/",
            "http://0/",
            "http://4294967296/",
            "http://256.0.0.1/",
            "http://1.2.3.4.5/",
            "http://foo.0x1/",
            "http://127.0.0.0x1:80/",
            // users, escapes, other alphabets
            "http://user@example.org/",
            "http://u:p@example.org/",
            "http://a@127.0.0.1/",
            "http://127.0.0.1%2f@example.org/",
            "http://127%2e0.0.1/",
            "http://ex%61mple.org/",
            "http://example.org%00.evil/",
            "http://１２７.0.0.1/",
            "http://127。0。0。1/",
            "http://ⓔxample.org/",
            "http://bücher.example/",
            "http://exam\u{ad}ple.org/",
            // what parsers skip or take for slashes
            "http:\\\\example.org/",
            "http://example.org\\@evil/",
            "http://exa\tmple.org/",
            "http://exa\nmple.org/",
            " http://example.org/",
            "http://example.org/ x",
            "http://a b/",
            "http://example.org\r\nHost: x/",
            // ports and empty labels
            "http://example.org:0/",
            "http://example.org:65536/",
            "http://example.org:x/",
            "http://example.org:80:80/",
            "http://example..org/",
            "http://.example.org/",
            "http://example.org../",
            "http://./",
            "http://[fe80::1%25eth0]/",
            "http://[::1/",
            "http://[::1]x/",
            "http://[127.0.0.1]/",
            "http://xn--/",
            "http://<x>/",
            "http://a|b/",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
        assert_eq!(read(&format!("http://example.org/{}", "x".repeat(LONGEST))), None);
    }

    #[test]
    fn a_redirect_is_read_as_strictly() {
        let from = Target::parse("https://example.org:8443/a/b?c").unwrap();
        for (location, expected) in [
            ("d", Some("https://example.org:8443/a/d")),
            ("/d?e=f:g", Some("https://example.org:8443/d?e=f:g")),
            ("?e", Some("https://example.org:8443/a/b?e")),
            ("d/http://x", Some("https://example.org:8443/a/d/http://x")),
            ("//other.org/d", Some("https://other.org/d")),
            ("http://other.org", Some("http://other.org/")),
            ("http://2130706433/", None),
            ("//0x7f.1/", None),
            ("/\\evil.org", None),
            ("\\\\evil.org", None),
            ("https:evil.org", None),
            ("https:/evil.org", None),
            ("http://user@example.org/", None),
            ("file:///etc/passwd", None),
            ("javascript:x", None),
            ("/ä", None),
        ] {
            let to = from.redirected(location);
            assert_eq!(to.as_ref().map(Target::as_str), expected, "{location}");
        }
    }

    #[test]
    fn messages_hold_no_query() {
        let target = Target::parse("https://example.org/a?signature=secret#x").unwrap();
        assert_eq!(target.to_string(), "https://example.org/a");
        assert_eq!(target.as_str(), "https://example.org/a?signature=secret");
    }

    proptest! {
        /// Reading what was understood again gives the same, so that no later parser sees another
        /// host.
        #[test]
        fn what_is_accepted_means_one_thing(text in "[hH]ttps?://[ -~äⓔ。]{1,24}(/[ -~]*)?") {
            if let Some(target) = Target::parse(&text) {
                let again = Target::parse(target.as_str());
                prop_assert_eq!(again.as_ref(), Some(&target));
                let written = text.split("://").nth(1).unwrap().to_ascii_lowercase();
                match &target.host {
                    TargetHost::Address(IpAddr::V6(_)) => prop_assert!(written.starts_with('[')),
                    host => prop_assert!(written.starts_with(&host.to_string())),
                }
            }
        }

        #[test]
        fn numbers_are_no_hosts(number in any::<u64>(), hex in any::<bool>()) {
            let host = if hex { format!("{number:#x}") } else { number.to_string() };
            prop_assert_eq!(read(&format!("http://{host}/")), None);
        }
    }
}
