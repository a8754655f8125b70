//! Connections: each is bounded in what it may take, all together in their number, and none is dropped in the middle
//! of an answer.

mod begin;
mod places;

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

use places::Places;
pub(crate) use places::most_by_default;

/// Longest time until the headers of a request are there; also how long a quiet connection is kept.
const HEADERS: Duration = Duration::from_secs(30);
/// How long requests may go on once the server is to stop: longer than a body may take to come.
const GRACE: Duration = Duration::from_secs(30);
/// Pause after a connection could not be accepted.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);
/// A client that does not answer so long while its connection is quiet is gone.
const PING: Duration = Duration::from_secs(20);

/// Serves at most so many connections at once until `stop`, then lets what was begun end.
pub(crate) async fn serve(listener: TcpListener, router: Router, most: usize, stop: CancellationToken) {
    let server = Arc::new(builder());
    let graceful = GracefulShutdown::new();
    let (mut connections, mut places) = (JoinSet::new(), Places::default());
    loop {
        let has_room = connections.len() < most || places.has_idle();
        let accepted = tokio::select! {
            accepted = listener.accept(), if has_room => accepted,
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
            places.make_room();
        }
        let (server, watcher) = (Arc::clone(&server), graceful.watcher());
        let (router, stop) = (router.clone(), stop.clone());
        let asked = places.newcomer();
        let of_place = asked.clone();
        let task = connections.spawn(async move {
            let begun = tokio::select! {
                begun = tokio::time::timeout(HEADERS, begin::begun(stream)) => begun,
                () = stop.cancelled() => return,
            };
            let Ok(Ok(Some(stream))) = begun else { return };
            let service = TowerToHyperService::new(router);
            let service = service_fn(move |request: Request<Incoming>| {
                asked.set();
                service.call(request)
            });
            let connection = server.serve_connection(TokioIo::new(stream), service);
            if let Err(error) = watcher.watch(connection.into_owned()).await {
                tracing::debug!(%error, "a connection ended early");
            }
        });
        places.took(of_place, task);
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
