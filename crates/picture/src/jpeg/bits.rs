//! Coded data, bit by bit.

use super::segments::{RST0, marker};
use crate::Error;

pub(crate) struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
    /// The next bits, from the highest on.
    ahead: u64,
    /// How many they are.
    count: u32,
    /// How many of them, the last ones, stand for what is not there.
    missing: u32,
}

impl<'a> Bits<'a> {
    pub(crate) fn new(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at, ahead: 0, count: 0, missing: 0 }
    }

    /// No further than the next marker begins.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// Sees to it that a code and the value behind it are there.
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

    /// None at a marker and at the end of the file.
    fn next_byte(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        if byte != 0xff {
            return Some(byte);
        }
        // A value of 255 has a zero behind it.
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

    /// A value of that many bits: those whose first is 0 are negative.
    pub(crate) fn signed(&mut self, count: u32) -> i32 {
        let value = self.take(count);
        if count > 0 && value < 1 << (count - 1) { value - (1 << count) + 1 } else { value }
    }

    /// Fails if more has been taken than there is.
    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.count >= self.missing {
            return Ok(());
        }
        // What stands here, if anything, is a marker.
        marker(self.bytes, self.at)?;
        Err(Error::damaged("coded data ends within the picture"))
    }

    /// Goes on behind the restart marker of that number.
    pub(crate) fn restart(&mut self, number: usize) -> Result<(), Error> {
        let (found, end) = marker(self.bytes, self.at)?;
        if found != RST0 + (number % 8) as u8 {
            return Err(Error::damaged("restart markers are out of order"));
        }
        *self = Self::new(self.bytes, end);
        Ok(())
    }
}
