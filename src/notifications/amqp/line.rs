//! The bytes of a connection to a broker: TCP, with TLS where that is wanted.
//!
//! The library that speaks AMQP has threads of its own, and waits without a deadline.  So connections are
//! made here, and can be [cut](Cut) whatever it does; it is handed one that is open.

use std::fmt;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpStream as StdTcpStream};
use std::os::fd::AsFd as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use async_rs::traits::Reactor;
use async_rs::util::RuntimeParts;
use async_rs::{Runtime, Tokio};
use futures_util::Stream;
use lapin::AsyncTcpStream;
use lapin::uri::AMQPUri;
use parking_lot::Mutex;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::config::notifications::bus::{Broker, BusTls};
use crate::error::{Error, Result};

/// Ends a connection when it is dropped.
pub(super) struct Cut(StdTcpStream);

impl Drop for Cut {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

/// Connects to a broker.  Bounded by who waits for it.
pub(super) async fn connect(
    broker: &Broker,
    tls: Option<&TlsConnector>,
) -> io::Result<(Line, Cut)> {
    let socket = TcpStream::connect((broker.host.as_str(), broker.port)).await?;
    socket.set_nodelay(true)?;
    let cut = Cut(StdTcpStream::from(socket.as_fd().try_clone_to_owned()?));
    let Some(tls) = tls else { return Ok((Line(Box::pin(socket)), cut)) };
    let name = ServerName::try_from(broker.host.clone()).map_err(io::Error::other)?;
    Ok((Line(Box::pin(tls.connect(name, socket).await?)), cut))
}

/// How TLS is spoken with brokers.
///
/// # Errors
/// `Config` for files that cannot be used.
pub(super) fn connector(tls: &BusTls) -> Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    match &tls.authorities {
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        Some(path) => {
            let unusable =
                |error: &dyn fmt::Display| unusable("ssl_ca_file", path.display(), error);
            let found = CertificateDer::pem_file_iter(path).map_err(|error| unusable(&error))?;
            for certificate in found {
                let certificate = certificate.map_err(|error| unusable(&error))?;
                roots.add(certificate).map_err(|error| unusable(&error))?;
            }
        }
    }
    let builder = ClientConfig::builder().with_root_certificates(roots);
    let config = match &tls.client {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let places = format!("{} with {}", certificate.display(), key.display());
            let unusable = |error: &dyn fmt::Display| {
                unusable("ssl_cert_file and ssl_key_file", &places, error)
            };
            let chain = CertificateDer::pem_file_iter(certificate)
                .and_then(Iterator::collect::<std::result::Result<Vec<_>, _>>)
                .map_err(|error| unusable(&error))?;
            let key = PrivateKeyDer::from_pem_file(key).map_err(|error| unusable(&error))?;
            builder.with_client_auth_cert(chain, key).map_err(|error| unusable(&error))?
        }
    };
    Ok(TlsConnector::from(Arc::new(config)))
}

fn unusable(option: &str, place: impl fmt::Display, error: &dyn fmt::Display) -> Error {
    Error::Config(format!(
        "[oslo_messaging_rabbit] {option} ({place}) cannot be used: {error}; name files of PEM that \
         this user may read"
    ))
}

/// The runtime that the library is to use.
pub(super) fn runtime() -> Runtime<Kit> {
    Runtime::new(RuntimeParts::new(Tokio::current(), Lines(Tokio::current())))
}

/// What the library calls for a connection: gives it the one that is open.  There is no second one.
pub(super) fn handing_over(
    line: Line,
) -> impl AsyncFn(AMQPUri, Runtime<Kit>) -> lapin::Result<AsyncTcpStream<Line>> + Send + Sync + 'static
{
    let line = Mutex::new(Some(line));
    async move |_: AMQPUri, _: Runtime<Kit>| {
        let gone = || io::Error::from(io::ErrorKind::NotConnected).into();
        line.lock().take().map(AsyncTcpStream::Plain).ok_or_else(gone)
    }
}

/// tokio, but for connections.
pub(super) type Kit = RuntimeParts<Tokio, Lines>;

/// tokio's timers, with [`Line`]s for connections.
#[derive(Clone, Debug)]
pub(super) struct Lines(Tokio);

impl Reactor for Lines {
    type TcpStream = Line;
    type Sleep = tokio::time::Sleep;

    fn register<H: io::Read + io::Write + Send + 'static>(
        &self,
        _: H,
    ) -> io::Result<impl futures_io::AsyncRead + futures_io::AsyncWrite + Send + Unpin + 'static>
    {
        // Connections are handed over, here and below.
        Err::<Line, _>(io::ErrorKind::Unsupported.into())
    }

    fn sleep(&self, duration: Duration) -> Self::Sleep {
        self.0.sleep(duration)
    }

    fn interval(&self, duration: Duration) -> impl Stream<Item = Instant> + Send + 'static {
        self.0.interval(duration)
    }

    fn tcp_connect_addr(
        &self,
        _: SocketAddr,
    ) -> impl Future<Output = io::Result<Line>> + Send + 'static {
        std::future::ready(Err(io::ErrorKind::Unsupported.into()))
    }
}

/// What a connection consists of.
trait Duplex: AsyncRead + AsyncWrite + Send {}

impl<T: AsyncRead + AsyncWrite + Send> Duplex for T {}

/// An open connection.
pub(super) struct Line(Pin<Box<dyn Duplex>>);

impl futures_io::AsyncRead for Line {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(buffer);
        let read = self.0.as_mut().poll_read(context, &mut buffer);
        read.map_ok(|()| buffer.filled().len())
    }
}

impl futures_io::AsyncWrite for Line {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.as_mut().poll_write(context, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.as_mut().poll_flush(context)
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.as_mut().poll_shutdown(context)
    }
}
