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
    /// `[healthcheck]`.
    pub health: Health,
}

/// What takes the API out of a proxy's rotation, and what is said about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// While this file exists, `/healthcheck` answers 503.
    pub disable_by_file: Option<PathBuf>,
    /// The same for a server at one port.
    pub disable_by_file_at: Vec<(u16, PathBuf)>,
    /// Whether more is said to those who ask for JSON.
    pub detailed: bool,
}

impl Health {
    /// The files that matter to a server at this port.
    pub fn disabling_files(&self, port: u16) -> Vec<PathBuf> {
        let at_port = self.disable_by_file_at.iter().filter(|(at, _)| *at == port);
        self.disable_by_file.iter().chain(at_port.map(|(_, file)| file)).cloned().collect()
    }

    fn read(reader: &mut Reader) -> Result<Self> {
        let disable_by_file = reader.word(&options::DISABLE_BY_FILE)?.map(absolute).transpose()?;
        let paths = reader.list(&options::DISABLE_BY_FILES)?;
        let disable_by_file_at = paths.iter().map(|item| {
            let parts = item.split_once(':').and_then(|(port, file)| {
                Some((port.trim().parse().ok()?, file.trim())).filter(|(_, file)| !file.is_empty())
            });
            let (port, file) = parts.ok_or_else(|| {
                let option = options::DISABLE_BY_FILES;
                Error::Config(format!("{option} = {item}: write PORT:FILE, several with commas"))
            })?;
            Ok((port, absolute(file)?))
        });
        Ok(Self {
            disable_by_file,
            disable_by_file_at: disable_by_file_at.collect::<Result<_>>()?,
            detailed: reader.boolean(&options::HEALTH_DETAILS)?,
        })
    }
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
            health: Health::read(reader)?,
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
