use anyhow::Context as _;
use prometheus::Registry;
use tokio::net::TcpListener;
use uso_api::{Api, Config};

use super::say;
use crate::args::ServeArgs;
use crate::connect;
use crate::shutdown::Shutdown;

pub(crate) async fn run(args: ServeArgs) -> anyhow::Result<()> {
    let shutdown = Shutdown::on_signals()?;
    let defaults = connect::defaults(args.model.as_deref())?;
    let queue = connect::queue(args.redis.config()).await?;
    let store = connect::store(&args.s3, None).await?;
    let api = Api::new(queue, store, Config { defaults, ..Config::default() }, Registry::new())?;
    let listener =
        TcpListener::bind(args.listen).await.with_context(|| format!("cannot listen on {}", args.listen))?;
    say(&format!("uso: ready on http://{}", listener.local_addr()?))?;
    tokio::select! {
        served = api.serve(listener, shutdown.stop.clone()) => served.context("the API failed"),
        () = shutdown.abort.cancelled() => anyhow::bail!("stopped before all requests were answered"),
    }
}
