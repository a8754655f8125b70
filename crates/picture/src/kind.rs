//! Kind and size of a picture from its first bytes, without a decoder.
//!
//! Our own and not the crate `imagesize`: [`Picture::open`](crate::Picture::open) also needs orientation, interlacing and
//! components from the same headers, so with the crate each header would be read twice, by two readers.

use crate::{jpeg, png, webp};

/// Supported kinds of pictures.
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

    /// The kind of a file, by its first bytes.
    pub fn of_bytes(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Some(Self::Png),
            [0xff, 0xd8, 0xff, ..] => Some(Self::Jpeg),
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some(Self::WebP),
            _ => None,
        }
    }

    /// Width and height in pixels as stored. `bytes` need not be the whole file; none if they do not contain the size.
    pub fn size(self, bytes: &[u8]) -> Option<(u32, u32)> {
        match self {
            Self::Png => png::size(bytes),
            Self::Jpeg => jpeg::size(bytes),
            Self::WebP => webp::size(bytes),
        }
    }
}

/// The media type of a picture of another kind, for error messages.
pub fn other_kind(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [b'G', b'I', b'F', b'8', ..] => Some("image/gif"),
        [b'B', b'M', ..] => Some("image/bmp"),
        [b'I', b'I', b'*', 0, ..] | [b'M', b'M', 0, b'*', ..] => Some("image/tiff"),
        [_, _, _, _, b'f', b't', b'y', b'p', b'a', b'v', b'i', ..] => Some("image/avif"),
        [_, _, _, _, b'f', b't', b'y', b'p', b'h' | b'm', ..] => Some("image/heif"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{PictureKind, other_kind};

    /// 300 x 77 pixels in each kind, as encoders begin them.
    const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\x01\x2c\0\0\0\x4d\x08\x02\0\0\0";
    const JPEG: &[u8] = b"\xff\xd8\xff\xe0\0\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0\
        \xff\xc0\0\x11\x08\0\x4d\x01\x2c\x03\x01\x11\0\x02\x11\0\x03\x11\0";
    const WEBP: &[u8] = b"RIFF\0\0\0\0WEBPVP8L\x10\0\0\0\x2f\x2b\x01\x13\0";

    #[test]
    fn kind_and_size_are_read_from_what_encoders_write() {
        for (bytes, kind) in [(PNG, PictureKind::Png), (JPEG, PictureKind::Jpeg), (WEBP, PictureKind::WebP)] {
            assert_eq!(PictureKind::of_bytes(bytes), Some(kind));
            assert_eq!(kind.size(bytes), Some((300, 77)), "{kind:?}");
            assert_eq!(PictureKind::of_media_type(kind.media_type()), Some(kind));
        }
    }

    #[test]
    fn a_frame_behind_other_segments_is_found() {
        let comment = [&[0xff, 0xfe, 0x10, 0x00][..], &[0xff; 4094]].concat();
        let bytes = [&JPEG[..2], &comment, &[0xff], &JPEG[2..]].concat();
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
    fn a_truncated_header_gives_no_wrong_size() {
        for bytes in [PNG, JPEG, WEBP] {
            for end in 0..bytes.len() {
                if let Some(kind) = PictureKind::of_bytes(&bytes[..end]) {
                    assert!(matches!(kind.size(&bytes[..end]), None | Some((300, 77))), "{kind:?} {end}");
                }
            }
        }
        assert_eq!(PictureKind::of_bytes(b"GIF89a..."), None);
        assert_eq!(other_kind(b"GIF89a..."), Some("image/gif"));
        assert_eq!(PictureKind::Jpeg.size(&[0xff; 64]), None);
    }
}
