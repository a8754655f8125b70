//! How much of the fleet a tenant may use.

use std::collections::BTreeMap;

use redis::Value;
use serde::Serialize;

use crate::answers::Fields;
use crate::jobs::Counter;
use crate::reply::Reply;
use crate::tenant::check_tenant;
use crate::{Error, Queue, Rejection, State};

/// How much of the fleet a tenant may use; nothing set means no limit.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Limits {
    /// Its share beside other tenants: one of weight 3 gets three claims for each claim of weight 1.
    pub weight: f64,
    /// Most jobs that wait.
    pub max_queued: Option<u64>,
    /// Most jobs that run at once.
    pub max_running: Option<u64>,
    /// Most submissions and uploads per second over time.
    pub per_second: Option<f64>,
    /// Most submissions and uploads at once; as many as per second if it is not set.
    pub burst: Option<f64>,
    /// Most bytes of files that it has uploaded and that are stored.
    pub max_stored: Option<u64>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            weight: 1.0,
            max_queued: None,
            max_running: None,
            per_second: None,
            burst: None,
            max_stored: None,
        }
    }
}

impl Limits {
    fn check(&self) -> Result<(), Rejection> {
        let within = |name, value: Option<f64>, least: f64, most: f64| match value {
            Some(value) if !(least..=most).contains(&value) => Err(Rejection::Limit { name, least, most }),
            _ => Ok(()),
        };
        within("weight", Some(self.weight), 0.001, 1000.0)?;
        within("per_second", self.per_second, 0.001, 1e9)?;
        within("burst", self.burst, 1.0, 1e9)
    }
}

/// A tenant's limits and what it uses of them.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TenantView {
    /// Its name.
    pub name: String,
    /// Its jobs that wait.
    pub queued: u64,
    /// Its jobs that run.
    pub running: u64,
    /// Its limits.
    pub limits: Limits,
    /// Whether none of its jobs is claimed for now.
    pub paused: bool,
}

/// How fast a tenant may submit, and how much of that is left.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Allowance {
    /// Jobs per second over time.
    pub per_second: f64,
    /// Most jobs at once.
    pub burst: f64,
    /// Jobs that are left now; below zero if more than a burst was taken at once.
    pub left: f64,
}

impl Queue {
    /// Sets what a tenant may use.
    ///
    /// # Errors
    /// [`Error::Rejected`] for a name that cannot be a tenant's and for limits that cannot be;
    /// [`Error::Unreachable`].
    pub async fn set_limits(&self, tenant: &str, limits: &Limits) -> Result<(), Error> {
        check_tenant(tenant)?;
        limits.check()?;
        let mut command = self.function(self.shard_of(tenant), "limit");
        let count = |limit: Option<u64>| limit.map(|limit| limit.to_string()).unwrap_or_default();
        let rate = |limit: Option<f64>| limit.map(|limit| limit.to_string()).unwrap_or_default();
        command.arg(tenant).arg(limits.weight).arg(count(limits.max_queued)).arg(count(limits.max_running));
        command.arg(rate(limits.per_second)).arg(rate(limits.burst)).arg(count(limits.max_stored));
        let _: u8 = self.0.connection.call(&command).await?;
        Ok(())
    }

    /// How fast a tenant may submit now; none if nothing limits it.
    ///
    /// # Errors
    /// [`Error::Rejected`] for a name that cannot be a tenant's; [`Error::Unreachable`].
    pub async fn allowance(&self, tenant: &str) -> Result<Option<Allowance>, Error> {
        check_tenant(tenant)?;
        let mut command = self.function(self.shard_of(tenant), "allowance");
        let Some(reply) = Reply::of(self.0.connection.call(command.arg(tenant)).await?)? else {
            return Ok(None);
        };
        let mut allowance = Fields::of("allowance", reply)?;
        Ok(Some(Allowance {
            per_second: allowance.take("rate")?,
            burst: allowance.take("burst")?,
            left: allowance.take("left")?,
        }))
    }

    /// All tenants that have jobs or limits, by name.
    ///
    /// # Errors
    /// [`Error::Unreachable`].
    pub async fn tenants(&self) -> Result<Vec<TenantView>, Error> {
        let mut tenants: BTreeMap<String, TenantView> = BTreeMap::new();
        for shard in self.shards() {
            self.add_limited(shard, &mut tenants).await?;
            for (name, jobs) in &self.counters(shard).await? {
                let Some(counter) = Counter::read(name) else { continue };
                let view = tenants.entry(counter.tenant.to_owned());
                let view = view.or_insert_with(|| TenantView::new(counter.tenant));
                if counter.state == State::Queued {
                    view.queued += jobs.max(&0).unsigned_abs();
                } else {
                    view.running += jobs.max(&0).unsigned_abs();
                }
            }
        }
        Ok(tenants.into_values().collect())
    }

    /// Adds the tenants of a shard that have limits.
    async fn add_limited(&self, shard: u16, tenants: &mut BTreeMap<String, TenantView>) -> Result<(), Error> {
        let mut cursor = "0".to_owned();
        loop {
            let mut command = self.function(shard, "limited");
            let mut reply = Reply::list(self.0.connection.call(command.arg(&cursor)).await?)?;
            cursor = reply.next()?;
            for limited in reply.rest() {
                let view = TenantView::read(limited)?;
                tenants.insert(view.name.clone(), view);
            }
            if cursor == "0" {
                return Ok(());
            }
        }
    }
}

impl TenantView {
    fn new(name: &str) -> Self {
        Self { name: name.to_owned(), queued: 0, running: 0, limits: Limits::default(), paused: false }
    }

    fn read(value: Value) -> Result<Self, Error> {
        let mut limits = Fields::read("limits", value)?;
        let mut view = Self::new(&limits.take::<String>("tenant")?);
        view.paused = limits.take("paused")?;
        view.limits = Limits {
            weight: limits.take("weight")?,
            max_queued: limits.take("max_queued")?,
            max_running: limits.take("max_running")?,
            per_second: limits.take("rate")?,
            burst: limits.take("burst")?,
            max_stored: limits.take("max_stored")?,
        };
        Ok(view)
    }
}
