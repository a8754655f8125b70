//! A folder served over the S3 protocol: the object store of a single machine.

mod bodies;
mod listing;
mod long_keys;
mod objects;
mod tidy;
mod turns;
mod uploads;

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, body::Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{Body, HttpError, auth::SimpleAuth};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};

use self::objects::Objects;
use crate::private::make_private;
use crate::{Error, S3Keys};

/// How long transfers may go on once the server is to stop.
const GRACE: Duration = Duration::from_secs(5);

/// What to serve and to whom.
#[derive(Debug, Clone)]
pub struct FolderConfig {
    /// Folder of the buckets; made if it is missing.
    pub root: PathBuf,
    /// Port on 127.0.0.1; none means any free one.
    pub port: Option<u16>,
    /// The keys that requests must be signed with.
    pub keys: S3Keys,
    /// Web pages that browsers may let talk to it, for example `http://127.0.0.1:8080`.
    pub origins: Vec<String>,
}

/// An S3 service over a folder, on 127.0.0.1. It ends with this value.
pub struct FolderServer {
    address: SocketAddr,
    keys: S3Keys,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl FolderServer {
    /// Starts to serve.
    ///
    /// # Errors
    /// [`Error::Folder`] if the folder cannot be used, [`Error::Listen`] if the port is taken.
    pub async fn start(config: FolderConfig) -> Result<Self, Error> {
        let service = Arc::new(Gate { s3: s3_service(&config)?, origins: config.origins });
        let wanted = SocketAddr::from((Ipv4Addr::LOCALHOST, config.port.unwrap_or(0)));
        let refused = |source| Error::Listen { address: wanted.to_string(), source };
        let listener = TcpListener::bind(wanted).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(serve(listener, service, stopped));
        Ok(Self { address, keys: config.keys, stop, task })
    }

    /// Where it listens: `http://127.0.0.1:port`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// The keys that requests must be signed with.
    pub fn keys(&self) -> &S3Keys {
        &self.keys
    }

    /// Lets running transfers end, for some seconds, and stops.
    pub async fn stop(self) {
        drop(self.stop);
        // The task only fails by a panic, which has been reported where it happened.
        let _ = self.task.await;
    }
}

fn s3_service(config: &FolderConfig) -> Result<S3Service, Error> {
    let refused = |source: Box<dyn std::error::Error + Send + Sync>| Error::Folder {
        path: config.root.clone(),
        source,
    };
    make_private(&config.root).map_err(|error| refused(error.into()))?;
    let mut builder = S3ServiceBuilder::new(Objects::new(&config.root).map_err(refused)?);
    // Without this s3s lets everybody in.
    let keys = &config.keys;
    builder.set_auth(SimpleAuth::from_single(keys.access_key.as_str(), keys.secret_key.as_str()));
    Ok(builder.build())
}

async fn serve(listener: TcpListener, gate: Arc<Gate>, mut stopped: oneshot::Receiver<()>) {
    let server = auto::Builder::new(TokioExecutor::new());
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = &mut stopped => break,
            Some(_) = connections.join_next() => continue,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Mostly too many open files: a moment later there may be fewer.
                tracing::warn!(%error, "the folder server could not accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let gate = Arc::clone(&gate);
        let answer = service_fn(move |request| {
            let gate = Arc::clone(&gate);
            async move { Ok::<_, Infallible>(gate.answer(request).await) }
        });
        let connection = server.serve_connection(TokioIo::new(stream), answer).into_owned();
        connections.spawn(graceful.watch(connection));
    }
    if tokio::time::timeout(GRACE, graceful.shutdown()).await.is_err() {
        tracing::warn!("transfers of the folder server were cut off");
    }
    connections.shutdown().await;
}

/// What a browser asks before it lets a page in, and everything else.
struct Gate {
    s3: S3Service,
    origins: Vec<String>,
}

impl Gate {
    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let origin = self.known_origin(request.headers());
        // A preflight carries no signature, so it must not reach the service.
        if request.method() == Method::OPTIONS {
            return preflight(origin, request.headers());
        }
        let mut response = match self.s3.call(request.map(Body::from)).await {
            Ok(response) => response,
            Err(error) => fault(&error),
        };
        if let Some(origin) = origin {
            allow(origin, response.headers_mut());
        }
        response
    }

    fn known_origin(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let origin = headers.get(header::ORIGIN)?;
        self.origins.iter().any(|known| known.as_bytes() == origin.as_bytes()).then(|| origin.clone())
    }
}

fn preflight(origin: Option<HeaderValue>, asked: &HeaderMap) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    let Some(origin) = origin else {
        *response.status_mut() = StatusCode::FORBIDDEN;
        return response;
    };
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    allow(origin, headers);
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, HEAD, PUT"));
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    if let Some(wanted) = asked.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
    }
    response
}

fn allow(origin: HeaderValue, headers: &mut HeaderMap) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("ETag"));
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
}

fn fault(error: &HttpError) -> Response<Body> {
    tracing::warn!(?error, "the folder server failed");
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    response
}
