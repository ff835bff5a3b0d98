//! Which URIs the operator lets web-download use.  Glance: section `[import_filtering_opts]`.
//!
//! Glance's precedence: where a list of what is allowed is not empty, the list of what is not is
//! ignored; scheme, host and port must each pass.  Stricter than Glance in two ways: the port is
//! judged even where it is not written, and a dot at the end of a host changes nothing.

use std::net::IpAddr;

use super::uri::{Target, TargetHost};
use crate::config::network::Network;

/// The operator's lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebRules {
    /// `http`, `https`
    pub schemes: Filter<String>,
    /// Names in lower case, and addresses.
    pub hosts: Filter<TargetHost>,
    /// Ports.
    pub ports: Filter<u16>,
    /// Networks that may be connected to although they are not public
    /// (`[glancefs] web_download_networks`).
    pub networks: Vec<Network>,
}

/// What is allowed and what is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter<T> {
    /// Only these, unless it is empty.
    pub allowed: Vec<T>,
    /// Not these, when `allowed` is empty.
    pub disallowed: Vec<T>,
}

impl<T> Default for Filter<T> {
    fn default() -> Self {
        Self { allowed: Vec::new(), disallowed: Vec::new() }
    }
}

impl<T> Filter<T> {
    fn passes(&self, is: impl Fn(&T) -> bool) -> bool {
        if self.allowed.is_empty() {
            !self.disallowed.iter().any(is)
        } else {
            self.allowed.iter().any(is)
        }
    }
}

impl Default for WebRules {
    /// Glance's defaults.
    fn default() -> Self {
        let schemes = ["http", "https"].map(str::to_owned).to_vec();
        Self {
            schemes: Filter { allowed: schemes, disallowed: Vec::new() },
            hosts: Filter::default(),
            ports: Filter { allowed: vec![80, 443], disallowed: Vec::new() },
            networks: Vec::new(),
        }
    }
}

impl WebRules {
    /// Whether the lists let a target pass.  Where its host is a name, its addresses are left to be
    /// judged.
    pub fn pass(&self, target: &Target) -> bool {
        self.schemes.passes(|scheme| scheme == target.scheme())
            && self.hosts.passes(|host| *host == target.host)
            && self.ports.passes(|port| *port == target.port)
    }

    /// Networks that may be connected to although they are not public: those that the operator
    /// named, and addresses that are written out among the allowed hosts.
    pub fn allowed_networks(&self) -> Vec<Network> {
        let written_out = self.hosts.allowed.iter().filter_map(|host| match host {
            TargetHost::Address(address) => Some(Network::from(address.to_canonical())),
            TargetHost::Name(_) => None,
        });
        self.networks.iter().copied().chain(written_out).collect()
    }

    /// Whether an address that a name stands for is refused as a host.  Glance: the same.
    pub fn refuse_address(&self, address: IpAddr) -> bool {
        let is_it = |host: &TargetHost| match host {
            TargetHost::Address(refused) => refused.to_canonical() == address,
            TargetHost::Name(_) => false,
        };
        self.hosts.allowed.is_empty() && self.hosts.disallowed.iter().any(is_it)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> TargetHost {
        text.parse().map_or_else(|_| TargetHost::Name(text.to_owned()), TargetHost::Address)
    }

    fn passes(rules: &WebRules, uri: &str) -> bool {
        Target::parse(uri).is_some_and(|target| rules.pass(&target))
    }

    #[test]
    fn by_default_the_usual_ports_of_http_and_https_pass() {
        let rules = WebRules::default();
        for uri in ["http://a/", "https://a/", "http://a:80/", "http://a:443/", "https://a:80/"] {
            assert!(passes(&rules, uri), "{uri}");
        }
        for uri in ["http://a:8080/", "https://a:22/", "ftp://a/", "file:///a"] {
            assert!(!passes(&rules, uri), "{uri}");
        }
    }

    #[test]
    fn what_is_allowed_wins_over_what_is_not() {
        let mut rules = WebRules::default();
        rules.hosts.disallowed = vec![host("b.org"), host("8.8.8.8")];
        assert!(passes(&rules, "http://a.org/") && !passes(&rules, "http://b.org/"));
        assert!(!passes(&rules, "http://B.ORG./") && !passes(&rules, "http://8.8.8.8/"));
        rules.hosts.allowed = vec![host("b.org")];
        assert!(!passes(&rules, "http://a.org/") && passes(&rules, "http://b.org/"));
        rules.ports = Filter { allowed: vec![], disallowed: vec![81] };
        assert!(passes(&rules, "http://b.org:8080/") && !passes(&rules, "http://b.org:81/"));
        rules.schemes = Filter { allowed: vec![], disallowed: vec!["http".into()] };
        assert!(!passes(&rules, "http://b.org:8080/") && passes(&rules, "https://b.org:8080/"));
    }

    #[test]
    fn a_port_that_is_not_written_is_judged_too() {
        let mut rules = WebRules::default();
        rules.ports.allowed = vec![443];
        assert!(!passes(&rules, "http://a/") && passes(&rules, "https://a/"));
    }

    #[test]
    fn a_refused_address_is_refused_under_any_name() {
        let mut rules = WebRules::default();
        rules.hosts.disallowed = vec![host("8.8.8.8"), host("::ffff:9.9.9.9")];
        assert!(rules.refuse_address("8.8.8.8".parse().unwrap()));
        assert!(rules.refuse_address("9.9.9.9".parse().unwrap()));
        assert!(!rules.refuse_address("8.8.4.4".parse().unwrap()));
    }

    #[test]
    fn only_addresses_that_are_written_out_are_trusted_to_be_inside() {
        let mut rules = WebRules::default();
        rules.hosts.allowed = vec![host("mirror.example"), host("10.0.0.5")];
        assert_eq!(rules.allowed_networks(), ["10.0.0.5".parse().unwrap()]);
    }
}
