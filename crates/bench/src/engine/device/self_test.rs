//! What the engine says of itself when it starts: the bundled model's picture against its record, and own kernels against
//! candle's.

use std::time::Duration;

use uso_engine::device::precision;
use uso_engine::{Engine as _, ModelFiles, Uso, device};

use super::ask::ask_within;
use super::table::{Checked, Row};
use super::task::DeviceTask;

/// What it says if something is wrong.
type Fault = Option<String>;

pub(super) async fn check(device: &str, left: Duration) -> Checked {
    let fault: Fault = ask_within(left, DeviceTask::SelfTest { device: device.to_owned() }).await?;
    let faults = if fault.is_some() { 1.0 } else { 0.0 };
    let row = Row::new("the engine's own test, with its kernels", faults, "faults").most(0.0);
    Ok(vec![row.note(fault.unwrap_or_default())])
}

pub(super) fn run(name: &str) -> anyhow::Result<Fault> {
    let device = device::open(name)?;
    let dtype = precision(None, &device)?;
    let mut uso = Uso::load(&ModelFiles::Bundled, &device, dtype)?;
    Ok(uso.self_test().err().map(|error| error.to_string()))
}
