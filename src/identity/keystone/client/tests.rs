//! Requests against servers that are away for a while, or ask for certificates.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};

use super::*;
use crate::config::keystone::Credentials;

const NO_CONTENT: &[u8] = b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n";

fn access(tls: TlsTrust) -> KeystoneAccess {
    KeystoneAccess {
        auth_url: String::new(),
        credentials: Credentials::Application { id: String::new(), secret: Secret::new("") },
        interface: "internal".to_owned(),
        region: None,
        tls,
        timeout: Duration::from_secs(20),
        retries: 2,
    }
}

fn ask(tls: TlsTrust, url: &str) -> Result<u16, Outage> {
    let question = Question { url, token: None, subject: None, post: None };
    let until = Instant::now() + Duration::from_secs(60);
    Client::new(&access(tls)).unwrap().ask(&question, until).map(|reply| reply.status)
}

/// Gives every connection to `serve`, with its number; returns the port.
fn server(serve: impl Fn(usize, TcpStream) + Send + 'static) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (port, asked) = (listener.local_addr().unwrap().port(), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&asked);
    thread::spawn(move || {
        for stream in listener.incoming() {
            serve(counted.fetch_add(1, Ordering::SeqCst), stream.unwrap());
        }
    });
    (port, asked)
}

fn answer(stream: &mut (impl Read + Write), reply: &[u8]) {
    // A client that does not like us is gone already.
    let mut buffer = [0; 4096];
    if stream.read(&mut buffer).is_ok_and(|read| read > 0) {
        let _ = stream.write_all(reply);
        let _ = stream.flush();
    }
}

#[test]
fn who_is_away_is_asked_again_but_not_for_ever() {
    let (port, asked) = server(|number, mut stream| match number {
        0 => {}
        1 => answer(&mut stream, b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n"),
        _ => answer(&mut stream, NO_CONTENT),
    });
    assert_eq!(ask(TlsTrust::default(), &format!("http://127.0.0.1:{port}/")), Ok(204));
    assert_eq!(asked.load(Ordering::SeqCst), 3);
    let (port, asked) = server(|_, stream| drop(stream));
    assert!(ask(TlsTrust::default(), &format!("http://127.0.0.1:{port}/")).is_err());
    assert_eq!(asked.load(Ordering::SeqCst), 3);
}

#[test]
fn tokens_are_not_sent_where_an_answer_points() {
    let (other, asked) = server(|_, mut stream| answer(&mut stream, NO_CONTENT));
    let (port, _) = server(move |_, mut stream| {
        let to = format!(
            "HTTP/1.1 302 F\r\nLocation: http://127.0.0.1:{other}/\r\nContent-Length: 0\r\n\r\n"
        );
        answer(&mut stream, to.as_bytes());
    });
    assert_eq!(ask(TlsTrust::default(), &format!("http://127.0.0.1:{port}/")), Ok(302));
    assert_eq!(asked.load(Ordering::SeqCst), 0);
}

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/tls").join(name)
}

/// One with a certificate, which wants one of its clients.
fn tls_server() -> String {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(file("authority.pem")).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let roots = Arc::new(roots);
    let clients = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider)).build();
    let chain = vec![CertificateDer::from_pem_file(file("server.pem")).unwrap()];
    let key = PrivateKeyDer::from_pem_file(file("server.key")).unwrap();
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(clients.unwrap())
        .with_single_cert(chain, key)
        .unwrap();
    let config = Arc::new(config);
    let (port, _) = server(move |_, stream| {
        let session = ServerConnection::new(Arc::clone(&config)).unwrap();
        answer(&mut StreamOwned::new(session, stream), NO_CONTENT);
    });
    format!("https://localhost:{port}/")
}

#[test]
fn certificates_are_looked_at_and_shown() {
    let url = tls_server();
    let trust = |cafile: Option<&str>, client: bool, insecure: bool| TlsTrust {
        cafile: cafile.map(file),
        client: client.then(|| (file("client.pem"), file("client.key"))),
        insecure,
    };
    assert_eq!(ask(trust(Some("authority.pem"), true, false), &url), Ok(204));
    assert_eq!(ask(trust(None, true, true), &url), Ok(204));
    assert!(ask(trust(Some("authority.pem"), false, false), &url).is_err(), "none is shown");
    assert!(ask(trust(Some("other-authority.pem"), true, false), &url).is_err());
    let missing = Client::new(&access(trust(Some("nowhere.pem"), false, false))).err().unwrap();
    assert!(missing.to_string().contains("cafile"), "{missing}");
}
