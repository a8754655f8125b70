//! The accept loop: connections are bounded in number and each in time, and none is closed in the middle of an answer.
//!
//! It is ours and not `axum::serve`, which has no limit on connections, no time limit for a request's headers, and no way
//! to close idle connections when new ones arrive.

mod begin;
mod connections;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub(crate) use connections::most_by_default;
use connections::{Unused, Used};

/// Longest time until the headers of a request have arrived; also how long an idle connection is kept.
const HEADERS: Duration = Duration::from_secs(30);
/// How long requests may go on once the server stops: longer than a body may take to arrive.
const GRACE: Duration = Duration::from_secs(30);
/// Pause after accepting a connection failed.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);
/// A client whose connection is idle and that does not answer a ping for so long is gone.
const PING: Duration = Duration::from_secs(20);

/// Serves at most `most` connections at once until `stop`, then lets requests that have begun finish.
pub(crate) async fn serve(listener: TcpListener, router: Router, most: usize, stop: CancellationToken) {
    let server = Arc::new(builder());
    let graceful = GracefulShutdown::new();
    let (mut connections, mut unused) = (JoinSet::new(), Unused::default());
    loop {
        let may_accept = connections.len() < most || unused.any();
        let accepted = tokio::select! {
            accepted = listener.accept(), if may_accept => accepted,
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
        if connections.len() >= most {
            unused.close_oldest();
        }
        let (server, watcher) = (Arc::clone(&server), graceful.watcher());
        let (router, stop) = (router.clone(), stop.clone());
        let used = Used::default();
        let kept = used.clone();
        let task = connections.spawn(async move {
            let begun = tokio::select! {
                begun = tokio::time::timeout(HEADERS, begin::begun(stream)) => begun,
                () = stop.cancelled() => return,
            };
            let Ok(Ok(Some(stream))) = begun else { return };
            let service = TowerToHyperService::new(router);
            let service = service_fn(move |request: Request<Incoming>| {
                used.set();
                service.call(request)
            });
            let connection = server.serve_connection(TokioIo::new(stream), service);
            if let Err(error) = watcher.watch(connection.into_owned()).await {
                tracing::debug!(%error, "a connection ended early");
            }
        });
        unused.add(kept, task);
    }
    drop(listener);
    if tokio::time::timeout(GRACE, graceful.shutdown()).await.is_err() {
        tracing::warn!("some requests were cut off");
    }
    connections.shutdown().await;
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut server = auto::Builder::new(TokioExecutor::new());
    server.http1().timer(TokioTimer::new()).header_read_timeout(HEADERS);
    server.http2().timer(TokioTimer::new()).keep_alive_interval(PING).keep_alive_timeout(PING);
    server
}
