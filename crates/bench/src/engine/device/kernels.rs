//! Which of the engine's own kernels, and of cuBLASLt's products, a device uses: those that compute there what the reference
//! formula gives.

use std::time::Duration;

use uso_engine::device;
use uso_engine::device::precision;
use uso_engine::uso::kernel_check::{Checked as Kernel, on_device};

use super::ask::ask_within;
use super::table::{Checked, Row};
use super::task::DeviceTask;

/// The name of each, and why it is not used.
type Faults = Vec<(String, Option<String>)>;

pub(super) async fn check(device: &str, left: Duration) -> Checked {
    let found: Faults = ask_within(left, DeviceTask::Kernels { device: device.to_owned() }).await?;
    Ok(found.into_iter().map(row).collect())
}

fn row((kernel, fault): (String, Option<String>)) -> Row {
    let faults = if fault.is_some() { 1.0 } else { 0.0 };
    Row::new(kernel, faults, "faults").most(0.0).note(fault.unwrap_or_else(|| "on".to_owned()))
}

/// In the device's usual precision. A device without kernels of ours has no rows.
pub(super) fn run(name: &str) -> anyhow::Result<Faults> {
    let device = device::open(name)?;
    let dtype = precision(None, &device)?;
    Ok(on_device(&device, dtype).into_iter().map(|Kernel { kernel, fault }| (kernel, fault)).collect())
}

#[cfg(test)]
mod tests {
    use super::row;

    #[test]
    fn a_kernel_that_is_off_is_no_good_row() {
        let (on, off) = (row(("a".into(), None)), row(("b".into(), Some("no algorithm".into()))));
        assert!(on.to_string().contains("ok     on"), "{on}");
        assert!(off.to_string().contains("FAILED no algorithm"), "{off}");
    }
}
