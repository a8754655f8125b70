//! Whether a job is claimed and settled as quickly out of a long queue as out of a short one.

use std::time::Instant;

use anyhow::Context as _;
use uso_queue::{Queue, WorkerId};

use super::payload::output;
use super::setup::Setup;
use super::task::{Load, Task, Took};
use crate::figure::{Figure, Findings, Goal, Row};
use crate::servers::RedisServer;
use crate::sides::Sides;

pub(super) const FIGURE: Figure<Setup> = Figure {
    name: "depth",
    about: "Whether a long queue is a slow queue",
    rows: &[
        Row { name: |setup| name(setup, "1 tenant"), unit: "times", goal: Goal::AtMost(1.2) },
        Row { name: |setup| name(setup, "1000 tenants"), unit: "times", goal: Goal::AtMost(1.2) },
    ],
    measure: |setup| Box::pin(measure(setup)),
};

/// Whose jobs a queue holds.
const TENANTS: [(usize, &str); 2] = [(1, "1 tenant"), (1_000, "1000 tenants")];

fn name(setup: &Setup, over: &str) -> String {
    let (long, short) = (setup.sizes.deep, setup.sizes.shallow);
    format!("claim and settle with {long} jobs queued against {short}, over {over}")
}

async fn measure(setup: &Setup) -> anyhow::Result<Findings> {
    // Two servers: in one, the short queue would share the long one's tables.
    let deep = RedisServer::start(setup.cores).await?;
    let (mut values, mut notes) = (Vec::new(), Vec::new());
    for (tenants, over) in TENANTS {
        let sides = compare(setup, &deep, tenants).await?;
        values.push(sides.ratio("long", "short"));
        notes.push(sides.describe(&format!("claim and settle over {over}, us a job")));
    }
    deep.stop().await?;
    Ok(Findings { values, notes })
}

async fn compare(setup: &Setup, deep: &RedisServer, tenants: usize) -> anyhow::Result<Sides> {
    let sizes = &setup.sizes;
    let fill = |jobs| Task::Submit(Load { tenants, ..Load::fill(jobs) });
    let task = Task::Settle { jobs: sizes.settled };
    deep.empty().await?;
    setup.ask::<Took>(deep, &fill(sizes.deep)).await?;
    let mut sides = Sides::default();
    for _ in 0..sizes.rounds {
        setup.rate(&fill(sizes.shallow)).await?;
        for (name, server) in [("short", &setup.server), ("long", deep)] {
            let took: Took = setup.ask(server, &task).await?;
            sides.add(name, took.seconds / took.jobs as f64 * 1e6);
        }
    }
    Ok(sides)
}

/// Claims and settles jobs one after another.
pub(super) async fn settle(queue: &Queue, jobs: usize) -> anyhow::Result<Took> {
    let (worker, output) = (WorkerId::new(), output());
    let begun = Instant::now();
    for _ in 0..jobs {
        let lease = queue.claim_one(&worker).await?.context("the queue is empty")?;
        lease.complete(&output).await?;
    }
    Ok(Took { jobs, seconds: begun.elapsed().as_secs_f64() })
}
