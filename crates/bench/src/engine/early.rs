//! What dropping hopeless pictures early would have cost on the bundled model: pictures that are dropped in the middle
//! although they would have passed in the end.

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use uso_engine::plan::Backend;
use uso_engine::scorers::Scorers;
use uso_engine::{
    DecodeLimits, EXAMPLE_PICTURES, Engine as _, Image, ModelFiles, PositionShift, Request, Setup, Uso,
    device,
};

use super::sizes::Sizes;
use super::task::{Task, ask};
use crate::figure::{Figure, Findings, Goal, Row, written};

const STEPS: u32 = 10;

/// After so many steps the predicted picture is scored.
const EARLY: [u32; 3] = [3, 5, 7];

/// The one of them that makes the rows.
const MIDDLE: usize = 1;

/// The share of pictures that is to fail: the threshold is where it does.
const FAILS: f64 = 0.25;

/// How far below the threshold a predicted picture may be. It is less sharp than a finished one.
const MARGINS: [f64; 3] = [0.0, 0.05, 0.1];

/// The one of them that makes the rows.
const MARGIN: usize = 1;

pub(super) const FIGURE: Figure<Sizes> = Figure {
    name: "early",
    about: "Good pictures of the bundled model that an early threshold would lose",
    rows: &[
        Row {
            name: |_| {
                format!(
                    "pictures that pass, but would be dropped after {} of {STEPS} steps by a threshold {} lower",
                    EARLY[MIDDLE], MARGINS[MARGIN]
                )
            },
            unit: "%",
            goal: Goal::AtMost(5.0),
        },
        Row {
            name: |_| "pictures that fail, and would be dropped there".into(),
            unit: "%",
            goal: Goal::AtLeast(50.0),
        },
    ],
    measure: |sizes| Box::pin(measure(sizes)),
};

/// Scores of one picture: of the predicted ones after [`EARLY`] steps, and of the finished one.
#[derive(Serialize, Deserialize)]
pub(super) struct Scored {
    early: [f64; EARLY.len()],
    last: f64,
}

/// How many of the pictures that pass, and of those that fail, are dropped.
struct Dropped {
    good: (usize, usize),
    bad: (usize, usize),
}

async fn measure(sizes: &Sizes) -> anyhow::Result<Findings> {
    let scored: Vec<Scored> = ask(&Task::Early { seeds: if sizes.is_full { 6 } else { 1 } }).await?;
    let mut last: Vec<f64> = scored.iter().map(|picture| picture.last).collect();
    last.sort_by(f64::total_cmp);
    let threshold = *last.get((last.len() as f64 * FAILS) as usize).context("no picture was scored")?;
    let share = |(some, all): (usize, usize)| (all > 0).then(|| 100.0 * some as f64 / all as f64);
    let row = dropped(&scored, threshold, MIDDLE, MARGINS[MARGIN]);
    let mut findings = Findings::of([share(row.good), share(row.bad)]).note(format!(
        "{} pictures with a content reference; threshold {} for the subject, by the bundled model's own encoder",
        scored.len(),
        written(threshold)
    ));
    for (at, steps) in EARLY.iter().enumerate() {
        for margin in MARGINS {
            let Dropped { good, bad } = dropped(&scored, threshold, at, margin);
            let (early, of) = (written(threshold - margin), format!("{steps} of {STEPS} steps"));
            findings = findings.note(format!(
                "below {early} after {of}: dropped {} of {} that pass, {} of {} that fail",
                good.0, good.1, bad.0, bad.1
            ));
        }
    }
    Ok(findings)
}

fn dropped(scored: &[Scored], threshold: f64, at: usize, margin: f64) -> Dropped {
    let count = |passes: bool| {
        let those = scored.iter().filter(|picture| (picture.last >= threshold) == passes);
        let early = those.clone().filter(|picture| picture.early[at] < threshold - margin);
        (early.count(), those.count())
    };
    Dropped { good: count(true), bad: count(false) }
}

/// Samples and scores the pictures in this process.
pub(super) fn score(seeds: u64) -> anyhow::Result<Vec<Scored>> {
    let setup = Setup::new(device::open("cpu")?, Backend::Cpu.compute());
    let mut uso = Uso::load_with(&ModelFiles::Bundled, &setup)?;
    let mut scorers = Scorers::bundled(&device::open("cpu")?)?;
    let styles = ["style_dots.png", "style_neon.png", "style_sketch.png", "style_watercolour.png"];
    let styles: Vec<Image> = styles.into_iter().map(example).collect::<anyhow::Result<_>>()?;
    let mut scored = Vec::new();
    for subject in ["heart", "star"] {
        let content = example(&format!("content_{subject}.png"))?;
        for place in
            ["at the left on a green field", "at the top right in the snow", "in the middle in the blue sky"]
        {
            for style in std::iter::once(None).chain(styles.iter().map(Some)) {
                for seed in 0..seeds {
                    let prompt = format!("the {subject} is {place}");
                    let request = request(prompt, &content, style, 1000 + seed);
                    scored.push(one(&mut uso, &mut scorers, &request, &content)?);
                }
            }
        }
    }
    Ok(scored)
}

fn one(uso: &mut Uso, scorers: &mut Scorers, request: &Request, content: &Image) -> anyhow::Result<Scored> {
    let mut score = |picture: &Image| {
        let scores = scorers.score(picture, Some(content), &[], &request.prompt)?;
        scores.siglip_subject.map(|score| f64::from(score.value)).context("no score of the subject")
    };
    let mut sample = uso.encode(request)?;
    let mut early = Vec::new();
    while !uso.steps(&sample).is_done() {
        uso.step(&mut sample)?;
        if EARLY.contains(&uso.steps(&sample).done) {
            early.push(score(&uso.decode_predicted(&sample)?.context("nothing is predicted")?)?);
        }
    }
    let early = early.try_into().ok().context("a picture has other steps")?;
    Ok(Scored { early, last: score(&uso.decode(&sample)?)? })
}

fn request(prompt: String, content: &Image, style: Option<&Image>, seed: u64) -> Request {
    Request {
        prompt,
        content: Some(content.clone().into()),
        styles: style.map(|style| style.clone().into()).into_iter().collect(),
        width: 64,
        height: 64,
        keep_size: false,
        content_size: 64,
        steps: STEPS,
        guidance: 4.0,
        seed,
        position_shift: PositionShift::default(),
        loras: Vec::new(),
        step_cache: 0.0,
    }
}

fn example(name: &str) -> anyhow::Result<Image> {
    let found = EXAMPLE_PICTURES.iter().find(|(known, _)| *known == name);
    let (_, bytes) = found.with_context(|| format!("the bundled model has no {name}"))?;
    Ok(Image::decode(bytes, &DecodeLimits::default())?)
}
