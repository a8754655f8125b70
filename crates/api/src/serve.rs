//! Connections: each is bounded in what it may take, and none is dropped in the middle of an answer.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Longest time until the headers of a request are there; also how long a quiet connection is kept.
const HEADERS: Duration = Duration::from_secs(30);
/// How long requests may go on once the server is to stop: longer than a body may take to come.
const GRACE: Duration = Duration::from_secs(30);
/// How HTTP/2 begins.
const HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Pause before half of that is looked at again.
const LISTEN_AGAIN: Duration = Duration::from_millis(10);
/// Pause after a connection could not be accepted.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);
/// A client that does not answer so long while its connection is quiet is gone.
const PING: Duration = Duration::from_secs(20);

/// Serves until `stop`, then lets what was begun end.
pub(crate) async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) {
    let server = Arc::new(builder());
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
            Some(_) = connections.join_next() => continue,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Mostly too many open files: a moment later there may be fewer.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_AGAIN).await;
                continue;
            }
        };
        let (server, watcher) = (Arc::clone(&server), graceful.watcher());
        let (router, stop) = (router.clone(), stop.clone());
        connections.spawn(async move {
            let speaks = tokio::select! {
                speaks = tokio::time::timeout(HEADERS, speaks(&stream)) => speaks,
                () = stop.cancelled() => return,
            };
            if !matches!(speaks, Ok(Ok(true))) {
                return;
            }
            let service = TowerToHyperService::new(router);
            let connection = server.serve_connection(TokioIo::new(stream), service);
            if let Err(error) = watcher.watch(connection.into_owned()).await {
                tracing::debug!(%error, "a connection ended early");
            }
        });
    }
    drop(listener);
    if tokio::time::timeout(GRACE, graceful.shutdown()).await.is_err() {
        tracing::warn!("some requests were cut off");
    }
    connections.shutdown().await;
}

/// Waits until a client has said which protocol it speaks: whoever connects and is silent is not served.
async fn speaks(stream: &TcpStream) -> std::io::Result<bool> {
    // Events are small and must not wait for more to come.
    stream.set_nodelay(true)?;
    let mut begin = [0; HTTP2.len()];
    loop {
        let length = stream.peek(&mut begin).await?;
        if length == 0 {
            return Ok(false);
        }
        if length == HTTP2.len() || !HTTP2.starts_with(&begin[..length]) {
            return Ok(true);
        }
        tokio::time::sleep(LISTEN_AGAIN).await;
    }
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut server = auto::Builder::new(TokioExecutor::new());
    server.http1().timer(TokioTimer::new()).header_read_timeout(HEADERS);
    server.http2().timer(TokioTimer::new()).keep_alive_interval(PING).keep_alive_timeout(PING);
    server
}
