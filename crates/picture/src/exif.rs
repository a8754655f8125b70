//! Orientation of a picture from the metadata that cameras and programs write.

/// Orientation, 1 to 8, from Exif data, else from XMP.
pub(crate) fn orientation(exif: Option<&[u8]>, xmp: Option<&[u8]>) -> Option<u8> {
    exif.and_then(from_exif).or_else(|| xmp.and_then(from_xmp)).filter(|value| (1..=8).contains(value))
}

/// The tag in the first directory.
fn from_exif(bytes: &[u8]) -> Option<u8> {
    const ORIENTATION: u16 = 0x0112;
    const ENTRY: usize = 12;
    let bytes = bytes.strip_prefix(b"Exif\0\0").unwrap_or(bytes);
    let big = match bytes.get(..4)? {
        b"II*\0" => false,
        b"MM\0*" => true,
        _ => return None,
    };
    let short = |at: usize| -> Option<u16> {
        let pair = bytes.get(at..at.checked_add(2)?)?.try_into().ok()?;
        Some(if big { u16::from_be_bytes(pair) } else { u16::from_le_bytes(pair) })
    };
    let (high, low) = if big { (short(4)?, short(6)?) } else { (short(6)?, short(4)?) };
    let directory = usize::from(high) << 16 | usize::from(low);
    let entries = usize::from(short(directory)?);
    let mut entries = (0..entries).map(|i| directory + 2 + ENTRY * i);
    let entry = entries.find(|at| short(*at) == Some(ORIENTATION))?;
    short(entry + 8)?.try_into().ok()
}

fn from_xmp(bytes: &[u8]) -> Option<u8> {
    const NAME: &[u8] = b"tiff:Orientation";
    let at = bytes.windows(NAME.len()).position(|window| window == NAME)? + NAME.len();
    let rest = bytes.get(at..)?;
    let digit = rest.strip_prefix(b"=\"").or_else(|| rest.strip_prefix(b">"))?.first()?;
    digit.is_ascii_digit().then(|| digit - b'0')
}

#[cfg(test)]
mod tests {
    use super::*;

    const LITTLE: &[u8] =
        b"Exif\0\0II*\0\x08\0\0\0\x02\0\x0f\x01\x02\0\0\0\0\0\0\0\0\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0";
    const BIG: &[u8] = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x08\0\0\0\0\0\0";
    const XMP: &[u8] = b"<rdf:Description tiff:Orientation=\"3\"/>";

    #[test]
    fn both_byte_orders_and_xmp_are_read() {
        assert_eq!(orientation(Some(LITTLE), None), Some(6));
        assert_eq!(orientation(Some(BIG), Some(XMP)), Some(8), "Exif comes first");
        assert_eq!(orientation(None, Some(XMP)), Some(3));
        assert_eq!(orientation(None, Some(b"<tiff:Orientation>5</tiff:Orientation>")), Some(5));
        assert_eq!(orientation(None, Some(b"tiff:Orientation=\"9\"")), None);
    }

    #[test]
    fn truncated_metadata_gives_no_wrong_orientation() {
        for end in 0..LITTLE.len() {
            assert!(matches!(orientation(Some(&LITTLE[..end]), None), None | Some(6)));
        }
        assert_eq!(orientation(Some(b"II*\0\xff\xff\xff\xff"), None), None);
    }
}
