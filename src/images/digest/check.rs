//! Holding data against the hash that a record has of it.

use super::algorithm::{HashAlgorithm, Hasher};
use crate::catalog::model::Image;

/// Hashes data as it passes, by what the image's record says: the secure hash, or where there is none
/// that is known here, the checksum.
#[derive(Debug)]
pub struct Check {
    algorithm: HashAlgorithm,
    hasher: Hasher,
    expected: String,
    taken: u64,
}

impl Check {
    /// For the data of `image`; `None` when its record has no hash.
    pub fn of(image: &Image) -> Option<Self> {
        let (algorithm, expected) = recorded(image)?;
        let expected = expected.to_ascii_lowercase();
        Some(Self { algorithm, hasher: algorithm.hasher(), expected, taken: 0 })
    }

    /// The name of the algorithm and the recorded hash, `sha512:…`, without hashing anything.
    pub fn name(image: &Image) -> Option<String> {
        let (algorithm, expected) = recorded(image)?;
        Some(format!("{}:{}", algorithm.as_str(), expected.to_ascii_lowercase()))
    }

    /// How many bytes it has been given.
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// Takes the next bytes.
    pub fn update(&mut self, data: &[u8]) {
        self.taken += data.len() as u64;
        self.hasher.update(data);
    }

    /// Takes `count` zero bytes, as a hole has them.
    pub fn update_zeros(&mut self, count: u64) {
        self.taken += count;
        self.hasher.update_zeros(count);
    }

    /// Whether the data is what the record says.
    ///
    /// # Errors
    /// Both hashes, in words.
    pub fn finish(self) -> Result<(), String> {
        let found = self.hasher.finish();
        if found == self.expected {
            return Ok(());
        }
        let algorithm = self.algorithm.as_str();
        Err(format!("its data has the {algorithm} {found}, its record {}", self.expected))
    }
}

fn recorded(image: &Image) -> Option<(HashAlgorithm, &str)> {
    let secure = image.os_hash_algo.as_ref().and_then(|name| name.parse().ok());
    let secure = secure.zip(image.os_hash_value.as_deref());
    let found = secure.or_else(|| image.checksum.as_deref().map(|md5| (HashAlgorithm::Md5, md5)));
    found.filter(|(_, hash)| !hash.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::model::ImageId;

    const SHA256: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    const MD5: &str = "900150983cd24fb0d6963f7d28e17f72";

    fn image(algorithm: Option<&str>, value: Option<&str>, checksum: Option<&str>) -> Image {
        let mut image = Image::new(ImageId::random(), None);
        image.os_hash_algo = algorithm.map(str::to_owned);
        image.os_hash_value = value.map(str::to_owned);
        image.checksum = checksum.map(str::to_owned);
        image
    }

    fn check(image: &Image) -> Option<Result<(), String>> {
        let mut check = Check::of(image)?;
        check.update(b"a");
        check.update(b"bc");
        assert_eq!(check.taken(), 3);
        Some(check.finish())
    }

    #[test]
    fn the_secure_hash_counts_and_without_one_the_checksum() {
        assert_eq!(check(&image(Some("sha256"), Some(SHA256), None)), Some(Ok(())));
        let upper = SHA256.to_uppercase();
        assert_eq!(check(&image(Some("sha256"), Some(&upper), Some("wrong"))), Some(Ok(())));
        assert_eq!(check(&image(None, None, Some(MD5))), Some(Ok(())));
        assert_eq!(check(&image(Some("blake2b"), Some("f00"), Some(MD5))), Some(Ok(())));
        let wrong = check(&image(Some("sha256"), Some("f00"), Some(MD5))).unwrap().unwrap_err();
        assert!(wrong.contains(SHA256) && wrong.contains("f00"), "{wrong}");
    }

    #[test]
    fn an_image_without_a_hash_cannot_be_checked() {
        assert!(check(&image(None, None, None)).is_none());
        assert!(check(&image(Some("blake2b"), Some("f00"), None)).is_none());
        assert!(check(&image(Some("sha256"), Some(""), Some(""))).is_none());
        assert_eq!(Check::name(&image(None, None, Some(MD5))).unwrap(), format!("md5:{MD5}"));
    }
}
