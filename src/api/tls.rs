//! TLS: certificate and key of the server, and which clients it takes.  Glance, while it had servers of
//! its own: `cert_file`, `key_file`, `ca_file`.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use parking_lot::RwLock;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use crate::config::http::TlsFiles;
use crate::error::{Error, Result};

/// TLS with what the files held when they were read last.
pub struct Tls {
    files: TlsFiles,
    config: RwLock<Arc<ServerConfig>>,
}

impl fmt::Debug for Tls {
    /// Nothing but the names: the rest is secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tls").field(&self.files).finish()
    }
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// `Config`: which file, and what is wrong with it.
    pub fn load(files: TlsFiles) -> Result<Arc<Self>> {
        let config = RwLock::new(Arc::new(read(&files)?));
        Ok(Arc::new(Self { files, config }))
    }

    /// Reads the files again, for connections that come from now on.
    ///
    /// # Errors
    /// As [`load`](Self::load); then everything stays as it was.
    pub fn reload(&self) -> Result<()> {
        let config = Arc::new(read(&self.files)?);
        *self.config.write() = config;
        Ok(())
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.config.read()))
    }
}

fn read(files: &TlsFiles) -> Result<ServerConfig> {
    let chain = certificates("cert_file", &files.certificate)?;
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .map_err(|error| unusable("key_file", &files.key, &error))?;
    let builder = match &files.client_authorities {
        None => ServerConfig::builder().with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for authority in certificates("ca_file", path)? {
                roots.add(authority).map_err(|error| unusable("ca_file", path, &error))?;
            }
            let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).build();
            let verifier = verifier.map_err(|error| unusable("ca_file", path, &error))?;
            ServerConfig::builder().with_client_cert_verifier(verifier)
        }
    };
    // Says also when certificate and key are not of one pair.
    let mut config = builder
        .with_single_cert(chain, key)
        .map_err(|error| unusable("cert_file with key_file", &files.certificate, &error))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn certificates(option: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let certificates = read.map_err(|error| unusable(option, path, &error))?;
    if certificates.is_empty() {
        return Err(unusable(option, path, &"there is no certificate in it"));
    }
    Ok(certificates)
}

fn unusable(option: &str, path: &Path, why: &dyn fmt::Display) -> Error {
    Error::Config(format!(
        "{option} {} cannot be used: {why}; name a file of PEM that this user may read",
        path.display()
    ))
}
