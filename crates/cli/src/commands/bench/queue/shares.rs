//! Whether two tenants with full backlogs get what their weights say.

use anyhow::Context as _;
use uso_queue::{Class, Limits, Queue, Submission, WorkerId};

use super::payload::{output, spec};
use super::stage::Stage;
use super::task::Task;
use crate::commands::bench::report::{Goal, Report};

/// Tenants and their weights.
const TENANTS: [(&str, u32); 2] = [("heavy", 3), ("light", 1)];

/// Points that a share may be off.
const OFF: f64 = 5.0;

pub(super) async fn measure(stage: &Stage, report: &mut Report) -> anyhow::Result<()> {
    let claims = stage.sizes.claims;
    stage.server.empty().await?;
    let got: [usize; 2] = stage.ask(&stage.server, &Task::Share { claims }).await?;
    let all: u32 = TENANTS.iter().map(|(_, weight)| weight).sum();
    for ((_, weight), got) in TENANTS.iter().zip(got) {
        let percent = |part: f64, whole: f64| part / whole * 100.0;
        let goal = Goal::Within { by: OFF, of: percent(f64::from(*weight), f64::from(all)) };
        let figure = format!("share of a tenant of weight {weight} of {all} in {claims} claims");
        report.row(figure, Some(percent(got as f64, claims as f64)), "percent", goal);
    }
    Ok(())
}

/// Claims one job after another; gives how many each tenant got.
pub(super) async fn claim(queue: &Queue, claims: usize) -> anyhow::Result<[usize; 2]> {
    let spec = spec(Class::Bulk)?;
    for (name, weight) in TENANTS {
        queue.set_limits(name, &Limits { weight: weight.into(), ..Limits::default() }).await?;
        // As many as there are claims: no backlog runs empty.
        queue.submit_all(name, &vec![Submission::from(&spec); claims]).await?;
    }
    let (worker, output, mut got) = (WorkerId::new(), output(), [0; 2]);
    for _ in 0..claims {
        let lease = queue.claim_one(&worker).await?.context("the queue is empty")?;
        let tenant = TENANTS.iter().position(|(name, _)| *name == lease.tenant);
        got[tenant.context("nobody's job")?] += 1;
        lease.complete(&output).await?;
    }
    Ok(got)
}
