//! One job from its lease to its end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uso_engine::{PositionShift, Request};
use uso_queue::{Error as QueueError, JobSpec, Keeper, Lease, Output};
use uso_store::Store;

use crate::checkpoints::Checkpoints;
use crate::parameters::Parameters;
use crate::references::{self, References};
use crate::verdict::{Verdict, verdict};
use crate::{DeviceThread, Drawn, Error, HalfDrawn, Metrics, Order, Outcome, checkpoints, outputs};

/// Pause before the queue is asked again to take a result.
const SETTLE_AGAIN: Duration = Duration::from_secs(1);

/// What jobs are worked on with.
pub(crate) struct Bench {
    pub(crate) store: Store,
    pub(crate) device: DeviceThread,
    pub(crate) metrics: Metrics,
    /// Attempts that a job may spend.
    pub(crate) attempts: u32,
    /// How often a copy of the half-drawn picture is kept.
    pub(crate) checkpoint_every: Duration,
}

/// What an attempt made of its job.
enum Made {
    Picture(Output),
    Half { half: Option<HalfDrawn>, fingerprint: String },
}

/// What a worker does after a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// It takes another.
    Job,
    /// It waits for the store: without it no job gets anywhere.
    Store,
}

/// How an attempt ended.
enum End {
    Succeeded,
    Failed { for_good: bool },
    HandedBack,
    StoreAway,
    Lost,
    DeviceLost(Error),
}

impl Bench {
    /// Works on a leased job until it is settled. The lease is renewed all the while, also while
    /// Redis is away: the result waits until it can be handed in.
    ///
    /// # Errors
    /// Only those that make this process useless.
    pub(crate) async fn drive(&self, lease: Lease) -> Result<Next, Error> {
        let keeper = lease.keep();
        let checkpoints = Checkpoints::new(&self.store, &lease);
        let end = match self.make(&lease, &keeper, &checkpoints).await {
            Ok(Made::Picture(output)) => self.hand_in(&lease, &output).await,
            Ok(Made::Half { half, fingerprint }) => {
                self.hand_back(&lease, half, &fingerprint, &checkpoints).await
            }
            Err(error) => self.give_up(&lease, error).await,
        };
        keeper.stop().await;
        if matches!(end, End::Succeeded | End::Failed { for_good: true }) {
            checkpoints.forget().await;
        }
        let outcome = end.as_str();
        self.metrics.outcome(outcome);
        tracing::info!(job.id = %lease.id, fence = lease.fence, outcome, "job {}: {outcome}", lease.id);
        match end {
            End::DeviceLost(error) => Err(error),
            End::StoreAway => Ok(Next::Store),
            _ => Ok(Next::Job),
        }
    }

    /// From references to a stored picture, or to half of one if the job is to go back.
    async fn make(
        &self,
        lease: &Lease,
        keeper: &Keeper,
        checkpoints: &Checkpoints<'_>,
    ) -> Result<Made, Error> {
        let begun = Instant::now();
        let references = self.fetch(lease).await?;
        let fetch_ms = begun.elapsed().as_millis() as u64;
        self.metrics.stage("fetch", fetch_ms);

        let request = Arc::new(request(&lease.spec, references));
        let fingerprint = self.fingerprint(&request).await?;
        let resume = checkpoints::fetch(&self.store, lease, &fingerprint).await;
        let order = Order {
            request: Arc::clone(&request),
            resume,
            give_up: keeper.lost(),
            hand_back: keeper.hand_back(),
            copy: Arc::default(),
        };
        match self.draw(lease, order, &fingerprint, checkpoints).await? {
            Outcome::Drawn(drawn) => {
                let published = self.publish(lease, &request, drawn, fetch_ms, &keeper.lost()).await;
                published.map(Made::Picture)
            }
            Outcome::HandedBack(half) => Ok(Made::Half { half, fingerprint }),
        }
    }

    /// Fetches the references, and tells a store that is away from a reference that cannot be had. A store
    /// that answers now may have been away a moment ago: it is asked once more.
    async fn fetch(&self, lease: &Lease) -> Result<References, Error> {
        let mut again = true;
        loop {
            match references::fetch(&self.store, &lease.spec).await {
                Err(Error::Fetch { source, .. })
                    if source.retryable() && self.store.ping().await.is_err() =>
                {
                    return Err(Error::StoreAway(source));
                }
                Err(Error::Fetch { source, .. }) if source.retryable() && std::mem::take(&mut again) => {}
                answer => return answer,
            }
        }
    }

