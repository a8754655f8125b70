//! The right to work on a job, for as long as it is renewed.

use std::time::Duration;

use redis::Value;
use uuid::Uuid;

use super::hold::Hold;
use crate::answers::Fields;
use crate::codec::{json, to_json};
use crate::{BatchId, Checkpoint, Class, Error, Failure, JobId, JobSpec, Output, Queue};

/// Largest record of a checkpoint in bytes of JSON.
pub const MAX_CHECKPOINT: usize = 8192;

/// Largest preview in bytes.
pub const MAX_PREVIEW: usize = 256 * 1024;

/// How long a preview can be fetched: until well after the next one.
const PREVIEW_LIFE: Duration = Duration::from_secs(60);

/// One attempt at one job. Whoever holds it may report, renew and settle; once lost, none of these
/// has any effect.
#[must_use = "a lease that is dropped keeps its job from others until it runs out"]
pub struct Lease {
    /// The job.
    pub id: JobId,
    /// Rises with every claim of the shard.
    pub fence: u64,
    /// Which attempt this is, from 1.
    pub attempt: u32,
    /// What to do.
    pub spec: JobSpec,
    /// Whose job it is.
    pub tenant: String,
    /// When the job was accepted, in milliseconds since the epoch, by Redis' clock.
    pub submitted_ms: u64,
    /// When this attempt began, by the same clock.
    pub claimed_ms: u64,
    /// When the queue ends the job if it is not done, by the same clock.
    pub finish_by_ms: Option<u64>,
    /// Whether a worker was lost at the job before: nothing else is to run in this process beside it.
    pub alone: bool,
    /// The newest checkpoint of an attempt before this one.
    pub checkpoint: Option<Checkpoint>,
    /// The batch it belongs to.
    pub batch: Option<BatchId>,
    /// The row of a data set that it is, from 0.
    pub row: Option<u64>,
    hold: Hold,
}

impl Lease {
    /// Reads what the function `claim` gives for a job. A spec that this version cannot read fails the job at once.
    pub(crate) async fn read(
        queue: Queue,
        shard: u16,
        token: Uuid,
        granted: Value,
    ) -> Result<Option<Self>, Error> {
        let mut lease = Fields::read("lease", granted)?;
        let id = JobId::read(shard, &lease.take::<Vec<u8>>("id")?)?;
        let (fence, attempt) = (lease.take("fence")?, lease.take("attempt")?);
        let hold = Hold { queue, id, fence, attempt, token };
        let spec = match json(&lease.take::<String>("spec")?) {
            Ok(spec) => spec,
            Err(error) => {
                let message = format!("the job's parameters cannot be read: {error}");
                let failure = Failure {
                    code: "unreadable_spec".into(),
                    message,
                    retryable: false,
                    ..Failure::default()
                };
                // If this does not get through, the lease runs out and the next claim fails it.
                if let Err(error) = hold.fail(&failure).await {
                    tracing::warn!(job.id = %id, %error, "could not fail a job whose parameters are unreadable");
                }
                return Ok(None);
            }
        };
        let checkpoint: Option<String> = lease.take("checkpoint")?;
        let batch: Option<Vec<u8>> = lease.take("batch")?;
        Ok(Some(Self {
            id,
            fence,
            attempt,
            spec,
            tenant: lease.take("tenant")?,
            submitted_ms: lease.take("submitted")?,
            claimed_ms: lease.take("claimed")?,
            finish_by_ms: lease.take("finish_by")?,
            alone: lease.take::<Option<bool>>("alone")?.unwrap_or(false),
            // A checkpoint saves time; one that cannot be read only costs it.
            checkpoint: checkpoint.as_deref().and_then(|text| json(text).ok()),
            batch: batch.map(|bytes| BatchId::read(shard, &bytes)).transpose()?,
            row: lease.take("row")?,
            hold,
        }))
    }

    /// How urgent the job is.
    pub fn class(&self) -> Class {
        self.spec.class
    }

    pub(super) fn hold(&self) -> &Hold {
        &self.hold
    }

    /// Makes the lease young again, once; a [`crate::Renewer`] does so all the time.
    ///
    /// # Errors
    /// [`Error::LostLease`], or [`Error::Unreachable`].
    pub async fn renew(&self) -> Result<(), Error> {
        let config = &self.hold.queue.0.config;
        let renewed = self.hold.queue.renew_all(&[&self.hold], config.timeout).await?;
        renewed.into_iter().flatten().next().map(|_| ()).ok_or_else(|| self.hold.lost())
    }

    /// Says, before it begins, which stage of the job is under way; none if the job is only held. If the process
    /// ends meanwhile, the job is suspected to be the cause: the next time it runs alone.
    ///
    /// # Errors
    /// [`Error::LostLease`], or [`Error::Unreachable`].
    pub async fn note_stage(&self, stage: Option<&str>) -> Result<(), Error> {
        self.hold.call(self.hold.function("stage").arg(stage.unwrap_or_default())).await
    }

