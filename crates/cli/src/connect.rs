//! Makes queue, store, model and API settings from the options of the command line.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use uso_api::{Access, Config, Example, Examples};
use uso_engine::plan::Picture;
use uso_engine::weights::bytes_read;
use uso_engine::{DecodeLimits, EXAMPLE_PICTURES, ModelConfig, ModelFiles, Scripted, Setup, Uso};
use uso_queue::{Defaults, Durability, Queue, Scorer, WorkerReport};
use uso_store::{Credentials, Store};
use uso_worker::{Condition, DeviceThread, Loading, Scoring};

use crate::args::{AccessArgs, Engine, EngineArgs, ModelArgs, PaceArgs, S3Args, buckets};
use crate::setup::{check, explained, setup};

/// Connects to the queue, loads its functions and logs its durability.
pub(crate) async fn queue(config: uso_queue::Config) -> anyhow::Result<Queue> {
    let queue = Queue::connect(config).await?;
    queue.migrate().await?;
    let durability = queue.durability();
    match durability {
        Durability::Fsync | Durability::EverySecond | Durability::Replicas(_) => {
            tracing::info!("durability: {durability}");
        }
        Durability::Volatile | Durability::Unknown => tracing::warn!("durability: {durability}"),
    }
    Ok(queue)
}

/// Settings of an API that listens at an address. Warns about what an operator may not have meant.
pub(crate) async fn api(
    queue: &Queue,
    access: &AccessArgs,
    s3: &S3Args,
    model: Option<&Path>,
    listen: SocketAddr,
) -> anyhow::Result<Config> {
    let (private_webhooks, max_step_cache) = (access.allow_private_webhooks, access.max_step_cache);
    let max_connections = access.max_connections;
    let (public_url, cors_origins) = (access.public_url(listen), access.cors_origin.clone());
    let access = access.access(listen.ip());
    if access == Access::Open && !listen.ip().is_loopback() {
        tracing::warn!("everyone who can reach {listen} may use the API; --auth keys makes it ask for keys");
    }
    if access == Access::Keys && queue.keys().await?.0.iter().all(|key| key.revoked_ms.is_some()) {
        tracing::warn!("the API asks for keys, and none exists: create one with `uso keys create TENANT`");
    }
    let references = s3.s3_reference_bucket.clone();
    let config = of_model(model)?;
    let defaults = Defaults { max_step_cache, ..config.defaults };
    Ok(Config {
        defaults,
        access,
        references,
        private_webhooks,
        public_url,
        cors_origins,
        max_connections,
        ..config
    })
}

/// Connects to the store and makes its bucket if it is missing.
pub(crate) async fn store(args: &S3Args, credentials: Option<Credentials>) -> anyhow::Result<Store> {
    let store = existing_store(args, credentials).await?;
    store.ensure_bucket().await?;
    Ok(store)
}

/// Connects to the store, and makes nothing there.
pub(crate) async fn existing_store(args: &S3Args, credentials: Option<Credentials>) -> anyhow::Result<Store> {
    let config = uso_store::Config {
        endpoint: args.endpoint(),
        public_endpoint: args.s3_public_endpoint.clone(),
        region: args.s3_region.clone(),
        bucket: args.s3_bucket.clone(),
        extra_buckets: buckets(&args.s3_reference_bucket),
        web: args.web_references(),
        credentials,
        ..uso_store::Config::default()
    };
    Ok(Store::connect(config).await?)
}

/// Refuses a device or a model that [`device`] cannot load, before any server is asked for anything.
pub(crate) async fn check_device(args: &ModelArgs, engine: &EngineArgs) -> anyhow::Result<()> {
    match engine.engine {
        Engine::Scripted(_) => Ok(()),
        Engine::Uso => {
            let args = args.clone();
            tokio::task::spawn_blocking(move || check(&args)).await?
        }
    }
}

/// Starts an engine on its own thread and loads its model.
pub(crate) async fn device(
    args: &ModelArgs,
    engine: &EngineArgs,
    pace: &PaceArgs,
    queue: Option<&Queue>,
    condition: Condition,
) -> anyhow::Result<DeviceThread> {
    match &engine.engine {
        Engine::Uso => load(args, engine.lora_folder.clone(), pace, queue, condition).await,
        Engine::Scripted(_) if !engine.allow_test_engine => {
            bail!(
                "the scripted engine makes noise instead of pictures; to let it work on the fleet's jobs, add \
                 --allow-test-engine"
            )
        }
        Engine::Scripted(script) => {
            tracing::warn!(?script, "the scripted engine makes noise instead of pictures");
            let script = script.as_ref().clone();
            Ok(DeviceThread::start(move || Ok(Scripted::new(script.clone())), pace.sharing(), condition)
                .await?)
        }
    }
}

