//! What a request was made with, to ask other services on behalf of who made it.

use std::sync::Arc;

use super::Secret;

/// Where a service is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The region it is in.
    pub region: String,
    /// For whom: `public`, `internal` or `admin`.
    pub interface: String,
    /// Without a version in its path, as Keystone's catalog has it.
    pub url: String,
}

/// A token, and where image services are that take it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// The token.
    pub token: Secret,
    /// From the catalog that came with the token.
    pub image_endpoints: Arc<[Endpoint]>,
}

impl Credentials {
    /// Where the image service of a region is.  Glance: regions are told apart whatever their case.
    pub fn image_endpoint(&self, region: &str, interface: &str) -> Option<&str> {
        let found = self.image_endpoints.iter().find(|endpoint| {
            endpoint.region.eq_ignore_ascii_case(region) && endpoint.interface == interface
        });
        found.map(|endpoint| endpoint.url.trim_end_matches('/'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_found_by_region_and_interface_and_no_token_is_shown() {
        let endpoint = |region: &str, interface: &str, url: &str| Endpoint {
            region: region.to_string(),
            interface: interface.to_string(),
            url: url.to_string(),
        };
        let credentials = Credentials {
            token: Secret::new("gAAAAsecret"),
            image_endpoints: Arc::new([
                endpoint("One", "public", "http://one/"),
                endpoint("Two", "internal", "http://two-internal"),
                endpoint("Two", "public", "http://two/image"),
            ]),
        };
        assert_eq!(credentials.image_endpoint("one", "public"), Some("http://one"));
        assert_eq!(credentials.image_endpoint("two", "public"), Some("http://two/image"));
        assert_eq!(credentials.image_endpoint("one", "internal"), None);
        assert!(!format!("{credentials:?}").contains("secret"));
    }
}
