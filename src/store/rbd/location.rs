//! Where an image is, as a URL.  Glance: `rbd://<fsid>/<pool>/<image>/<snapshot>`, each part quoted
//! by itself; long ago `rbd://<image>`, in the pool that is configured.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

const SCHEME: &str = "rbd://";

/// Glance quotes all but these.
const QUOTED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'_').remove(b'.').remove(b'-').remove(b'~');

/// The parts of a location.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Location {
    /// The cluster and the pool in it; a location of the old kind has neither.
    pub(super) place: Option<Place>,
    pub(super) image: String,
    /// The snapshot to read; a location of the old kind names none.
    pub(super) snapshot: Option<String>,
}

/// A pool of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) fsid: String,
    pub(super) pool: String,
}

impl Location {
    /// Takes a URL apart; `None` when it is not one of these.
    pub(super) fn parse(url: &str) -> Option<Self> {
        let parts = url.strip_prefix(SCHEME)?.split('/').map(unquoted);
        let parts: Vec<String> = parts.collect::<Option<_>>()?;
        match <[String; 4]>::try_from(parts) {
            Ok([fsid, pool, image, snapshot]) => {
                Some(Self { place: Some(Place { fsid, pool }), image, snapshot: Some(snapshot) })
            }
            Err(parts) => match <[String; 1]>::try_from(parts) {
                Ok([image]) => Some(Self { place: None, image, snapshot: None }),
                Err(_) => None,
            },
        }
    }

    /// The URL as Glance writes it; none for a location of the old kind.
    pub(super) fn written(&self) -> Option<String> {
        let place = self.place.as_ref()?;
        Some(Self::url(&place.fsid, &place.pool, &self.image, self.snapshot.as_deref()?))
    }

    /// The URL of a snapshot.
    pub(super) fn url(fsid: &str, pool: &str, image: &str, snapshot: &str) -> String {
        let parts = [fsid, pool, image, snapshot];
        let parts = parts.map(|part| utf8_percent_encode(part, QUOTED).to_string());
        format!("{SCHEME}{}", parts.join("/"))
    }
}

/// A part without its quoting.  Empty ones, and those that C would cut short, are refused.
fn unquoted(part: &str) -> Option<String> {
    let part = percent_decode_str(part).decode_utf8().ok()?;
    (!part.is_empty() && !part.contains('\0')).then(|| part.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_and_its_parts_are_the_same() {
        let url = Location::url("a-b", "my pool/x", "id%1~._", "snap");
        assert_eq!(url, "rbd://a-b/my%20pool%2Fx/id%251~._/snap");
        let expected = Location {
            place: Some(Place { fsid: "a-b".into(), pool: "my pool/x".into() }),
            image: "id%1~._".into(),
            snapshot: Some("snap".into()),
        };
        assert_eq!(Location::parse(&url), Some(expected));
    }

    #[test]
    fn the_old_kind_names_an_image_alone() {
        let expected = Location { place: None, image: "an image".into(), snapshot: None };
        assert_eq!(Location::parse("rbd://an%20image"), Some(expected));
    }

    #[test]
    fn anything_else_is_not_a_location() {
        for url in [
            "rbd://",
            "rbd:///",
            "rbd://a/b",
            "rbd://a/b/c",
            "rbd://a/b/c/",
            "rbd://a//c/d",
            "rbd://a/b/c/d/e",
            "rbd://a/b/c%00/d",
            "rbd://%ff",
            "file:///a",
            "a",
        ] {
            assert_eq!(Location::parse(url), None, "{url}");
        }
    }
}
