//! How values are packed: JSON and base 62.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Error;

/// Reads JSON that the queue holds.
pub(crate) fn json<T: DeserializeOwned>(text: &str) -> Result<T, Error> {
    serde_json::from_str(text).map_err(|error| Error::Unreadable(error.to_string()))
}

/// Writes a value as JSON.
pub(crate) fn to_json<T: Serialize>(value: &T) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|error| Error::Unreadable(error.to_string()))
}

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Bytes as one number in base 62, its last `length` digits.
pub(crate) fn base62(bytes: &[u8], length: usize) -> String {
    let mut number = bytes.to_vec();
    let mut digits: Vec<u8> = (0..length)
        .map(|_| {
            let mut rest = 0;
            for byte in &mut number {
                let value = rest * 256 + u32::from(*byte);
                (*byte, rest) = ((value / 62) as u8, value % 62);
            }
            DIGITS[rest as usize]
        })
        .collect();
    digits.reverse();
    digits.into_iter().map(char::from).collect()
}

/// Whether a text has only digits of base 62.
pub(crate) fn is_base62(text: &str) -> bool {
    text.bytes().all(|byte| DIGITS.contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_digits_are_the_same_number() {
        assert_eq!(base62(&[0; 32], 3), "000");
        assert_eq!(base62(&[1, 0], 4), "0048");
        // 2^256 - 1 has 43 digits: none is lost.
        assert_eq!(base62(&[255; 32], 43), "yhjskwdA6OZ1AL1YmHWZWm8LLG7HjnuCA2j5rOw8Xp1");
    }
}