/// Loads the scorers that the options name, and logs what they take.
pub(crate) async fn scoring(engine: &EngineArgs) -> anyhow::Result<Option<Scoring>> {
    if let Engine::Scripted(script) = &engine.engine {
        let names: HashSet<&str> = script.scorers.iter().map(String::as_str).collect();
        let scorers = Scorer::ALL.into_iter().filter(|scorer| names.contains(scorer.as_str()));
        return Ok((!names.is_empty()).then(|| Scoring::scripted(&scorers.collect::<Vec<_>>())));
    }
    let Some(folder) = engine.scorers.clone() else { return Ok(None) };
    let shown = folder.display().to_string();
    let load = move || {
        if folder.as_os_str() == "bundled" { Scoring::bundled() } else { Scoring::load(&folder) }
    };
    let loaded = tokio::task::spawn_blocking(load).await?;
    let scoring = loaded.with_context(|| format!("cannot load the scorers in {shown}"))?;
    let (profiles, mebibytes) = (scoring.profiles().join(", "), scoring.memory().div_ceil(1 << 20));
    tracing::info!(mebibytes, "scorers {profiles} take {mebibytes} MiB of host memory");
    Ok(Some(scoring))
}

async fn load(
    args: &ModelArgs,
    lora_folder: Option<PathBuf>,
    pace: &PaceArgs,
    queue: Option<&Queue>,
    condition: Condition,
) -> anyhow::Result<DeviceThread> {
    let (its, slots) = (args.clone(), pace.slots());
    let setup = tokio::task::spawn_blocking(move || setup(&its, slots, Picture::of)).await?;
    let setup = Setup { lora_folder, ..setup? };
    let files = ModelFiles::new(args.model.as_deref());
    let (name, dtype) = (files.name(), setup.dtype);
    let begun = std::time::Instant::now();
    let device = setup.device.clone();
    let loading = queue.map(|queue| announced(queue, &setup, &name, &args.device, &condition));
    let thread = DeviceThread::start(move || Uso::load_with(&files, &setup), pace.sharing(), condition).await;
    if let Some(loading) = loading {
        loading.end().await;
    }
    let thread = match thread {
        Err(uso_worker::Error::Engine(error)) => explained(Err(error), args, &device)?,
        thread => thread.context("cannot load the model")?,
    };
    let took_ms = begun.elapsed().as_millis() as u64;
    tracing::info!(model = name, device = args.device, ?dtype, took_ms, "the model is loaded");
    Ok(thread)
}

/// Reports to the queue how far loading is.
fn announced(queue: &Queue, setup: &Setup, model: &str, device: &str, condition: &Condition) -> Loading {
    let about = WorkerReport {
        model: model.to_owned(),
        device: device.to_owned(),
        precision: setup.dtype.as_str().to_owned(),
        plan: setup.plan.as_ref().map(|plan| plan.summary.clone()),
        ..WorkerReport::default()
    };
    let (before, all) = (bytes_read(), setup.plan.as_ref().map(|plan| plan.stored_bytes));
    let read = move || all.map(|all| ((bytes_read() - before) as f64 / all.max(1) as f64).min(1.0));
    Loading::begin(queue.clone(), about, condition.clone(), read)
}

/// What the API says about the model, and the defaults of jobs.
fn of_model(model: Option<&Path>) -> anyhow::Result<Config> {
    let files = ModelFiles::new(model);
    let config = ModelConfig::read(&files).context("cannot read the model's defaults")?;
    let limits = DecodeLimits::default();
    Ok(Config {
        defaults: Defaults {
            width: config.defaults.width,
            height: config.defaults.height,
            content_size: config.defaults.content_size,
            steps: config.defaults.steps,
            guidance: config.defaults.guidance,
            ..Defaults::default()
        },
        model: files.name(),
        max_pixels: limits.max_pixels,
        max_side: limits.max_side,
        examples: if model.is_none() { bundled_examples() } else { Examples::default() },
        ..Config::default()
    })
}

/// Examples of the bundled model; other models do not know its toy world.
fn bundled_examples() -> Examples {
    let set = |example: uso_engine::Example| Example {
        title: example.title(),
        prompt: example.prompt,
        content: example.content,
        styles: example.styles,
        width: example.width,
        height: example.height,
        seed: example.seed,
        steps: example.steps,
        keep_size: false,
    };
    Examples {
        sets: uso_engine::examples().into_iter().map(set).collect(),
        pictures: EXAMPLE_PICTURES.iter().map(|(name, bytes)| ((*name).to_owned(), *bytes)).collect(),
    }
}
