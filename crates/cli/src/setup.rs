//! Plans where the parts of a model go on the device that is there.

use anyhow::Context as _;
use uso_engine::plan::{Hardware, Keep, Outline, Picture, Placement, PlanOptions, Terms};
use uso_engine::{Defaults, Error, Model, ModelFiles, Plan, Setup, device};

use crate::args::ModelArgs;

/// Opens the device and plans for `slots` pictures at a time, each as large as `largest`. Blocks.
///
/// # Errors
/// If the device cannot be opened, the model is faulty, or no plan fits.
pub(crate) fn setup(
    args: &ModelArgs,
    slots: u64,
    largest: impl FnOnce(&Defaults) -> Picture,
) -> anyhow::Result<Setup> {
    planned(args, slots, largest).map_err(cannot_load)
}

/// Opens the device and reads the headers of the model: what is wrong with them is found in a moment. Blocks.
///
/// # Errors
/// If the device cannot be opened, or the model is faulty.
pub(crate) fn check(args: &ModelArgs) -> anyhow::Result<()> {
    let checked = || -> Result<(), Error> {
        device::precision(args.dtype.as_deref(), &device::open(&args.device)?)?;
        Outline::of(&Model::open(&ModelFiles::new(args.model.as_deref()))?).map(|_| ())
    };
    checked().map_err(cannot_load)
}

fn cannot_load(error: Error) -> anyhow::Error {
    match error {
        // It already names the option.
        Error::Request { .. } => error.into(),
        error => anyhow::Error::new(error).context("cannot load the model"),
    }
}

fn planned(args: &ModelArgs, slots: u64, largest: impl FnOnce(&Defaults) -> Picture) -> Result<Setup, Error> {
    let device = device::open(&args.device)?;
    let dtype = device::precision(args.dtype.as_deref(), &device)?;
    let (loras, verify) = (args.lora.clone(), args.verify);
    if device.is_metal() && args.vram.is_none() {
        tracing::warn!(
            "this device does not report its free memory, so the model is not planned; state it with --vram"
        );
        return Ok(Setup { placement: unplanned(args), loras, verify, ..Setup::new(device, dtype) });
    }
    let options = PlanOptions { tier: args.tier, t5: args.t5, stream: args.stream.unwrap_or_default() };
    let plan = plan(args, &device, options, slots, largest)?;
    plan.lines().iter().for_each(|line| tracing::info!("{line}"));
    Ok(Setup { loras, verify, ..Setup::planned(device, dtype, &plan) })
}

fn plan(
    args: &ModelArgs,
    device: &device::Device,
    options: PlanOptions,
    slots: u64,
    largest: impl FnOnce(&Defaults) -> Picture,
) -> Result<Plan, Error> {
    let model = Model::open(&ModelFiles::new(args.model.as_deref()))?;
    let terms = Terms {
        picture: largest(&model.config().defaults),
        slots,
        reserve: args.vram_reserve,
        dtype: device::precision(args.dtype.as_deref(), device)?,
        options,
    };
    let outline = Outline::of(&model)?.with_loras(args.lora.iter().map(|lora| lora.file.as_path()))?;
    Plan::new(&outline, &Hardware::of_device(device, args.vram, None)?, &terms)
}

/// If a model could not be loaded for lack of memory, adds to the error what would fit into what is free now.
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
    let fits = plan(args, device, PlanOptions::default(), 1, Picture::of);
    let hint = match fits {
        Ok(plan) => format!("{} would fit into what is free now", plan.name()),
        Err(error) => error.to_string(),
    };
    Err(error).with_context(|| format!("the device ran out of memory while loading the model; {hint}"))
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

    /// The error text for the bundled model when it cannot be loaded.
    fn said(error: Error, args: &[&str]) -> String {
        let command = Command::try_parse_from(["uso"].iter().chain(args)).unwrap();
        let device = device::open("cpu").unwrap();
        format!("{:#}", explained::<()>(Err(error), &command.model, &device).unwrap_err())
    }

    #[test]
    fn without_memory_the_error_says_what_would_fit() {
        let full = || Error::OutOfMemory { need: None, free: None };
        let text = said(full(), &[]);
        assert!(
            text.contains("out of memory while loading the model")
                && text.contains("would fit into what is free"),
            "{text}"
        );
        assert!(text.contains("out of memory"), "{text}");
        let text = said(full(), &["--vram", "1MiB"]);
        assert!(
            text.contains("out of memory while loading the model") && text.contains("vram: the processor"),
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
