//! How much is measured.

use std::path::PathBuf;

use uso_engine::Tier;
use uso_engine::plan::Picture;

use super::folder::Shape;

/// How much makes a figure.
pub(super) struct Sizes {
    /// Another build of `uso` to compare with.
    pub(super) before: Option<PathBuf>,
    /// Whether widths are FLUX.1-dev's.
    pub(super) is_full: bool,
    /// The transformer whose numbers are looked at.
    pub(super) shape: Shape,
    /// Pictures that are generated for the plan's sake, the smallest first, and how the matrices are kept.
    pub(super) pictures: Vec<Picture>,
    pub(super) tiers: Vec<Tier>,
    /// Width of T5.
    pub(super) text_width: usize,
    /// How often what takes time is done.
    pub(super) rounds: usize,
    /// What is packed, how many bytes of it are numbers, the rest being holes.
    pub(super) packed: Shape,
    pub(super) packed_bytes: u64,
    /// What is started from a packed file: 4 GB of it. Its steps have few tokens, so that they are short.
    pub(super) started: Shape,
}

impl Sizes {
    /// `scale` is the part of the two large models' blocks that is written.
    pub(super) fn full(scale: f64) -> Self {
        let part = |count: f64| (count * scale).round().max(1.0) as usize;
        let picture = |width, height, content: Option<u32>, styles| Picture {
            width,
            height,
            content: content.map(|side| (side, side)),
            styles,
            steps: 1,
        };
        Self {
            before: None,
            is_full: true,
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

    pub(super) fn quick() -> Self {
        const NARROW: usize = 256;
        let narrow = Shape { hidden: NARROW, double: 1, single: 1, text: 32 };
        let picture = Picture { width: 64, height: 64, content: None, styles: 0, steps: 1 };
        Self {
            before: None,
            is_full: false,
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
