//! How a process is asked to end.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Two wishes of whoever sends signals.
#[derive(Clone)]
pub(crate) struct Shutdown {
    /// Finish what is under way, then end: the first SIGINT or SIGTERM.
    pub(crate) stop: CancellationToken,
    /// End now: the second.
    pub(crate) abort: CancellationToken,
}

impl Shutdown {
    /// Listens for signals for as long as the runtime lives.
    pub(crate) fn on_signals() -> std::io::Result<Self> {
        let signals = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let shutdown = Self { stop: CancellationToken::new(), abort: CancellationToken::new() };
        tokio::spawn(listen(signals, shutdown.clone()));
        Ok(shutdown)
    }
}

async fn listen(mut signals: (Signal, Signal), shutdown: Shutdown) {
    next(&mut signals).await;
    tracing::info!("stopping when the current job is done; a second signal stops at once");
    shutdown.stop.cancel();
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
