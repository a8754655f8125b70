//! What must hold of every queue at every moment, and whether it does.

use std::collections::{BTreeMap, HashMap};

use redis::Value;
use serde::Serialize;

use crate::reply::Reply;
use crate::{Error, EventId, JobEvent, JobId, Queue, State};

/// Members of a list that one call reads.
const PART: isize = 5000;

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

/// Where one job stands, everything read at one moment.
#[derive(Debug, Clone, Default)]
struct Standing {
    state: String,
    attempt: u32,
    fence: u64,
    version: u64,
    expires: bool,
    lease_fence: u64,
    lease_attempt: u32,
    lease_version: u64,
    pending: u64,
    shard_fence: u64,
    delayed: u64,
    sized: u64,
    listed: u64,
}

impl Standing {
    fn read(mut reply: Reply) -> Result<Self, Error> {
        let state = reply.next()?;
        let _class: String = reply.next()?;
        Ok(Self {
            state,
            attempt: reply.next()?,
            fence: reply.next()?,
            version: reply.next()?,
            expires: reply.next()?,
            lease_fence: reply.next()?,
            lease_attempt: reply.next()?,
            lease_version: reply.next()?,
            pending: reply.next()?,
            shard_fence: reply.next()?,
            delayed: reply.next()?,
            sized: reply.next()?,
            listed: reply.next()?,
        })
    }

    /// What is wrong with a job that stands like this.
    fn faults(&self, attempts: u32) -> Vec<String> {
        let mut faults = Vec::new();
        let mut must = |holds: bool, what: String| {
            if !holds {
                faults.push(what);
            }
        };
        let leased = self.lease_fence > 0;
        let waits = self.delayed + self.sized + self.listed;
        let budget = |attempt: u32| attempt <= attempts;
        match State::read(&self.state) {
            Ok(State::Queued) if leased => {
                must(self.delayed + self.sized == 0, "runs and waits".into());
                must(self.pending == 1, format!("runs with {} pending entries", self.pending));
                must(self.lease_fence > self.fence, format!("runs under its old fence {}", self.fence));
                must(self.lease_version > self.version, "its version did not rise with its lease".into());
                must(budget(self.lease_attempt), format!("is in attempt {}", self.lease_attempt));
                must(self.lease_fence <= self.shard_fence, "its fence is ahead of its shard's".into());
            }
            Ok(State::Queued) => {
                must(waits == 1, format!("waits in {waits} places"));
                must(!self.expires, "its record expires while it waits".into());
                must(budget(self.attempt), format!("waits after {} attempts", self.attempt));
            }
            Ok(State::Running) => must(false, "its record says that it runs; only a lease may".into()),
            Ok(_) => {
                must(!leased, format!("has {} and still has a lease", self.state));
                must(self.delayed + self.sized == 0, format!("has {} and still waits", self.state));
                must(self.expires, format!("has {} and its record never expires", self.state));
                must(budget(self.attempt), format!("took {} attempts", self.attempt));
            }
            Err(_) => must(!leased && waits == 0, format!("is at work or waits with {}", self.state)),
        }
        faults
    }
}

impl Queue {
    /// Checks the whole queue while it is at work. What looks wrong is checked once more, everything
    /// about it at one moment, so that a busy queue gives no false alarm.
    ///
    /// # Errors
    /// [`Error::Unreachable`].
    pub async fn audit(&self) -> Result<Audit, Error> {
        let mut audit = Audit::default();
        for shard in self.shards() {
            let listed = self.listed(shard).await?;
            let mut suspects = self.leased(shard).await?;
            suspects.extend(listed.iter().filter(|(_, times)| **times > 1).map(|(id, _)| *id));
            self.survey(shard, &listed, &mut audit.jobs, &mut suspects).await?;
            suspects.sort();
            suspects.dedup();
            for id in suspects {
                let faults = self.examine(&id).await?.faults(self.0.config.attempts);
                audit.faults.extend(faults.into_iter().map(|what| Fault::of(id, what)));
            }
            audit.faults.extend(self.recount(shard).await?);
        }
        Ok(audit)
    }

    /// How often each job lies in a list.
    async fn listed(&self, shard: u16) -> Result<HashMap<JobId, u32>, Error> {
        let lists: Vec<Vec<u8>> = self.0.connection.call(&self.function(shard, "lists")).await?;
        let mut listed = HashMap::new();
        for list in lists {
            for part in 0.. {
                let mut range = redis::cmd("LRANGE");
                range.arg(&list).arg(part * PART).arg((part + 1) * PART - 1);
                let ids: Vec<Vec<u8>> = self.0.connection.call(&range).await?;
                for id in &ids {
                    *listed.entry(JobId::read(shard, id)?).or_insert(0) += 1;
                }
                if ids.len() < PART as usize {
                    break;
                }
            }
        }
        Ok(listed)
    }

    async fn leased(&self, shard: u16) -> Result<Vec<JobId>, Error> {
        let ids: Vec<Vec<u8>> = self.0.connection.call(&self.function(shard, "leased")).await?;
        ids.iter().map(|id| Ok(JobId::read(shard, id)?)).collect()
    }

