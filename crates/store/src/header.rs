//! What the first bytes of a picture tell: its kind and its size, without a decoder.

/// Kinds of picture that references may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PictureKind {
    /// PNG.
    Png,
    /// JPEG.
    Jpeg,
    /// WebP.
    WebP,
}

impl PictureKind {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::Png, Self::Jpeg, Self::WebP];

    /// Its media type.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Png => "image/png",
            Self::Jpeg => "image/jpeg",
            Self::WebP => "image/webp",
        }
    }

    /// The kind with this media type.
    pub fn of_media_type(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.media_type() == text)
    }

    /// The kind that a file is, by its first bytes.
    pub fn of_bytes(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Some(Self::Png),
            [0xff, 0xd8, 0xff, ..] => Some(Self::Jpeg),
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some(Self::WebP),
            _ => None,
        }
    }

    /// Width and height, or none if these bytes do not tell.
    pub fn size(self, bytes: &[u8]) -> Option<(u32, u32)> {
        match self {
            Self::Png => png(bytes),
            Self::Jpeg => jpeg(bytes),
            Self::WebP => webp(bytes),
        }
    }
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

fn png(bytes: &[u8]) -> Option<(u32, u32)> {
    (bytes.get(12..16)? == b"IHDR").then_some(())?;
    Some((u32::from_be_bytes(array(bytes, 16)?), u32::from_be_bytes(array(bytes, 20)?)))
}

/// Walks along the segments to the one that begins a frame.
fn jpeg(bytes: &[u8]) -> Option<(u32, u32)> {
    let mut at = 2;
    loop {
        let [0xff, marker] = array(bytes, at)? else { return None };
        let length = usize::from(u16::from_be_bytes(array(bytes, at + 2)?));
        match marker {
            // Padding before a marker.
            0xff => at += 1,
            // All frames but the tables that have numbers among them.
            0xc0..=0xcf if !matches!(marker, 0xc4 | 0xc8 | 0xcc) => {
                let side = |at| Some(u32::from(u16::from_be_bytes(array(bytes, at)?)));
                return Some((side(at + 7)?, side(at + 5)?));
            }
            // Without a length.
            0x01 | 0xd0..=0xd8 => at += 2,
            // The picture itself, or its end, with no frame before.
            0xd9 | 0xda => return None,
            _ => at += 2 + length.max(2),
        }
    }
}

fn webp(bytes: &[u8]) -> Option<(u32, u32)> {
    let small = |at| Some(u32::from(u16::from_le_bytes(array(bytes, at)?)));
    match &array::<4>(bytes, 12)? {
        b"VP8X" => {
            let side = |at| {
                let [a, b, c] = array(bytes, at)?;
                Some(1 + u32::from_le_bytes([a, b, c, 0]))
            };
            Some((side(24)?, side(27)?))
        }
        b"VP8 " if array(bytes, 23)? == [0x9d, 0x01, 0x2a] => {
            Some((small(26)? & 0x3fff, small(28)? & 0x3fff))
        }
        b"VP8L" if array(bytes, 20)? == [0x2f] => {
            let bits = u32::from_le_bytes(array(bytes, 21)?);
            Some((1 + (bits & 0x3fff), 1 + (bits >> 14 & 0x3fff)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use image::{ImageFormat, RgbImage};

    use super::PictureKind;

    fn encoded(format: ImageFormat, width: u32, height: u32) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        RgbImage::new(width, height).write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    #[test]
    fn kind_and_size_are_read_from_what_encoders_write() {
        for (format, kind) in [
            (ImageFormat::Png, PictureKind::Png),
            (ImageFormat::Jpeg, PictureKind::Jpeg),
            (ImageFormat::WebP, PictureKind::WebP),
        ] {
            let bytes = encoded(format, 300, 77);
            assert_eq!(PictureKind::of_bytes(&bytes), Some(kind));
            assert_eq!(kind.size(&bytes), Some((300, 77)), "{kind:?}");
            assert_eq!(PictureKind::of_media_type(kind.media_type()), Some(kind));
        }
    }

    #[test]
    fn a_frame_behind_other_segments_is_found() {
        let plain = encoded(ImageFormat::Jpeg, 300, 77);
        let comment = [&[0xff, 0xfe, 0x10, 0x00][..], &[0xff; 4094]].concat();
        let bytes = [&plain[..2], &comment, &[0xff], &plain[2..]].concat();
        assert_eq!(PictureKind::Jpeg.size(&bytes), Some((300, 77)));
    }

    #[test]
    fn both_other_forms_of_webp_are_read() {
        let extended = b"RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0\x2b\x01\0\x4c\0\0".as_slice();
        assert_eq!(PictureKind::WebP.size(extended), Some((300, 77)));
        let lossy = b"RIFF\0\0\0\0WEBPVP8 \0\0\0\0\x30\x01\0\x9d\x01\x2a\x2c\x41\x4d\0".as_slice();
        assert_eq!(PictureKind::WebP.size(lossy), Some((300, 77)), "the two highest bits are a scale");
    }

    #[test]
    fn no_part_of_a_picture_does_harm() {
        for format in [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP] {
            let bytes = encoded(format, 300, 77);
            for end in 0..bytes.len().min(700) {
                if let Some(kind) = PictureKind::of_bytes(&bytes[..end]) {
                    assert!(matches!(kind.size(&bytes[..end]), None | Some((300, 77))), "{format:?} {end}");
                }
            }
        }
        assert_eq!(PictureKind::of_bytes(b"GIF89a..."), None);
        assert_eq!(PictureKind::Jpeg.size(&[0xff; 64]), None);
    }
}
