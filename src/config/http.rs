//! What the configuration says about how HTTP is spoken: TLS, proxies, pages of other sites.

use std::path::PathBuf;

use super::reader::Reader;
use super::{absolute, count, options};
use crate::error::{Error, Result};

/// How HTTP is spoken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Http {
    /// Whether a proxy stands in front whose `X-Forwarded-…` headers are true.
    /// `[oslo_middleware] enable_proxy_headers_parsing`.
    pub behind_proxy: bool,
    /// `[cors]`.
    pub cors: Cors,
    /// TLS, if it is spoken.
    pub tls: Option<TlsFiles>,
    /// `enable_v1_api`.
    pub v1: bool,
}

/// What pages of other origins may do; nothing, unless an origin is allowed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cors {
    /// Origins as browsers send them (`https://horizon.example.com`), or `*` for all.
    pub allowed_origin: Vec<String>,
    /// Whether a page may send what identifies the user to the server.
    pub allow_credentials: bool,
    /// Headers of answers that a page may read.
    pub expose_headers: Vec<String>,
    /// For how many seconds a browser may remember a permission; 0: as long as it likes.
    pub max_age: u32,
    /// Methods that a page may use.
    pub allow_methods: Vec<String>,
    /// Headers that a page may send.
    pub allow_headers: Vec<String>,
}

/// Where the parts of TLS are, each a file of PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The server's certificate, and after it those that vouch for it: `cert_file`.
    pub certificate: PathBuf,
    /// Its private key: `key_file`.
    pub key: PathBuf,
    /// Who vouches for clients; then only those with a certificate are taken: `ca_file`.
    pub client_authorities: Option<PathBuf>,
}

impl Http {
    pub(super) fn read(reader: &mut Reader) -> Result<Self> {
        Ok(Self {
            behind_proxy: reader.boolean(&options::PROXY_HEADERS)?,
            cors: Cors {
                allowed_origin: reader.list(&options::CORS_ORIGIN)?,
                allow_credentials: reader.boolean(&options::CORS_CREDENTIALS)?,
                expose_headers: reader.list(&options::CORS_EXPOSE)?,
                max_age: count(reader, &options::CORS_MAX_AGE, 0)?,
                allow_methods: reader.list(&options::CORS_METHODS)?,
                allow_headers: reader.list(&options::CORS_HEADERS)?,
            },
            tls: tls(reader)?,
            v1: reader.boolean(&options::ENABLE_V1_API)?,
        })
    }
}

fn tls(reader: &mut Reader) -> Result<Option<TlsFiles>> {
    let mut file = |option| reader.word(option)?.map(absolute).transpose();
    let files = (file(&options::CERT_FILE)?, file(&options::KEY_FILE)?, file(&options::CA_FILE)?);
    match files {
        (Some(certificate), Some(key), client_authorities) => {
            Ok(Some(TlsFiles { certificate, key, client_authorities }))
        }
        (None, None, None) => Ok(None),
        _ => Err(Error::Config(format!(
            "{} and {} go together, and {} with both: name all files, or none for plain HTTP",
            options::CERT_FILE,
            options::KEY_FILE,
            options::CA_FILE
        ))),
    }
}
