//! How a worker lays its model out: by a plan for the device that it has.

use anyhow::Context as _;
use uso_engine::plan::{Hardware, Keep, Outline, Picture, Placement, Terms, Wishes};
use uso_engine::{Defaults, Error, Model, ModelFiles, Plan, Setup, device};

use crate::args::ModelArgs;

/// Opens the device, and plans for the largest picture and so many at a time. Blocks.
///
/// # Errors
/// If the device cannot be had, the model is faulty, or no plan fits.
pub(crate) fn setup(
    args: &ModelArgs,
    slots: u64,
    largest: impl FnOnce(&Defaults) -> Picture,
) -> anyhow::Result<Setup> {
    planned(args, slots, largest).map_err(|error| match error {
        // It names what was asked for.
        Error::Request { .. } => error.into(),
        error => anyhow::Error::new(error).context("cannot load the model"),
    })
}

fn planned(args: &ModelArgs, slots: u64, largest: impl FnOnce(&Defaults) -> Picture) -> Result<Setup, Error> {
    let device = device::open(&args.device)?;
    let dtype = device::precision(args.dtype.as_deref(), &device)?;
    let (loras, verify) = (args.lora.clone(), args.verify);
    if device.is_metal() && args.vram.is_none() {
        tracing::warn!("nobody says what is free on this device, so nothing is planned: --vram says it");
        return Ok(Setup { placement: unplanned(args), loras, verify, ..Setup::new(device, dtype) });
    }
    let wishes = Wishes { tier: args.tier, t5: args.t5, stream: args.stream.unwrap_or_default() };
    let plan = plan(args, &device, wishes, slots, largest)?;
    plan.lines().iter().for_each(|line| tracing::info!("{line}"));
    Ok(Setup { loras, verify, ..Setup::planned(device, dtype, &plan) })
}

fn plan(
    args: &ModelArgs,
    device: &device::Device,
    wishes: Wishes,
    slots: u64,
    largest: impl FnOnce(&Defaults) -> Picture,
) -> Result<Plan, Error> {
    let model = Model::open(&ModelFiles::new(args.model.as_deref()))?;
    let terms = Terms {
        picture: largest(&model.config().defaults),
        slots,
        reserve: args.vram_reserve,
        dtype: device::precision(args.dtype.as_deref(), device)?,
        wishes,
    };
    Plan::new(&Outline::of(&model)?, &Hardware::of_device(device, args.vram, None)?, &terms)
}

/// Says of a model that could not be loaded what would fit into the memory that is free now, if memory was the reason.
pub(crate) fn explained<T>(
    loaded: Result<T, Error>,
    args: &ModelArgs,
    device: &device::Device,
) -> anyhow::Result<T> {
    let error = match loaded {
        Ok(loaded) => return Ok(loaded),
        Err(error @ Error::OutOfMemory { .. }) => error,
        Err(error) => return Err(error).context("cannot load the model"),
    };
    let fits = plan(args, device, Wishes::default(), 1, Picture::of);
    let hint = match fits {
        Ok(plan) => format!("{} would fit into what is free now", plan.name()),
        Err(error) => error.to_string(),
    };
    Err(error).with_context(|| format!("the device was full while the model was loaded; {hint}"))
}

fn unplanned(args: &ModelArgs) -> Placement {
    let all = Placement::default();
    Placement { keep: args.tier.map_or(all.keep, Keep::Tier), t5: args.t5.unwrap_or(all.t5), ..all }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        model: ModelArgs,
    }

    /// What is said of the bundled model that could not be loaded.
    fn said(error: Error, args: &[&str]) -> String {
        let command = Command::try_parse_from(["uso"].iter().chain(args)).unwrap();
        let device = device::open("cpu").unwrap();
        format!("{:#}", explained::<()>(Err(error), &command.model, &device).unwrap_err())
    }

    #[test]
    fn a_full_device_is_told_what_would_fit() {
        let full = || Error::OutOfMemory { need: None, free: None };
        let text = said(full(), &[]);
        assert!(
            text.contains("full while the model was loaded") && text.contains("would fit into what is free"),
            "{text}"
        );
        assert!(text.contains("out of memory"), "{text}");
        let text = said(full(), &["--vram", "1MiB"]);
        assert!(
            text.contains("full while the model was loaded") && text.contains("vram: the processor"),
            "{text}"
        );
    }

    #[test]
    fn other_failures_get_no_hint() {
        let text = said(Error::SelfTest("one colour".into()), &[]);
        assert!(text.contains("cannot load the model") && text.contains("one colour"), "{text}");
        assert!(!text.contains("fit"), "{text}");
    }
}
