//! Limits of the numbers in a configuration. They are far above those of published models, and so low that products of a
//! few of them do not overflow.

use std::ops::RangeInclusive;

/// Most layers, heads and pixels of a patch.
pub(crate) const MOST_LAYERS: usize = 1 << 10;
/// Most pixels of a side of a picture that an encoder reads.
pub(crate) const MOST_PIXELS: usize = 1 << 12;
/// Most numbers of a token, and channels.
pub(crate) const MOST_WIDTH: usize = 1 << 16;
/// Most tokens that have an embedding.
pub(crate) const MOST_TOKENS: usize = 1 << 20;

/// Checks that each of these fields is from 1 to `most`.
pub(crate) fn at_most(most: usize, fields: &[(&str, usize)]) -> Result<(), String> {
    match fields.iter().find(|(_, value)| !(1..=most).contains(value)) {
        Some((name, value)) => Err(format!("{name} {value} is not within 1 to {most}")),
        None => Ok(()),
    }
}

/// Checks that a field is in a range.
pub(crate) fn within(name: &str, value: f64, range: RangeInclusive<f64>) -> Result<(), String> {
    if range.contains(&value) {
        return Ok(());
    }
    Err(format!("{name} {value:?} is not within {} to {}", range.start(), range.end()))
}

/// Checks that the second field, which is not 0, divides the first: heads a width, patches a side.
pub(crate) fn divides(whole: (&str, usize), by: (&str, usize)) -> Result<(), String> {
    if whole.1.is_multiple_of(by.1) {
        return Ok(());
    }
    Err(format!("{} {} is not a multiple of {} {}", whole.0, whole.1, by.0, by.1))
}

/// Checks that two fields have the same value: the width of an output, and that of the input which takes it.
pub(crate) fn equal(one: (&str, usize), other: (&str, usize)) -> Result<(), String> {
    if one.1 == other.1 {
        return Ok(());
    }
    Err(format!("{} {} differs from {} {}", one.0, one.1, other.0, other.1))
}
