//! JPEG: sequential and progressive, with 8 bits and Huffman codes, in any order of scans. The result is the same as
//! libjpeg's to the last bit.
//!
//! Damaged files are refused where libjpeg would warn and continue with grey, because nobody would see the warning.
//! Read first: [`rows`], then `scan.rs`.

mod bits;
mod colour;
mod frame;
mod huffman;
mod idct;
mod output;
mod scan;
mod segments;
mod upsample;

use bits::Bits;
use colour::Colour;
use frame::{BLOCK, Frame};
use huffman::Huffman;
use output::Output;
use scan::{Block, ORDER, Reader, ScanHeader, Tables};
use segments::{APP0, APP1, APP14, DHT, DQT, DRI, EOI, SOI, SOS, Segment};

use crate::header::Header;
use crate::turn::Turn;
use crate::{Error, exif};

/// Most scans of a file. A coefficient has at most 14 bits, which could come one by one, but encoders do not do that;
/// endless scans would keep a decoder busy for hours.
const MOST_SCANS: usize = 200;

pub(crate) fn size(bytes: &[u8]) -> Option<(u32, u32)> {
    let mut at = 2;
    loop {
        let segment = segments::next(bytes, at).ok()?;
        if segment.is_frame() {
            let side = |at| Some(u32::from(u16::from_be_bytes(crate::bytes::array(segment.content, at)?)));
            return Some((side(3)?, side(1)?));
        }
        if matches!(segment.marker, SOS | EOI) {
            return None;
        }
        at = segment.end;
    }
}

pub(crate) fn header(bytes: &[u8]) -> Result<Header, Error> {
    let mut file = File::new(bytes);
    let scan = file.next_scan()?.ok_or(Error::EndsEarly)?;
    let frame = file.frame()?;
    let memory = if frame.is_one_scan(&scan) { 0 } else { frame.coefficient_bytes() };
    let turn = Turn::of(exif::orientation(file.exif, file.xmp));
    Ok(Header {
        size: (frame.width as u32, frame.height as u32),
        turn,
        memory: memory + Output::bytes(frame),
    })
}

pub(crate) fn rows(bytes: &[u8], sink: &mut dyn FnMut(&[u8])) -> Result<(), Error> {
    let mut file = File::new(bytes);
    let decoded = decode(&mut file, sink);
    match decoded {
        // A truncated file that is padded with zeros looks damaged, too.
        Err(Error::Damaged(_)) if !has_end(&bytes[file.at..]) => Err(Error::EndsEarly),
        decoded => decoded,
    }
}

fn has_end(bytes: &[u8]) -> bool {
    bytes.windows(2).any(|pair| pair == [0xff, EOI])
}

fn decode(file: &mut File, sink: &mut dyn FnMut(&[u8])) -> Result<(), Error> {
    let scan = file.next_scan()?.ok_or(Error::EndsEarly)?;
    if file.frame()?.is_one_scan(&scan) { at_once(file, &scan, sink) } else { by_scans(file, scan, sink) }
}

/// Decodes rows while their coefficients are read.
fn at_once(file: &mut File, scan: &ScanHeader, sink: &mut dyn FnMut(&[u8])) -> Result<(), Error> {
    file.keep_tables(scan)?;
    let frame = file.frame()?;
    let mut output = Output::new(frame, file.colour()?);
    let mut reader = file.reader(scan)?;
    for row in 0..frame.units_high {
        for column in 0..frame.units_wide {
            reader.begin_unit()?;
            for (i, part) in scan.parts.iter().enumerate() {
                let (across, down) = scan.blocks(frame, part);
                for (v, h) in (0..down).flat_map(|v| (0..across).map(move |h| (v, h))) {
                    let mut block = [0; BLOCK];
                    reader.block(i, &mut block)?;
                    let (row, column) = (row * down + v, column * across + h);
                    output.put(part.component, row, column, &block, file.kept(part.component)?);
                }
            }
        }
        output.give(row, sink);
    }
    file.at = reader.end();
    match file.next_scan()? {
        None => Ok(()),
        Some(_) => Err(Error::damaged("there are too many scans")),
    }
}

