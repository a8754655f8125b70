//! `uso bench engine`: what the engine takes of memory and time, on models of random numbers that it writes itself.
//!
//! Each measurement runs in a process of its own, so that no peak is another's. Widths are those of FLUX.1-dev; depths
//! are as small as a figure allows.

mod cold;
mod folder;
mod listings;
mod memory;
mod outliers;
mod packing;
mod planned;
mod request;
mod step_bytes;
mod task;
mod text;

use clap::ValueEnum as _;
use uso_engine::Tier;
use uso_engine::plan::Picture;

use self::folder::Shape;
use super::cores::Cores;
use super::machine::Machine;
use super::report::Report;
use crate::args::{BenchEngineArgs, EngineFigure};

pub(super) use self::task::client;

/// How much makes a figure.
struct Sizes {
    /// The transformer whose numbers are looked at.
    shape: Shape,
    /// Pictures that are drawn for the plan's sake, the smallest first, and how the matrices are kept.
    pictures: Vec<Picture>,
    tiers: Vec<Tier>,
    /// Width of T5.
    text_width: usize,
    /// How often what takes time is done.
    rounds: usize,
    /// What is packed, how many bytes of it are numbers, the rest being holes.
    packed: Shape,
    packed_bytes: u64,
    /// What is started from a packed file: 4 GB of it. Its steps have few tokens, so that they are short.
    started: Shape,
}

impl Sizes {
    /// `scale` is the part of the two large models' blocks that is written.
    fn full(scale: f64) -> Self {
        let part = |count: f64| (count * scale).round().max(1.0) as usize;
        let picture = |width, height, content: Option<u32>, styles| Picture {
            width,
            height,
            content: content.map(|side| (side, side)),
            styles,
            steps: 1,
        };
        Self {
            shape: Shape { hidden: Shape::REAL, double: 1, single: 2, text: 512 },
            pictures: vec![
                picture(128, 128, None, 0),
                picture(256, 256, None, 1),
                picture(384, 384, Some(256), 0),
                picture(512, 512, None, 2),
                picture(640, 512, Some(512), 2),
            ],
            tiers: vec![Tier::Bf16, Tier::Q8_0, Tier::Q4K],
            text_width: 4096,
            rounds: 3,
            packed: Shape { hidden: Shape::REAL, double: part(19.0), single: part(38.0), text: 512 },
            packed_bytes: (6.5e9 * scale.min(1.0)) as u64,
            started: Shape { hidden: Shape::REAL, double: part(4.0), single: part(17.0), text: 32 },
        }
    }

    fn quick() -> Self {
        const NARROW: usize = 256;
        let narrow = Shape { hidden: NARROW, double: 1, single: 1, text: 32 };
        let picture = Picture { width: 64, height: 64, content: None, styles: 0, steps: 1 };
        Self {
            shape: narrow,
            pictures: vec![picture],
            tiers: vec![Tier::Q8_0],
            text_width: NARROW,
            rounds: 1,
            packed: narrow,
            packed_bytes: 1 << 20,
            started: narrow,
        }
    }
}

pub(super) async fn run(args: &BenchEngineArgs) -> anyhow::Result<()> {
    let machine = Machine::look(Cores::unpinned()).await;
    let sizes = if args.quick { Sizes::quick() } else { Sizes::full(args.scale) };
    let mut report = Report::new("engine", machine);
    for figure in EngineFigure::value_variants() {
        if args.only.is_empty() || args.only.contains(figure) {
            measure(*figure, &sizes, &mut report).await?;
        }
    }
    report.publish(args.json.as_deref())
}

async fn measure(figure: EngineFigure, sizes: &Sizes, report: &mut Report) -> anyhow::Result<()> {
    let name = figure.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned());
    tracing::info!("measuring {name}");
    match figure {
        EngineFigure::Planned => planned::measure(sizes, report).await,
        EngineFigure::StepBytes => step_bytes::measure(report),
        EngineFigure::Outliers => outliers::measure(sizes, report).await,
        EngineFigure::Text => text::measure(sizes, report).await,
        EngineFigure::Packing => packing::measure(sizes, report).await,
        EngineFigure::Cold => cold::measure(sizes, report).await,
        EngineFigure::Listings => listings::measure(report).await,
    }
}
