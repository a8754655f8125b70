//! Checkpoints of unfinished pictures as bytes: a mark, steps done, total steps, then the engine's own numbers.

use crate::{Error, Steps};

/// Identifies the format and its version.
const MARK: &[u8; 8] = b"uso-cp-1";
const HEADER: usize = MARK.len() + 8;

pub(crate) fn pack(steps: Steps, numbers: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER + numbers.len());
    bytes.extend_from_slice(MARK);
    bytes.extend_from_slice(&steps.done.to_le_bytes());
    bytes.extend_from_slice(&steps.of.to_le_bytes());
    bytes.extend_from_slice(numbers);
    bytes
}

/// Steps done and numbers of a checkpoint, which must be for a picture of `of` steps and `size` bytes.
pub(crate) fn unpack(bytes: &[u8], of: u32, size: usize) -> Result<(u32, &[u8]), Error> {
    let fault = |reason: &str| Err(Error::Checkpoint(reason.to_owned()));
    let Some((header, numbers)) = bytes.split_at_checked(HEADER) else { return fault("it is cut short") };
    if !header.starts_with(MARK) {
        return fault("it is not a checkpoint, or one of another version");
    }
    let number = |at: usize| u32::from_le_bytes(std::array::from_fn(|i| header[at + i]));
    let (done, all) = (number(MARK.len()), number(MARK.len() + 4));
    if all != of || done > of {
        return fault("it was made with other steps");
    }
    if numbers.len() != size {
        return fault("it was made for another size");
    }
    Ok((done, numbers))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

        #[test]
        fn what_was_packed_is_read_back(
            of in 1..=u32::MAX, done in any::<u32>(), numbers in prop::collection::vec(any::<u8>(), 0..100)
        ) {
            let done = done % of;
            let packed = pack(Steps { done, of }, &numbers);
            prop_assert_eq!(unpack(&packed, of, numbers.len()).unwrap(), (done, numbers.as_slice()));
        }

        #[test]
        fn no_bytes_make_it_panic(
            marked in any::<bool>(), tail in prop::collection::vec(any::<u8>(), 0..40), of in 0..4u32, size in 0..8usize
        ) {
            let bytes = [if marked { &MARK[..] } else { &[] }, &tail].concat();
            if let Ok((done, numbers)) = unpack(&bytes, of, size) {
                prop_assert!(done <= of && numbers.len() == size);
            }
        }
    }

    #[test]
    fn only_what_fits_the_request_is_read() {
        let packed = pack(Steps { done: 3, of: 9 }, &[1, 2, 3, 4]);
        assert_eq!(unpack(&packed, 9, 4).unwrap(), (3, [1, 2, 3, 4].as_slice()));
        let refused = |bytes: &[u8], of, size| unpack(bytes, of, size).unwrap_err().to_string();
        assert!(refused(&packed[..10], 9, 4).contains("cut short"));
        assert!(refused(&packed[1..], 9, 3).contains("another version"));
        assert!(refused(&packed, 10, 4).contains("other steps"));
        assert!(refused(&packed, 9, 5).contains("another size"));
        assert!(refused(&pack(Steps { done: 10, of: 9 }, &[]), 9, 0).contains("other steps"));
    }
}
