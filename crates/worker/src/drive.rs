//! One job from its lease to its end.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uso_engine::{PositionShift, Request};
use uso_queue::{Error as QueueError, JobSpec, Lease, Output};
use uso_store::Store;

use crate::parameters::Parameters;
use crate::references::{self, References};
use crate::verdict::{Verdict, verdict};
use crate::{DeviceThread, Drawn, Error, Metrics, outputs};

/// Pause before the queue is asked again to take a result.
const SETTLE_AGAIN: Duration = Duration::from_secs(1);

/// What jobs are worked on with.
pub(crate) struct Bench {
    pub(crate) store: Store,
    pub(crate) device: DeviceThread,
    pub(crate) metrics: Metrics,
}

impl Bench {
    /// Works on a leased job until it is settled. The lease is renewed all the while, also while
    /// Redis is away: the result waits until it can be handed in.
    ///
    /// # Errors
    /// Only those that make this process useless.
    pub(crate) async fn drive(&self, lease: Lease) -> Result<(), Error> {
        let keeper = lease.keep();
        let made = self.make(&lease, keeper.lost()).await;
        let end = match made {
            Ok(output) => settle(|| lease.complete(&output)).await.map(|()| "succeeded").map_err(|()| None),
            Err(error) => self.give_up(&lease, error).await,
        };
        keeper.stop().await;
        let outcome = match &end {
            Ok(outcome) => outcome,
            Err(None) => "lost",
            Err(Some(_)) => "device_lost",
        };
        self.metrics.outcome(outcome);
        tracing::info!(job.id = %lease.id, fence = lease.fence, outcome, "job {}: {outcome}", lease.id);
        match end {
            Err(Some(error)) => Err(error),
            _ => Ok(()),
        }
    }

    /// From references to a stored picture.
    async fn make(&self, lease: &Lease, lost: CancellationToken) -> Result<Output, Error> {
        let begun = Instant::now();
        let references = references::fetch(&self.store, &lease.spec).await?;
        let fetch_ms = begun.elapsed().as_millis() as u64;
        self.metrics.stage("fetch", fetch_ms);

        let request = request(&lease.spec, references);
        let drawn = self.draw(lease, request.clone(), lost).await?;
        for (stage, spent) in
            [("encode", drawn.encode_ms), ("sample", drawn.sample_ms), ("decode", drawn.decode_ms)]
        {
            self.metrics.stage(stage, spent);
        }
        let stage_ms = json!({
            "fetch": fetch_ms, "encode": drawn.encode_ms, "sample": drawn.sample_ms, "decode": drawn.decode_ms,
        });

        let names = (lease.spec.content.as_ref(), &lease.spec.styles);
        let parameters = Parameters::new(
            self.device.model(),
            &request,
            &drawn.image,
            names.0.map(ToString::to_string),
            names.1.iter().map(ToString::to_string).collect(),
        );
        let begun = Instant::now();
        let output = outputs::publish(&self.store, lease, drawn.image, parameters, &stage_ms).await?;
        self.metrics.stage("upload", begun.elapsed().as_millis() as u64);
        Ok(output)
    }

    /// Has the picture drawn and reports its steps meanwhile.
    async fn draw(&self, lease: &Lease, request: Request, lost: CancellationToken) -> Result<Drawn, Error> {
        let steps = request.steps;
        let drawing = self.device.draw(request, lost.clone());
        let ((), picture) = tokio::join!(report(lease, drawing.step, steps, &lost), drawing.picture);
        picture.unwrap_or_else(|_| Err(Error::DeviceLost("its thread ended".into())))
    }

    async fn give_up(&self, lease: &Lease, error: Error) -> Result<&'static str, Option<Error>> {
        tracing::warn!(job.id = %lease.id, fence = lease.fence, attempt = lease.attempt, %error, "attempt failed");
        match verdict(&error) {
            Verdict::Fail(failure) => {
                settle(|| lease.fail(&failure)).await.map(|()| "failed").map_err(|()| None)
            }
            Verdict::FailAndStop(failure) => {
                // The process ends whether or not the queue still wants to know.
                let _ = settle(|| lease.fail(&failure)).await;
                Err(Some(error))
            }
            Verdict::Abandon => Err(None),
        }
    }
}

/// Reports steps as they are done. Where the queue is slower than the device, steps are skipped;
/// where it is away, all are: a picture matters more than its progress bar. A job that was canceled or
/// has expired is given up here, within one step.
async fn report(lease: &Lease, mut step: watch::Receiver<u32>, steps: u32, lost: &CancellationToken) {
    while step.changed().await.is_ok() {
        let done = *step.borrow_and_update();
        match lease.progress(done, steps).await {
            Ok(()) => {}
            Err(QueueError::LostLease { .. }) => lost.cancel(),
            Err(error) => tracing::debug!(job.id = %lease.id, %error, "a step was not reported"),
        }
    }
}

/// Hands a result in until the queue has taken or refused it.
async fn settle<F>(mut hand_in: impl FnMut() -> F) -> Result<(), ()>
where
    F: Future<Output = Result<(), QueueError>>,
{
    loop {
        match hand_in().await {
            Ok(()) => return Ok(()),
            Err(error) if error.retryable() => {
                tracing::warn!(%error, "the queue cannot take a result now; trying again");
                tokio::time::sleep(SETTLE_AGAIN).await;
            }
            Err(error) => {
                tracing::warn!(%error, "the queue refused a result");
                return Err(());
            }
        }
    }
}

fn request(spec: &JobSpec, references: References) -> Request {
    Request {
        prompt: spec.prompt.clone(),
        content: references.content,
        styles: references.styles,
        width: spec.width,
        height: spec.height,
        keep_size: spec.keep_size,
        content_size: spec.content_size,
        steps: spec.steps,
        guidance: spec.guidance,
        seed: spec.seed,
        position_shift: PositionShift::default(),
    }
}