    /// Goes through all records and adds those whose jobs do not seem to be in exactly one place.
    async fn survey(
        &self,
        shard: u16,
        listed: &HashMap<JobId, u32>,
        jobs: &mut u64,
        suspects: &mut Vec<JobId>,
    ) -> Result<(), Error> {
        let mut cursor = "0".to_owned();
        loop {
            let reply: Value = self.0.connection.call(self.function(shard, "survey").arg(&cursor)).await?;
            let mut reply = Reply::list(reply)?;
            cursor = reply.next()?;
            for seen in reply.rest() {
                let mut seen = Reply::list(seen)?;
                let id = JobId::read(shard, &seen.next::<Vec<u8>>()?)?;
                let state: String = seen.next()?;
                let (leased, delayed, sized): (u32, u32, u32) = (seen.next()?, seen.next()?, seen.next()?);
                let places = leased + delayed + sized + listed.get(&id).copied().unwrap_or(0);
                *jobs += 1;
                let ended = State::read(&state).is_ok_and(State::is_terminal);
                if (!ended && places != 1) || (ended && leased + delayed + sized > 0) {
                    suspects.push(id);
                }
            }
            if cursor == "0" {
                return Ok(());
            }
        }
    }

    async fn examine(&self, id: &JobId) -> Result<Standing, Error> {
        let value = self.0.connection.call(self.function(id.shard(), "examine").arg(id.bytes())).await?;
        Standing::read(Reply::list(value)?)
    }

    /// Compares the shard's counters with what they count.
    async fn recount(&self, shard: u16) -> Result<Vec<Fault>, Error> {
        let mut reply = Reply::list(self.0.connection.call(&self.function(shard, "recount")).await?)?;
        let counters: BTreeMap<String, i64> = reply.next()?;
        let (leases, strays): (i64, i64) = (reply.next()?, reply.next()?);
        let sum = |prefix: &str| -> i64 {
            counters.iter().filter(|(name, _)| name.starts_with(prefix)).map(|(_, jobs)| jobs).sum()
        };
        let mut faults = Vec::new();
        let mut must = |what: &str, counted: i64, found: i64| {
            if counted != found {
                let what = format!("shard {shard} counts {counted} {what}, but there are {found}");
                faults.push(Fault { job: None, what });
            }
        };
        for (name, jobs) in &counters {
            must(name, *jobs, *jobs.max(&0));
        }
        let mut pending_in_all = 0;
        for class in ["interactive", "bulk"] {
            let mut found = Reply::list(reply.next()?)?;
            let (entries, pending): (i64, i64) = (found.next()?, found.next()?);
            let (delayed, sized, listed): (i64, i64, i64) = (found.next()?, found.next()?, found.next()?);
            pending_in_all += pending;
            must(&format!("pending {class} entries"), entries, pending);
            must(&format!("running {class} jobs"), sum(&format!("running:{class}:")), pending);
            let waiting = delayed + sized + listed - sum(&format!("ghosts:{class}"));
            must(&format!("queued {class} jobs"), sum(&format!("queued:{class}:")), waiting);
        }
        must("leases", leases, pending_in_all);
        must("jobs with notes of a lease that is gone", 0, strays);
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

#[cfg(test)]
mod tests {
    use super::Standing;

    fn queued() -> Standing {
        Standing { state: "queued".into(), version: 1, listed: 1, ..Standing::default() }
    }

    fn running() -> Standing {
        Standing {
            listed: 0,
            lease_fence: 5,
            lease_attempt: 1,
            lease_version: 2,
            pending: 1,
            shard_fence: 5,
            ..queued()
        }
    }

    fn ended() -> Standing {
        Standing { state: "failed".into(), expires: true, attempt: 3, listed: 0, ..queued() }
    }

    #[test]
    fn what_is_as_it_must_be_raises_no_alarm() {
        for standing in [
            queued(),
            running(),
            ended(),
            Standing { listed: 0, delayed: 1, ..queued() },
            Standing { listed: 1, ..ended() },
            Standing { state: "no record".into(), ..Standing::default() },
        ] {
            assert!(standing.faults(3).is_empty(), "{:?}: {:?}", standing, standing.faults(3));
        }
    }

    #[test]
    fn every_rule_is_checked() {
        let broken = [
            (Standing { listed: 0, ..queued() }, "waits in 0 places"),
            (Standing { listed: 1, delayed: 1, ..queued() }, "waits in 2 places"),
            (Standing { expires: true, ..queued() }, "its record expires while it waits"),
            (Standing { attempt: 4, ..queued() }, "waits after 4 attempts"),
            (Standing { delayed: 1, ..running() }, "runs and waits"),
            (Standing { pending: 0, ..running() }, "runs with 0 pending entries"),
            (Standing { fence: 5, ..running() }, "runs under its old fence 5"),
            (Standing { version: 2, ..running() }, "its version did not rise with its lease"),
            (Standing { lease_attempt: 4, ..running() }, "is in attempt 4"),
            (Standing { shard_fence: 4, ..running() }, "its fence is ahead of its shard's"),
            (
                Standing { state: "running".into(), ..queued() },
                "its record says that it runs; only a lease may",
            ),
            (Standing { lease_fence: 5, ..ended() }, "has failed and still has a lease"),
            (Standing { sized: 1, ..ended() }, "has failed and still waits"),
            (Standing { expires: false, ..ended() }, "has failed and its record never expires"),
            (Standing { attempt: 4, ..ended() }, "took 4 attempts"),
            (Standing { state: "no record".into(), ..running() }, "is at work or waits with no record"),
        ];
        for (standing, fault) in broken {
            assert_eq!(standing.faults(3), [fault], "{standing:?}");
        }
    }
}
