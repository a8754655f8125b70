//! Where one job stands.

use std::collections::{BTreeSet, HashMap};

use crate::answers::Fields;
use crate::{Error, JobId, Queue, State};

/// Where jobs lie in lists.
#[derive(Debug, Default)]
pub(super) struct Places {
    lists: Vec<Vec<u8>>,
    /// For each job the lists by their number, and its places there, from their ends and from 1.
    jobs: HashMap<JobId, Vec<(usize, usize)>>,
}

/// Where one job stands, everything read at one moment.
#[derive(Debug, Clone, Default)]
pub(super) struct Standing {
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
    apart: u64,
    listed: u64,
    /// Whose job it is, if that is known.
    pub(super) tenant: Option<String>,
}

impl Standing {
    fn read(mut standing: Fields) -> Result<Self, Error> {
        Ok(Self {
            state: standing.take("state")?,
            attempt: standing.take("attempt")?,
            fence: standing.take("fence")?,
            version: standing.take("version")?,
            expires: standing.take("expires")?,
            lease_fence: standing.take("lease_fence")?,
            lease_attempt: standing.take("lease_attempt")?,
            lease_version: standing.take("lease_version")?,
            pending: standing.take("pending")?,
            shard_fence: standing.take("shard_fence")?,
            delayed: standing.take("delayed")?,
            apart: standing.take("apart")?,
            listed: standing.take("listed")?,
            tenant: standing.take("tenant")?,
        })
    }

    /// What is wrong with a job that stands like this.
    pub(super) fn faults(&self, attempts: u32) -> Vec<String> {
        let mut faults = Vec::new();
        let mut must = |holds: bool, what: String| {
            if !holds {
                faults.push(what);
            }
        };
        let leased = self.lease_fence > 0;
        let waits = self.delayed + self.apart + self.listed;
        let budget = |attempt: u32| attempt <= attempts;
        match State::read(&self.state) {
            Ok(State::Queued) if leased => {
                must(self.delayed + self.apart == 0, "runs and waits".into());
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
                must(self.delayed + self.apart == 0, format!("has {} and still waits", self.state));
                must(self.expires, format!("has {} and its record never expires", self.state));
                must(budget(self.attempt), format!("took {} attempts", self.attempt));
            }
            Err(_) => must(!leased && waits == 0, format!("is at work or waits with {}", self.state)),
        }
        faults
    }
}

impl Queue {
    /// Where some jobs lie in lists now.
    pub(super) async fn places(&self, shard: u16, jobs: &BTreeSet<JobId>) -> Result<Places, Error> {
        let lists = self.lists(shard, &self.tenants_of(shard).await?).await?;
        let mut places = Places { lists, ..Places::default() };
        for (number, list) in places.lists.iter().enumerate() {
            for (place, id) in self.read_list(list).await?.iter().enumerate() {
                let id = JobId::read(shard, id)?;
                if jobs.contains(&id) {
                    places.jobs.entry(id).or_default().push((number, place + 1));
                }
            }
        }
        Ok(places)
    }

    /// Where a job stands. In lists it is looked for near the places at which it was seen; without them, nowhere:
    /// whoever has a lease lies in none.
    pub(super) async fn examine(&self, id: &JobId, places: Option<&Places>) -> Result<Standing, Error> {
        let mut command = self.function(id.shard(), "examine");
        command.arg(id.bytes()).arg("at");
        if let Some(places) = places {
            for (list, place) in places.jobs.get(id).into_iter().flatten() {
                command.arg(&places.lists[*list]).arg(*place);
            }
        }
        Standing::read(Fields::read("standing", self.0.connection.call(&command).await?)?)
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
            (Standing { apart: 1, ..ended() }, "has failed and still waits"),
            (Standing { expires: false, ..ended() }, "has failed and its record never expires"),
            (Standing { attempt: 4, ..ended() }, "took 4 attempts"),
            (Standing { state: "no record".into(), ..running() }, "is at work or waits with no record"),
        ];
        for (standing, fault) in broken {
            assert_eq!(standing.faults(3), [fault], "{standing:?}");
        }
    }
}
