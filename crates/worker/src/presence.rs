//! What others see of this worker while it is there.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use uso_queue::{Queue, WorkerId, WorkerReport};

use crate::DeviceThread;

/// How often a worker says that it is there: a silence of three leases makes it gone.
const EVERY: Duration = Duration::from_secs(3);

/// What the worker says of itself.
pub(crate) fn report(device: &DeviceThread, running: u32) -> WorkerReport {
    WorkerReport {
        host: host(),
        pid: std::process::id(),
        device: device.device().to_owned(),
        model: device.model().to_owned(),
        slots: 1,
        running,
        capacity: None,
    }
}

/// The machine's name, or nothing where the system does not tell.
fn host() -> String {
    let named = std::env::var("HOSTNAME").or_else(|_| std::fs::read_to_string("/proc/sys/kernel/hostname"));
    named.unwrap_or_default().trim().to_owned()
}

/// Reports every few seconds until `over`, then signs off. While Redis is away nobody can see it
/// either, so a failed report is only a remark.
pub(crate) async fn attend_until(
    queue: &Queue,
    id: &WorkerId,
    report: impl Fn() -> WorkerReport,
    over: CancellationToken,
) {
    loop {
        if let Err(error) = queue.attend(id, &report()).await {
            tracing::debug!(worker.id = %id, %error, "could not report");
        }
        tokio::select! {
            () = over.cancelled() => break,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
    if let Err(error) = queue.leave(id).await {
        tracing::debug!(worker.id = %id, %error, "could not sign off");
    }
}
