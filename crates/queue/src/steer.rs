//! What operators set, and what they see.

use std::collections::BTreeMap;

use redis::Value;
use serde::Serialize;

use crate::answers::Fields;
use crate::claim::WorkerId;
use crate::job::{State, json, to_json};
use crate::limits::SILENT_LEASES;
use crate::reply::Reply;
use crate::submit::check_tenant;
use crate::{Class, Error, Queue, Rejection, WorkerReport};

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

/// Jobs of one class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Depth {
    /// Jobs that wait, those of the next two included.
    pub queued: u64,
    /// Jobs with a lease.
    pub running: u64,
    /// Jobs that wait for a time.
    pub delayed: u64,
    /// Jobs that wait for a larger worker than one that had them.
    pub too_big: u64,
    /// Whether none of them is claimed for now.
    pub paused: bool,
}

/// The queue's own numbers, over all shards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Stats {
    /// Jobs somebody waits for.
    pub interactive: Depth,
    /// Overnight work.
    pub bulk: Depth,
    /// Dead letters.
    pub dead: u64,
    /// Operations on batches that are not done yet.
    pub sweeps: u64,
}

/// What can be paused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope<'a> {
    /// All jobs of a class.
    Class(Class),
    /// All jobs of a tenant.
    Tenant(&'a str),
}

/// The counters that the functions keep: `<state>:<class>:<tenant>`, and some that are not jobs.
struct Counter<'a> {
    state: State,
    class: Class,
    tenant: &'a str,
}

impl<'a> Counter<'a> {
    fn read(name: &'a str) -> Option<Self> {
        let (state, rest) = name.split_once(':')?;
        let (class, tenant) = rest.split_once(':')?;
        let class = Class::ALL.into_iter().find(|known| known.as_str() == class)?;
        Some(Self { state: State::read(state).ok()?, class, tenant })
    }
}

impl Stats {
    /// Adds the jobs of a shard by its counters.
    fn add_counters(&mut self, counters: &BTreeMap<String, i64>) {
        for (name, jobs) in counters {
            let Some(counter) = Counter::read(name) else { continue };
            let depth = match counter.class {
                Class::Interactive => &mut self.interactive,
                Class::Bulk => &mut self.bulk,
            };
            if counter.state == State::Queued {
                depth.queued += number(*jobs);
            } else {
                depth.running += number(*jobs);
            }
        }
    }

    /// Adds what the function `depths` gives.
    fn add_depths(&mut self, mut reply: Reply) -> Result<(), Error> {
        for depth in [&mut self.interactive, &mut self.bulk] {
            let mut more = Fields::read("depth", reply.next()?)?;
            depth.delayed += more.take::<u64>("delayed")?;
            depth.too_big += more.take::<u64>("sized")?;
            depth.paused |= more.take::<bool>("paused")?;
        }
        self.dead += reply.next::<u64>()?;
        self.sweeps += reply.next::<u64>()?;
        Ok(())
    }
}

/// A counter that should never be below zero.
fn number(counter: i64) -> u64 {
    u64::try_from(counter).unwrap_or(0)
}

impl Queue {
    /// The queue's own numbers. They are read in parts: jobs that change meanwhile may be counted as they were
    /// before or after.
    ///
    /// # Errors
    /// [`Error::Unreachable`].
    pub async fn stats(&self) -> Result<Stats, Error> {
        let mut stats = Stats::default();
        for shard in self.shards() {
            let depths = self.0.connection.call(&self.function(shard, "depths")).await?;
            stats.add_depths(Reply::list(depths)?)?;
            stats.add_counters(&self.counters(shard).await?);
        }
        Ok(stats)
    }

    /// Stops claims of a class or tenant, or lets them go on. Jobs that run are not touched.
    ///
    /// # Errors
    /// [`Error::Rejected`] for a name that cannot be a tenant's; [`Error::Unreachable`].
    pub async fn set_paused(&self, scope: Scope<'_>, paused: bool) -> Result<(), Error> {
        let (shards, kind, name) = match scope {
            Scope::Class(class) => (self.shards(), "class", class.as_str()),
            Scope::Tenant(name) => {
                check_tenant(name)?;
                let shard = self.shard_of(name);
                (shard..shard + 1, "tenant", name)
            }
        };
        for shard in shards {
            let mut command = self.function(shard, "hold");
            command.arg(kind).arg(name).arg(u8::from(paused));
            let _: u8 = self.0.connection.call(&command).await?;
        }
        Ok(())
    }

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
                    view.queued += number(*jobs);
                } else {
                    view.running += number(*jobs);
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

    /// How many jobs of a tenant wait, and how many run.
    ///
    /// # Errors
    /// [`Error::Rejected`] for a name that cannot be a tenant's; [`Error::Unreachable`].
    pub async fn tenant_depth(&self, tenant: &str) -> Result<(u64, u64), Error> {
        check_tenant(tenant)?;
        let mut get = redis::cmd("HMGET");
        get.arg(self.key(self.shard_of(tenant), "counts"));
        for state in [State::Queued, State::Running] {
            for class in Class::ALL {
                get.arg(format!("{}:{}:{tenant}", state.as_str(), class.as_str()));
            }
        }
        let counts: [Option<u64>; 4] = self.0.connection.run(&get).await?;
        let [interactive, bulk, drawn, drawn_bulk] = counts.map(Option::unwrap_or_default);
        Ok((interactive + bulk, drawn + drawn_bulk))
    }

    /// Says that a worker is there and what it can do; to be repeated with each renewal.
    ///
    /// # Errors
    /// [`Error::Unreachable`].
    pub async fn attend(&self, worker: &WorkerId, report: &WorkerReport) -> Result<(), Error> {
        self.say(worker, &to_json(report)?).await
    }

    /// Says that a worker leaves.
    ///
    /// # Errors
    /// [`Error::Unreachable`].
    pub async fn leave(&self, worker: &WorkerId) -> Result<(), Error> {
        self.say(worker, "").await
    }

    async fn say(&self, worker: &WorkerId, text: &str) -> Result<(), Error> {
        for shard in self.shards() {
            let mut command = self.function(shard, "attend");
            command.arg(worker.as_str()).arg(text);
            let _: u8 = self.0.connection.call(&command).await?;
        }
        Ok(())
    }

    /// Workers that are there, that is, have been heard of within three leases: name, when in milliseconds since 1970 by Redis' clock, and what they said.
    ///
    /// # Errors
    /// [`Error::Unreachable`].
    pub async fn workers(&self) -> Result<Vec<(String, u64, WorkerReport)>, Error> {
        // Every shard hears of every worker.
        let mut command = self.function(0, "workers");
        command.arg(SILENT_LEASES * self.0.config.lease.as_millis() as u64);
        let reply = Reply::list(self.0.connection.call(&command).await?)?;
        let mut workers = Vec::new();
        for worker in reply.rest() {
            let mut worker = Reply::list(worker)?;
            let (name, seen): (String, u64) = (worker.next()?, worker.next()?);
            let says: Option<String> = worker.next()?;
            // A newer version may say more than this one understands.
            if let Some(report) = says.as_deref().and_then(|text| json(text).ok()) {
                workers.push((name, seen, report));
            }
        }
        Ok(workers)
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
