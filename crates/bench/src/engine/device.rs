//! `uso-bench device`: what a device computes, how fast, and in how much memory, beside what the cost model says.
//!
//! Each measurement runs in a process of its own, under what is left of the time. On the CPU everything is smaller, so
//! that the check itself can be tried where no GPU is.

mod ask;
mod client;
mod jobs;
mod kernels;
mod parity;
mod resume;
mod self_test;
mod sizes;
mod table;
mod task;
mod tiers;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

pub(super) use self::client::work;
use self::sizes::Sizes;
use self::table::Table;
pub(super) use self::task::DeviceTask;
use crate::cores::Cores;
use crate::machine::{Machine, version};

/// A device to be checked.
#[derive(Args)]
pub(crate) struct DeviceArgs {
    /// The device: `cpu`, `cuda`, `cuda:N`.
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Write the table as JSON too.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Measure little of everything: shows that it can be measured, not how fast it is.
    #[arg(long)]
    quick: bool,
    /// The longest that all of it may take. What is left out then says so.
    #[arg(long, default_value_t = 600, value_name = "SECONDS")]
    seconds: u64,
}

/// Measures everything, and says it.
///
/// # Errors
/// If nothing can be measured at all. A check that fails is a row of the table, and `Ok(false)`.
pub(crate) async fn run(args: &DeviceArgs) -> anyhow::Result<bool> {
    let mut machine = Machine::look(Cores::unpinned()).await;
    machine.add("device", &args.device);
    machine.add("redis", version("redis-server").await.unwrap_or_default());
    let sizes = match (args.quick, args.device.as_str()) {
        (true, _) => Sizes::quick(),
        (false, "cpu") => Sizes::cpu(),
        (false, _) => Sizes::gpu(),
    };
    machine.add("sizes", sizes.about());
    let mut table = Table::new(machine, Duration::from_secs(args.seconds));
    let device = args.device.as_str();
    table.add("start", self_test::check(device, table.left()).await);
    table.add("kernels", kernels::check(device, table.left()).await);
    table.add("parity", parity::check(device, table.left()).await);
    table.add("resume", resume::check(device, table.left()).await);
    table.add("jobs", jobs::check(device, &sizes, table.left()).await);
    let folder = tiers::model(&sizes)?;
    for tier in &sizes.tiers {
        let found = tiers::check(device, *tier, folder.path(), &sizes, table.left()).await;
        table.add("tier", found);
    }
    table.publish(args.json.as_deref())?;
    Ok(table.is_good())
}
