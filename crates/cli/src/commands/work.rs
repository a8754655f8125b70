use anyhow::Context as _;
use prometheus::Registry;
use uso_worker::{Condition, Metrics, Worker};

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
    let connect = async {
        let queue = connect::queue(args.redis.config()).await?;
        let store = connect::store(&args.s3, None).await?;
        let device = connect::device(&args.model, &args.engine, &args.pace, Some(&queue), condition).await?;
        anyhow::Ok((queue, store, device))
    };
    let (queue, store, device) = tokio::select! {
        connected = Box::pin(connect) => connected?,
        // Nothing has begun yet.
        () = shutdown.stop.cancelled() => return Ok(()),
    };
    let metrics = Metrics::new(registry)?;
    metrics.observe(&device)?;
    let worker = Worker::new(queue, store, device, metrics, args.pace.settings());
    say("uso: worker ready")?;
    tokio::select! {
        worked = worker.run(shutdown.stop.clone(), shutdown.hurry.clone()) => worked.context("the worker failed"),
        // The leases run out, and other workers take the jobs.
        () = shutdown.abort.cancelled() => std::process::exit(130),
    }
}
