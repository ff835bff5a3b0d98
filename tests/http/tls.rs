//! TLS: who is answered, who is not, and what bad files are told.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use glancefs::api::{Settings, Tls};
use glancefs::config::http::TlsFiles;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::{Server, read_all};

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/tls").join(name)
}

fn files(certificate: &str, key: &str) -> TlsFiles {
    TlsFiles { certificate: data(certificate), key: data(key), client_authorities: None }
}

fn start(tls: &Arc<Tls>) -> Server {
    let head_timeout = Duration::from_millis(500);
    Server::start(Settings { tls: Some(Arc::clone(tls)), head_timeout, ..Settings::default() })
}

/// Asks for the versions as somebody who trusts an authority.
fn ask(server: &Server, authority: &str, client: Option<&str>) -> std::io::Result<String> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(data(authority)).unwrap()).unwrap();
    let config = ClientConfig::builder().with_root_certificates(roots);
    let config = match client {
        None => config.with_no_client_auth(),
        Some(name) => {
            let pem = CertificateDer::from_pem_file(data(&format!("{name}.pem"))).unwrap();
            let key = PrivateKeyDer::from_pem_file(data(&format!("{name}.key"))).unwrap();
            config.with_client_auth_cert(vec![pem], key).unwrap()
        }
    };
    let name = "localhost".try_into().unwrap();
    let session = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut stream = StreamOwned::new(session, server.connect());
    stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

#[test]
fn the_api_is_answered_over_tls_and_says_so() {
    let tls = Tls::load(files("server.pem", "server.key")).unwrap();
    let server = start(&tls);
    let answer = ask(&server, "authority.pem", None).unwrap();
    assert!(answer.starts_with("HTTP/1.1 300"), "{answer}");
    assert!(answer.contains("https://localhost/v2/"), "{answer}");
    assert!(ask(&server, "other-authority.pem", None).is_err());
    let mut plain = server.connect();
    plain.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    assert!(!read_all(&mut plain).contains("HTTP/1.1"), "nobody is answered without TLS");
}

#[test]
fn only_clients_that_an_authority_vouches_for_are_taken_where_one_is_named() {
    let authorities = Some(data("authority.pem"));
    let files = TlsFiles { client_authorities: authorities, ..files("server.pem", "server.key") };
    let server = start(&Tls::load(files).unwrap());
    assert!(ask(&server, "authority.pem", Some("client")).unwrap().starts_with("HTTP/1.1 300"));
    assert!(ask(&server, "authority.pem", None).is_err());
    assert!(ask(&server, "authority.pem", Some("other-server")).is_err());
}

#[test]
fn a_client_that_does_not_agree_on_tls_in_time_is_dropped() {
    let server = start(&Tls::load(files("server.pem", "server.key")).unwrap());
    let mut silent: Vec<TcpStream> = (0..3).map(|_| server.connect()).collect();
    // The first bytes of a handshake that does not go on.
    silent[1].write_all(b"\x16\x03\x01").unwrap();
    for stream in &mut silent {
        assert_eq!(stream.read(&mut [0; 64]).unwrap(), 0);
    }
}

#[test]
fn new_certificates_are_taken_and_bad_ones_are_not() {
    let directory = tempfile::tempdir().unwrap();
    let copy = |from: &str| {
        for kind in ["pem", "key"] {
            let to = directory.path().join(format!("server.{kind}"));
            fs::copy(data(&format!("{from}.{kind}")), to).unwrap();
        }
    };
    copy("server");
    let (certificate, key) =
        (directory.path().join("server.pem"), directory.path().join("server.key"));
    let tls = Tls::load(TlsFiles { certificate, key, client_authorities: None }).unwrap();
    let server = start(&tls);
    assert!(ask(&server, "authority.pem", None).is_ok());
    copy("other-server");
    tls.reload().unwrap();
    assert!(ask(&server, "authority.pem", None).is_err());
    assert!(ask(&server, "other-authority.pem", None).is_ok());
    fs::write(directory.path().join("server.pem"), "").unwrap();
    assert!(tls.reload().is_err());
    assert!(ask(&server, "other-authority.pem", None).is_ok());
}

#[test]
fn what_is_wrong_with_a_file_is_said() {
    let refused = |files| Tls::load(files).unwrap_err().to_string();
    let missing = refused(files("no-such.pem", "server.key"));
    assert!(missing.contains("cert_file") && missing.contains("no-such.pem"), "{missing}");
    let no_key = refused(files("server.pem", "client.pem"));
    assert!(no_key.contains("key_file") && no_key.contains("client.pem"), "{no_key}");
    let of_another = refused(files("server.pem", "client.key"));
    assert!(of_another.contains("cert_file with key_file"), "{of_another}");
    let no_certificate = refused(files("server.key", "server.key"));
    assert!(no_certificate.contains("there is no certificate in it"), "{no_certificate}");
    let authorities = Some(data("README.md"));
    let bad = TlsFiles { client_authorities: authorities, ..files("server.pem", "server.key") };
    assert!(refused(bad).contains("ca_file"));
}
