//! Which hashes there are, by name, and computing one of them.

use std::fmt::Write as _;
use std::str::FromStr;

use aws_lc_rs::digest as aws;
use md5::{Digest as _, Md5};

use crate::error::{Error, Result};

/// Holes are hashed from here.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// A secure hash by its name in Python's `hashlib`.  Glance: `hashing_algorithm`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum HashAlgorithm {
    /// `md5`: only where an operator insists.
    Md5,
    /// `sha1`: only where an operator insists.
    Sha1,
    /// `sha224`
    Sha224,
    /// `sha256`
    Sha256,
    /// `sha384`
    Sha384,
    /// `sha512`: Glance's default.
    #[default]
    Sha512,
    /// `sha512_256`
    Sha512Half,
    /// `sha3_256`
    Sha3With256,
    /// `sha3_384`
    Sha3With384,
    /// `sha3_512`
    Sha3With512,
}

impl HashAlgorithm {
    /// Every choice.
    pub const ALL: [Self; 10] = [
        Self::Sha512,
        Self::Sha384,
        Self::Sha256,
        Self::Sha224,
        Self::Sha512Half,
        Self::Sha3With512,
        Self::Sha3With384,
        Self::Sha3With256,
        Self::Sha1,
        Self::Md5,
    ];

    /// The name, as `os_hash_algo` records it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Md5 => "md5",
            Self::Sha1 => "sha1",
            Self::Sha224 => "sha224",
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
            Self::Sha512Half => "sha512_256",
            Self::Sha3With256 => "sha3_256",
            Self::Sha3With384 => "sha3_384",
            Self::Sha3With512 => "sha3_512",
        }
    }

    /// Bytes of the hash.
    pub const fn size(self) -> usize {
        match self {
            Self::Md5 => 16,
            Self::Sha1 => 20,
            Self::Sha224 => 28,
            Self::Sha256 | Self::Sha512Half | Self::Sha3With256 => 32,
            Self::Sha384 | Self::Sha3With384 => 48,
            Self::Sha512 | Self::Sha3With512 => 64,
        }
    }

    pub(super) fn hasher(self) -> Hasher {
        let algorithm = match self {
            Self::Md5 => return Hasher::md5(),
            Self::Sha1 => &aws::SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha224 => &aws::SHA224,
            Self::Sha256 => &aws::SHA256,
            Self::Sha384 => &aws::SHA384,
            Self::Sha512 => &aws::SHA512,
            Self::Sha512Half => &aws::SHA512_256,
            Self::Sha3With256 => &aws::SHA3_256,
            Self::Sha3With384 => &aws::SHA3_384,
            Self::Sha3With512 => &aws::SHA3_512,
        };
        Hasher::AwsLc(Box::new(aws::Context::new(algorithm)))
    }
}

impl FromStr for HashAlgorithm {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let named = Self::ALL.into_iter().find(|known| known.as_str().eq_ignore_ascii_case(name));
        named.ok_or_else(|| {
            let choices = Self::ALL.map(Self::as_str).join(", ");
            Error::Config(format!("hashing_algorithm '{name}' is not known; one of: {choices}"))
        })
    }
}

/// One hash under way; a clone goes on from the same place.
#[derive(Clone)]
pub(super) enum Hasher {
    Md5(Box<Md5>),
    AwsLc(Box<aws::Context>),
    /// Dies of its first byte.
    #[cfg(test)]
    Mortal,
}

impl std::fmt::Debug for Hasher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hasher")
    }
}

impl Hasher {
    pub(super) fn md5() -> Self {
        Self::Md5(Box::default())
    }

    pub(super) fn update_zeros(&mut self, count: u64) {
        let mut left = count;
        while left > 0 {
            let length = ZEROS.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            self.update(ZEROS.get(..length).unwrap_or_default());
            left -= length as u64;
        }
    }

    pub(super) fn update(&mut self, data: &[u8]) {
        match self {
            Self::Md5(hasher) => hasher.update(data),
            Self::AwsLc(context) => context.update(data),
            #[cfg(test)]
            Self::Mortal => panic!("a hash that dies, for the test"),
        }
    }

    /// The hash, hexadecimal in lower case.
    pub(super) fn finish(self) -> String {
        match self {
            Self::Md5(hasher) => hexadecimal(&hasher.finalize()),
            Self::AwsLc(context) => hexadecimal(context.finish().as_ref()),
            #[cfg(test)]
            Self::Mortal => String::new(),
        }
    }
}

pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
