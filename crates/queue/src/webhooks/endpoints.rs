//! Endpoints that are notified of the ends of a tenant's jobs.

use std::fmt;
use std::time::Duration;

use redis::Value;
use serde::Serialize;

use crate::answers::Fields;
use crate::random::{random_bytes, random_name};
use crate::reply::Reply;
use crate::tenant::check_tenant;
use crate::{Error, Queue, State};

/// For how long the secret before signs too after a new one was made.
const OLD_SECRET: Duration = Duration::from_secs(24 * 60 * 60);

/// The endpoint that stands for all addresses that jobs name themselves: its secret signs what is sent there.
pub const DEFAULT_WEBHOOK: &str = "default";

/// What signatures are made with. Debug output hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookSecret([u8; 32]);

impl WebhookSecret {
    /// The key of the signature.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    pub(super) fn read(bytes: Vec<u8>) -> Result<Self, Error> {
        let bytes = bytes.try_into().map_err(|_| Error::Unreadable("the secret of a webhook".into()))?;
        Ok(Self(bytes))
    }
}

impl fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookSecret(..)")
    }
}

/// An endpoint that is notified when jobs of a tenant end.
#[derive(Debug, Clone, Serialize)]
pub struct Webhook {
    /// Its name.
    pub id: String,
    /// Where it is.
    pub url: String,
    /// The states of ended jobs that it is notified of.
    pub events: Vec<State>,
    /// When it was made, in milliseconds since the epoch by Redis' clock.
    pub created_ms: u64,
    /// Why nothing is sent to it for now.
    pub disabled: Option<String>,
    /// What is sent to it is signed with this.
    #[serde(skip)]
    pub secret: WebhookSecret,
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
        command.arg(tenant).arg(random_name()).arg(url).arg(format!(" {words}")).arg(&random_bytes()[..]);
        Webhook::read_optional(self.0.connection.accept(&command).await?)
    }

    /// The endpoint [`DEFAULT_WEBHOOK`] of a tenant.
    ///
    /// # Errors
    /// As [`Queue::add_webhook`].
    pub async fn default_webhook(&self, tenant: &str) -> Result<Webhook, Error> {
        check_tenant(tenant)?;
        let mut command = self.function(self.shard_of(tenant), "hook_default");
        let value: Value = self.0.connection.accept(command.arg(tenant).arg(&random_bytes()[..])).await?;
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

    /// Makes a new secret; the one before signs too for a day. None if there is no such endpoint.
    ///
    /// # Errors
    /// As [`Queue::add_webhook`].
    pub async fn rotate_webhook(&self, tenant: &str, id: &str) -> Result<Option<Webhook>, Error> {
        check_tenant(tenant)?;
        let mut command = self.function(self.shard_of(tenant), "hook_rotate");
        command.arg(tenant).arg(id).arg(&random_bytes()[..]).arg(OLD_SECRET.as_millis() as u64);
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
