//! `glance-download`: an image of another region's Glance, fetched on behalf of who asks.
//!
//! Where that Glance is, Keystone's catalog says, so whoever asks can name a region and nothing
//! else.  It is asked with the token of the request, and shows what it would show to its owner.

use std::fs::File;

use serde_json::Value;

use super::plugins::Plugins;
use super::unnamed::unnamed_file;
use super::watch::Watch;
use crate::catalog::model::{Image, ImageId};
use crate::error::{Error, Result};
use crate::identity::{Credentials, Secret};
use crate::images::Images;
use crate::images::quota::totals::Hold;

/// Bytes of a record; ours have less.
const MOST_RECORD: u64 = 4 << 20;

/// An image of another Glance, as the client named it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerImage {
    /// `glance_region`
    pub region: Option<String>,
    /// `glance_image_id`
    pub image: Option<String>,
    /// `glance_service_interface`
    pub interface: String,
    /// Those of the request.
    pub credentials: Option<Credentials>,
}

impl PeerImage {
    /// Whether it says all that must be said.
    ///
    /// # Errors
    /// `Invalid`, in Glance's words.
    pub(super) fn check(&self) -> Result<()> {
        self.place().map(drop)
    }

    /// The region, and the image there.
    fn place(&self) -> Result<(&str, ImageId)> {
        let missing = |field: &str| {
            Error::Invalid(format!("'{field}' needs to be set for glance-download import method"))
        };
        let region = self.region.as_deref().ok_or_else(|| missing("glance_region"))?;
        let image = self.image.as_deref().ok_or_else(|| missing("glance_image_id"))?;
        let unlike =
            || Error::Invalid(format!("Remote image id does not look like a UUID: {image}"));
        Ok((region, image.parse().map_err(|_| unlike())?))
    }
}

/// What the other Glance says of its image.
#[derive(Debug, PartialEq, Eq)]
struct PeerRecord {
    size: u64,
    disk_format: String,
    container_format: String,
    /// Custom properties that come along.
    properties: Vec<(String, String)>,
}

impl Images {
    /// Gets the data of a peer's image, and what of its record comes along into `image`.
    ///
    /// # Errors
    /// `Invalid` when there is no such region, or the image cannot be had there; those of
    /// web-download.
    pub(super) fn fetch_from_peer(
        &self,
        peer: &PeerImage,
        image: &mut Image,
        plugins: &Plugins,
        watch: &Watch,
        quota: Option<&Hold>,
    ) -> Result<File> {
        let (region, id) = peer.place()?;
        let endpoint = peer.credentials.as_ref().and_then(|credentials| {
            let endpoint = credentials.image_endpoint(region, &peer.interface)?;
            Some((endpoint, &credentials.token))
        });
        let (endpoint, token) = endpoint.ok_or_else(|| {
            let interface = &peer.interface;
            Error::Invalid(format!(
                "no {interface} endpoint of an image service in region {region} is in the catalog \
                 of the token that asked for this"
            ))
        })?;
        let url = format!("{endpoint}/v2/images/{id}");
        let record = self.peer_record(&url, token, watch)?;
        if record.size > plugins.size_cap {
            return Err(Error::TooLarge(format!("{url} has {} bytes", record.size)));
        }
        let file = unnamed_file(&plugins.directory)?;
        let data = format!("{url}/file");
        let length = self.web.download_from_peer(
            &data,
            token,
            record.size,
            watch,
            &mut self.appending(&file, quota),
        )?;
        if length != record.size {
            let expected = record.size;
            return Err(Error::Invalid(format!("{url} has {expected} bytes and sent {length}")));
        }
        image.disk_format = Some(record.disk_format);
        image.container_format = Some(record.container_format);
        image.properties.extend(record.properties);
        Ok(file)
    }

    fn peer_record(&self, url: &str, token: &Secret, watch: &Watch) -> Result<PeerRecord> {
        let mut text = Vec::new();
        let mut take = |piece: &[u8]| {
            text.extend_from_slice(piece);
            Ok(())
        };
        self.web.download_from_peer(url, token, MOST_RECORD, watch, &mut take)?;
        record_of(&text, &self.options.import.peer_properties)
            .map_err(|why| Error::Invalid(format!("{url} {why}")))
    }
}

/// Reads a record, with the properties whose names begin with one of `wanted`.
fn record_of(text: &[u8], wanted: &[String]) -> Result<PeerRecord, String> {
    let record: Value = serde_json::from_slice(text).map_err(|_| "is not a record of an image")?;
    let field = |name: &str| record[name].as_str().map(String::from);
    match field("status").as_deref() {
        Some("active") => {}
        Some(status) => return Err(format!("should be active and is {status}")),
        None => return Err("has no status".to_string()),
    }
    let properties = record.as_object().into_iter().flatten().filter_map(|(name, value)| {
        let comes_along = wanted.iter().any(|beginning| name.starts_with(beginning));
        // A record of Glance's has its own fields beside the custom properties.
        let custom = crate::images::fields::find(name).is_none();
        let value = value.as_str().filter(|_| comes_along && custom)?;
        Some((name.clone(), value.to_string()))
    });
    Ok(PeerRecord {
        size: record["size"].as_u64().ok_or("does not say its size")?,
        disk_format: field("disk_format").ok_or("has no disk_format")?,
        container_format: field("container_format").ok_or("has no container_format")?,
        properties: properties.collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_brings_formats_size_and_the_properties_that_are_wanted() {
        let text = br#"{"status": "active", "size": 5, "disk_format": "raw", "checksum": "x",
            "container_format": "bare", "hw_disk_bus": "scsi", "os_type": "linux",
            "os_hash_algo": "sha512", "other": "1", "owner": "p"}"#;
        let wanted = ["hw_", "os_"].map(String::from);
        let record = record_of(text, &wanted).unwrap();
        assert_eq!((record.size, record.disk_format.as_str()), (5, "raw"));
        let pair = |name: &str, value: &str| (name.to_string(), value.to_string());
        assert_eq!(record.properties, [pair("hw_disk_bus", "scsi"), pair("os_type", "linux")]);
    }

    #[test]
    fn what_is_not_a_whole_image_is_refused() {
        for text in ["", "[]", r#"{"status": "queued"}"#, r#"{"status": "active", "size": null}"#] {
            record_of(text.as_bytes(), &[]).unwrap_err();
        }
    }
}