    /// What a picture of this request depends on; only what has the same may go on with it.
    async fn fingerprint(&self, request: &Arc<Request>) -> Result<String, Error> {
        let request = Arc::clone(request);
        // References have up to 150 MB of pixels each.
        let digest = tokio::task::spawn_blocking(move || request.digest()).await;
        let digest = digest.map_err(|error| Error::Task(error.to_string()))?;
        Ok(format!("{} {digest}", self.device.fingerprint()))
    }

    /// Has the picture drawn; meanwhile reports its steps and keeps a copy now and then.
    async fn draw(
        &self,
        lease: &Lease,
        order: Order,
        fingerprint: &str,
        checkpoints: &Checkpoints<'_>,
    ) -> Result<Outcome, Error> {
        let (steps, lost, wanted) = (order.request.steps, order.give_up.clone(), Arc::clone(&order.copy));
        let drawing = self.device.draw(order);
        let drawn = async { tokio::join!(report(lease, drawing.step, steps, &lost), drawing.outcome).1 };
        let copies = async {
            checkpoints.keep_copies(self.checkpoint_every, fingerprint, &wanted, drawing.copy).await;
            // The picture itself is what is waited for.
            std::future::pending().await
        };
        let outcome = tokio::select! {
            outcome = drawn => outcome,
            outcome = copies => outcome,
        };
        outcome.unwrap_or_else(|_| Err(Error::DeviceLost("its thread ended".into())))
    }

    async fn publish(
        &self,
        lease: &Lease,
        request: &Request,
        drawn: Drawn,
        fetch_ms: u64,
        lost: &CancellationToken,
    ) -> Result<Output, Error> {
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
            request,
            &drawn.image,
            names.0.map(ToString::to_string),
            names.1.iter().map(ToString::to_string).collect(),
        );
        let begun = Instant::now();
        let output = outputs::publish(&self.store, lease, drawn.image, parameters, &stage_ms, lost).await?;
        self.metrics.stage("upload", begun.elapsed().as_millis() as u64);
        Ok(output)
    }

    async fn hand_in(&self, lease: &Lease, output: &Output) -> End {
        match settle(|| lease.complete(output)).await {
            Ok(()) => End::Succeeded,
            Err(()) => End::Lost,
        }
    }

    /// Gives the job back for a later time. What is drawn of it goes along if it can be stored; else it
    /// is drawn again.
    async fn hand_back(
        &self,
        lease: &Lease,
        half: Option<HalfDrawn>,
        fingerprint: &str,
        checkpoints: &Checkpoints<'_>,
    ) -> End {
        if let Some(half) = half {
            match checkpoints.put(half, fingerprint).await {
                Ok(checkpoint) if settle(|| lease.record_checkpoint(&checkpoint)).await.is_ok() => {
                    checkpoints.recorded(checkpoint).await;
                }
                Ok(_) => return End::Lost,
                Err(error) => tracing::warn!(job.id = %lease.id, %error, "hands back without its checkpoint"),
            }
        }
        self.release(lease, End::HandedBack).await
    }

    async fn release(&self, lease: &Lease, end: End) -> End {
        match settle(|| lease.release()).await {
            Ok(()) => end,
            Err(()) => End::Lost,
        }
    }

    async fn give_up(&self, lease: &Lease, error: Error) -> End {
        tracing::warn!(job.id = %lease.id, fence = lease.fence, attempt = lease.attempt, %error, "attempt failed");
        match verdict(&error) {
            Verdict::Fail(failure) => match settle(|| lease.fail(&failure)).await {
                Ok(()) => End::Failed { for_good: !failure.retryable || lease.attempt >= self.attempts },
                Err(()) => End::Lost,
            },
            Verdict::FailAndStop(failure) => {
                // The process ends whether or not the queue still wants to know.
                let _ = settle(|| lease.fail(&failure)).await;
                End::DeviceLost(error)
            }
            Verdict::HandBack => self.release(lease, End::StoreAway).await,
            Verdict::Abandon => End::Lost,
        }
    }
}

impl End {
    fn as_str(&self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed { .. } => "failed",
            Self::HandedBack => "handed_back",
            Self::StoreAway => "store_away",
            Self::Lost => "lost",
            Self::DeviceLost(_) => "device_lost",
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
            Ok(_watched) => {}
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
