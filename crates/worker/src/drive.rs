//! One job from its lease to its end.

use std::time::Duration;

use uso_queue::{Error as QueueError, Keeper, Lease};

use crate::attempt::{Attempt, Made};
use crate::checkpoints::Checkpoints;
use crate::held::Ticket;
use crate::transfers::Until;
use crate::verdict::{Verdict, verdict};
use crate::workshop::Workshop;
use crate::{Error, HalfDrawn};

/// Pause before the queue is asked again to take a result.
const SETTLE_AGAIN: Duration = Duration::from_secs(1);

/// What a worker does after a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// It takes another.
    Job,
    /// It leaves bulk work to others for a while: they have none.
    Others,
}

/// How an attempt ended.
enum End {
    Succeeded,
    Failed { for_good: bool },
    HandedBack,
    GivenAway,
    TooBig,
    StoreAway,
    Lost,
    DeviceLost(Error),
}

impl Workshop {
    /// Works on a leased job until it is settled. The lease is renewed all the while, also while
    /// Redis is away: the result waits until it can be handed in.
    ///
    /// # Errors
    /// Only those that make this process useless.
    pub(crate) async fn drive(&self, lease: Lease, keeper: Keeper, ticket: Ticket) -> Result<Next, Error> {
        let checkpoints = Checkpoints::new(self, &lease);
        let attempt = Attempt::new(self, &lease, &keeper, &ticket, &checkpoints);
        let end = match attempt.make().await {
            Ok(Made::Picture(output)) => match self.settle(|| lease.complete(&output)).await {
                Ok(()) => End::Succeeded,
                Err(()) => End::Lost,
            },
            Ok(Made::Half { half, fingerprint }) => {
                let end = if attempt.is_given_away() { End::GivenAway } else { End::HandedBack };
                self.hand_back(&lease, half, &fingerprint, &checkpoints, &attempt.until(), end).await
            }
            Ok(Made::TooBig { need, memory }) => self.too_big(&lease, need, memory).await,
            Err(error) => self.give_up(&lease, error).await,
        };
        drop(keeper);
        if matches!(end, End::Succeeded | End::Failed { for_good: true }) {
            checkpoints.forget().await;
        }
        let outcome = end.as_str();
        self.metrics.outcome(outcome);
        tracing::info!(job.id = %lease.id, fence = lease.fence, outcome, "job {}: {outcome}", lease.id);
        match end {
            End::DeviceLost(error) => Err(error),
            End::GivenAway => Ok(Next::Others),
            _ => Ok(Next::Job),
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
        until: &Until,
        end: End,
    ) -> End {
        if let Some(half) = half {
            match checkpoints.put(half, fingerprint, until).await {
                Ok(checkpoint) if self.settle(|| lease.record_checkpoint(&checkpoint)).await.is_ok() => {
                    checkpoints.recorded(checkpoint).await;
                }
                Ok(_) | Err(Error::Abandoned) => return End::Lost,
                Err(error) => tracing::warn!(job.id = %lease.id, %error, "hands back without its checkpoint"),
            }
        }
        self.release(lease, end).await
    }

    async fn too_big(&self, lease: &Lease, need: u64, memory: u64) -> End {
        tracing::warn!(job.id = %lease.id, need, memory, "needs {need} bytes on the device; there are {memory}");
        match self.settle(|| lease.release_too_big(need)).await {
            Ok(()) => End::TooBig,
            Err(()) => End::Lost,
        }
    }

    async fn release(&self, lease: &Lease, end: End) -> End {
        match self.settle(|| lease.release()).await {
            Ok(()) => end,
            Err(()) => End::Lost,
        }
    }

    async fn give_up(&self, lease: &Lease, error: Error) -> End {
        tracing::warn!(job.id = %lease.id, fence = lease.fence, attempt = lease.attempt, %error, "attempt failed");
        match verdict(&error) {
            Verdict::Fail(failure) => match self.settle(|| lease.fail(&failure)).await {
                Ok(()) => End::Failed { for_good: !failure.retryable || lease.attempt >= self.attempts },
                Err(()) => End::Lost,
            },
            Verdict::FailAndStop(failure) => {
                // The process ends whether or not the queue still wants to know.
                let _ = self.settle(|| lease.fail(&failure)).await;
                End::DeviceLost(error)
            }
            Verdict::GiveUpStuck => {
                let _ = self.settle(|| lease.give_up_stuck()).await;
                End::DeviceLost(error)
            }
            Verdict::HandBack => self.release(lease, End::HandedBack).await,
            Verdict::AwaitStore => {
                self.store_watch.refused();
                self.release(lease, End::StoreAway).await
            }
            Verdict::Abandon => End::Lost,
        }
    }

    /// Hands a result in until the queue has taken or refused it, or the process is about to end.
    async fn settle<F>(&self, mut hand_in: impl FnMut() -> F) -> Result<(), ()>
    where
        F: Future<Output = Result<(), QueueError>>,
    {
        loop {
            match hand_in().await {
                Ok(()) => return Ok(()),
                Err(error) if error.retryable() && !self.leave.is_cancelled() => {
                    tracing::warn!(%error, "the queue cannot take a result now; trying again");
                }
                Err(error) => {
                    tracing::warn!(%error, "the queue did not take a result");
                    return Err(());
                }
            }
            tokio::select! {
                () = self.leave.cancelled() => {}
                () = tokio::time::sleep(SETTLE_AGAIN) => {}
            }
        }
    }
}

impl End {
    fn as_str(&self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed { .. } => "failed",
            Self::HandedBack => "handed_back",
            Self::GivenAway => "given_away",
            Self::TooBig => "too_big",
            Self::StoreAway => "store_away",
            Self::Lost => "lost",
            Self::DeviceLost(_) => "device_lost",
        }
    }
}
