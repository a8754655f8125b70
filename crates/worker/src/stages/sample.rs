//! Sampling: the device works on a job's picture, and the queue hears how far it is.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use uso_engine::{Image, Request};

use super::progress::Reporter;
use super::tries::EarlyLook;
use crate::Error;
use crate::device::{FinishedSample, RunningSample, SampleRequest, Unfinished};
use crate::job::{Job, rank};

impl Job<'_> {
    /// Has the picture sampled; meanwhile reports progress, keeps checkpoints and shows previews. With an early look it
    /// may be dropped.
    pub(super) async fn sample(
        &self,
        request: &Arc<Request>,
        resume: Option<Bytes>,
        early: Option<&EarlyLook<'_>>,
    ) -> Result<FinishedSample, Unfinished> {
        let sample = SampleRequest {
            request: Arc::clone(request),
            rank: rank(self.lease),
            resume,
            give_up: self.keeper.lost(),
            hand_back: self.hand_back().asked().clone(),
            stuck: CancellationToken::new(),
            drop: CancellationToken::new(),
            predict_after: early.map(EarlyLook::step),
            wanted: Arc::default(),
        };
        let (wanted, lost) = (Arc::clone(&sample.wanted), sample.give_up.clone());
        let (stuck, drop) = (sample.stuck.clone(), sample.drop.clone());
        let device = &self.context.device;
        let RunningSample { progress, copy, preview, predicted, end } = device.sample(sample);
        let reporter = Reporter::new(self.lease, self.active, &lost);
        let settings = &self.context.settings;
        tokio::select! {
            (end, ()) = async { tokio::join!(end, reporter.report(progress)) } => {
                end.unwrap_or(Err(Error::DeviceGone.into()))
            }
            () = device.hangs().cancelled() => {
                Err(if stuck.is_cancelled() { Error::DeviceStuck.into() } else { Unfinished::HandedBack(None) })
            }
            never = self.checkpoints.keep_copies(settings.checkpoint_every, &wanted, copy) => never,
            never = reporter.show_previews(settings.preview_every, &wanted, preview) => never,
            never = drop_if_hopeless(early, predicted, &drop) => never,
        }
    }
}

/// Has a picture dropped that an early look finds hopeless, for as long as it is polled.
async fn drop_if_hopeless<T>(
    early: Option<&EarlyLook<'_>>,
    predicted: oneshot::Receiver<Image>,
    drop: &CancellationToken,
) -> T {
    if let Some(early) = early
        && let Ok(image) = predicted.await
        && early.is_hopeless(image).await
    {
        drop.cancel();
    }
    std::future::pending().await
}
