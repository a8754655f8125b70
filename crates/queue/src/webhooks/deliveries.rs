//! Deliveries: notifications of one endpoint that one job has ended, and the attempts to make them.

use std::time::Duration;

use redis::Value;
use schemars::JsonSchema;
use serde::Serialize;

use super::endpoints::WebhookSecret;
use crate::answers::Fields;
use crate::reply::Reply;
use crate::tenant::check_tenant;
use crate::{Error, JobId, Queue, State};

/// How long a claimed delivery is nobody else's: longer than one attempt may take.
const CLAIMED_FOR: Duration = Duration::from_secs(60);

/// The payload that the URL gets which a job names itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WebhookShape {
    /// The one that endpoints get.
    #[default]
    Job,
    /// As a prediction of Replicate's API.
    Prediction,
}

impl WebhookShape {
    /// The word used in records.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Job => "job",
            Self::Prediction => "prediction",
        }
    }

    fn read(word: Option<&str>) -> Self {
        if word == Some(Self::Prediction.as_str()) { Self::Prediction } else { Self::Job }
    }
}

/// One endpoint's notification that one job has ended. Times are milliseconds since the epoch by Redis' clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Delivery {
    /// Its name: the event's, then the endpoint's.
    pub id: String,
    /// The endpoint.
    pub webhook: String,
    /// Where to, if the job named the address itself.
    pub url: Option<String>,
    /// Whose job it is.
    #[serde(skip)]
    pub tenant: String,
    /// The job.
    pub job: JobId,
    /// How it ended.
    pub state: State,
    /// When it ended.
    pub made_ms: u64,
    /// Attempts that are over, since it was made or last replayed.
    pub attempts: u32,
    /// When the next one is due.
    pub due_ms: Option<u64>,
    /// How it ended: `delivered`, `failed`, or `dropped` because the endpoint was gone or disabled.
    pub ended: Option<String>,
    /// The last attempts, the newest at the end.
    pub log: Vec<Attempt>,
}

impl Delivery {
    /// The event's name: the same for all endpoints and all attempts.
    pub fn message(&self) -> &str {
        self.id.split('.').next().unwrap_or_default()
    }
}

/// What became of one attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Attempt {
    /// When it was over, in milliseconds since the epoch by Redis' clock.
    pub at_ms: u64,
    /// The status of the answer, if there was one.
    pub status: Option<u16>,
    /// What went wrong.
    pub error: Option<String>,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
}

/// A delivery that this process is to make.
#[derive(Debug, Clone)]
pub struct ClaimedDelivery {
    /// The delivery.
    pub delivery: Delivery,
    /// Where to.
    pub url: String,
    /// What is sent.
    pub shape: WebhookShape,
    /// What to sign it with: the newest secret first.
    pub secrets: Vec<WebhookSecret>,
    /// By which name [`Queue::claim_delivery_except`] knows where it goes: an endpoint of a tenant's, or a host that
    /// a job of the tenant's named.
    pub endpoint: String,
    claims: u64,
}

/// What is to become of a delivery after an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// It was taken.
    Delivered,
    /// It was not, and nobody tries again.
    Failed,
    /// Another attempt, after this time.
    Again(Duration),
    /// The same, and nothing else is sent to this endpoint before: it has asked for time.
    Pause(Duration),
}

impl Queue {
    /// The newest deliveries to an endpoint.
    ///
    /// # Errors
    /// As [`Queue::add_webhook`].
    pub async fn deliveries(&self, tenant: &str, webhook: &str) -> Result<Vec<Delivery>, Error> {
        check_tenant(tenant)?;
        let shard = self.shard_of(tenant);
        let mut command = self.function(shard, "delivery_list");
        let reply = Reply::list(self.0.connection.call(command.arg(tenant).arg(webhook)).await?)?;
        reply.rest().map(|found| Delivery::read(shard, Reply::list(found)?)).collect()
    }

    /// Makes a delivery once more, from its first attempt on. None if there is no such delivery.
    ///
    /// # Errors
    /// As [`Queue::add_webhook`].
    pub async fn replay_delivery(
        &self,
        tenant: &str,
        webhook: &str,
        id: &str,
    ) -> Result<Option<Delivery>, Error> {
        check_tenant(tenant)?;
        let shard = self.shard_of(tenant);
        let mut command = self.function(shard, "delivery_replay");
        let value = self.0.connection.accept(command.arg(tenant).arg(webhook).arg(id)).await?;
        Reply::of(value)?.map(|reply| Delivery::read(shard, reply)).transpose()
    }

