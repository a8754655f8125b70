//! Sizes in bytes as people write them.

/// Units; a unit stands before those that it ends with.
const UNITS: [(&str, f64); 5] = [
    ("GiB", (1u64 << 30) as f64),
    ("MiB", (1u64 << 20) as f64),
    ("GB", 1e9),
    ("MB", 1e6),
    // A bare number is read as in a card's name: 24 means 24 GiB.
    ("", (1u64 << 30) as f64),
];

/// Reads `24GiB`, `24GB`, `512MiB`, or `24`, which means GiB; gives bytes.
pub(super) fn bytes(text: &str) -> Result<u64, String> {
    /// More than any machine has, and exact in a float.
    const MOST: f64 = (1u64 << 50) as f64;
    let wrong = || format!("{text:?} is not a size such as 24GiB, 24GB, 512MiB or 24");
    let unit = UNITS.iter().find_map(|(unit, bytes)| Some((text.strip_suffix(unit)?, bytes)));
    let (number, unit) = unit.ok_or_else(wrong)?;
    let number: f64 = number.trim_end().parse().map_err(|_| wrong())?;
    let bytes = number * unit;
    if bytes.is_finite() && (0.0..=MOST).contains(&bytes) { Ok(bytes as u64) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::bytes;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, expected) in [
            ("24GiB", 24 << 30),
            ("24", 24 << 30),
            ("24 GiB", 24 << 30),
            ("24GB", 24_000_000_000),
            ("1.5GiB", 3 << 29),
            ("512MiB", 512 << 20),
            ("512MB", 512_000_000),
            ("0", 0),
        ] {
            assert_eq!(bytes(text), Ok(expected), "{text}");
        }
        for wrong in ["", "GiB", "-1GiB", "24TiB", "24gib", "inf", "nan", "1e30", "24GiBB"] {
            assert!(bytes(wrong).unwrap_err().contains("is not a size such as 24GiB"), "{wrong:?}");
        }
    }
}
