//! Who is told that a job has ended: endpoints of tenants, and deliveries to them.
//!
//! The call that ends a job writes a delivery for each endpoint that asks for it, so none is forgotten. Any
//! process may [`Queue::claim_delivery`] one that is due; if it dies, the delivery is due again after a while.

use std::fmt;
use std::time::Duration;

use redis::Value;
use schemars::JsonSchema;
use serde::Serialize;

use crate::access::{draw, draw_name};
use crate::answers::Fields;
use crate::reply::Reply;
use crate::submit::check_tenant;
use crate::{Error, JobId, Queue, State};

/// How long a claimed delivery is nobody else's: longer than one attempt may take.
const CLAIMED_FOR: Duration = Duration::from_secs(60);

/// For how long the secret before signs too after a new one was drawn.
const OLD_SECRET: Duration = Duration::from_secs(24 * 60 * 60);

/// The endpoint that stands for all addresses that jobs name themselves: its secret signs what is sent there.
pub const DEFAULT_WEBHOOK: &str = "default";

/// In which shape a job is told of at the address that it names itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WebhookShape {
    /// As endpoints are told of it.
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

/// What signatures are made with. Debug output hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookSecret([u8; 32]);

impl WebhookSecret {
    /// The key of the signature.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    fn read(bytes: Vec<u8>) -> Result<Self, Error> {
        let bytes = bytes.try_into().map_err(|_| Error::Unreadable("the secret of a webhook".into()))?;
        Ok(Self(bytes))
    }
}

impl fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookSecret(..)")
    }
}

/// An endpoint that is told of a tenant's jobs.
#[derive(Debug, Clone, Serialize)]
pub struct Webhook {
    /// Its name.
    pub id: String,
    /// Where it is.
    pub url: String,
    /// The ends that it is told of.
    pub events: Vec<State>,
    /// When it was made, in milliseconds since 1970 by Redis' clock.
    pub created_ms: u64,
    /// Why nothing is sent to it for now.
    pub disabled: Option<String>,
    /// What is sent to it is signed with this.
    #[serde(skip)]
    pub secret: WebhookSecret,
}

/// One end of a job that one endpoint is told of. Times are milliseconds since 1970 by Redis' clock.
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
    /// When it was over.
    pub at_ms: u64,
    /// The status of the answer, if there was one.
    pub status: Option<u16>,
    /// What went wrong.
    pub error: Option<String>,
    /// How long it took.
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
    Hold(Duration),
}

impl Queue {
    /// Makes an endpoint; none if the tenant has as many as it may.
    ///
    /// # Errors
    /// [`Error::Rejected`] for a name that cannot be a tenant's; [`Error::Full`], [`Error::Unreachable`].
    pub async fn add_webhook(
        &self,
        tenant: &str,
        url: &str,
        events: &[State],
    ) -> Result<Option<Webhook>, Error> {
        check_tenant(tenant)?;
        let words: String = events.iter().map(|state| format!("{} ", state.as_str())).collect();
        let mut command = self.function(self.shard_of(tenant), "hook_add");
        command.arg(tenant).arg(draw_name()).arg(url).arg(format!(" {words}")).arg(&draw()[..]);
        Webhook::read_optional(self.0.connection.accept(&command).await?)
    }

    /// The endpoint [`DEFAULT_WEBHOOK`] of a tenant.
    ///
    /// # Errors
    /// As [`Queue::add_webhook`].
    pub async fn default_webhook(&self, tenant: &str) -> Result<Webhook, Error> {
        check_tenant(tenant)?;
        let mut command = self.function(self.shard_of(tenant), "hook_default");
        let value: Value = self.0.connection.accept(command.arg(tenant).arg(&draw()[..])).await?;
        Webhook::read(Reply::list(value)?)
    }

    /// A tenant's endpoints, the oldest first, with [`DEFAULT_WEBHOOK`] if it was ever needed.
    ///
    /// # Errors
    /// As [`Queue::add_webhook`].
    pub async fn webhooks(&self, tenant: &str) -> Result<Vec<Webhook>, Error> {
        check_tenant(tenant)?;
        let mut command = self.function(self.shard_of(tenant), "hook_list");
        let reply = Reply::list(self.0.connection.call(command.arg(tenant)).await?)?;
        let hooks = reply.rest().map(|hook| Webhook::read(Reply::list(hook)?));
        let mut hooks = hooks.collect::<Result<Vec<_>, _>>()?;
        hooks.sort_by(|one, other| (one.created_ms, &one.id).cmp(&(other.created_ms, &other.id)));
        Ok(hooks)
    }

    /// Forgets an endpoint; whether it was there.
    ///
    /// # Errors
    /// As [`Queue::add_webhook`].
    pub async fn drop_webhook(&self, tenant: &str, id: &str) -> Result<bool, Error> {
        check_tenant(tenant)?;
        let mut command = self.function(self.shard_of(tenant), "hook_drop");
        self.0.connection.accept(command.arg(tenant).arg(id)).await
    }

    /// Draws a new secret; the one before signs too for a day. None if there is no such endpoint.
    ///
    /// # Errors
    /// As [`Queue::add_webhook`].
    pub async fn rotate_webhook(&self, tenant: &str, id: &str) -> Result<Option<Webhook>, Error> {
        check_tenant(tenant)?;
        let mut command = self.function(self.shard_of(tenant), "hook_rotate");
        command.arg(tenant).arg(id).arg(&draw()[..]).arg(OLD_SECRET.as_millis() as u64);
        Webhook::read_optional(self.0.connection.accept(&command).await?)
    }

    /// Disables an endpoint for a reason, or enables it. None if there is no such endpoint.
    ///
    /// # Errors
    /// As [`Queue::add_webhook`].
    pub async fn switch_webhook(
        &self,
        tenant: &str,
        id: &str,
        disabled: Option<&str>,
    ) -> Result<Option<Webhook>, Error> {
        check_tenant(tenant)?;
        let mut command = self.function(self.shard_of(tenant), "hook_switch");
        command.arg(tenant).arg(id).arg(disabled.unwrap_or(""));
        Webhook::read_optional(self.0.connection.accept(&command).await?)
    }

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

    /// A delivery of a shard that is due, to be made now. If nothing is heard of it, it is due again after a
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
            Next::Again(after) | Next::Hold(after) => ("", after),
        };
        let hold = if let Next::Hold(after) = next { after.as_millis().to_string() } else { String::new() };
        let status = attempt.status.map(|status| status.to_string()).unwrap_or_default();
        let mut command = self.function(claimed.delivery.job.shard(), "delivery_settle");
        command.arg(&claimed.delivery.id).arg(claimed.claims).arg(ended).arg(again.as_millis() as u64);
        command.arg(status).arg(attempt.error.as_deref().unwrap_or("")).arg(attempt.took_ms).arg(hold);
        self.0.connection.call(&command).await
    }
}

impl Webhook {
    fn read(reply: Reply) -> Result<Self, Error> {
        let mut hook = Fields::of("hook", reply)?;
        let events: String = hook.take("events")?;
        Ok(Self {
            id: hook.take("id")?,
            url: hook.take("url")?,
            events: events.split_whitespace().map(State::read).collect::<Result<_, _>>()?,
            created_ms: hook.take("created")?,
            disabled: hook.take("disabled")?,
            secret: WebhookSecret::read(hook.take("secret")?)?,
        })
    }

    fn read_optional(value: Value) -> Result<Option<Self>, Error> {
        Reply::of(value)?.map(Self::read).transpose()
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
