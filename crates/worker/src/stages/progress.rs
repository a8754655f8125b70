//! Progress and previews of a sample under way, reported to the queue.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use uso_engine::Image;
use uso_queue::{Class, Error as QueueError, Lease};

use crate::Error;
use crate::active::ActiveJobGuard;
use crate::device::{Phase, Progress, Wanted};

/// Quality of a preview, of 100: it is looked at for a second.
const QUALITY: u8 = 80;

/// Says which stage of a job is under way, so that the job is known if it ends the process; none if it is only held.
/// Where the queue does not hear it, work goes on.
pub(crate) async fn note_stage(lease: &Lease, stage: Option<&str>) {
    if let Err(error) = lease.note_stage(stage).await {
        tracing::debug!(job.id = %lease.id, %error, "a stage was not noted");
    }
}

/// Reports to the queue what the device reports.
pub(crate) struct Reporter<'a> {
    lease: &'a Lease,
    active: &'a ActiveJobGuard,
    lost: &'a CancellationToken,
    /// Whether somebody would see a preview.
    watched: AtomicBool,
}

impl<'a> Reporter<'a> {
    pub(crate) fn new(lease: &'a Lease, active: &'a ActiveJobGuard, lost: &'a CancellationToken) -> Self {
        Self { lease, active, lost, watched: AtomicBool::new(lease.class() == Class::Interactive) }
    }

    /// Reports until the sample has ended. Where the queue is slower than the device, steps are skipped;
    /// where it is away, all are: a picture matters more than its progress bar. A job that was canceled or
    /// has expired is given up here, within one step.
    pub(crate) async fn report(&self, mut progress: watch::Receiver<Progress>) {
        let mut reported = Progress::default();
        while progress.changed().await.is_ok() {
            let now = *progress.borrow_and_update();
            self.active.progress(now, self.lease.spec.steps);
            match self.send(reported, now).await {
                Ok(()) => {}
                Err(QueueError::LostLease { .. }) => self.lost.cancel(),
                Err(error) => tracing::debug!(job.id = %self.lease.id, %error, "a step was not reported"),
            }
            reported = now;
        }
    }

    async fn send(&self, reported: Progress, now: Progress) -> Result<(), QueueError> {
        match (reported.phase, now.phase) {
            (Phase::SetAside, Phase::Sampling) => self.lease.resumed().await?,
            (Phase::Sampling, Phase::SetAside) => self.lease.set_aside().await?,
            (Phase::Waiting, Phase::Sampling) => self.lease.note_stage(Some("sample")).await?,
            _ => {}
        }
        if now.step != reported.step {
            let watched = self.lease.progress(now.step, self.lease.spec.steps).await?;
            self.watched.store(watched || self.lease.class() == Class::Interactive, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Shows a preview every so often while somebody would see it, for as long as it is polled.
    pub(crate) async fn show_previews<T>(
        &self,
        every: Duration,
        wanted: &Wanted,
        mut previews: watch::Receiver<Option<Image>>,
    ) -> T {
        let mut tick = tokio::time::interval(every);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = tick.tick() => if self.watched.load(Ordering::Relaxed) {
                    wanted.ask_for_preview();
                },
                news = previews.changed() => match news {
                    Ok(()) => {
                        let image = previews.borrow_and_update().clone();
                        self.show(image).await;
                    }
                    // The device has ended: so will whoever polls this.
                    Err(_) => std::future::pending().await,
                },
            }
        }
    }

    async fn show(&self, image: Option<Image>) {
        let Some(image) = image else { return };
        if let Err(error) = self.record(image).await {
            tracing::debug!(job.id = %self.lease.id, %error, "a preview was not shown");
        }
    }

    async fn record(&self, image: Image) -> Result<(), Error> {
        let encode = tokio::task::spawn_blocking(move || image.to_jpeg(QUALITY));
        let jpeg = encode.await.map_err(|error| Error::Task(error.to_string()))??;
        self.lease.record_preview(&jpeg).await.map_err(Error::Record)
    }
}