    /// A delivery of a shard that is due, to be made now. If it is not settled, it is due again after a
    /// minute.
    ///
    /// # Errors
    /// [`Error::Unreachable`].
    pub async fn claim_delivery(&self, shard: u16) -> Result<Option<ClaimedDelivery>, Error> {
        self.claim_delivery_except(shard, &[]).await
    }

    /// The same, but none to those of whom the caller has enough: names of tenants, and
    /// [`ClaimedDelivery::endpoint`]s. Of the others, those come first that were served least lately.
    ///
    /// # Errors
    /// [`Error::Unreachable`].
    pub async fn claim_delivery_except(
        &self,
        shard: u16,
        busy: &[&str],
    ) -> Result<Option<ClaimedDelivery>, Error> {
        let mut command = self.function(shard, "delivery_claim");
        command.arg(CLAIMED_FOR.as_millis() as u64).arg(busy);
        let value: Value = self.0.connection.call(&command).await?;
        let Some(reply) = Reply::of(value)? else { return Ok(None) };
        let mut claimed = Fields::of("claimed_delivery", reply)?;
        let delivery = Delivery::read(shard, Reply::list(claimed.take("delivery")?)?)?;
        let secrets = [Some(claimed.take("secret")?), claimed.take::<Option<Vec<u8>>>("old")?];
        let endpoint: Option<String> = claimed.take("endpoint")?;
        Ok(Some(ClaimedDelivery {
            url: claimed.take("url")?,
            shape: WebhookShape::read(claimed.take::<Option<String>>("shape")?.as_deref()),
            secrets: secrets.into_iter().flatten().map(WebhookSecret::read).collect::<Result<_, _>>()?,
            endpoint: endpoint.unwrap_or_else(|| format!("{} {}", delivery.tenant, delivery.webhook)),
            claims: claimed.take("claims")?,
            delivery,
        }))
    }

    /// Says what became of an attempt; whether that counts: it does not if the delivery took too long and is
    /// somebody else's now.
    ///
    /// # Errors
    /// [`Error::Unreachable`].
    pub async fn settle_delivery(
        &self,
        claimed: &ClaimedDelivery,
        next: Next,
        attempt: &Attempt,
    ) -> Result<bool, Error> {
        let (ended, again) = match next {
            Next::Delivered => ("delivered", Duration::ZERO),
            Next::Failed => ("failed", Duration::ZERO),
            Next::Again(after) | Next::Pause(after) => ("", after),
        };
        let pause = if let Next::Pause(after) = next { after.as_millis().to_string() } else { String::new() };
        let status = attempt.status.map(|status| status.to_string()).unwrap_or_default();
        let mut command = self.function(claimed.delivery.job.shard(), "delivery_settle");
        command.arg(&claimed.delivery.id).arg(claimed.claims).arg(ended).arg(again.as_millis() as u64);
        command.arg(status).arg(attempt.error.as_deref().unwrap_or("")).arg(attempt.took_ms).arg(pause);
        self.0.connection.call(&command).await
    }
}

impl Delivery {
    fn read(shard: u16, reply: Reply) -> Result<Self, Error> {
        let mut delivery = Fields::of("delivery", reply)?;
        let log = Reply::list(delivery.take("log")?)?;
        Ok(Self {
            id: delivery.take("id")?,
            webhook: delivery.take("hook")?,
            url: delivery.take("url")?,
            tenant: delivery.take("tenant")?,
            job: JobId::read(shard, &delivery.take::<Vec<u8>>("job")?)?,
            state: State::read(&delivery.take::<String>("state")?)?,
            made_ms: delivery.take("made")?,
            attempts: delivery.take("attempts")?,
            due_ms: delivery.take("due")?,
            ended: delivery.take("ended")?,
            log: log.rest().map(Attempt::read).collect::<Result<_, _>>()?,
        })
    }
}

impl Attempt {
    fn read(value: Value) -> Result<Self, Error> {
        let mut attempt = Fields::read("attempt", value)?;
        Ok(Self {
            at_ms: attempt.take("at")?,
            status: attempt.take("status")?,
            error: attempt.take("error")?,
            took_ms: attempt.take("took")?,
        })
    }
}
