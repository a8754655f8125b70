use std::fs::{DirBuilder, File, OpenOptions};
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use prometheus::Registry;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use uso_api::{Api, Config, QUEUE_TIMEOUT, keep_what_is_named};
use uso_queue::Queue;
use uso_queue::private_redis::PrivateRedis;
use uso_store::folder::{FolderConfig, FolderServer};
use uso_store::{Credentials, Store};
use uso_worker::{Condition, Metrics, Worker};

use super::say;
use crate::args::{Engine, S3Args, UpArgs};
use crate::connect;
use crate::shutdown::Shutdown;

/// How long uploads and half-drawn pictures are kept that no job names.
const KEPT: Duration = Duration::from_secs(8 * 24 * 60 * 60);
/// Pause before it is looked again for older ones.
const SWEEP_AGAIN: Duration = Duration::from_secs(60 * 60);

pub(crate) async fn run(args: UpArgs) -> anyhow::Result<()> {
    let shutdown = Shutdown::on_signals()?;
    let _lock = take_folder(&args.data)?;
    // First, because the store must know the page's address.
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, args.port))
        .await
        .with_context(|| format!("cannot listen on 127.0.0.1:{}; choose another --port", args.port))?;
    let port = listener.local_addr()?.port();

    let mut servers = Servers::start(&args, port).await?;
    let places = servers.places(&args);
    let ended = tokio::select! {
        ended = run_fleet(&args, places, listener, &shutdown) => ended,
        error = servers.keep_redis() => Err(error),
        () = shutdown.abort.cancelled() => {
            servers.kill().await;
            // The device's thread cannot be interrupted within a step.
            std::process::exit(130)
        }
    };
    servers.stop().await.and(ended)
}

/// Makes the data folder this process' own.
fn take_folder(data: &Path) -> anyhow::Result<File> {
    let refused = || format!("cannot use the data folder {}", data.display());
    DirBuilder::new().recursive(true).mode(0o700).create(data).with_context(refused)?;
    let lock = File::create(data.join("lock")).with_context(refused)?;
    lock.try_lock().with_context(|| format!("another `uso up` uses {}", data.display()))?;
    Ok(lock)
}

/// What the fleet needs and nobody gave.
struct Servers {
    redis: Option<PrivateRedis>,
    folder: Option<(FolderServer, Credentials)>,
}

impl Servers {
    async fn start(args: &UpArgs, port: u16) -> anyhow::Result<Self> {
        let redis = match args.redis {
            Some(_) => None,
            None => Some(PrivateRedis::start_with_password(&args.data.join("redis"), None).await?),
        };
        let folder = match args.s3.endpoint() {
            Some(_) => None,
            None => Some(start_folder(&args.data, port, &args.access.cors_origin).await?),
        };
        Ok(Self { redis, folder })
    }

    /// Where queue and store are, given or started.
    fn places(&self, args: &UpArgs) -> Places {
        let s3 = match &self.folder {
            Some((folder, _)) => args.s3.at(folder.endpoint()),
            None => args.s3.clone(),
        };
        let redis = self.redis.as_ref().map(PrivateRedis::url).or_else(|| args.redis.clone());
        let keys = self.folder.as_ref().map(|(_, keys)| keys.clone());
        Places { redis: redis.unwrap_or_default(), s3, keys }
    }

    /// Starts the private Redis again whenever it ends by itself: it lost nothing. Returns when it has ended too
    /// often.
    async fn keep_redis(&mut self) -> anyhow::Error {
        let Some(redis) = &mut self.redis else { return std::future::pending().await };
        let mut restarts = Restarts::default();
        loop {
            let begun = Instant::now();
            if let Err(error) = redis.ended().await {
                return error.into();
            }
            let mut why = redis.why_it_ended();
            let mut lived = begun.elapsed();
            loop {
                let Some(pause) = restarts.pause(lived) else {
                    return anyhow::anyhow!(
                        "the private redis ended {} times in a row: {why}",
                        restarts.ends
                    );
                };
                tracing::warn!(?pause, "the private redis has ended: {why}; it is started again");
                tokio::time::sleep(pause).await;
                match redis.restart().await {
                    Ok(()) => break,
                    Err(error) => (why, lived) = (error.to_string(), Duration::ZERO),
                }
            }
            tracing::warn!("the private redis runs again");
        }
    }

    async fn stop(self) -> anyhow::Result<()> {
        if let Some((folder, _)) = self.folder {
            folder.stop().await;
        }
        if let Some(redis) = self.redis {
            redis.stop().await?;
        }
        Ok(())
    }

    /// Every accepted write is on disk already, so nothing is lost.
    async fn kill(&mut self) {
        if let Some(redis) = &mut self.redis
            && let Err(error) = redis.kill().await
        {
            tracing::warn!(%error, "the private redis may still run");
        }
    }
}

/// How often the private Redis may end in a row.
const MOST_ENDS: u32 = 8;
/// Pause after its first end.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// One that has run so long has got over what ended it before.
const SOUND: Duration = Duration::from_secs(60);

/// How often a server has ended in a row.
#[derive(Default)]
struct Restarts {
    ends: u32,
}

impl Restarts {
    /// The pause before a server that has lived so long is started again; none if it has ended too often.
    fn pause(&mut self, lived: Duration) -> Option<Duration> {
        if lived >= SOUND {
            self.ends = 0;
        }
        self.ends += 1;
        (self.ends < MOST_ENDS).then(|| (FIRST_PAUSE * 2u32.pow(self.ends - 1)).min(LONGEST_PAUSE))
    }
}

/// Where the fleet's queue and store are.
struct Places {
    redis: String,
    s3: S3Args,
    keys: Option<Credentials>,
}

