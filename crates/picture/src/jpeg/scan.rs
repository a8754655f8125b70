//! Reads the coefficients of blocks from the coded data of a scan.

use super::bits::Bits;
use super::frame::{BLOCK, Frame};
use super::huffman::Huffman;
use super::segments::Segment;
use crate::Error;

/// Places in a block of its coefficients in the order of their frequency (zigzag).
#[rustfmt::skip]
pub(crate) const ORDER: [u8; BLOCK] = [
     0,  1,  8, 16,  9,  2,  3, 10, 17, 24, 32, 25, 18, 11,  4,  5,
    12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13,  6,  7, 14, 21, 28,
    35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51,
    58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63,
];

pub(crate) type Block = [i16; BLOCK];

/// The scan header.
pub(crate) struct ScanHeader {
    pub(crate) parts: Vec<Part>,
    /// The first and the last coefficient.
    pub(crate) first: usize,
    pub(crate) last: usize,
    /// The lowest bit that earlier scans gave, 0 if there were none, and the lowest bit that this scan gives.
    pub(crate) above: u32,
    pub(crate) bit: u32,
}

/// A component in a scan and its Huffman tables.
pub(crate) struct Part {
    pub(crate) component: usize,
    pub(crate) table_first: usize,
    pub(crate) table_others: usize,
}

impl ScanHeader {
    pub(crate) fn read(segment: &Segment, frame: &Frame) -> Result<Self, Error> {
        let wrong = || Error::damaged("a scan header contradicts itself");
        let content = segment.content;
        let count = usize::from(*content.first().ok_or_else(wrong)?);
        let list = content.get(1..1 + 2 * count).ok_or_else(wrong)?;
        let [first, last, bits] = crate::bytes::array(content, 1 + 2 * count).ok_or_else(wrong)?;
        let mut parts: Vec<Part> = Vec::new();
        for entry in list.chunks_exact(2) {
            let component = frame.components.iter().position(|component| component.id == entry[0]);
            let component = component.ok_or_else(wrong)?;
            let (table_first, table_others) = (usize::from(entry[1] >> 4), usize::from(entry[1] & 15));
            if table_first > 3 || table_others > 3 || parts.iter().any(|part| part.component == component) {
                return Err(wrong());
            }
            parts.push(Part { component, table_first, table_others });
        }
        let scan = Self {
            parts,
            first: first.into(),
            last: last.into(),
            above: u32::from(bits >> 4),
            bit: u32::from(bits & 15),
        };
        let scan = if frame.progressive {
            scan
        } else {
            Self { first: 0, last: BLOCK - 1, above: 0, bit: 0, ..scan }
        };
        scan.makes_sense(frame).then_some(scan).ok_or_else(wrong)
    }

    fn makes_sense(&self, frame: &Frame) -> bool {
        const MOST_BLOCKS: usize = 10;
        let blocks = |part: &Part| {
            let component = &frame.components[part.component];
            component.across * component.down
        };
        let unit: usize = self.parts.iter().map(blocks).sum();
        let range = match (frame.progressive, self.first) {
            (false, _) => true,
            (true, 0) => self.last == 0,
            (true, first) => first <= self.last && self.last < BLOCK && self.parts.len() == 1,
        };
        let is_fitting = self.parts.len() == 1 || unit <= MOST_BLOCKS;
        !self.parts.is_empty()
            && is_fitting
            && range
            && self.bit <= 13
            && (self.above == 0 || self.above == self.bit + 1)
    }

    /// Columns and rows of its units: blocks, or several blocks of each component if they are interleaved.
    pub(crate) fn units(&self, frame: &Frame) -> (usize, usize) {
        match self.parts.as_slice() {
            [part] => {
                let component = &frame.components[part.component];
                (component.blocks_wide, component.blocks_high)
            }
            _ => (frame.units_wide, frame.units_high),
        }
    }

    /// Blocks of a component in one unit, across and down.
    pub(crate) fn blocks(&self, frame: &Frame, part: &Part) -> (usize, usize) {
        let component = &frame.components[part.component];
        if self.parts.len() == 1 { (1, 1) } else { (component.across, component.down) }
    }
}

/// The Huffman tables that a part of a scan needs.
pub(crate) struct Tables<'t> {
    pub(crate) first: Option<&'t Huffman>,
    pub(crate) others: Option<&'t Huffman>,
}

/// Reads a scan unit by unit.
pub(crate) struct Reader<'a, 't> {
    header: &'t ScanHeader,
    progressive: bool,
    tables: Vec<Tables<'t>>,
    bits: Bits<'a>,
    /// Units between restart markers, 0 for none; and units read so far.
    interval: usize,
    read: usize,
    /// The previous first coefficient of each part.
    before: [i32; 4],
    /// Number of following blocks without further coefficients.
    run: u32,
}

impl<'a, 't> Reader<'a, 't> {
    pub(crate) fn new(
        header: &'t ScanHeader,
        progressive: bool,
        tables: Vec<Tables<'t>>,
        bits: Bits<'a>,
        interval: usize,
    ) -> Self {
        Self { header, progressive, tables, bits, interval, read: 0, before: [0; 4], run: 0 }
    }

