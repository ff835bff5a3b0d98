//! `GET /metrics` for Prometheus, at an address of its own.

use std::future::Future;
use std::sync::Arc;

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use tokio::net::TcpListener;

/// Gathers the figures, in Prometheus' text format; on a thread that may wait.
pub type GatherMetrics = Arc<dyn Fn() -> String + Send + Sync>;

/// Answers on `listener` until `shutdown` completes.
pub async fn serve_metrics(
    listener: TcpListener,
    gather: GatherMetrics,
    shutdown: impl Future<Output = ()> + Send + 'static,
) {
    let answer = move || {
        let gather = Arc::clone(&gather);
        async move {
            // The catalog is asked how many images there are.
            let figures = tokio::task::spawn_blocking(move || gather()).await.unwrap_or_default();
            ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], figures)
        }
    };
    let router = Router::new().route("/metrics", get(answer));
    if let Err(error) = axum::serve(listener, router).with_graceful_shutdown(shutdown).await {
        tracing::warn!(%error, "metrics are no longer served");
    }
}
