//! The published figures of USO-Bench: arXiv 2508.18966, tables 1 and 2.

use super::kind::TaskKind;
use super::measure::{Column, Measure};

/// In every row of the paper's table CLIP-I lies far below DINO, as if their heads were exchanged.
pub(super) const UNVERIFIED: &str = "column order unverified";

/// A model's figures in the order of [`PAPER`](super::measure::PAPER).
pub(super) struct Row {
    pub(super) model: &'static str,
    pub(super) figures: [Option<f64>; 7],
}

/// The row of the model that this program runs.
pub(super) const USO: Row = Row {
    model: "USO",
    figures: [Some(0.623), Some(0.793), Some(0.288), Some(0.557), Some(0.282), Some(0.495), Some(0.283)],
};

/// The other models.
pub(super) const OTHERS: [Row; 14] = [
    subject("RealCustom++", [0.314, 0.615, 0.303]),
    subject("RealGeneral", [0.485, 0.732, 0.275]),
    subject("UNO", [0.605, 0.789, 0.264]),
    subject("BAGEL", [0.516, 0.741, 0.298]),
    subject("OmniGen2", [0.475, 0.723, 0.302]),
    subject("FLUX.1 Kontext dev", [0.579, 0.775, 0.287]),
    subject("Qwen-Image Edit", [0.544, 0.756, 0.302]),
    style("DEADiff", [0.462, 0.274]),
    style("InstantStyle-XL", [0.540, 0.276]),
    style("CSGO", [0.452, 0.272]),
    style("StyleStudio", [0.348, 0.282]),
    Row {
        model: "DreamO",
        figures: [Some(0.588), Some(0.787), Some(0.280), Some(0.454), Some(0.278), None, None],
    },
    combined("StyleID", [0.407, 0.230]),
    combined("OmniStyle", [0.365, 0.229]),
];

const fn subject(model: &'static str, [a, b, c]: [f64; 3]) -> Row {
    Row { model, figures: [Some(a), Some(b), Some(c), None, None, None, None] }
}

const fn style(model: &'static str, [a, b]: [f64; 2]) -> Row {
    Row { model, figures: [None, None, None, Some(a), Some(b), None, None] }
}

const fn combined(model: &'static str, [a, b]: [f64; 2]) -> Row {
    Row { model, figures: [None, None, None, None, None, Some(a), Some(b)] }
}

/// What must be said beside the paper's figures of a column.
pub(super) fn note(column: Column) -> Option<&'static str> {
    let doubtful =
        column.kind == TaskKind::Subject && matches!(column.measure, Measure::ClipI | Measure::Dino);
    doubtful.then_some(UNVERIFIED)
}

#[cfg(test)]
mod tests {
    use super::super::measure::PAPER;
    use super::*;

    #[test]
    fn the_figures_stand_in_their_columns() {
        let of = |kind, measure| {
            let place = PAPER.iter().position(|column| *column == Column { kind, measure }).unwrap();
            USO.figures[place].unwrap()
        };
        assert_eq!(of(TaskKind::Subject, Measure::ClipI), 0.623);
        assert_eq!(of(TaskKind::Subject, Measure::Dino), 0.793);
        assert_eq!(of(TaskKind::Style, Measure::Csd), 0.557);
        assert_eq!(of(TaskKind::Combined, Measure::Csd), 0.495);
        assert_eq!(of(TaskKind::Combined, Measure::ClipT), 0.283);
        assert_eq!(OTHERS.iter().filter_map(|row| row.figures[5]).collect::<Vec<_>>(), [0.407, 0.365]);
        let noted: Vec<_> = PAPER.iter().filter(|column| note(**column).is_some()).collect();
        assert_eq!(noted, [&PAPER[0], &PAPER[1]]);
    }
}
