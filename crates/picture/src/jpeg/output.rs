//! Turns blocks into rows of pixels, keeping only as much of the picture as neighbouring rows need.

use super::colour::Colour;
use super::frame::{Component, Frame, SIDE};
use super::scan::Block;
use super::{idct, upsample};

/// Rows of units to keep: the current one and its neighbours.
const KEPT: usize = 3;

pub(crate) struct Output<'f> {
    frame: &'f Frame,
    colour: Colour,
    /// The values of each component; row `y` is at `y` modulo the number of kept rows.
    values: Vec<Vec<u8>>,
    /// A row of each component, as wide as the picture or a little wider, and the same row as pixels.
    wide: Vec<Vec<u8>>,
    rgb: Vec<u8>,
}

impl<'f> Output<'f> {
    pub(crate) fn new(frame: &'f Frame, colour: Colour) -> Self {
        let values = frame.components.iter().map(|component| vec![0; kept(component) * stride(component)]);
        let wide = vec![Vec::new(); frame.components.len()];
        Self { frame, colour, values: values.collect(), wide, rgb: Vec::new() }
    }

    /// Bytes that it holds.
    pub(crate) fn bytes(frame: &Frame) -> u64 {
        frame.components.iter().map(|component| (kept(component) * stride(component)) as u64).sum()
    }

    /// Takes a block of a component.
    pub(crate) fn put(
        &mut self,
        component: usize,
        row: usize,
        column: usize,
        block: &Block,
        table: &[u16; 64],
    ) {
        let stride = stride(&self.frame.components[component]);
        let begin = SIDE * row % kept(&self.frame.components[component]) * stride + SIDE * column;
        idct::transform(block, table, &mut self.values[component][begin..], stride);
    }

    /// Passes on the rows that are complete after the blocks of a row of units: those of the unit row above, and its
    /// own if it is the last.
    pub(crate) fn give(&mut self, unit: usize, sink: &mut dyn FnMut(&[u8])) {
        let height = SIDE * self.frame.down;
        let end = if unit + 1 == self.frame.units_high { self.frame.height } else { unit * height };
        for y in (unit * height).saturating_sub(height)..end {
            self.row(y);
            sink(&self.rgb);
        }
    }

    fn row(&mut self, y: usize) {
        let Self { frame, colour, values, wide, rgb } = self;
        for ((component, values), wide) in frame.components.iter().zip(values).zip(wide.iter_mut()) {
            let factors = (frame.across / component.across, frame.down / component.down);
            let row = |y: usize| {
                let begin = y % kept(component) * stride(component);
                &values[begin..begin + component.width]
            };
            upsample::row(component, factors, y, row, wide);
        }
        colour.convert(wide, frame.width, rgb);
    }
}

fn kept(component: &Component) -> usize {
    KEPT * SIDE * component.down
}

fn stride(component: &Component) -> usize {
    SIDE * component.row
}
