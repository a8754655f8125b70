//! What must hold of every queue at every moment, and whether it does.

mod recount;
mod standing;

use std::collections::{BTreeSet, HashMap};

use redis::Value;
use serde::Serialize;

use crate::reply::Reply;
use crate::{Class, Error, EventId, JobEvent, JobId, Queue, State};

/// Members of a list that one call reads.
const PART: usize = 5000;

/// Tenants that one call looks at.
const TENANTS: usize = 50;

/// How often what looks wrong is looked at before it counts as wrong.
const LOOKS: usize = 3;

/// Something that must never be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// The job, if it is about one.
    pub job: Option<JobId>,
    /// What is wrong.
    pub what: String,
}

impl Fault {
    fn of(job: JobId, what: impl Into<String>) -> Self {
        Self { job: Some(job), what: what.into() }
    }
}

/// What a check of the whole queue found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Audit {
    /// Jobs that were checked.
    pub jobs: u64,
    /// What is wrong; nothing, it is to be hoped.
    pub faults: Vec<Fault>,
}

impl Queue {
    /// Checks the whole queue while it is at work, in many short calls. What looks wrong is looked at again, everything
    /// about it at one moment, so that a busy queue gives no false alarm.
    ///
    /// # Errors
    /// [`Error::Unreachable`].
    pub async fn audit(&self) -> Result<Audit, Error> {
        let mut audit = Audit::default();
        for shard in self.shards() {
            let mut tenants = self.tenants_of(shard).await?;
            let mut doubtful = BTreeSet::new();
            for id in self.leased(shard).await? {
                let standing = self.examine(&id, None).await?;
                tenants.extend(standing.tenant.clone());
                if !standing.faults(self.0.config.attempts).is_empty() {
                    doubtful.insert(id);
                }
            }
            let mut listed: HashMap<JobId, u32> = HashMap::new();
            for list in self.lists(shard, &tenants).await? {
                for id in self.read_list(&list).await? {
                    *listed.entry(JobId::read(shard, &id)?).or_default() += 1;
                }
            }
            doubtful.extend(listed.iter().filter(|(_, times)| **times > 1).map(|(id, _)| *id));
            audit.jobs += self.survey(shard, &listed, &mut doubtful).await?;
            audit.faults.extend(self.look_again(shard, doubtful).await?);
            audit.faults.extend(self.recount(shard, &tenants).await?);
        }
        Ok(audit)
    }

    /// The tenants that have jobs in a shard, or had some.
    async fn tenants_of(&self, shard: u16) -> Result<BTreeSet<String>, Error> {
        let mut tenants = BTreeSet::new();
        for name in self.counters(shard).await?.keys() {
            let mut parts = name.splitn(3, ':').skip(2);
            tenants.extend(parts.next().map(str::to_owned));
        }
        for class in Class::ALL {
            for (scan, kind) in [("ZSCAN", "ring"), ("HSCAN", "passes")] {
                let pairs =
                    self.members_of(scan, &self.key(shard, &format!("{kind}:{}", class.as_str()))).await?;
                tenants.extend(pairs.chunks(2).map(|pair| String::from_utf8_lossy(&pair[0]).into_owned()));
            }
        }
        Ok(tenants)
    }

    /// The jobs with a lease.
    async fn leased(&self, shard: u16) -> Result<Vec<JobId>, Error> {
        let pairs = self.members_of("HSCAN", &self.key(shard, "leases")).await?;
        pairs.chunks(2).map(|pair| Ok(JobId::read(shard, &pair[0])?)).collect()
    }

    /// The names of the lists in which jobs wait.
    async fn lists(&self, shard: u16, tenants: &BTreeSet<String>) -> Result<Vec<Vec<u8>>, Error> {
        let mut lists = self.members_of("SSCAN", &self.key(shard, "parked")).await?;
        for some in tenants.iter().collect::<Vec<_>>().chunks(TENANTS) {
            let mut command = self.function(shard, "backlogs");
            command.arg(some);
            lists.extend(self.0.connection.call::<Vec<Vec<u8>>>(&command).await?);
        }
        lists.sort();
        lists.dedup();
        Ok(lists)
    }

