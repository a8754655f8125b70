//! Real processes are killed, frozen and cut off by a seeded plan while clients submit: nothing that was
//! accepted is lost, and nothing has two results.
//!
//! `USO_CHAOS_SEED` repeats a plan, `USO_CHAOS_JOBS` sets how many jobs there are. The plan goes by
//! accepted jobs, not by the clock. A seed repeats jobs and faults, not each race between processes.

mod checks;
mod clients;
mod plan;
mod site;
mod witness;

use std::sync::Arc;

use self::clients::Ledger;
pub(crate) use self::plan::Dice;
use self::plan::Plan;
use self::site::Site;
use self::witness::Witness;

#[tokio::test(flavor = "multi_thread")]
async fn nothing_accepted_is_lost_or_done_twice_whatever_dies() {
    let mut plan = Plan::draw();
    let mut site = Site::start().await;
    let ledger = Arc::new(Ledger::default());
    let witness = Witness::start(&site.queue, &ledger).await;
    let mut clients = clients::start(&site, &plan, &ledger);

    while let Some((after, fault)) = plan.next() {
        ledger.until_accepted(after, &mut clients).await;
        plan.note(&format!("after {after} jobs: {fault:?}"));
        site.suffer(fault).await;
    }
    ledger.until_accepted(plan.jobs, &mut clients).await;
    plan.note("all jobs are accepted");
    site.until_at_rest().await;
    plan.note("the fleet is at rest");
    clients::submit_all_again(&site, &ledger).await;
    site.stop_workers().await;
    let history = witness.finish().await;

    let summary = checks::check(&site, &ledger.orders(), &history).await;
    eprintln!("chaos: seed {}: {summary}", plan.seed);
}
