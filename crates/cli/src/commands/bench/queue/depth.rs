//! Whether a job is claimed and settled as quickly out of a long queue as out of a short one.

use std::time::Instant;

use anyhow::Context as _;
use uso_queue::{Queue, WorkerId};

use super::enqueue::Load;
use super::payload::output;
use super::stage::Stage;
use super::task::{Task, Took};
use crate::commands::bench::report::{Goal, Report};
use crate::commands::bench::server::Server;
use crate::commands::bench::sides::Sides;

pub(super) async fn measure(stage: &Stage, report: &mut Report) -> anyhow::Result<()> {
    // Two servers: in one, the short queue would share the long one's tables.
    let deep = Server::start(stage.cores).await?;
    for tenants in [1, 1_000] {
        compare(stage, &deep, tenants, report).await?;
    }
    deep.stop().await
}

async fn compare(stage: &Stage, deep: &Server, tenants: usize, report: &mut Report) -> anyhow::Result<()> {
    let sizes = &stage.sizes;
    let fill = |jobs| Task::Submit(Load { tenants, ..Load::fill(jobs) });
    let task = Task::Settle { jobs: sizes.settled };
    deep.empty().await?;
    stage.ask::<Took>(deep, &fill(sizes.deep)).await?;
    let mut sides = Sides::default();
    for _ in 0..sizes.rounds {
        stage.rate(&fill(sizes.shallow)).await?;
        for (name, server) in [("short", &stage.server), ("long", deep)] {
            let took: Took = stage.ask(server, &task).await?;
            sides.add(name, took.seconds / took.jobs as f64 * 1e6);
        }
    }
    let (long, short) = (sizes.deep, sizes.shallow);
    let over = if tenants == 1 { "1 tenant".to_owned() } else { format!("{tenants} tenants") };
    let figure = format!("claim and settle with {long} jobs queued against {short}, over {over}");
    report.row(figure, sides.ratio("long", "short"), "times", Goal::AtMost(1.2));
    report.note(sides.describe(&format!("claim and settle over {over}, us a job")));
    Ok(())
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
