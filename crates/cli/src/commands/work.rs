use std::net::SocketAddr;

use anyhow::Context as _;
use axum::Router;
use axum::routing::get;
use prometheus::{Registry, TextEncoder};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use uso_worker::{Metrics, Worker};

use super::say;
use crate::args::WorkArgs;
use crate::connect;
use crate::shutdown::Shutdown;

pub(crate) async fn run(args: WorkArgs) -> anyhow::Result<()> {
    let shutdown = Shutdown::on_signals()?;
    let registry = Registry::new();
    let connect = async {
        let queue = connect::queue(args.redis.config()).await?;
        let store = connect::store(&args.s3, None).await?;
        let device = connect::device(&args.model, &args.engine, &args.pace, Some(&queue)).await?;
        anyhow::Ok((queue, store, device))
    };
    let (queue, store, device) = tokio::select! {
        connected = Box::pin(connect) => connected?,
        // Nothing was begun.
        () = shutdown.stop.cancelled() => return Ok(()),
    };
    let metrics = Metrics::new(&registry)?;
    metrics.observe(&device)?;
    let worker = Worker::new(queue, store, device, metrics, args.pace.settings());
    let health = tokio::spawn(serve_health(args.listen, registry, shutdown.stop.clone()));
    say("uso: worker ready")?;
    let worked = tokio::select! {
        worked = worker.run(shutdown.stop.clone(), shutdown.hurry.clone()) => worked.context("the worker failed"),
        // Its lease runs out, and another worker takes the job.
        () = shutdown.abort.cancelled() => std::process::exit(130),
    };
    shutdown.stop.cancel();
    health.await.context("the health server failed")??;
    worked
}

/// `/healthz` and `/metrics`, where somebody wants them.
async fn serve_health(
    address: Option<SocketAddr>,
    registry: Registry,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let Some(address) = address else { return Ok(()) };
    let listener = TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
    let metrics =
        move || async move { TextEncoder::new().encode_to_string(&registry.gather()).unwrap_or_default() };
    let router = Router::new().route("/healthz", get(async || "ok\n")).route("/metrics", get(metrics));
    axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await?;
    Ok(())
}
