//! The device's first prediction against the CPU's: in each precision on the bundled model, and in each tier on a narrow
//! model of random numbers, whose rows are long enough for all of them.

use std::path::Path;
use std::time::Duration;

use uso_engine::device::precision;
use uso_engine::plan::{Keep, Picture, Placement};
use uso_engine::{Engine as _, ModelFiles, Setup, Tier, Uso, device};

use super::ask::ask_within;
use super::table::{Checked, Row};
use super::task::DeviceTask;
use crate::engine::folder::{self, Shape, even};
use crate::engine::request::request;

/// Largest relative L2 difference by precision: a few hundred of its roundings.
const PRECISIONS: [(&str, f64); 3] = [("f32", 1e-4), ("f16", 1e-2), ("bf16", 5e-2)];
const TIERS: [Tier; 6] = [Tier::Fp8, Tier::Fp8W8A8, Tier::Int8W8A8, Tier::Q8_0, Tier::Q6K, Tier::Q4K];
const PICTURE: Picture = Picture { width: 64, height: 64, content: Some((64, 64)), styles: 1, steps: 2 };
const NARROW: Shape = Shape { hidden: 256, double: 1, single: 1, text: 32 };

/// Name, largest difference that is allowed, difference.
type Differences = Vec<(String, f64, f64)>;

pub(super) async fn check(device: &str, left: Duration) -> Checked {
    let found: Differences = ask_within(left, DeviceTask::Parity { device: device.to_owned() }).await?;
    let row = |(name, most, apart): (String, f64, f64)| {
        Row::new(format!("{name} against the CPU"), apart, "rel. L2").most(most)
    };
    Ok(found.into_iter().map(row).collect())
}

pub(super) fn run(name: &str) -> anyhow::Result<Differences> {
    let (bundled, mut found) = (ModelFiles::Bundled, Vec::new());
    let exact = velocity("cpu", &bundled, Some("f32"), None)?;
    for (dtype, most) in PRECISIONS {
        // The CPU has no bf16.
        if name != "cpu" || dtype != "bf16" {
            let apart = apart(&exact, &velocity(name, &bundled, Some(dtype), None)?);
            found.push((dtype.to_owned(), most, apart));
        }
    }
    let folder = folder::model(NARROW, u64::MAX, even)?;
    for tier in TIERS {
        let of = |device| velocity(device, &in_folder(folder.path()), None, Some(tier));
        let most = match (name, tier.rounds_activations()) {
            ("cpu", _) => 1e-6,
            // Off the CPU, the compute type is bf16.
            (_, false) => 5e-2,
            // Each product is 2.7e-2 from the one with an exact input; a dozen of them follow one another.
            (_, true) => 1.5e-1,
        };
        found.push((tier.to_string(), most, apart(&of("cpu")?, &of(name)?)));
    }
    Ok(found)
}

fn in_folder(folder: &Path) -> ModelFiles {
    ModelFiles::Folder(folder.to_owned())
}

fn velocity(
    name: &str,
    files: &ModelFiles,
    dtype: Option<&str>,
    tier: Option<Tier>,
) -> anyhow::Result<Vec<f32>> {
    let device = device::open(name)?;
    let dtype = precision(dtype, &device)?;
    let keep = tier.map_or(Keep::AsStored, Keep::Tier);
    let setup = Setup { placement: Placement { keep, ..Placement::default() }, ..Setup::new(device, dtype) };
    let mut uso = Uso::load_with(files, &setup)?;
    let sample = uso.encode(&request(&PICTURE))?;
    Ok(uso.velocity(&sample)?.flatten_all()?.to_vec1()?)
}

/// Relative difference in the L2 norm; the largest number if one of the two is not finite.
fn apart(exact: &[f32], other: &[f32]) -> f64 {
    let norm = |numbers: &mut dyn Iterator<Item = f32>| {
        numbers.map(|number| f64::from(number).powi(2)).sum::<f64>().sqrt()
    };
    let difference = norm(&mut exact.iter().zip(other).map(|(exact, other)| exact - other));
    let share = difference / norm(&mut exact.iter().copied());
    if share.is_finite() && exact.len() == other.len() { share } else { f64::MAX }
}

#[cfg(test)]
mod tests {
    use super::apart;

    #[test]
    fn numbers_that_are_not_finite_are_as_far_as_can_be() {
        assert_eq!(apart(&[3.0, 4.0], &[3.0, 4.0]), 0.0);
        assert!((apart(&[3.0, 4.0], &[3.0, 4.5]) - 0.1).abs() < 1e-9);
        assert_eq!(apart(&[3.0, 4.0], &[3.0, f32::NAN]), f64::MAX);
        assert_eq!(apart(&[3.0, 4.0], &[3.0]), f64::MAX);
    }
}
