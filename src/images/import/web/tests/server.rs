//! A server that says what a test wants, byte for byte.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

type Reply = dyn Fn(&str) -> Vec<u8> + Send + Sync;

/// Answers until the process ends.
pub(super) struct Server {
    pub(super) port: u16,
    requests: Arc<Mutex<Vec<String>>>,
}

/// What a connection does after its reply.
#[derive(Clone, Copy, PartialEq)]
enum Then {
    Close,
    BeSilent,
    Drip,
}

/// An answer with a `Content-Length`.
pub(super) fn answer(status: &str, headers: &[&str], body: &[u8]) -> Vec<u8> {
    let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
    let head = format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// An answer in chunks.
pub(super) fn chunked(body: &[u8]) -> Vec<u8> {
    let mut reply = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for piece in body.chunks(100_000) {
        reply.extend(format!("{:x}\r\n", piece.len()).bytes());
        reply.extend(piece);
        reply.extend(b"\r\n");
    }
    reply.extend(b"0\r\n\r\n");
    reply
}

fn certificate(pem: &[u8]) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem).unwrap()
}

/// The authority that signed the certificate of [`Server::with_tls`].
pub(super) fn authority() -> CertificateDer<'static> {
    certificate(include_bytes!("../../../../../tests/data/tls/authority.pem"))
}

impl Server {
    /// Replies to a path on a port of this address.
    pub(super) fn on(
        address: &str,
        reply: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind((address, 0)).unwrap();
        Self::listening(listener, Arc::new(reply), Then::Close, None)
    }

    /// One inside (127.0.0.1) and one outside (127.0.0.2), on the same port.
    pub(super) fn pair(
        inside: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static,
        outside: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static,
    ) -> (Self, Self) {
        let (one, other) = (0..100)
            .find_map(|_| {
                let one = TcpListener::bind("127.0.0.1:0").unwrap();
                let port = one.local_addr().unwrap().port();
                TcpListener::bind(("127.0.0.2", port)).ok().map(|other| (one, other))
            })
            .unwrap();
        let close = Then::Close;
        (
            Self::listening(one, Arc::new(inside), close, None),
            Self::listening(other, Arc::new(outside), close, None),
        )
    }

    /// Says this much, and then nothing, without closing.
    pub(super) fn silent_after(address: &str, start: &'static [u8]) -> Self {
        let listener = TcpListener::bind((address, 0)).unwrap();
        Self::listening(listener, Arc::new(|_: &str| start.to_vec()), Then::BeSilent, None)
    }

    /// Sends a byte now and then, for ever.
    pub(super) fn dripping(address: &str) -> Self {
        let listener = TcpListener::bind((address, 0)).unwrap();
        let start = |_: &str| b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
        Self::listening(listener, Arc::new(start), Then::Drip, None)
    }

    /// Speaks TLS, as `tls.example`.
    pub(super) fn with_tls(
        address: &str,
        reply: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static,
    ) -> Self {
        let chain = vec![certificate(include_bytes!("../../../../../tests/data/tls/server.pem"))];
        let key = include_bytes!("../../../../../tests/data/tls/server.key");
        let key = PrivateKeyDer::from_pem_slice(key).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let listener = TcpListener::bind((address, 0)).unwrap();
        Self::listening(listener, Arc::new(reply), Then::Close, Some(Arc::new(config)))
    }

    fn listening(
        listener: TcpListener,
        reply: Arc<Reply>,
        then: Then,
        tls: Option<Arc<ServerConfig>>,
    ) -> Self {
        let port = listener.local_addr().unwrap().port();
        let requests = Arc::default();
        let seen = Arc::clone(&requests);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (reply, seen, tls) = (Arc::clone(&reply), Arc::clone(&seen), tls.clone());
                // Whoever hangs up early is what some tests are about.
                thread::spawn(move || match tls {
                    Some(tls) => {
                        let mut secure =
                            StreamOwned::new(ServerConnection::new(tls).unwrap(), stream);
                        let _ = serve(&mut secure, &*reply, then, &seen);
                        secure.conn.send_close_notify();
                        let _ = secure.flush();
                    }
                    None => drop(serve(&mut { stream }, &*reply, then, &seen)),
                });
            }
        });
        Self { port, requests }
    }

    /// A URI of this server, under a name for it.
    pub(super) fn uri(&self, host: &str, path: &str) -> String {
        format!("http://{host}:{}{path}", self.port)
    }

    /// The requests so far, as they came.
    pub(super) fn requests(&self) -> Vec<String> {
        self.requests.lock().clone()
    }
}

fn serve(
    stream: &mut (impl Read + Write),
    reply: &Reply,
    then: Then,
    seen: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        request.push(byte[0]);
    }
    let request = String::from_utf8(request).unwrap();
    let path = request.split(' ').nth(1).unwrap().to_owned();
    seen.lock().push(request);
    stream.write_all(&reply(&path))?;
    stream.flush()?;
    match then {
        Then::Close => return Ok(()),
        Then::BeSilent => thread::sleep(Duration::from_secs(600)),
        Then::Drip => loop {
            stream.write_all(b".")?;
            stream.flush()?;
            thread::sleep(Duration::from_millis(50));
        },
    }
    Ok(())
}
