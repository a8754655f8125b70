//! How a process is asked to end.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Three wishes of whoever sends signals.
#[derive(Clone, Default)]
pub(crate) struct Shutdown {
    /// Finish what the grace allows, then end: the first SIGINT or SIGTERM.
    pub(crate) stop: CancellationToken,
    /// Hand back what is half-drawn, then end: the second.
    pub(crate) hurry: CancellationToken,
    /// End now: the third.
    pub(crate) abort: CancellationToken,
}

impl Shutdown {
    /// Listens for signals for as long as the runtime lives.
    pub(crate) fn on_signals() -> std::io::Result<Self> {
        let signals = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let shutdown = Self::default();
        tokio::spawn(listen(signals, shutdown.clone()));
        Ok(shutdown)
    }
}

async fn listen(mut signals: (Signal, Signal), shutdown: Shutdown) {
    next(&mut signals).await;
    tracing::info!("stopping; a second signal hands back what is half-drawn, a third stops at once");
    shutdown.stop.cancel();
    next(&mut signals).await;
    tracing::info!("handing back what is half-drawn");
    shutdown.hurry.cancel();
    next(&mut signals).await;
    tracing::warn!("stopping at once; an unfinished job goes back to the queue");
    shutdown.abort.cancel();
}

async fn next((interrupt, terminate): &mut (Signal, Signal)) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}
