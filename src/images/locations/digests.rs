//! Digests that clients say data has: `validation_data`.

use serde_json::Value;

use super::super::digest::HashAlgorithm;
use super::super::options::Options;
use crate::catalog::model::{Image, Status};
use crate::error::{Error, Result};

/// Digests that a `PATCH` says the data has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) checksum: Option<String>,
    pub(super) os_hash_algo: String,
    pub(super) os_hash_value: String,
}

/// The secure hash that new data must have: `POST …/locations`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// Which hash.
    pub algorithm: HashAlgorithm,
    /// Hexadecimal.
    pub value: String,
}

impl Expected {
    /// From what a client writes.
    ///
    /// # Errors
    /// `Invalid`, in Glance's words.
    pub fn new(algorithm: &str, value: &str) -> Result<Self> {
        let algorithm: HashAlgorithm = algorithm.parse()?;
        let size = bytes_in(value).ok_or_else(|| {
            Error::Invalid(format!("os_hash_value ({value}) is not a valid hexadecimal value"))
        })?;
        let (name, want) = (algorithm.as_str(), algorithm.size());
        if size != want {
            return Err(Error::Invalid(format!(
                "os_hash_value: ({value}) is not the correct size for ({name}) (should be ({want}) \
                 bytes)"
            )));
        }
        Ok(Self { algorithm, value: value.to_string() })
    }
}

/// What the locations of a `PATCH` say about their data, if that is new to the record.
///
/// # Errors
/// `Conflict`, in Glance's words, for contradictions and for what cannot be a digest.
pub(super) fn said(image: &Image, locations: &[Value], options: &Options) -> Result<Option<Said>> {
    let conflict = |text: String| Err(Error::Conflict(text));
    let field = |name: &str| -> Result<Option<String>> {
        let mut values =
            locations.iter().filter_map(|place| place["validation_data"][name].as_str());
        let first = values.next();
        if values.any(|value| Some(value) != first) {
            return conflict(format!("Conflicting values for {name}")).map(|()| None);
        }
        Ok(first.map(String::from))
    };
    let mut news = Vec::new();
    for (name, recorded) in [
        ("checksum", &image.checksum),
        ("os_hash_algo", &image.os_hash_algo),
        ("os_hash_value", &image.os_hash_value),
    ] {
        match (field(name)?, recorded) {
            (None, _) => {}
            (Some(value), Some(there)) if value == *there => {}
            (Some(_), Some(_)) => {
                return conflict(format!("{name} is already set with a different value"))
                    .map(|()| None);
            }
            (Some(value), None) => news.push((name, value)),
        }
    }
    if news.is_empty() {
        return Ok(None);
    }
    if image.status != Status::Queued {
        let names: Vec<_> = news.iter().map(|(name, _)| *name).collect();
        return conflict(format!(
            "New value(s) for {} may only be provided when image status is 'queued'",
            names.join(", ")
        ))
        .map(|()| None);
    }
    let new = |name: &str| news.iter().find(|(n, _)| *n == name).map(|(_, value)| value.clone());
    checked(new("checksum"), new("os_hash_algo"), new("os_hash_value"), options).map(Some)
}

fn checked(
    checksum: Option<String>,
    algorithm: Option<String>,
    value: Option<String>,
    options: &Options,
) -> Result<Said> {
    let conflict = |text: String| Err(Error::Conflict(text));
    if let Some(checksum) = &checksum {
        match bytes_in(checksum) {
            None => {
                return conflict(format!("checksum ({checksum}) is not a valid hexadecimal value"));
            }
            Some(16) => {}
            Some(_) => {
                return conflict(format!(
                    "checksum ({checksum}) is not the correct size for md5 (should be 16 bytes)"
                ));
            }
        }
    }
    let wanted = options.hashing_algorithm;
    let algorithm = algorithm.unwrap_or_else(|| "None".to_string());
    if algorithm != wanted.as_str() {
        return conflict(format!("os_hash_algo must be {}, not {algorithm}", wanted.as_str()));
    }
    let value = value.unwrap_or_default();
    match bytes_in(&value) {
        None => conflict(format!("os_hash_value ({value}) is not a valid hexadecimal value")),
        Some(size) if size != wanted.size() => conflict(format!(
            "os_hash_value ({value}) is not the correct size for {algorithm} (should be {} bytes)",
            wanted.size()
        )),
        Some(_) => Ok(Said { checksum, os_hash_algo: algorithm, os_hash_value: value }),
    }
}

/// How many bytes a text of hexadecimal digits means.
fn bytes_in(hexadecimal: &str) -> Option<usize> {
    let digits = hexadecimal.bytes().all(|byte| byte.is_ascii_hexdigit());
    (digits && hexadecimal.len().is_multiple_of(2)).then_some(hexadecimal.len() / 2)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::catalog::model::ImageId;

    fn place(digests: Value) -> Value {
        json!({"url": "x", "metadata": {}, "validation_data": digests})
    }

    #[test]
    fn what_is_said_is_taken_once_and_only_if_it_can_be_true() {
        let mut image = Image::new(ImageId::random(), None);
        let options = Options::default();
        let hash = "ab".repeat(64);
        let good = place(json!({"os_hash_algo": "sha512", "os_hash_value": hash}));
        let taken = said(&image, std::slice::from_ref(&good), &options).unwrap().unwrap();
        assert_eq!((taken.os_hash_algo.as_str(), taken.os_hash_value), ("sha512", hash.clone()));
        for wrong in [
            json!({"os_hash_algo": "sha256", "os_hash_value": "ab".repeat(32)}),
            json!({"os_hash_algo": "sha512", "os_hash_value": "ab"}),
            json!({"os_hash_algo": "sha512", "os_hash_value": "xy".repeat(64)}),
            json!({"checksum": "z".repeat(32), "os_hash_algo": "sha512", "os_hash_value": hash}),
        ] {
            let refused = said(&image, &[place(wrong.clone())], &options);
            assert!(matches!(refused, Err(Error::Conflict(_))), "{wrong}");
        }
        let other = place(json!({"os_hash_algo": "sha512", "os_hash_value": "cd".repeat(64)}));
        let both = said(&image, &[good.clone(), other.clone()], &options);
        assert!(matches!(both, Err(Error::Conflict(_))));
        image.status = Status::Active;
        assert!(matches!(
            said(&image, std::slice::from_ref(&other), &options),
            Err(Error::Conflict(_))
        ));
        image.os_hash_algo = Some("sha512".to_string());
        image.os_hash_value = Some(hash);
        assert_eq!(said(&image, &[good], &options).unwrap(), None);
        assert!(matches!(said(&image, &[other], &options), Err(Error::Conflict(_))));
    }

    #[test]
    fn an_expected_hash_has_the_length_of_its_kind() {
        assert!(Expected::new("sha256", &"ab".repeat(32)).is_ok());
        for (algorithm, value) in [("sha256", "x"), ("sha512", &"ab".repeat(32)), ("md5", "abc")] {
            assert!(matches!(Expected::new(algorithm, value), Err(Error::Invalid(_))));
        }
    }
}
