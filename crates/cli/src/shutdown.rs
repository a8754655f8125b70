//! Signals that stop the process.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// How urgently the process should end; each signal is more urgent.
#[derive(Clone, Default)]
pub(crate) struct Shutdown {
    /// First SIGINT or SIGTERM: finish what the grace period allows, then end.
    pub(crate) stop: CancellationToken,
    /// Second: hand back unfinished jobs, then end.
    pub(crate) hurry: CancellationToken,
    /// Third: end now.
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
    tracing::info!("stopping; a second signal hands back unfinished jobs, a third stops at once");
    shutdown.stop.cancel();
    next(&mut signals).await;
    tracing::info!("handing back unfinished jobs");
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
