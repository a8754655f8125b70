//! The queue's own numbers, and what holds claims up.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::answers::Fields;
use crate::reply::Reply;
use crate::tenant::check_tenant;
use crate::{Class, Error, Queue, State};

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
pub(crate) struct Counter<'a> {
    pub(crate) state: State,
    pub(crate) class: Class,
    pub(crate) tenant: &'a str,
}

impl<'a> Counter<'a> {
    pub(crate) fn read(name: &'a str) -> Option<Self> {
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
            let sum = if counter.state == State::Queued { &mut depth.queued } else { &mut depth.running };
            *sum += jobs.max(&0).unsigned_abs();
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
        let counts: [Option<u64>; 4] = self.0.connection.call(&get).await?;
        let [queued, queued_bulk, running, running_bulk] = counts.map(Option::unwrap_or_default);
        Ok((queued + queued_bulk, running + running_bulk))
    }
}