/// Reads all coefficients of all scans first.
fn by_scans(file: &mut File, first: ScanHeader, sink: &mut dyn FnMut(&[u8])) -> Result<(), Error> {
    let frame = file.frame()?;
    let mut planes: Vec<Vec<Block>> =
        frame.components.iter().map(|component| vec![[0; BLOCK]; frame.blocks(component)]).collect();
    // The lowest bit that scans have given of each coefficient.
    let mut known = vec![[None; BLOCK]; frame.components.len()];
    let mut next = Some(first);
    for scans in 1.. {
        let Some(scan) = next else { break };
        if scans > MOST_SCANS {
            return Err(Error::NotSupported("JPEG of more than 200 scans"));
        }
        for part in &scan.parts {
            known[part.component][scan.first..=scan.last].fill(Some(scan.bit));
        }
        file.keep_tables(&scan)?;
        file.at = read_scan(file, &scan, &mut planes)?;
        next = file.next_scan()?;
    }
    let frame = file.frame()?;
    if known.iter().any(|component| component[0].is_none()) {
        return Err(Error::EndsEarly);
    }
    if frame.progressive && known.iter().any(|component| component[1..10].iter().any(|bit| *bit != Some(0))) {
        return Err(Error::NotSupported("progressive JPEG that leaves coefficients open"));
    }
    let mut output = Output::new(frame, file.colour()?);
    for row in 0..frame.units_high {
        for (i, component) in frame.components.iter().enumerate() {
            for row in row * component.down..(row + 1) * component.down {
                let blocks = &planes[i][row * component.row..(row + 1) * component.row];
                for (column, block) in blocks.iter().enumerate() {
                    output.put(i, row, column, block, file.kept(i)?);
                }
            }
        }
        output.give(row, sink);
    }
    Ok(())
}

/// Adds the coefficients of a scan; gives the offset of its end.
fn read_scan(file: &File, scan: &ScanHeader, planes: &mut [Vec<Block>]) -> Result<usize, Error> {
    let frame = file.frame()?;
    let mut reader = file.reader(scan)?;
    let (columns, rows) = scan.units(frame);
    for (row, column) in (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column))) {
        reader.begin_unit()?;
        for (i, part) in scan.parts.iter().enumerate() {
            let (across, down) = scan.blocks(frame, part);
            for (v, h) in (0..down).flat_map(|v| (0..across).map(move |h| (v, h))) {
                let place = (row * down + v) * frame.components[part.component].row + column * across + h;
                reader.block(i, &mut planes[part.component][place])?;
            }
        }
    }
    Ok(reader.end())
}

/// What has been read of a file.
struct File<'a> {
    bytes: &'a [u8],
    at: usize,
    frame: Option<Frame>,
    quantisation: [Option<[u16; BLOCK]>; 4],
    /// The tables of components in their first scans.
    kept: [Option<[u16; BLOCK]>; 4],
    first_codes: [Option<Huffman>; 4],
    other_codes: [Option<Huffman>; 4],
    restart_interval: usize,
    jfif: bool,
    adobe: Option<u8>,
    exif: Option<&'a [u8]>,
    xmp: Option<&'a [u8]>,
}

