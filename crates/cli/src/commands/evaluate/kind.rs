//! The kinds of tasks of USO-Bench (arXiv 2508.18966).

use std::fmt;

use serde::Serialize;

/// What an item asks for, by the references that it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum TaskKind {
    /// A content reference alone.
    Subject,
    /// Style references alone.
    Style,
    /// Both.
    Combined,
}

impl TaskKind {
    /// The kind of an item with these references; none for an item without any.
    pub(super) fn of(has_content: bool, has_styles: bool) -> Option<Self> {
        match (has_content, has_styles) {
            (true, false) => Some(Self::Subject),
            (false, true) => Some(Self::Style),
            (true, true) => Some(Self::Combined),
            (false, false) => None,
        }
    }

    /// Pictures for each item.
    pub(super) fn pictures(self) -> u64 {
        match self {
            Self::Subject | Self::Style => 4,
            Self::Combined => 1,
        }
    }

    /// Pictures of this kind in USO-Bench.
    pub(super) fn in_uso_bench(self) -> usize {
        match self {
            Self::Subject => 6_000,
            Self::Style => 7_040,
            Self::Combined => 29_500,
        }
    }
}

impl fmt::Display for TaskKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Subject => "subject",
            Self::Style => "style",
            Self::Combined => "combined",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_decide_the_kind_and_the_number_of_pictures() {
        let kind = |content, styles| TaskKind::of(content, styles).map(|kind| (kind, kind.pictures()));
        assert_eq!(kind(true, false), Some((TaskKind::Subject, 4)));
        assert_eq!(kind(false, true), Some((TaskKind::Style, 4)));
        assert_eq!(kind(true, true), Some((TaskKind::Combined, 1)));
        assert_eq!(kind(false, false), None);
    }
}