/// Runs API and worker until they are asked to stop, or one of them fails.
async fn run_fleet(
    args: &UpArgs,
    places: Places,
    listener: TcpListener,
    shutdown: &Shutdown,
) -> anyhow::Result<()> {
    let mut queue = args.queue.config(&places.redis);
    if args.redis.is_none() {
        anyhow::ensure!(queue.replicas == 0, "a private Redis has no replicas: --durability needs --redis");
        queue.ca = None;
    }
    let registry = Registry::new();
    let own_folder = places.keys.is_some();
    let device = connect::device(&args.model, &args.engine, &args.pace, None, Condition::default()).await?;
    let patient = queue.clone();
    let queue = connect::queue(queue).await?;
    let for_api = Queue::connect(uso_queue::Config { timeout: QUEUE_TIMEOUT, ..patient }).await?;
    let store = connect::store(&places.s3, places.keys).await?;

    let address = listener.local_addr()?;
    let model = args.model.model.as_deref();
    let config = connect::api(&for_api, &args.access, &args.s3, model, address).await?;
    let config = Config { scripted: matches!(args.engine.engine, Engine::Scripted(_)), ..config };
    let model = device.model().to_owned();
    let metrics = Metrics::new(&registry)?;
    metrics.observe(&device)?;
    let worker = Worker::new(queue, store.clone(), device, metrics, args.pace.settings());
    let swept = own_folder.then(|| (for_api.clone(), store.clone()));
    let sweeps = Box::pin(sweep(swept, shutdown.stop.clone()));
    let api = Api::new(for_api, store, config, registry)?;
    say(&format!("uso: ready on http://{address} (model {model}, data in {})", args.data.display()))?;

    let stop = &shutdown.stop;
    // Whichever ends first takes the other along.
    let api = async {
        let served = api.serve(listener, stop.clone()).await.context("the API failed");
        stop.cancel();
        served
    };
    let worker = async {
        let worked = worker.run(stop.clone(), shutdown.hurry.clone()).await.context("the worker failed");
        stop.cancel();
        worked
    };
    let (served, worked, ()) = tokio::join!(api, worker, sweeps);
    worked.and(served)
}

/// Until `stop`, deletes what was uploaded and what was half-drawn once it is old and no job names it: a folder
/// has no lifecycle rules.
async fn sweep(swept: Option<(Queue, Store)>, stop: CancellationToken) {
    let Some((queue, store)) = swept else { return };
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = sweep_once(&queue, &store) => {}
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(SWEEP_AGAIN) => {}
        }
    }
}

async fn sweep_once(queue: &Queue, store: &Store) {
    if let Err(error) = keep_what_is_named(queue, store).await {
        tracing::warn!(%error, "nothing old is deleted: it is not known what waiting jobs name");
        return;
    }
    for prefix in ["uploads/", "checkpoints/"] {
        match store.delete_older(prefix, KEPT).await {
            Ok(0) => {}
            Ok(count) => tracing::info!(prefix, count, "deleted what nobody can want any more"),
            Err(error) => tracing::warn!(%error, prefix, "what is old could not be deleted"),
        }
    }
}

async fn start_folder(
    data: &Path,
    port: u16,
    others: &[String],
) -> anyhow::Result<(FolderServer, Credentials)> {
    let own = [format!("http://127.0.0.1:{port}"), format!("http://localhost:{port}")];
    let origins: Vec<String> = own.into_iter().chain(others.iter().cloned()).collect();
    let credentials = keys(&data.join("s3-keys.json"))?;
    let config = |own: Option<u16>| FolderConfig {
        root: data.join("s3"),
        port: own,
        credentials: credentials.clone(),
        origins: origins.clone(),
    };
    // The same port as the last time: pages that are open and links that were given out go on working.
    let place = data.join("s3-port");
    let last = std::fs::read_to_string(&place).ok().and_then(|text| text.trim().parse().ok());
    let folder = match FolderServer::start(config(last)).await {
        // Somebody else has it now.
        Err(uso_store::Error::Listen { .. }) if last.is_some() => FolderServer::start(config(None)).await?,
        started => started?,
    };
    let own = folder.endpoint().rsplit(':').next().unwrap_or_default().to_owned();
    std::fs::write(&place, own).with_context(|| format!("cannot write {}", place.display()))?;
    Ok((folder, credentials))
}

#[derive(Serialize, Deserialize)]
struct Keys {
    access_key: String,
    secret_key: String,
}

/// Keys to the S3 folder: drawn once, for this user's eyes only.
fn keys(path: &Path) -> anyhow::Result<Credentials> {
    let keys: Keys = match std::fs::read(path) {
        Ok(bytes) => {
            serde_json::from_slice(&bytes).with_context(|| format!("{} is damaged", path.display()))?
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let word = || uuid::Uuid::new_v4().simple().to_string();
            let keys = Keys { access_key: word(), secret_key: word() + &word() };
            write_private(path, &serde_json::to_vec(&keys)?)
                .with_context(|| format!("cannot write {}", path.display()))?;
            keys
        }
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    Ok(Credentials { access_key: keys.access_key, secret_key: keys.secret_key.into() })
}

fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_end_unless_the_server_got_over_it() {
        let mut restarts = Restarts::default();
        let pauses: Vec<_> = std::iter::from_fn(|| restarts.pause(Duration::ZERO)).collect();
        assert_eq!(pauses.len() as u32, MOST_ENDS - 1);
        assert_eq!((pauses[0], pauses[1]), (FIRST_PAUSE, FIRST_PAUSE * 2));
        assert!(pauses.is_sorted() && pauses.iter().all(|pause| *pause <= LONGEST_PAUSE));
        assert_eq!(restarts.pause(SOUND), Some(FIRST_PAUSE));
    }
}
