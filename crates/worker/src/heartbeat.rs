//! Heartbeats: what others see of this worker while it is there.

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uso_queue::{Queue, WorkerId, WorkerReport};

use crate::active::ActiveJob;
use crate::context::Context;
use crate::device::DeviceStatus;
use crate::{Condition, loras};

/// How often a worker says that it is there: a silence of three leases makes it gone.
const EVERY: Duration = Duration::from_secs(3);

/// What the worker says of itself.
pub(crate) fn report(context: &Context, held: &[ActiveJob]) -> WorkerReport {
    let engine = context.device.engine();
    let DeviceStatus { cache, free } = context.device.status();
    let looked_up = cache.hits + cache.misses;
    WorkerReport {
        host: host(),
        pid: std::process::id(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        state: context.device.condition().get(),
        device: engine.device.clone(),
        model: engine.model.clone(),
        precision: engine.precision.clone(),
        fingerprint: engine.fingerprint.clone(),
        scripted: engine.scripted,
        slots: context.settings.slots as u32,
        running: held.len() as u32,
        jobs: held.iter().map(|job| job.id).collect(),
        classes: context.settings.classes.clone(),
        capacity: engine.memory,
        loras: loras::report(&engine.loras),
        scorers: context.scoring().map(|scoring| scoring.scorers().to_vec()).unwrap_or_default(),
        free_memory: free,
        step_ms: context.device.clock().step().map(|step| step.as_secs_f64() * 1e3),
        step_paces: context.step_paces.all(),
        job_steps: context.pace.mean().map(|(steps, _)| steps),
        beside_ms: context.pace.mean().map(|(_, beside)| beside * 1e3),
        loading: None,
        plan: engine.plan.clone(),
        cache_hit_rate: (looked_up > 0).then(|| cache.hits as f64 / looked_up as f64),
    }
}

/// A worker that loads its model, as others see it until [`Loading::end`].
pub struct Loading {
    over: CancellationToken,
    reports: JoinHandle<()>,
}

impl Loading {
    /// Reports every few seconds what `about` says, how far the worker is and how much of the model is read by then.
    pub fn begin(
        queue: Queue,
        about: WorkerReport,
        condition: Condition,
        read: impl Fn() -> Option<f64> + Send + Sync + 'static,
    ) -> Self {
        let over = CancellationToken::new();
        let its = over.clone();
        let reports = tokio::spawn(async move {
            let report = || WorkerReport {
                host: host(),
                pid: std::process::id(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                state: condition.get(),
                loading: read(),
                // It has no room for any job yet.
                capacity: Some(0),
                ..about.clone()
            };
            heartbeat_until(&queue, &WorkerId::new(), report, its).await;
        });
        Self { over, reports }
    }

    /// Ends it: the worker reports for itself from now on, or has failed.
    pub async fn end(self) {
        self.over.cancel();
        if let Err(error) = self.reports.await {
            tracing::warn!(%error, "reports of loading have failed");
        }
    }
}

/// The machine's name, or nothing where the system does not tell.
fn host() -> String {
    let named = std::env::var("HOSTNAME").or_else(|_| std::fs::read_to_string("/proc/sys/kernel/hostname"));
    named.unwrap_or_default().trim().to_owned()
}

/// Reports every few seconds until `over`, then signs off. While Redis is away nobody can see it
/// either, so a failed report is only a remark.
pub(crate) async fn heartbeat_until(
    queue: &Queue,
    id: &WorkerId,
    report: impl Fn() -> WorkerReport,
    over: CancellationToken,
) {
    loop {
        if let Err(error) = queue.register(id, &report()).await {
            tracing::debug!(worker.id = %id, %error, "could not report");
        }
        tokio::select! {
            () = over.cancelled() => break,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
    if let Err(error) = queue.deregister(id).await {
        tracing::debug!(worker.id = %id, %error, "could not sign off");
    }
}