    /// Must be called before each unit.
    pub(crate) fn begin_unit(&mut self) -> Result<(), Error> {
        if self.interval > 0 && self.read > 0 && self.read.is_multiple_of(self.interval) {
            self.bits.restart(self.read / self.interval - 1)?;
            self.before = [0; 4];
            self.run = 0;
        }
        self.read += 1;
        Ok(())
    }

    /// Reads the next block of a part. It contains what earlier scans gave.
    pub(crate) fn block(&mut self, part: usize, block: &mut Block) -> Result<(), Error> {
        let Self { header, bits, tables, .. } = self;
        let tables = &tables[part];
        let table =
            |table: Option<&'t Huffman>| table.ok_or_else(|| Error::damaged("a Huffman table is missing"));
        match (self.progressive, header.first == 0, header.above == 0) {
            (false, ..) => {
                block[0] = difference(bits, table(tables.first)?, &mut self.before[part])? as i16;
                rest(bits, table(tables.others)?, block)?;
            }
            (true, true, true) => {
                let value = difference(bits, table(tables.first)?, &mut self.before[part])?;
                block[0] = value.wrapping_shl(header.bit) as i16;
            }
            (true, true, false) => block[0] |= (bits.take(1) << header.bit) as i16,
            (true, false, true) => some(bits, table(tables.others)?, header, &mut self.run, block)?,
            (true, false, false) => refine(bits, table(tables.others)?, header, &mut self.run, block)?,
        }
        bits.check()
    }

    /// Offset at or before the end of the scan.
    pub(crate) fn end(&self) -> usize {
        self.bits.at()
    }
}

fn difference(bits: &mut Bits, table: &Huffman, before: &mut i32) -> Result<i32, Error> {
    let size = table.read(bits)?;
    if size > 15 {
        return Err(Error::damaged("a coefficient that is too large"));
    }
    *before = before.wrapping_add(bits.signed(size.into()));
    Ok(*before)
}

/// Reads all coefficients but the first.
fn rest(bits: &mut Bits, table: &Huffman, block: &mut Block) -> Result<(), Error> {
    let mut at = 1;
    while at < BLOCK {
        let code = table.read(bits)?;
        let (zeros, size) = (usize::from(code >> 4), u32::from(code & 15));
        if size == 0 {
            if zeros < 15 {
                break;
            }
            at += 16;
            continue;
        }
        at += zeros;
        let value = bits.signed(size);
        *place(block, at)? = value as i16;
        at += 1;
    }
    Ok(())
}

fn place(block: &mut Block, at: usize) -> Result<&mut i16, Error> {
    let index = ORDER.get(at).ok_or_else(|| Error::damaged("a block has too many coefficients"))?;
    Ok(&mut block[usize::from(*index)])
}

/// Reads the high bits of some coefficients.
fn some(
    bits: &mut Bits,
    table: &Huffman,
    header: &ScanHeader,
    run: &mut u32,
    block: &mut Block,
) -> Result<(), Error> {
    if *run > 0 {
        *run -= 1;
        return Ok(());
    }
    let mut at = header.first;
    while at <= header.last {
        let code = table.read(bits)?;
        let (zeros, size) = (u32::from(code >> 4), u32::from(code & 15));
        if size > 0 {
            at += zeros as usize;
            let value = bits.signed(size);
            *place(block, at)? = value.wrapping_shl(header.bit) as i16;
            at += 1;
        } else if zeros == 15 {
            at += 16;
        } else {
            *run = (1 << zeros) + bits.take(zeros) as u32 - 1;
            break;
        }
    }
    Ok(())
}

/// Reads one more bit of some coefficients, and those that become non-zero with it.
fn refine(
    bits: &mut Bits,
    table: &Huffman,
    header: &ScanHeader,
    run: &mut u32,
    block: &mut Block,
) -> Result<(), Error> {
    let bit = 1i16 << header.bit;
    let mut at = header.first;
    while *run == 0 && at <= header.last {
        let code = table.read(bits)?;
        let (mut zeros, size) = (u32::from(code >> 4), code & 15);
        let new = match size {
            0 if zeros == 15 => 0,
            0 => {
                *run = (1 << zeros) + bits.take(zeros) as u32;
                break;
            }
            1 => {
                if bits.take(1) == 1 {
                    bit
                } else {
                    -bit
                }
            }
            _ => return Err(Error::damaged("an invalid bit of a coefficient")),
        };
        // Bits of existing coefficients come in between.
        while at <= header.last {
            let value = place(block, at)?;
            at += 1;
            if *value != 0 {
                more(bits, value, bit);
            } else if zeros > 0 {
                zeros -= 1;
            } else {
                *value = new;
                break;
            }
        }
    }
    if *run > 0 {
        for at in at..=header.last {
            let value = place(block, at)?;
            if *value != 0 {
                more(bits, value, bit);
            }
        }
        *run -= 1;
    }
    Ok(())
}

fn more(bits: &mut Bits, value: &mut i16, bit: i16) {
    if bits.take(1) == 1 && *value & bit == 0 {
        *value = value.wrapping_add(if *value > 0 { bit } else { -bit });
    }
}
