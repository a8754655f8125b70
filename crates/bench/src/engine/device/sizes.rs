//! How much is measured.

use uso_engine::Tier;
use uso_engine::plan::Picture;

use crate::engine::folder::Shape;

/// How much makes the table.
pub(super) struct Sizes {
    /// The transformer whose steps are timed.
    pub(super) shape: Shape,
    /// Bytes of its file that are random numbers; the others are zeros.
    pub(super) filled: u64,
    pub(super) picture: Picture,
    pub(super) tiers: Vec<Tier>,
    /// Jobs of the run with the step scheduler.
    pub(super) jobs: usize,
    /// Whether memory and idle time must be within their bounds: of very small models they say nothing.
    pub(super) judged: bool,
}

const TIERS: [Tier; 7] = Tier::ALL;
const JOBS: usize = 200;

impl Sizes {
    /// FLUX.1-dev's sizes.
    pub(super) fn gpu() -> Self {
        Self {
            shape: Shape { hidden: Shape::REAL, double: 19, single: 38, text: 512 },
            // More would take longer to write than to measure.
            filled: 6_500_000_000,
            picture: Picture { width: 1024, height: 1024, content: Some((512, 512)), styles: 2, steps: 25 },
            tiers: TIERS.into(),
            jobs: JOBS,
            judged: true,
        }
    }

    /// FLUX.1-dev's width, with three blocks.
    pub(super) fn cpu() -> Self {
        Self {
            shape: Shape { hidden: Shape::REAL, double: 1, single: 2, text: 512 },
            filled: u64::MAX,
            picture: Picture { width: 256, height: 256, content: None, styles: 0, steps: 2 },
            // The CPU rounds no activations.
            tiers: TIERS.into_iter().filter(|tier| !tier.rounds_activations()).collect(),
            jobs: JOBS,
            judged: true,
        }
    }

    pub(super) fn quick() -> Self {
        Self {
            shape: Shape { hidden: 256, double: 1, single: 1, text: 32 },
            filled: u64::MAX,
            picture: Picture { width: 64, height: 64, content: None, styles: 0, steps: 2 },
            tiers: vec![Tier::Bf16, Tier::Q8_0],
            jobs: 3,
            judged: false,
        }
    }

    /// In words, for the table.
    pub(super) fn about(&self) -> String {
        let Self { shape, picture, .. } = self;
        let styles = match (picture.content, picture.styles) {
            (None, 0) => "no references".to_owned(),
            (content, styles) => {
                let content = content.map_or(String::new(), |(side, _)| format!("content {side}, "));
                format!("{content}{styles} styles")
            }
        };
        format!(
            "random weights of width {}, {} + {} blocks, encoders of the bundled model; {}x{}, {styles}, {} steps a tier",
            shape.hidden, shape.double, shape.single, picture.width, picture.height, picture.steps
        )
    }
}
