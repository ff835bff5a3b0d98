//! Locations that are kept encrypted: `metadata_encryption_key`.  Glance: `common/crypt.py`.
//!
//! AES in CBC mode with a random first block; the text is followed by a NUL and by bytes other than
//! NUL up to a whole block; all of it in URL-safe base64.  It hides the URL from who reads the
//! database alone, and vouches for nothing.

use std::fmt;

use aws_lc_rs::cipher::{
    AES_128, AES_192, AES_256, Algorithm, DecryptingKey, DecryptionContext, EncryptingKey,
    UnboundCipherKey,
};
use aws_lc_rs::iv::FixedLength;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;

use serde_json::Map;

use super::model::{ImageId, Location};
use crate::error::{Error, Result};

const BLOCK: usize = 16;

/// The key that locations are encrypted with.
#[derive(Clone, PartialEq, Eq)]
pub struct LocationKey(String);

impl LocationKey {
    /// A key of 16, 24 or 32 bytes.
    ///
    /// # Errors
    /// `Config` for another length.
    pub fn new(key: impl Into<String>) -> Result<Self> {
        let key = Self(key.into());
        key.algorithm().map(|_| key.clone())
    }

    fn algorithm(&self) -> Result<&'static Algorithm> {
        match self.0.len() {
            16 => Ok(&AES_128),
            24 => Ok(&AES_192),
            32 => Ok(&AES_256),
            other => Err(Error::Config(format!(
                "metadata_encryption_key has {other} bytes; it needs 16, 24 or 32"
            ))),
        }
    }

    fn unbound(&self) -> Result<UnboundCipherKey> {
        UnboundCipherKey::new(self.algorithm()?, self.0.as_bytes()).map_err(|_| broken())
    }

    /// What is recorded for a URL.
    ///
    /// # Errors
    /// `Catalog` when encryption itself fails.
    pub fn write(key: Option<&Self>, url: &str) -> Result<String> {
        let Some(key) = key else { return Ok(url.to_string()) };
        let mut padded = url.as_bytes().to_vec();
        padded.push(0);
        // Other bytes than NUL, which Glance looks for from the end; they say nothing.
        padded.resize(padded.len().next_multiple_of(BLOCK), 0xff);
        let cipher = EncryptingKey::cbc(key.unbound()?).map_err(|_| broken())?;
        let context = cipher.encrypt(&mut padded).map_err(|_| broken())?;
        let start: &[u8] = (&context).try_into().map_err(|_| broken())?;
        Ok(URL_SAFE.encode([start, &padded].concat()))
    }

    /// The URL that was recorded.  What is a URL as it stands was never encrypted: Glance itself
    /// encrypts on some of its ways only.
    ///
    /// # Errors
    /// `Catalog` when it was encrypted with another key.
    pub fn read(key: Option<&Self>, recorded: String) -> Result<String> {
        match key {
            Some(key) if !recorded.contains("://") => key.decrypt(&recorded),
            _ => Ok(recorded),
        }
    }

    /// A location of an image as its row has it.
    ///
    /// # Errors
    /// `Catalog` when its metadata cannot be understood, and as [`read`](Self::read).
    pub fn location(
        key: Option<&Self>,
        image: ImageId,
        url: String,
        metadata: Option<String>,
        status: String,
    ) -> Result<Location> {
        // SQLAlchemy writes JSON's null for None.
        let metadata: Option<Map<_, _>> = match metadata {
            Some(text) => serde_json::from_str(&text).map_err(|error| {
                Error::Catalog(format!("image {image}: metadata of a location: {error}"))
            })?,
            None => None,
        };
        let url =
            Self::read(key, url).map_err(|why| Error::Catalog(format!("image {image}: {why}")))?;
        Ok(Location { url, metadata: metadata.unwrap_or_default(), status })
    }

    fn decrypt(&self, recorded: &str) -> Result<String> {
        let other = || {
            Error::Catalog(
                "a location is not encrypted with this metadata_encryption_key".to_string(),
            )
        };
        let bytes = URL_SAFE.decode(recorded).map_err(|_| other())?;
        let (start, rest) = bytes.split_first_chunk::<BLOCK>().ok_or_else(other)?;
        let mut rest = rest.to_vec();
        let cipher = DecryptingKey::cbc(self.unbound()?).map_err(|_| broken())?;
        let context = DecryptionContext::Iv128(FixedLength::from(*start));
        let text = cipher.decrypt(&mut rest, context).map_err(|_| other())?;
        let end = text.iter().rposition(|byte| *byte == 0).ok_or_else(other)?;
        let text = text.get(..end).unwrap_or_default();
        String::from_utf8(text.to_vec()).map_err(|_| other())
    }
}

/// Keys are secrets.
impl fmt::Debug for LocationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LocationKey(***)")
    }
}

fn broken() -> Error {
    Error::Catalog("AES is not available for locations".to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `glance.common.crypt.urlsafe_encrypt(key, url)` of Glance 33.
    const OF_GLANCE: &[(&str, &str, &str)] = &[
        (
            "0123456789abcdef",
            "file:///var/lib/glance/images/6a2c",
            "WTyzzj4cw9-k9DexkuzX63kqS8kfxtaAYygbHTdRhiPC3iweeRA-mhqAXOg0n1Wrb1Iq2C3kVsorsbUTyrgcag==",
        ),
        (
            "0123456789abcdef01234567",
            "rbd://0b5e/images/ü/snap",
            "iMfx-1iqO67s-lszwy-_t554st_DhOMogp4PV2UsXvlKeSI1RfUKO6igd0TCicoe",
        ),
        ("0123456789abcdef0123456789abcdef", "x", "64QlIaZdq9jjp4s_y9pBAglN_skQUZGgVx-1ZaWW7g8="),
    ];

    #[test]
    fn what_glance_encrypted_is_read() {
        for (key, url, recorded) in OF_GLANCE {
            let key = LocationKey::new(*key).unwrap();
            assert_eq!(LocationKey::read(Some(&key), recorded.to_string()).unwrap(), *url);
        }
    }

    #[test]
    fn what_is_written_is_read_again_whatever_its_length() {
        for length in [16, 24, 32] {
            let key = LocationKey::new("k".repeat(length)).unwrap();
            for url in ["", "file:///a", "rbd://f/p/0123456789abcdef0123456789/snap", "ü"] {
                let recorded = LocationKey::write(Some(&key), url).unwrap();
                assert_ne!(recorded, LocationKey::write(Some(&key), url).unwrap());
                assert_eq!(LocationKey::read(Some(&key), recorded).unwrap(), url);
            }
        }
    }

    #[test]
    fn another_key_and_another_length_are_errors_that_show_no_key() {
        let key = LocationKey::new("0123456789abcdef").unwrap();
        let recorded = LocationKey::write(Some(&key), "file:///a/file/somewhere").unwrap();
        let other = LocationKey::new("fedcba9876543210").unwrap();
        let read = LocationKey::read(Some(&other), recorded);
        assert!(read.is_err() || read.is_ok_and(|url| url != "file:///a/file/somewhere"));
        assert!(LocationKey::new("short").is_err());
        assert!(!format!("{key:?}").contains("0123"));
        let plain = "file:///a".to_string();
        assert_eq!(LocationKey::read(Some(&key), plain.clone()).unwrap(), plain);
    }
}
