//! Work into the queue.

use redis::Value;

use crate::codec::to_json;
use crate::limits::{PLAIN, SPECIAL};
use crate::random::random_bytes;
use crate::reply::Reply;
use crate::tenant::check_tenant;
use crate::{BatchId, Error, JobId, JobSpec, MAX_JOBS, MAX_KEY, Queue, Rejection, WebhookShape};

/// One job to be accepted.
#[derive(Debug, Clone, Copy)]
pub struct Submission<'a> {
    /// What to do.
    pub spec: &'a JobSpec,
    /// Whoever submits the same key again within a day gets the same job.
    pub key: Option<&'a str>,
    /// The batch it belongs to.
    pub batch: Option<BatchId>,
    /// The payload that the URL of the spec gets when the job ends, if it names one.
    pub shape: WebhookShape,
    /// SHA-256 of the request as it came: a repeat under the key is known by it, whatever has changed since.
    pub request: Option<&'a [u8; 32]>,
}

impl<'a> From<&'a JobSpec> for Submission<'a> {
    fn from(spec: &'a JobSpec) -> Self {
        Self { spec, key: None, batch: None, shape: WebhookShape::Job, request: None }
    }
}

/// What became of a submission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Submitted {
    /// The job.
    pub id: JobId,
    /// Whether this call made it.
    pub fresh: bool,
}

impl Rejection {
    /// Reads the words with which functions refuse work and files.
    pub(crate) fn read(shard: u16, word: &str, mut reply: Reply) -> Result<Self, Error> {
        Ok(match word {
            "key_reused" => Self::KeyReused {
                index: reply.next()?,
                earlier: JobId::read(shard, &reply.next::<Vec<u8>>()?)?,
            },
            "batch_key_reused" => {
                Self::BatchKeyReused { earlier: BatchId::read(shard, &reply.next::<Vec<u8>>()?)? }
            }
            "too_much_stored" => Self::TooMuchStored { stored: reply.next()?, limit: reply.next()? },
            "too_many_queued" => Self::TooManyQueued { queued: reply.next()?, limit: reply.next()? },
            "too_fast" => Self::TooFast { retry_after_ms: reply.next()?, per_second: reply.next()? },
            "no_such_batch" => Self::NoSuchBatch { index: reply.next()? },
            "batch_canceled" => Self::BatchCanceled { index: reply.next()? },
            other => return Err(Error::Unreadable(format!("a submission was answered {other:?}"))),
        })
    }
}

impl Queue {
    /// Accepts a job. Once this returns, the job ends in exactly one terminal state.
    ///
    /// # Errors
    /// As [`Queue::submit_all`].
    pub async fn submit(&self, tenant: &str, job: impl Into<Submission<'_>>) -> Result<Submitted, Error> {
        let submitted = self.submit_all(tenant, &[job.into()]).await?;
        submitted.into_iter().next().ok_or_else(|| Error::Unreadable("an empty answer".into()))
    }

    /// Accepts all of the jobs, at most [`MAX_JOBS`], or none.
    ///
    /// # Errors
    /// [`Error::Rejected`] with the reason; [`Error::Full`]; [`Error::Unreachable`], and then it is not
    /// known whether the jobs were accepted: the same call with idempotency keys is safe.
    pub async fn submit_all(&self, tenant: &str, jobs: &[Submission<'_>]) -> Result<Vec<Submitted>, Error> {
        check_tenant(tenant)?;
        let shard = self.shard_of(tenant);
        let mut command = self.function(shard, "submit");
        let ids = add_jobs(&mut command, shard, tenant, jobs)?;
        let mut reply = Reply::list(self.0.connection.accept(&command).await?)?;
        let word: String = reply.next()?;
        if word != "accepted" {
            return Err(Rejection::read(shard, &word, reply)?.into());
        }
        let submitted = ids.into_iter().zip(reply.rest()).map(|(id, answer)| match answer {
            Value::BulkString(earlier) => Ok(Submitted { id: JobId::read(shard, &earlier)?, fresh: false }),
            _ => Ok(Submitted { id, fresh: true }),
        });
        submitted.collect()
    }
}

impl Submission<'_> {
    /// Whether it asks for nothing beyond its spec, as most do: Redis is then sent less.
    fn is_plain(&self) -> bool {
        let JobSpec { not_before, start_by, finish_by, webhook, .. } = self.spec;
        let timeless = not_before.or(*start_by).or(*finish_by).is_none();
        self.key.is_none() && self.batch.is_none() && timeless && webhook.is_none()
    }
}

/// Appends a tenant and its jobs to a submission; gives the ids that the jobs will have.
pub(crate) fn add_jobs(
    command: &mut redis::Cmd,
    shard: u16,
    tenant: &str,
    jobs: &[Submission<'_>],
) -> Result<Vec<JobId>, Error> {
    if jobs.is_empty() || jobs.len() > MAX_JOBS {
        return Err(Rejection::Count(jobs.len()).into());
    }
    let plain = jobs.iter().all(Submission::is_plain);
    command.arg(tenant).arg(if plain { PLAIN } else { SPECIAL });
    let mut ids = Vec::with_capacity(jobs.len());
    for (index, job) in jobs.iter().enumerate() {
        ids.push(JobId::new(shard));
        check(job, index, shard)?;
        add(command, &ids[index], job, plain)?;
    }
    Ok(ids)
}

fn check(job: &Submission<'_>, index: usize, shard: u16) -> Result<(), Rejection> {
    if job.key.is_some_and(|key| key.is_empty() || key.len() > MAX_KEY) {
        return Err(Rejection::Key);
    }
    if job.batch.is_some_and(|batch| batch.shard() != shard) {
        return Err(Rejection::NoSuchBatch { index });
    }
    Ok(())
}

/// Appends one job's arguments of the function `submit`.
fn add(command: &mut redis::Cmd, id: &JobId, job: &Submission<'_>, plain: bool) -> Result<(), Error> {
    let spec = job.spec;
    command.arg(id.bytes()).arg(spec.class.as_str()).arg(spec.priority).arg(to_json(spec)?);
    if plain {
        return Ok(());
    }
    let time = |time: Option<jiff::Timestamp>| {
        time.map(|time| time.as_millisecond().to_string()).unwrap_or_default()
    };
    match job.key {
        Some(key) => {
            let asked = job.request.map_or(&[][..], |digest| &digest[..]);
            command.arg(key).arg([&spec.digest()?[..], asked].concat())
        }
        None => command.arg("").arg(""),
    };
    command.arg(time(spec.not_before)).arg(time(spec.start_by)).arg(time(spec.finish_by));
    command.arg(job.batch.as_ref().map_or(&b""[..], |batch| batch.bytes())).arg("");
    match &spec.webhook {
        Some(url) => command.arg(format!("{} {url}", job.shape.as_str())).arg(&random_bytes()[..]),
        None => command.arg("").arg(""),
    };
    Ok(())
}