    /// The members of a list, the last first: read from its end, none is missed that stays where it is, for jobs leave
    /// lists at their beginning. Those that join meanwhile may show some a second time.
    async fn read_list(&self, list: &[u8]) -> Result<Vec<Vec<u8>>, Error> {
        let mut members = Vec::new();
        loop {
            let (last, first) = (members.len() + 1, members.len() + PART);
            let mut range = redis::cmd("LRANGE");
            range.arg(list).arg(format!("-{first}")).arg(format!("-{last}"));
            let part: Vec<Vec<u8>> = self.0.connection.call(&range).await?;
            let is_last = part.len() < PART;
            members.extend(part.into_iter().rev());
            if is_last {
                return Ok(members);
            }
        }
    }

    /// Goes through all records and adds those whose jobs do not seem to be in exactly one place. Gives how many jobs
    /// there are.
    async fn survey(
        &self,
        shard: u16,
        listed: &HashMap<JobId, u32>,
        doubtful: &mut BTreeSet<JobId>,
    ) -> Result<u64, Error> {
        let (mut cursor, mut jobs) = ("0".to_owned(), 0);
        loop {
            let reply: Value = self.0.connection.call(self.function(shard, "survey").arg(&cursor)).await?;
            let mut reply = Reply::list(reply)?;
            cursor = reply.next()?;
            for seen in reply.rest() {
                let mut seen = Reply::list(seen)?;
                let id = JobId::read(shard, &seen.next::<Vec<u8>>()?)?;
                let state: String = seen.next()?;
                let elsewhere: u32 = seen.all::<u32>()?.into_iter().sum();
                let places = elsewhere + listed.get(&id).copied().unwrap_or(0);
                jobs += 1;
                let ended = State::read(&state).is_ok_and(State::is_terminal);
                if (!ended && places != 1) || (ended && elsewhere > 0) {
                    doubtful.insert(id);
                }
            }
            if cursor == "0" {
                return Ok(jobs);
            }
        }
    }

    /// What is wrong with jobs that looked wrong, once it has shown itself a few times.
    async fn look_again(&self, shard: u16, mut doubtful: BTreeSet<JobId>) -> Result<Vec<Fault>, Error> {
        let mut faults = Vec::new();
        for _ in 0..LOOKS {
            if doubtful.is_empty() {
                break;
            }
            let places = self.places(shard, &doubtful).await?;
            faults.clear();
            for id in &doubtful {
                let standing = self.examine(id, Some(&places)).await?;
                let found = standing.faults(self.0.config.attempts);
                faults.extend(found.into_iter().map(|what| Fault::of(*id, what)));
            }
            doubtful = faults.iter().filter_map(|fault| fault.job).collect();
        }
        Ok(faults)
    }
}

/// The events of a shard, in order, as far as they have been checked.
#[derive(Debug, Default)]
pub struct History {
    newest: Option<EventId>,
    /// For each job its newest version, and whether it has ended.
    jobs: HashMap<JobId, (u64, bool)>,
}

impl History {
    /// Checks the next event: ids and versions rise, and nothing follows an end.
    pub fn check(&mut self, event: &JobEvent) -> Vec<Fault> {
        let mut faults = Vec::new();
        if self.newest.is_some_and(|newest| newest >= event.id) {
            faults
                .push(Fault::of(event.job, format!("event {} does not come after the one before", event.id)));
        }
        self.newest = Some(event.id);
        let (version, ended) = self.jobs.entry(event.job).or_default();
        if *ended {
            faults.push(Fault::of(event.job, format!("{} after its end", event.name())));
        }
        // The first events may have been trimmed; after that none is missing.
        if *version > 0 && event.version != *version + 1 {
            faults.push(Fault::of(event.job, format!("version {} after {version}", event.version)));
        }
        (*version, *ended) = (event.version, event.is_terminal());
        faults
    }
}
