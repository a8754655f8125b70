//! Bytes come from anybody: whatever they are, headers and decoders answer and never panic.

use proptest::prelude::*;
use uso_picture::{DecodeLimits, Picture, PictureKind, other_kind};

/// The first bytes of pictures of each kind, as encoders write them.
const BEGINNINGS: [&[u8]; 6] = [
    b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\x01\x2c\0\0\0\x4d\x08\x02\0\0\0",
    b"\xff\xd8\xff\xe0\0\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0\
        \xff\xc0\0\x11\x08\0\x4d\x01\x2c\x03\x01\x11\0\x02\x11\0\x03\x11\0",
    b"\xff\xd8\xff\xe1\0\x22Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0",
    b"RIFF\0\x01\0\0WEBPVP8L\x10\0\0\0\x2f\x2b\x01\x13\0",
    b"RIFF\0\x01\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0\x2b\x01\0\x4c\0\0",
    b"RIFF\0\x01\0\0WEBPVP8 \0\x01\0\0\x30\x01\0\x9d\x01\x2a\x2c\x41\x4d\0",
];

const LIMITS: DecodeLimits = DecodeLimits { max_pixels: 100_000, max_side: 1000 };

/// Opens and decodes these bytes, if they are a picture.
fn read(bytes: &[u8]) -> Result<(), TestCaseError> {
    let kind = PictureKind::of_bytes(bytes);
    prop_assert!(kind.is_none() || other_kind(bytes).is_none());
    let Ok(picture) = Picture::open(bytes, &LIMITS) else { return Ok(()) };
    let (width, height) = picture.size();
    prop_assert!(width.max(height) <= LIMITS.max_side);
    let mut rows = 0;
    let decoded = picture.rows(&mut |row| {
        assert_eq!(row.len(), 3 * width as usize);
        rows += 1;
    });
    prop_assert!(decoded.is_err() || rows == height, "{rows} of {height} rows");
    Ok(())
}

/// A file that begins as an encoder begins it, with some bytes changed, and goes on at random.
fn damaged() -> impl Strategy<Value = Vec<u8>> {
    let beginning = prop::sample::select(&BEGINNINGS[..]);
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4);
    let rest = prop::collection::vec(any::<u8>(), 0..600);
    (beginning, changes, rest).prop_map(|(beginning, changes, rest)| {
        let mut bytes = beginning.to_vec();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.extend(rest);
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        read(&bytes)?;
        for kind in PictureKind::ALL {
            let _ = kind.size(&bytes);
        }
    }

    #[test]
    fn no_damaged_file_makes_it_panic(bytes in damaged()) {
        read(&bytes)?;
    }
}
