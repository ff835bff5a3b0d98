//! Listening: connections in, an orderly end.

use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::connection::Connection;
use super::head::{CountedBody, HeadBudget};
use super::router::Dispatcher;
use super::{Api, Settings};
use crate::error::Result;

/// hyper reads into a buffer of up to this size, so that the frames of an upload are large.
const BUFFER: usize = 1 << 20;
/// How long to wait when the system has no file descriptor for another connection.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves the API on `listener` until `shutdown` completes; then takes no further connections, and
/// gives requests in progress [`Settings::shutdown_grace`] to end.
///
/// # Errors
/// None at present: a connection that cannot be accepted is logged and the next one tried.
pub async fn serve(
    listener: TcpListener,
    api: Arc<Api>,
    shutdown: impl Future<Output = ()>,
) -> Result<()> {
    let dispatcher = Dispatcher::new(Arc::clone(&api));
    let (stop, stopped) = watch::channel(false);
    let room = Arc::new(Semaphore::new(api.settings.max_connections));
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => continue,
            accepted = accept(&listener, &room) => accepted,
        };
        if let Some((stream, permit)) = accepted {
            let connection =
                connect(stream, dispatcher.clone(), api.settings.clone(), stopped.clone());
            connections.spawn(async move {
                connection.await;
                drop(permit);
            });
        }
    }
    drop(listener);
    let _ = stop.send(true);
    let all_ended = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(api.settings.shutdown_grace, all_ended).await.is_err() {
        tracing::warn!(left = connections.len(), "requests still in progress are broken off");
        connections.shutdown().await;
    }
    Ok(())
}

type Accepted = (TcpStream, tokio::sync::OwnedSemaphorePermit);

/// The next connection, when there is room for one.
async fn accept(listener: &TcpListener, room: &Arc<Semaphore>) -> Option<Accepted> {
    let permit = Arc::clone(room).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => {
            // Answers are written in one piece; holding them back helps nobody.
            let _ = stream.set_nodelay(true);
            Some((stream, permit))
        }
        Err(error) => {
            tracing::warn!(%error, "cannot accept a connection");
            tokio::time::sleep(PAUSE).await;
            None
        }
    }
}

async fn connect(
    stream: TcpStream,
    dispatcher: Dispatcher,
    settings: Settings,
    stopped: watch::Receiver<bool>,
) {
    let budget = HeadBudget::default();
    let stream = Connection::new(stream, budget.clone(), settings.idle_timeout);
    let Some(tls) = &settings.tls else {
        return speak(stream, budget, dispatcher, &settings, stopped).await;
    };
    match tokio::time::timeout(settings.head_timeout, tls.acceptor().accept(stream)).await {
        Ok(Ok(stream)) => speak(stream, budget, dispatcher, &settings, stopped).await,
        Ok(Err(error)) => tracing::debug!(%error, "TLS is not agreed upon"),
        Err(_) => tracing::debug!("TLS is not agreed upon in time"),
    }
}

/// Answers one client's requests, one after the other.
async fn speak(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    budget: HeadBudget,
    dispatcher: Dispatcher,
    settings: &Settings,
    mut stopped: watch::Receiver<bool>,
) {
    let service = service_fn(move |request: Request<Incoming>| {
        let (dispatcher, in_progress) = (dispatcher.clone(), budget.request());
        let counted = budget.request();
        let request = request.map(|body| Body::new(CountedBody { body, _request: counted }));
        async move {
            let answer = dispatcher.answer(request).await;
            drop(in_progress);
            Ok::<_, Infallible>(answer)
        }
    });
    let io = TokioIo::new(stream);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(settings.head_timeout)
        .max_buf_size(BUFFER)
        .serve_connection(io, service);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = async { drop(stopped.wait_for(|stopped| *stopped).await) } => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection broke off");
    }
}
