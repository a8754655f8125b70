//! The frame header, and the sizes that follow from it.

use super::segments::Segment;
use crate::Error;

/// Values along a side of a block, and in the whole block.
pub(crate) const SIDE: usize = 8;
pub(crate) const BLOCK: usize = SIDE * SIDE;

pub(crate) struct Frame {
    pub(crate) progressive: bool,
    pub(crate) width: usize,
    pub(crate) height: usize,
    /// The largest sampling factors.
    pub(crate) across: usize,
    pub(crate) down: usize,
    /// Number of units of interleaved scans.
    pub(crate) units_wide: usize,
    pub(crate) units_high: usize,
    pub(crate) components: Vec<Component>,
}

pub(crate) struct Component {
    pub(crate) id: u8,
    /// Sampling factors.
    pub(crate) across: usize,
    pub(crate) down: usize,
    /// Index of its quantisation table.
    pub(crate) quantisation: usize,
    /// Columns and rows of its values in the picture.
    pub(crate) width: usize,
    pub(crate) height: usize,
    /// Blocks that these values fill.
    pub(crate) blocks_wide: usize,
    pub(crate) blocks_high: usize,
    /// Blocks of a row in interleaved scans, where units are padded.
    pub(crate) row: usize,
}

impl Frame {
    pub(crate) fn read(segment: &Segment) -> Result<Self, Error> {
        let progressive = match segment.marker {
            0xc0 | 0xc1 => false,
            0xc2 => true,
            0xc9 | 0xca => return Err(Error::NotSupported("JPEG with arithmetic coding")),
            0xc3 | 0xcb => return Err(Error::NotSupported("lossless JPEG")),
            _ => return Err(Error::NotSupported("hierarchical JPEG")),
        };
        let short = || Error::damaged("a frame header that is too short");
        let (head, list) = segment.content.split_at_checked(6).ok_or_else(short)?;
        if head[0] != 8 {
            return Err(Error::NotSupported("JPEG with other than 8 bits a value"));
        }
        let side = |at: usize| usize::from(u16::from_be_bytes([head[at], head[at + 1]]));
        let count = usize::from(head[5]);
        if !matches!(count, 1 | 3 | 4) {
            return Err(Error::NotSupported("JPEG with other than one, three or four components"));
        }
        let list = list.get(..3 * count).ok_or_else(short)?;
        Self::of(progressive, side(3), side(1), list)
    }

    fn of(progressive: bool, width: usize, height: usize, list: &[u8]) -> Result<Self, Error> {
        if width == 0 || height == 0 {
            return Err(Error::damaged("it has no pixels"));
        }
        // With a single component, sampling factors have no meaning.
        let factors = |entry: &[u8]| match list.len() {
            3 => (1, 1),
            _ => (usize::from(entry[1] >> 4), usize::from(entry[1] & 15)),
        };
        let all: Vec<_> = list.chunks_exact(3).map(factors).collect();
        let is_allowed = |factor: &usize| (1..=4).contains(factor);
        if !all.iter().all(|(across, down)| is_allowed(across) && is_allowed(down)) {
            return Err(Error::damaged("sampling factors are 1 to 4"));
        }
        let across = all.iter().map(|factors| factors.0).max().unwrap_or(1);
        let down = all.iter().map(|factors| factors.1).max().unwrap_or(1);
        if all.iter().any(|factors| across % factors.0 != 0 || down % factors.1 != 0) {
            return Err(Error::NotSupported("JPEG whose sampling factors do not divide each other"));
        }
        let (units_wide, units_high) = (width.div_ceil(SIDE * across), height.div_ceil(SIDE * down));
        let component = |(entry, (h, v)): (&[u8], &(usize, usize))| {
            let (width, height) = ((width * h).div_ceil(across), (height * v).div_ceil(down));
            Component {
                id: entry[0],
                across: *h,
                down: *v,
                quantisation: usize::from(entry[2]),
                width,
                height,
                blocks_wide: width.div_ceil(SIDE),
                blocks_high: height.div_ceil(SIDE),
                row: units_wide * h,
            }
        };
        let components = list.chunks_exact(3).zip(&all).map(component).collect();
        Ok(Self { progressive, width, height, across, down, units_wide, units_high, components })
    }

    /// Blocks of a component, including padding.
    pub(crate) fn blocks(&self, component: &Component) -> usize {
        component.row * self.units_high * component.down
    }

    /// Bytes of all coefficients.
    pub(crate) fn coefficient_bytes(&self) -> u64 {
        let blocks: usize = self.components.iter().map(|component| self.blocks(component)).sum();
        (blocks * BLOCK * size_of::<i16>()) as u64
    }
}