    /// Says that the holder lives, whose lease was lost: the job was not what ended it. A [`crate::Renewer`] does so.
    ///
    /// # Errors
    /// [`Error::Unreachable`].
    pub async fn clear_mark(&self) -> Result<(), Error> {
        self.hold.queue.clear_mark(&self.hold).await
    }

    /// Gives the job up because the device hangs at it, and the process is about to end. It counts as if the process
    /// had died. Repeating it gives the same answer.
    ///
    /// # Errors
    /// [`Error::LostLease`], or [`Error::Unreachable`].
    pub async fn give_up_stuck(&self) -> Result<(), Error> {
        self.hold.call(self.hold.function("stuck").arg(self.hold.retention_ms())).await
    }

    /// Reports a step; gives whether somebody watches the job ([`Queue::watch`]) and would see a preview.
    ///
    /// # Errors
    /// [`Error::LostLease`]: the job was canceled, has expired, or is somebody else's.
    /// [`Error::Unreachable`]: a report may be skipped.
    pub async fn progress(&self, step: u32, of: u32) -> Result<bool, Error> {
        let hold = &self.hold;
        let answer =
            hold.answer(hold.function("progress").arg(step).arg(of).arg(hold.retention_ms())).await?;
        Ok(answer == 2)
    }

    /// Reports that another job goes first. This one still runs, and its lease is to be renewed all the same.
    ///
    /// # Errors
    /// [`Error::LostLease`]; [`Error::Unreachable`]: it may be skipped.
    pub async fn set_aside(&self) -> Result<(), Error> {
        self.hold.call(self.hold.function("aside").arg("set_aside")).await
    }

    /// Reports that a job that was set aside goes on.
    ///
    /// # Errors
    /// [`Error::LostLease`]; [`Error::Unreachable`]: it may be skipped.
    pub async fn resumed(&self) -> Result<(), Error> {
        self.hold.call(self.hold.function("aside").arg("resumed")).await
    }

    /// Records the newest checkpoint. Whoever gets the job after this lease is given
    /// the newest one.
    ///
    /// # Errors
    /// [`Error::LostLease`]; [`Error::Unreachable`]; [`Error::Unreadable`] if its record is longer than
    /// [`MAX_CHECKPOINT`].
    pub async fn record_checkpoint(&self, checkpoint: &Checkpoint) -> Result<(), Error> {
        let text = to_json(checkpoint)?;
        if text.len() > MAX_CHECKPOINT {
            let reason =
                format!("the checkpoint's record has {} bytes; {MAX_CHECKPOINT} are allowed", text.len());
            return Err(Error::Unreadable(reason));
        }
        self.hold.call(self.hold.function("checkpoint").arg(text)).await
    }

    /// Leaves a small picture of how far it is where [`Queue::preview`] finds it, and reports that it
    /// is there. It replaces the one before.
    ///
    /// # Errors
    /// [`Error::LostLease`]; [`Error::Unreadable`] if it has more than [`MAX_PREVIEW`] bytes; and where
    /// the queue is [`Error::Unreachable`] or [`Error::Full`]: a preview may be skipped.
    pub async fn record_preview(&self, picture: &[u8]) -> Result<(), Error> {
        if picture.is_empty() || picture.len() > MAX_PREVIEW {
            let reason = format!("the preview has {} bytes; 1 to {MAX_PREVIEW} are allowed", picture.len());
            return Err(Error::Unreadable(reason));
        }
        let life_ms = PREVIEW_LIFE.as_millis() as u64;
        self.hold.call(self.hold.function("preview").arg(picture).arg(life_ms)).await
    }

    /// Ends the job with a picture. Repeating it after a lost answer gives the same answer.
    ///
    /// # Errors
    /// [`Error::LostLease`], or [`Error::Unreachable`]: then ask again.
    pub async fn complete(&self, output: &Output) -> Result<(), Error> {
        let output = to_json(output)?;
        self.hold.call(self.hold.function("complete").arg(self.hold.retention_ms()).arg(output)).await
    }

    /// Ends the attempt without a picture. The job waits again, after a pause, if the failure is
    /// retryable and attempts are left; else it has failed. Repeating it gives the same answer.
    ///
    /// # Errors
    /// [`Error::LostLease`], or [`Error::Unreachable`]: then ask again.
    pub async fn fail(&self, failure: &Failure) -> Result<(), Error> {
        self.hold.fail(failure).await
    }

    /// Hands the job back as if it had not been claimed: no attempt is spent.
    ///
    /// # Errors
    /// [`Error::LostLease`], or [`Error::Unreachable`]: then ask again.
    pub async fn release(&self) -> Result<(), Error> {
        self.hold.call(self.hold.function("release").arg("")).await
    }

    /// Hands the job back for a worker that has at least `need` bytes of memory free. No attempt is spent.
    ///
    /// # Errors
    /// [`Error::LostLease`], or [`Error::Unreachable`]: then ask again.
    pub async fn release_too_big(&self, need: u64) -> Result<(), Error> {
        self.hold.call(self.hold.function("release").arg(need)).await
    }
}
