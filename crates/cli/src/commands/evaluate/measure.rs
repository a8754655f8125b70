//! What is measured for each kind of task, by which encoder, against what.

use std::fmt;

use serde::{Deserialize, Serialize};
use uso_engine::scorers::ScorerKind;

use super::kind::TaskKind;

/// A model that turns pictures into features.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Encoder {
    /// A scorer with weights of its own.
    Scorer(ScorerKind),
    /// The vision encoder of the bundled model.
    Bundled,
}

impl Encoder {
    /// The scorer, unless it is the bundled model's encoder.
    pub(super) fn scorer(self) -> Option<ScorerKind> {
        match self {
            Self::Scorer(kind) => Some(kind),
            Self::Bundled => None,
        }
    }
}

/// What a picture is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Against {
    Content,
    Styles,
    Prompt,
}

/// A measure: a cosine of two features.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(super) enum Measure {
    #[serde(rename = "CLIP-I")]
    ClipI,
    #[serde(rename = "DINO")]
    Dino,
    #[serde(rename = "CLIP-T")]
    ClipT,
    #[serde(rename = "CSD")]
    Csd,
    /// The subject by the bundled model's encoder. Not a published measure.
    #[serde(rename = "mini-siglip subject")]
    BundledSubject,
    /// The style by the bundled model's encoder. Not a published measure.
    #[serde(rename = "mini-siglip style")]
    BundledStyle,
}

impl Measure {
    pub(super) fn encoder(self) -> Encoder {
        match self {
            Self::ClipI | Self::ClipT => Encoder::Scorer(ScorerKind::Clip),
            Self::Dino => Encoder::Scorer(ScorerKind::Dino),
            Self::Csd => Encoder::Scorer(ScorerKind::Csd),
            Self::BundledSubject | Self::BundledStyle => Encoder::Bundled,
        }
    }

    pub(super) fn against(self) -> Against {
        match self {
            Self::ClipI | Self::Dino | Self::BundledSubject => Against::Content,
            Self::Csd | Self::BundledStyle => Against::Styles,
            Self::ClipT => Against::Prompt,
        }
    }

    /// Which of the encoder's features of a picture it compares.
    pub(super) fn feature(self) -> usize {
        usize::from(self == Self::BundledStyle)
    }
}

impl fmt::Display for Measure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::ClipI => "CLIP-I",
            Self::Dino => "DINO",
            Self::ClipT => "CLIP-T",
            Self::Csd => "CSD",
            Self::BundledSubject => "mini-siglip subject",
            Self::BundledStyle => "mini-siglip style",
        })
    }
}

/// A column of the paper's tables, or of our own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Column {
    pub(super) kind: TaskKind,
    pub(super) measure: Measure,
}

/// The columns of the paper, in its order.
pub(super) const PAPER: [Column; 7] = [
    Column { kind: TaskKind::Subject, measure: Measure::ClipI },
    Column { kind: TaskKind::Subject, measure: Measure::Dino },
    Column { kind: TaskKind::Subject, measure: Measure::ClipT },
    Column { kind: TaskKind::Style, measure: Measure::Csd },
    Column { kind: TaskKind::Style, measure: Measure::ClipT },
    Column { kind: TaskKind::Combined, measure: Measure::Csd },
    Column { kind: TaskKind::Combined, measure: Measure::ClipT },
];

/// The columns of the bundled model's encoder.
pub(super) const BUNDLED: [Column; 4] = [
    Column { kind: TaskKind::Subject, measure: Measure::BundledSubject },
    Column { kind: TaskKind::Style, measure: Measure::BundledStyle },
    Column { kind: TaskKind::Combined, measure: Measure::BundledSubject },
    Column { kind: TaskKind::Combined, measure: Measure::BundledStyle },
];
