//! Whether two tenants with full backlogs get what their weights say.

use anyhow::Context as _;
use uso_queue::{Class, Limits, Queue, Submission, WorkerId};

use super::payload::{output, spec};
use super::setup::Setup;
use super::task::Task;
use crate::figure::{Figure, Findings, Goal, Row};

/// Tenants and their weights.
const TENANTS: [(&str, u32); 2] = [("heavy", 3), ("light", 1)];
const ALL: u32 = TENANTS[0].1 + TENANTS[1].1;

pub(super) const FIGURE: Figure<Setup> = Figure {
    name: "shares",
    about: "What tenants of different weight get",
    rows: &[
        Row { name: |setup| name(setup, TENANTS[0].1), unit: "percent", goal: goal(TENANTS[0].1) },
        Row { name: |setup| name(setup, TENANTS[1].1), unit: "percent", goal: goal(TENANTS[1].1) },
    ],
    measure: |setup| Box::pin(measure(setup)),
};

fn name(setup: &Setup, weight: u32) -> String {
    format!("share of a tenant of weight {weight} of {ALL} in {} claims", setup.sizes.claims)
}

/// Its part of all weights in percent, within 5 points.
const fn goal(weight: u32) -> Goal {
    Goal::Within { by: 5.0, of: weight as f64 / ALL as f64 * 100.0 }
}

async fn measure(setup: &Setup) -> anyhow::Result<Findings> {
    let claims = setup.sizes.claims;
    setup.server.empty().await?;
    let got: [usize; 2] = setup.ask(&setup.server, &Task::Share { claims }).await?;
    Ok(Findings::of(got.map(|got| got as f64 / claims as f64 * 100.0)))
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
