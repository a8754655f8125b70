use anyhow::Context as _;
use prometheus::Registry;
use uso_queue::WorkerId;
use uso_worker::{Condition, Metrics, Settings, Worker, work_on_datasets};

use super::say;
use crate::args::WorkArgs;
use crate::connect;
use crate::health::Health;
use crate::shutdown::Shutdown;

pub(crate) async fn run(args: WorkArgs) -> anyhow::Result<()> {
    let shutdown = Shutdown::on_signals()?;
    let (registry, condition) = (Registry::new(), Condition::default());
    let health = match args.listen {
        Some(address) => Some(Health::start(address, registry.clone(), condition.clone()).await?),
        None => None,
    };
    let worked = work(args, &shutdown, &registry, condition).await;
    if let Some(health) = health {
        health.stop().await;
    }
    worked
}

async fn work(
    args: WorkArgs,
    shutdown: &Shutdown,
    registry: &Registry,
    condition: Condition,
) -> anyhow::Result<()> {
    if args.model.device == "none" {
        return without_device(args, shutdown, condition).await;
    }
    let connect = async {
        connect::check_device(&args.model, &args.engine).await?;
        let queue = connect::queue(args.redis.config()).await?;
        let store = connect::store(&args.s3, None).await?;
        let scoring = connect::scoring(&args.engine).await?;
        let device = connect::device(&args.model, &args.engine, &args.pace, Some(&queue), condition).await?;
        anyhow::Ok((queue, store, device, scoring))
    };
    let (queue, store, device, scoring) = tokio::select! {
        connected = Box::pin(connect) => connected?,
        // Nothing has begun yet.
        () = shutdown.stop.cancelled() => return Ok(()),
    };
    let metrics = Metrics::new(registry)?;
    metrics.observe(&device)?;
    let settings = Settings { scoring, ..args.pace.settings() };
    let worker = Worker::new(queue, store, device, metrics, settings);
    say("uso: worker ready")?;
    tokio::select! {
        worked = worker.run(shutdown.stop.clone(), shutdown.hurry.clone()) => worked.context("the worker failed"),
        // The leases run out, and other workers take the jobs.
        () = shutdown.abort.cancelled() => std::process::exit(130),
    }
}

/// Works on data sets alone: queues their rows and packs their shards.
async fn without_device(args: WorkArgs, shutdown: &Shutdown, condition: Condition) -> anyhow::Result<()> {
    let connect = async {
        let queue = connect::queue(args.redis.config()).await?;
        anyhow::Ok((queue, connect::store(&args.s3, None).await?))
    };
    let (queue, store) = tokio::select! {
        connected = Box::pin(connect) => connected?,
        () = shutdown.stop.cancelled() => return Ok(()),
    };
    condition.set_ready();
    say("uso: worker ready")?;
    let worker = WorkerId::new();
    let reap = queue.reap_until(&worker, shutdown.stop.clone());
    let work = work_on_datasets(queue.clone(), store, worker.clone(), shutdown.stop.clone());
    tokio::select! {
        ((), ()) = async { tokio::join!(reap, work) } => Ok(()),
        () = shutdown.abort.cancelled() => std::process::exit(130),
    }
}
