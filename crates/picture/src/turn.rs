//! Turns pictures upright, which are stored in the orientation of the camera.

use crate::Error;

/// Takes the next row of a picture.
type TakeRow<'a> = &'a mut dyn FnMut(&[u8]);

/// How to turn a stored picture upright.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Turn {
    /// Rows of the file are columns of the picture.
    transposed: bool,
    /// The picture's left side is the right side of the file, after transposing.
    mirrored: bool,
    /// The picture's top is the bottom of the file, after transposing.
    flipped: bool,
}

impl Turn {
    /// From an Exif orientation; any other number counts as none.
    pub(crate) fn of(orientation: Option<u8>) -> Self {
        let (transposed, mirrored, flipped) = match orientation {
            Some(2) => (false, true, false),
            Some(3) => (false, true, true),
            Some(4) => (false, false, true),
            Some(5) => (true, false, false),
            Some(6) => (true, true, false),
            Some(7) => (true, true, true),
            Some(8) => (true, false, true),
            _ => (false, false, false),
        };
        Self { transposed, mirrored, flipped }
    }

    /// Width and height of the upright picture.
    pub(crate) fn upright(self, (width, height): (u32, u32)) -> (u32, u32) {
        if self.transposed { (height, width) } else { (width, height) }
    }

    /// Whether the first upright row needs all rows of the file.
    pub(crate) fn needs_all(self) -> bool {
        self.transposed || self.flipped
    }

    /// Decodes the rows of a stored picture of this size with `decode`, and passes the upright rows to `sink`.
    pub(crate) fn rows(
        self,
        size: (u32, u32),
        decode: &mut dyn FnMut(TakeRow<'_>) -> Result<(), Error>,
        sink: &mut dyn FnMut(&[u8]),
    ) -> Result<(), Error> {
        if self.needs_all() {
            let mut stored = Vec::new();
            let all = 3 * size.0 as usize * size.1 as usize;
            decode(&mut |row| {
                // Allocated only when the first row arrives: until then the decoder may need the memory itself.
                stored.reserve_exact(all.saturating_sub(stored.len()));
                stored.extend_from_slice(row);
            })?;
            self.give(&stored, size, sink);
            Ok(())
        } else if self.mirrored {
            let mut turned = Vec::new();
            decode(&mut |row| {
                turned.clear();
                turned.extend(row.rchunks_exact(3).flatten());
                sink(&turned);
            })
        } else {
            decode(sink)
        }
    }

    fn give(self, stored: &[u8], size: (u32, u32), sink: &mut dyn FnMut(&[u8])) {
        let stride = size.0 as usize;
        let (width, height) = self.upright(size);
        let (width, height) = (width as usize, height as usize);
        let mut row = Vec::with_capacity(3 * width);
        for y in 0..height {
            let y = if self.flipped { height - 1 - y } else { y };
            row.clear();
            for x in 0..width {
                let x = if self.mirrored { width - 1 - x } else { x };
                let at = 3 * if self.transposed { x * stride + y } else { y * stride + x };
                row.extend_from_slice(&stored[at..at + 3]);
            }
            sink(&row);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The six pixels `abc` above `def`, upright.
    fn upright(orientation: u8) -> String {
        let turn = Turn::of(Some(orientation));
        let mut text = String::new();
        let mut decode = |sink: &mut dyn FnMut(&[u8])| {
            for row in ["abc", "def"] {
                sink(&row.bytes().flat_map(|byte| [byte; 3]).collect::<Vec<_>>());
            }
            Ok(())
        };
        let mut sink = |row: &[u8]| {
            text.extend(row.chunks(3).map(|pixel| char::from(pixel[0])));
            text.push(' ');
        };
        turn.rows((3, 2), &mut decode, &mut sink).unwrap();
        assert_eq!(text.find(' '), Some(turn.upright((3, 2)).0 as usize));
        text
    }

    #[test]
    fn each_orientation_is_made_upright() {
        let all = [1, 2, 3, 4, 5, 6, 7, 8].map(upright);
        let right = [
            "abc def ",
            "cba fed ",
            "fed cba ",
            "def abc ",
            "ad be cf ",
            "da eb fc ",
            "fc eb da ",
            "cf be ad ",
        ];
        assert_eq!(all, right);
    }
}
