//! Settlement: the queue is told how an attempt ended.

use std::sync::atomic::Ordering;
use std::time::Duration;

use uso_queue::{Error as QueueError, Output};

use crate::Error;
use crate::device::PartialSample;
use crate::hand_back::Reason;
use crate::job::Job;
use crate::verdict::{Verdict, verdict};

/// Pause before the queue is asked again to take a result.
const SETTLE_AGAIN: Duration = Duration::from_secs(1);

/// How an attempt ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// Its picture is stored and recorded.
    Succeeded,
    /// It failed; `for_good` if it is not tried again.
    Failed { for_good: bool },
    /// It went back to the queue.
    HandedBack(Reason),
    /// It went back to the queue, for a worker with more memory.
    TooBig,
    /// It went back to the queue because the store gives nothing.
    StoreAway,
    /// The lease was somebody else's by then.
    Lost,
    /// The device is of no use any more.
    DeviceLost(Error),
}

impl Ended {
    /// The word for it in metrics and logs.
    pub(crate) fn outcome(&self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed { .. } => "failed",
            Self::HandedBack(reason) => reason.outcome(),
            Self::TooBig => "too_big",
            Self::StoreAway => "store_away",
            Self::Lost => "lost",
            Self::DeviceLost(_) => "device_lost",
        }
    }

    /// Whether the job has ended with it.
    pub(crate) fn is_for_good(&self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed { for_good: true })
    }
}

impl Job<'_> {
    pub(crate) async fn complete(&self, output: &Output) -> Ended {
        match self.settle(|| self.lease.complete(output)).await {
            Ok(()) => Ended::Succeeded,
            Err(()) => Ended::Lost,
        }
    }

    /// Hands the job back, with what there is of its sample if that can be stored; else its steps are done again.
    pub(crate) async fn give_back(&self, partial: Option<PartialSample>) -> Ended {
        if let Some(partial) = partial {
            match self.checkpoints.put(partial, &self.until()).await {
                Ok(checkpoint) if self.settle(|| self.lease.record_checkpoint(&checkpoint)).await.is_ok() => {
                    self.checkpoints.recorded(checkpoint).await;
                }
                Ok(_) | Err(Error::Abandoned) => return Ended::Lost,
                Err(error) => {
                    tracing::warn!(job.id = %self.lease.id, %error, "hands back without its checkpoint");
                }
            }
        }
        self.release(Ended::HandedBack(self.hand_back().reason())).await
    }

    pub(crate) async fn give_back_too_big(&self, need: u64, memory: u64) -> Ended {
        let id = &self.lease.id;
        tracing::warn!(job.id = %id, need, memory, "needs {need} bytes on the device; there are {memory}");
        match self.settle(|| self.lease.release_too_big(need)).await {
            Ok(()) => Ended::TooBig,
            Err(()) => Ended::Lost,
        }
    }

    /// Does what [`verdict`] decides about a failure.
    pub(crate) async fn give_up(&self, error: Error) -> Ended {
        let lease = self.lease;
        tracing::warn!(job.id = %lease.id, fence = lease.fence, attempt = lease.attempt, %error, "attempt failed");
        match verdict(&error).with_device_time(self.scored_ms.load(Ordering::Relaxed)) {
            Verdict::Fail(failure) => match self.settle(|| lease.fail(&failure)).await {
                Ok(()) => {
                    let for_good = !failure.retryable || lease.attempt >= self.context.attempts;
                    Ended::Failed { for_good }
                }
                Err(()) => Ended::Lost,
            },
            Verdict::FailAndStop(failure) => {
                // The process ends whether or not the queue still wants to know.
                let _ = self.settle(|| lease.fail(&failure)).await;
                Ended::DeviceLost(error)
            }
            Verdict::GiveUpStuck => {
                let _ = self.settle(|| lease.give_up_stuck()).await;
                Ended::DeviceLost(error)
            }
            Verdict::HandBack => self.release(Ended::HandedBack(Reason::GivenUp)).await,
            Verdict::AwaitStore => {
                self.context.store_watch.refused();
                self.release(Ended::StoreAway).await
            }
            Verdict::Abandon => Ended::Lost,
        }
    }

    async fn release(&self, ended: Ended) -> Ended {
        match self.settle(|| self.lease.release()).await {
            Ok(()) => ended,
            Err(()) => Ended::Lost,
        }
    }

    /// Hands a result in until the queue has taken or refused it, or the process is about to end.
    async fn settle<F>(&self, mut hand_in: impl FnMut() -> F) -> Result<(), ()>
    where
        F: Future<Output = Result<(), QueueError>>,
    {
        let leave = &self.context.leave;
        self.keeper.settling();
        loop {
            match hand_in().await {
                Ok(()) => return Ok(()),
                Err(error) if error.retryable() && !leave.is_cancelled() => {
                    tracing::warn!(%error, "the queue cannot take a result now; trying again");
                }
                Err(error) => {
                    tracing::warn!(%error, "the queue did not take a result");
                    if let QueueError::LostLease { .. } = error {
                        self.keeper.lost().cancel();
                    }
                    return Err(());
                }
            }
            tokio::select! {
                () = leave.cancelled() => {}
                () = tokio::time::sleep(SETTLE_AGAIN) => {}
            }
        }
    }
}
