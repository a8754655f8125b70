//! Parts of a job on the CPU beside the reference in PyTorch, and what a whole job makes of them.

use anyhow::Context as _;

use super::part::Part;
use super::sizes::Sizes;
use super::task::{Task, command, threads};
use super::torch;
use super::turns::{Ask, Side};
use crate::figure::{Figure, Findings, Goal, Row};
use crate::sides::Sides;

pub(super) const FIGURE: Figure<Sizes> = Figure {
    name: "speed",
    about: "Parts of a job on the CPU beside the reference in PyTorch",
    rows: &[
        row(|sizes| format!("transformer of {} blocks, 2,752 tokens, LoRA merged", blocks(sizes)), 1.0),
        row(|_| "autoencoder, decoding 512x512".into(), 1.0),
        row(|_| "autoencoder, encoding 512x512".into(), 1.0),
        row(|_| "SigLIP so400m, one picture".into(), 1.0),
        row(|_| "T5-XXL, two layers, 512 tokens".into(), 1.0),
        row(|sizes| format!("transformer of {} blocks in q8_0 against float32", blocks(sizes)), 0.6),
        row(
            |sizes| {
                format!("job of 25 steps, two styles, {} blocks, against the reference's way", blocks(sizes))
            },
            0.6,
        ),
        row(|_| "the same, extrapolated to 19 + 38 blocks".into(), 0.8),
        row(|_| "peak memory of a step beside the weights".into(), 0.7),
    ],
    measure: |sizes| Box::pin(measure(sizes)),
};

const fn row(name: fn(&Sizes) -> String, most: f64) -> Row<Sizes> {
    Row { name, unit: "ratio", goal: Goal::AtMost(most) }
}

fn blocks(sizes: &Sizes) -> String {
    format!("{} + {}", sizes.shape.double, sizes.shape.single)
}

/// Medians of one part on both sides.
#[derive(Default, Clone, Copy)]
struct Pair {
    ours: f64,
    theirs: Option<f64>,
    /// Seconds of making a sample.
    sample: f64,
    memory: Option<(f64, f64)>,
}

impl Pair {
    fn ratio(self) -> Option<f64> {
        Some(self.ours / self.theirs?)
    }
}

async fn measure(sizes: &Sizes) -> anyhow::Result<Findings> {
    let mut findings = Findings::of::<Option<f64>>([]);
    findings = findings.note(format!("both sides use {} threads", threads()));
    let mut pairs = Vec::new();
    for (part, theirs) in [
        (Part::Transformer, "transformer"),
        (Part::Decoder, "decoder"),
        (Part::Encoder, "encoder"),
        (Part::Siglip, "siglip"),
        (Part::T5, "t5"),
        (Part::TransformerQ8, "transformer-lora"),
    ] {
        let (pair, note) = turns(part, theirs, sizes).await?;
        pairs.push(pair);
        findings = findings.note(note);
    }
    let [exact, decoder, encoder, siglip, t5, mixed] = pairs[..] else { anyhow::bail!("a part is missing") };
    // The last pair is of different things: eight bits on our side, the LoRA unmerged on theirs.
    let q8 = exact.theirs.map(|theirs| mixed.ours / theirs);
    let job = Job { exact, lora: mixed.theirs, decoder, encoder, siglip, t5 };
    let memory = exact.memory.map(|(ours, theirs)| ours / theirs);
    findings.values.extend([exact, decoder, encoder, siglip, t5].map(Pair::ratio));
    findings.values.extend([q8, job.ratio(1.0), job.ratio(19.0 / sizes.shape.double as f64), memory]);
    Ok(findings)
}

/// What a whole job is made of.
struct Job {
    exact: Pair,
    /// The reference's step, with its LoRA unmerged.
    lora: Option<f64>,
    decoder: Pair,
    encoder: Pair,
    siglip: Pair,
    t5: Pair,
}

impl Job {
    /// The engine's time against the reference's, if steps take `deeper` times as long.
    fn ratio(&self, deeper: f64) -> Option<f64> {
        const STEPS: f64 = 25.0;
        const STYLES: f64 = 2.0;
        /// Times two layers.
        const T5: f64 = 12.0;
        let once =
            |of: fn(Pair) -> Option<f64>| Some(T5 * of(self.t5)? + of(self.encoder)? + of(self.decoder)?);
        let ours = once(|pair| Some(pair.ours))?
            + STYLES * self.siglip.ours
            + deeper * (self.exact.sample + STEPS * self.exact.ours);
        // Its modulations are part of its steps.
        let theirs =
            once(|pair| pair.theirs)? + STEPS * (deeper * self.lora? + STYLES * self.siglip.theirs?);
        Some(ours / theirs)
    }
}

/// Lets both sides of a part take turns.
async fn turns(part: Part, theirs: &str, sizes: &Sizes) -> anyhow::Result<(Pair, String)> {
    let folder = part.write(sizes)?;
    let task = Task::Serve { part, folder: folder.path().to_owned() };
    let (mut own, ready) = Side::start(command(&task)?).await.with_context(|| format!("{part:?}"))?;
    let mut other = match torch::part(theirs, threads()) {
        Ok(command) if sizes.is_full => match Side::start(command).await {
            Ok((side, ready)) => Ok((side, ready.version)),
            Err(error) => Err(format!("{error:#}")),
        },
        Ok(_) => Err("widths are not the reference's".into()),
        Err(reason) => Err(reason),
    };
    let mut sides = Sides::default();
    for _ in 0..sizes.rounds {
        sides.add("ours", own.turn(Ask::Time).await?);
        if let Ok((side, _)) = &mut other {
            sides.add("PyTorch", side.turn(Ask::Time).await?);
        }
    }
    let mut note = sides.describe(&format!("{part:?}, seconds"));
    let mut pair = Pair {
        ours: sides.median("ours").context("nothing was measured")?,
        theirs: sides.median("PyTorch"),
        sample: ready.sample,
        memory: None,
    };
    match &mut other {
        Ok((side, version)) => {
            note = format!("{note}; theirs is {theirs} in PyTorch {version}");
            if part == Part::Transformer {
                let memory = (own.turn(Ask::Memory).await?, side.turn(Ask::Memory).await?);
                note =
                    format!("{note}; {:.0} and {:.0} MB beside the weights", memory.0 / 1e6, memory.1 / 1e6);
                pair.memory = Some(memory);
            }
        }
        Err(reason) => note = format!("{note}; PyTorch: {reason}"),
    }
    Ok((pair, note))
}
