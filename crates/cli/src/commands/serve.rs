use anyhow::Context as _;
use prometheus::Registry;
use tokio::net::TcpListener;
use uso_api::{Api, QUEUE_TIMEOUT};

use super::say;
use crate::args::ServeArgs;
use crate::connect;
use crate::shutdown::Shutdown;

pub(crate) async fn run(args: ServeArgs) -> anyhow::Result<()> {
    let shutdown = Shutdown::on_signals()?;
    let settings = uso_queue::Config { timeout: QUEUE_TIMEOUT, ..args.redis.config() };
    let queue = connect::queue(settings).await?;
    let store = connect::store(&args.s3, None).await?;
    let listener =
        TcpListener::bind(args.listen).await.with_context(|| format!("cannot listen on {}", args.listen))?;
    let address = listener.local_addr()?;
    let config = connect::api(&queue, &args.access, &args.s3, args.model.as_deref(), address).await?;
    let api = Api::new(queue, store, config, Registry::new())?;
    say(&format!("uso: ready on http://{address}"))?;
    tokio::select! {
        served = api.serve(listener, shutdown.stop.clone()) => served.context("the API failed"),
        () = shutdown.abort.cancelled() => anyhow::bail!("stopped before all requests were answered"),
    }
}
