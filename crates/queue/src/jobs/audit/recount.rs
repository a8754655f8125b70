//! A shard's counters beside what they count.
//!
//! They are compared in parts, some tenants at a time, each part at one moment. For a tenant, what waits by its counter
//! less what lies in its backlogs changes only when a job goes between a backlog and another place, or leaves a ghost.
//! Such places have counts of their own: while these stay the same, the parts belong together.

use std::collections::{BTreeMap, BTreeSet};

use super::{Fault, TENANTS};
use crate::answers::Fields;
use crate::reply::Reply;
use crate::{Class, Error, Queue};

/// How often a shard is counted before it counts as too busy for it.
const ROUNDS: usize = 20;

/// Counters that do not fit: what they count, and by how much they are wrong.
type Wrong = BTreeMap<String, i64>;

/// Jobs of a class that are not in a backlog, and ids there that are no jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Elsewhere {
    delayed: i64,
    apart: i64,
    parked: i64,
    ghosts: i64,
}

/// What a round has found of a class.
#[derive(Debug, Clone, Copy, Default)]
struct Round {
    /// As the first part found it.
    elsewhere: Option<Elsewhere>,
    queued: i64,
    listed: i64,
    running: i64,
    leased: i64,
}

/// What a round has found so far.
#[derive(Debug, Default)]
struct Found {
    faults: Vec<Fault>,
    wrong: Wrong,
}

impl Found {
    fn compare(&mut self, shard: u16, what: &str, counted: i64, found: i64) {
        if counted != found && self.wrong.insert(what.to_owned(), counted - found).is_none() {
            let what = format!("shard {shard} counts {counted} {what}, but there are {found}");
            self.faults.push(Fault { job: None, what });
        }
    }
}

impl Queue {
    /// Compares the shard's counters with what they count, for tenants that may have jobs. What does not fit counts
    /// once two rounds have found it in the same way.
    pub(super) async fn recount(&self, shard: u16, tenants: &BTreeSet<String>) -> Result<Vec<Fault>, Error> {
        let tenants: Vec<&str> = tenants.iter().map(String::as_str).collect();
        let mut before: Option<Wrong> = None;
        for _ in 0..ROUNDS {
            let Some(found) = self.count_once(shard, &tenants).await? else { continue };
            if found.wrong.is_empty() || before.as_ref() == Some(&found.wrong) {
                return Ok(found.faults);
            }
            before = Some(found.wrong);
        }
        tracing::warn!(shard, "shard {shard} changes too fast for its counters to be checked");
        Ok(Vec::new())
    }

    /// One round; none if its parts do not belong together.
    async fn count_once(&self, shard: u16, tenants: &[&str]) -> Result<Option<Found>, Error> {
        let mut found = Found::default();
        let mut rounds = [Round::default(); Class::ALL.len()];
        // Without any tenant, there still is what lies elsewhere.
        for some in tenants.chunks(TENANTS).chain(tenants.is_empty().then_some(tenants)) {
            let mut command = self.function(shard, "tally");
            command.arg(some);
            let mut reply = Reply::list(self.0.connection.call(&command).await?)?;
            let (leases, mut pending_in_all): (i64, i64) = (reply.next()?, 0);
            for (class, round) in Class::ALL.into_iter().zip(&mut rounds) {
                let mut tally = Fields::read("tally", reply.next()?)?;
                let pending = tally.take("pending")?;
                pending_in_all += pending;
                found.compare(
                    shard,
                    &format!("pending {} entries", class.as_str()),
                    tally.take("entries")?,
                    pending,
                );
                if !round.goes_on(&mut tally)? {
                    return Ok(None);
                }
                for _ in some {
                    round.add(Fields::read("tenant_tally", reply.next()?)?)?;
                }
            }
            found.compare(shard, "leases", leases, pending_in_all);
        }
        for (class, round) in Class::ALL.into_iter().zip(rounds) {
            let elsewhere = round.elsewhere.unwrap_or_default();
            let waiting =
                elsewhere.delayed + elsewhere.apart + elsewhere.parked + round.listed - elsewhere.ghosts;
            found.compare(shard, &format!("running {} jobs", class.as_str()), round.running, round.leased);
            found.compare(shard, &format!("queued {} jobs", class.as_str()), round.queued, waiting);
        }
        for (name, jobs) in self.counters(shard).await? {
            found.compare(shard, &name, jobs, jobs.max(0));
        }
        let strays = self.strays(shard).await?;
        found.compare(shard, "jobs with notes of a lease that is gone", 0, strays);
        Ok(Some(found))
    }

    /// How many jobs have notes of a lease, but no lease.
    async fn strays(&self, shard: u16) -> Result<i64, Error> {
        let mut strays: BTreeSet<Vec<u8>> = BTreeSet::new();
        for notes in ["steps", "checkpoints", "stages"] {
            let mut cursor = "0".to_owned();
            loop {
                let mut command = self.function(shard, "strays");
                let mut reply = Reply::list(self.0.connection.call(command.arg(notes).arg(&cursor)).await?)?;
                cursor = reply.next()?;
                strays.extend(reply.all::<Vec<u8>>()?);
                if cursor == "0" {
                    break;
                }
            }
        }
        Ok(strays.len() as i64)
    }
}

impl Round {
    /// Whether the next part still finds the same elsewhere.
    fn goes_on(&mut self, tally: &mut Fields) -> Result<bool, Error> {
        let now = Elsewhere {
            delayed: tally.take("delayed")?,
            apart: tally.take("apart")?,
            parked: tally.take("parked")?,
            ghosts: tally.take("ghosts")?,
        };
        Ok(*self.elsewhere.get_or_insert(now) == now)
    }

    fn add(&mut self, mut tenant: Fields) -> Result<(), Error> {
        self.queued += tenant.take::<i64>("queued")?;
        self.listed += tenant.take::<i64>("listed")?;
        self.running += tenant.take::<i64>("running")?;
        self.leased += tenant.take::<i64>("leased")?;
        Ok(())
    }
}
