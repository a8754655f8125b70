mod sweep;

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Context as _;
use prometheus::Registry;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use uso_api::{Api, Config, QUEUE_TIMEOUT};
use uso_local::{DataFolder, S3Keys, Services, Wanted};
use uso_queue::Queue;
use uso_store::{Credentials, Store};
use uso_worker::{Condition, DeviceThread, Metrics, Worker};

use self::sweep::sweep;
use super::say;
use crate::args::{Engine, S3Args, UpArgs};
use crate::connect;
use crate::shutdown::Shutdown;

pub(crate) async fn run(args: UpArgs) -> anyhow::Result<()> {
    let shutdown = Shutdown::on_signals()?;
    connect::check_device(&args.model, &args.engine).await?;
    let data = DataFolder::take(&args.data)?;
    // First, because the S3 service must know the page's address.
    let listener = listen(args.port).await?;
    let mut services = Services::start(&data, missing(&args, listener.local_addr()?)).await?;
    let endpoints = Endpoints::new(&args, &services);
    let ended = tokio::select! {
        ended = run_fleet(&args, endpoints, listener, &shutdown) => ended,
        error = services.supervise() => Err(error.into()),
        () = shutdown.abort.cancelled() => {
            services.kill().await;
            // The device's thread cannot be interrupted within a step.
            std::process::exit(130)
        }
    };
    services.stop().await.map_err(anyhow::Error::from).and(ended)
}

async fn listen(port: u16) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await;
    listener.with_context(|| format!("cannot listen on 127.0.0.1:{port}; choose another --port"))
}

/// What the fleet needs and nobody gave.
fn missing(args: &UpArgs, address: SocketAddr) -> Wanted {
    let port = address.port();
    let own = [format!("http://127.0.0.1:{port}"), format!("http://localhost:{port}")];
    let origins = || own.into_iter().chain(args.access.cors_origin.iter().cloned()).collect();
    Wanted { redis: args.redis.is_none(), s3_origins: args.s3.endpoint().is_none().then(origins) }
}

/// Where queue and store are, given or started.
struct Endpoints {
    redis: String,
    s3: S3Args,
    /// Keys to the S3 service, if it was started here.
    keys: Option<Credentials>,
}

impl Endpoints {
    fn new(args: &UpArgs, services: &Services) -> Self {
        let redis = services.redis().map(|redis| redis.url()).or_else(|| args.redis.clone());
        let s3 = services.s3().map_or_else(|| args.s3.clone(), |s3| args.s3.at(s3.endpoint()));
        let keys = services.s3().map(|s3| credentials(s3.keys()));
        Self { redis: redis.unwrap_or_default(), s3, keys }
    }

    /// Settings of the queue.
    fn queue(&self, args: &UpArgs) -> anyhow::Result<uso_queue::Config> {
        let mut queue = args.queue.config(&self.redis);
        if args.redis.is_none() {
            anyhow::ensure!(
                queue.replicas == 0,
                "a private Redis has no replicas: --durability needs --redis"
            );
            queue.ca = None;
        }
        Ok(queue)
    }
}

fn credentials(keys: &S3Keys) -> Credentials {
    Credentials { access_key: keys.access_key.clone(), secret_key: keys.secret_key.as_str().into() }
}

/// Runs API and worker until they are asked to stop, or one of them fails.
async fn run_fleet(
    args: &UpArgs,
    endpoints: Endpoints,
    listener: TcpListener,
    shutdown: &Shutdown,
) -> anyhow::Result<()> {
    let settings = endpoints.queue(args)?;
    let scoring = connect::scoring(&args.engine).await?;
    let device = connect::device(&args.model, &args.engine, &args.pace, None, Condition::default()).await?;
    let queue = connect::queue(settings.clone()).await?;
    let for_api = Queue::connect(uso_queue::Config { timeout: QUEUE_TIMEOUT, ..settings }).await?;
    let own_folder = endpoints.keys.is_some();
    let store = connect::store(&endpoints.s3, endpoints.keys).await?;

    let (registry, address, model) = (Registry::new(), listener.local_addr()?, device.model().to_owned());
    let api = api(args, for_api.clone(), store.clone(), registry.clone(), address).await?;
    let settings = uso_worker::Settings { scoring, ..args.pace.settings() };
    let worker = worker(queue, store.clone(), device, &registry, settings)?;
    say(&format!("uso: ready on http://{address} (model {model}, data in {})", args.data.display()))?;

    let stop = &shutdown.stop;
    let served =
        first_to_end(stop, async { api.serve(listener, stop.clone()).await.context("the API failed") });
    let worked = first_to_end(stop, async {
        worker.run(stop.clone(), shutdown.hurry.clone()).await.context("the worker failed")
    });
    let swept = async {
        if own_folder {
            sweep(for_api, store, stop.clone()).await;
        }
    };
    let (served, worked, ()) = tokio::join!(served, worked, Box::pin(swept));
    worked.and(served)
}

async fn api(
    args: &UpArgs,
    queue: Queue,
    store: Store,
    registry: Registry,
    address: SocketAddr,
) -> anyhow::Result<Api> {
    let model = args.model.model.as_deref();
    let config = connect::api(&queue, &args.access, &args.s3, model, address).await?;
    let config = Config { scripted: matches!(args.engine.engine, Engine::Scripted(_)), ..config };
    Ok(Api::new(queue, store, config, registry)?)
}

fn worker(
    queue: Queue,
    store: Store,
    device: DeviceThread,
    registry: &Registry,
    settings: uso_worker::Settings,
) -> anyhow::Result<Worker> {
    let metrics = Metrics::new(registry)?;
    metrics.observe(&device)?;
    Ok(Worker::new(queue, store, device, metrics, settings))
}

/// Whichever ends first takes the others along.
async fn first_to_end(
    stop: &CancellationToken,
    part: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<()> {
    let ended = part.await;
    stop.cancel();
    ended
}