impl<'a> File<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        const AFTER_SOI: usize = 2;
        Self {
            bytes,
            at: AFTER_SOI,
            frame: None,
            quantisation: [None; 4],
            kept: [None; 4],
            first_codes: [const { None }; 4],
            other_codes: [const { None }; 4],
            restart_interval: 0,
            jfif: false,
            adobe: None,
            exif: None,
            xmp: None,
        }
    }

    /// Reads up to the data of the next scan, or to the end of the picture.
    fn next_scan(&mut self) -> Result<Option<ScanHeader>, Error> {
        loop {
            let segment = segments::next(self.bytes, self.at)?;
            self.at = segment.end;
            match segment.marker {
                EOI if self.frame.is_none() => return Err(Error::damaged("it has no picture")),
                EOI => return Ok(None),
                SOS => return ScanHeader::read(&segment, self.frame()?).map(Some),
                SOI => return Err(Error::damaged("a picture begins within another")),
                DQT => self.quantisation_tables(segment.content)?,
                DHT => self.huffman_tables(segment.content)?,
                DRI => self.restart_interval = usize::from(short(segment.content, 0)?),
                _ if segment.is_frame() && self.frame.is_some() => {
                    return Err(Error::damaged("there is more than one frame"));
                }
                _ if segment.is_frame() => self.frame = Some(Frame::read(&segment)?),
                _ => self.application(&segment),
            }
        }
    }

    fn application(&mut self, segment: &Segment<'a>) {
        const JFIF_BYTES: usize = 14;
        const ADOBE_BYTES: usize = 12;
        const XMP: &[u8] = b"http://ns.adobe.com/xap/1.0/\0";
        let content = segment.content;
        match segment.marker {
            APP0 if content.starts_with(b"JFIF\0") && content.len() >= JFIF_BYTES => self.jfif = true,
            APP1 if content.starts_with(b"Exif\0\0") => self.exif = self.exif.or(Some(content)),
            APP1 if content.starts_with(XMP) => self.xmp = Some(content),
            APP14 if content.starts_with(b"Adobe") && content.len() >= ADOBE_BYTES => {
                self.adobe = Some(content[ADOBE_BYTES - 1]);
            }
            _ => {}
        }
    }

    fn quantisation_tables(&mut self, mut content: &[u8]) -> Result<(), Error> {
        while let Some((head, rest)) = content.split_first() {
            let (is_wide, number) = (head >> 4 != 0, usize::from(head & 15));
            let bytes = if is_wide { 2 * BLOCK } else { BLOCK };
            let (values, rest) =
                rest.split_at_checked(bytes).ok_or_else(|| Error::damaged("a table is too short"))?;
            let slot = self.quantisation.get_mut(number).ok_or_else(too_many_tables)?;
            let mut table = [0; BLOCK];
            for (i, place) in ORDER.into_iter().enumerate() {
                table[usize::from(place)] = if is_wide { short(values, 2 * i)? } else { values[i].into() };
            }
            *slot = Some(table);
            content = rest;
        }
        Ok(())
    }

    fn huffman_tables(&mut self, mut content: &[u8]) -> Result<(), Error> {
        let too_short = || Error::damaged("a table is too short");
        while let Some((head, rest)) = content.split_first() {
            let (counts, rest) = rest.split_first_chunk().ok_or_else(too_short)?;
            let values = counts.iter().map(|count| usize::from(*count)).sum();
            let (values, rest) = rest.split_at_checked(values).ok_or_else(too_short)?;
            let tables = if head >> 4 == 0 { &mut self.first_codes } else { &mut self.other_codes };
            let slot = tables.get_mut(usize::from(head & 15)).ok_or_else(too_many_tables)?;
            *slot = Some(Huffman::new(counts, values)?);
            content = rest;
        }
        Ok(())
    }

    fn frame(&self) -> Result<&Frame, Error> {
        self.frame.as_ref().ok_or_else(|| Error::damaged("a scan comes before its frame"))
    }

    fn colour(&self) -> Result<Colour, Error> {
        Ok(Colour::of(self.frame()?, self.jfif, self.adobe))
    }

    /// A component keeps the table that it has when its first scan begins. A sequential scan without codes uses the
    /// standard ones.
    fn keep_tables(&mut self, scan: &ScanHeader) -> Result<(), Error> {
        let frame = self.frame()?;
        let (progressive, numbers) = (frame.progressive, scan.parts.iter().map(|part| part.component));
        let numbers: Vec<_> = numbers.map(|i| (i, frame.components[i].quantisation)).collect();
        for (component, number) in numbers {
            if self.kept[component].is_none() {
                self.kept[component] = self.quantisation.get(number).copied().flatten();
            }
        }
        if progressive {
            return Ok(());
        }
        for (tables, others) in [(&mut self.first_codes, false), (&mut self.other_codes, true)] {
            for (slot, chrominance) in tables.iter_mut().zip([false, true]) {
                if slot.is_none() {
                    *slot = Some(huffman::usual(others, chrominance)?);
                }
            }
        }
        Ok(())
    }

    fn kept(&self, component: usize) -> Result<&[u16; BLOCK], Error> {
        self.kept[component].as_ref().ok_or_else(|| Error::damaged("a quantisation table is missing"))
    }

    fn reader<'t>(&'t self, scan: &'t ScanHeader) -> Result<Reader<'a, 't>, Error> {
        let tables = scan.parts.iter().map(|part| Tables {
            first: self.first_codes[part.table_first].as_ref(),
            others: self.other_codes[part.table_others].as_ref(),
        });
        let bits = Bits::new(self.bytes, self.at);
        Ok(Reader::new(scan, self.frame()?.progressive, tables.collect(), bits, self.restart_interval))
    }
}

impl Frame {
    /// Whether rows can be decoded while a scan is read.
    fn is_one_scan(&self, scan: &ScanHeader) -> bool {
        !self.progressive && scan.parts.len() == self.components.len()
    }
}

fn short(bytes: &[u8], at: usize) -> Result<u16, Error> {
    let pair = crate::bytes::array(bytes, at).ok_or_else(|| Error::damaged("a segment is too short"))?;
    Ok(u16::from_be_bytes(pair))
}

fn too_many_tables() -> Error {
    Error::damaged("tables are numbered 0 to 3")
}
