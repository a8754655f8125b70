//! Reads coded data bit by bit.

use super::segments::{RST0, marker};
use crate::Error;

pub(crate) struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
    /// The next bits, from the highest bit on.
    ahead: u64,
    /// Number of bits in it.
    count: u32,
    /// How many of the last bits are padding beyond the end of the data.
    missing: u32,
}

impl<'a> Bits<'a> {
    pub(crate) fn new(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at, ahead: 0, count: 0, missing: 0 }
    }

    /// Offset of the next byte; never beyond the start of the next marker.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// Reads enough bits for a code and its value.
    pub(crate) fn refill(&mut self) {
        if self.count >= 32 {
            return;
        }
        while self.count <= 56 {
            let byte = self.next_byte().unwrap_or_else(|| {
                self.missing += 8;
                0
            });
            self.ahead |= u64::from(byte) << (56 - self.count);
            self.count += 8;
        }
    }

    /// The next byte; none at a marker and at the end of the file.
    fn next_byte(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        if byte != 0xff {
            return Some(byte);
        }
        // A byte of 255 is followed by a zero.
        let begin = self.at - 1;
        while self.bytes.get(self.at) == Some(&0xff) {
            self.at += 1;
        }
        if self.bytes.get(self.at) == Some(&0) {
            self.at += 1;
            return Some(0xff);
        }
        self.at = begin;
        None
    }

    /// The next bits, at most 16, after [`Bits::refill`].
    pub(crate) fn peek(&self, count: u32) -> usize {
        (self.ahead >> 1 >> (63 - count)) as usize
    }

    pub(crate) fn skip(&mut self, count: u32) {
        self.ahead <<= count;
        self.count -= count;
    }

    /// The next bits, at most 16, as a number.
    pub(crate) fn take(&mut self, count: u32) -> i32 {
        self.refill();
        let value = self.peek(count) as i32;
        self.skip(count);
        value
    }

    /// A value of `count` bits; it is negative if its first bit is 0.
    pub(crate) fn signed(&mut self, count: u32) -> i32 {
        let value = self.take(count);
        if count > 0 && value < 1 << (count - 1) { value - (1 << count) + 1 } else { value }
    }

    /// Fails if more bits were read than there are.
    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.count >= self.missing {
            return Ok(());
        }
        // There is a marker here, or nothing.
        marker(self.bytes, self.at)?;
        Err(Error::damaged("coded data ends within the picture"))
    }

    /// Skips the restart marker with this number.
    pub(crate) fn restart(&mut self, number: usize) -> Result<(), Error> {
        let (found, end) = marker(self.bytes, self.at)?;
        if found != RST0 + (number % 8) as u8 {
            return Err(Error::damaged("restart markers are out of order"));
        }
        *self = Self::new(self.bytes, end);
        Ok(())
    }
}
